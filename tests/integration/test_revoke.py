# SPDX-License-Identifier: LGPL-2.1-or-later
"""Holders that are asked to leave, and those who do not."""

import time

import pytest
from harness import PATIENCE
from harness.client import FOR_EVER, LEASE, BusError, Lease
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2

SECOND = 10**6
HOUR = 3600 * SECOND
HOWS = ["stop", "kill"]


def revoke(lease, reason="maintenance", deadline=HOUR):
    lease.call("Revoke", "st", reason, deadline)


def asked(lease):
    """What RevokeRequested said, in order."""
    return [body for path, interface, member, body in lease.client.signals
            if (path, interface, member) == (lease.path, LEASE, "RevokeRequested")]


def boottime():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * SECOND)


@pytest.mark.story
def test_leaves_in_time(root):
    lease = root.hold(NIC)
    revoke(lease)
    reason, deadline = root.wait(lambda: asked(lease), "the request to leave")[0]
    assert reason == "maintenance"
    assert abs(deadline - boottime() - HOUR) < 60 * SECOND
    assert (lease.State, lease.Revocation) == ("revoking", (reason, deadline))
    assert root.group_of(NIC)["State"] == "owned"
    lease.release()
    assert lease.wait_ended() == "released"
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"


def test_after_the_deadline(root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    revoke(lease, deadline=SECOND // 5)
    assert lease.wait_ended() == "revoked: maintenance"
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_one_who_does_not_leave(root, sim):
    """His device is unbound under him; who he is is shown until he has gone."""
    before = sim.state()
    lease = root.hold([NIC, BRIDGE_A])
    sim.open(NIC, 4711, "qemu-system-x86")
    sim.operations()
    revoke(lease, deadline=0)
    assert lease.wait_ended() == "revoked: maintenance"
    root.wait_group(BRIDGE_A, "free")
    root.wait(lambda: "qemu-system-x86 (pid 4711)" in root.group_of(NIC)["WaitsFor"], "his name")
    assert root.group_of(NIC)["State"] == "draining"
    assert any(step["step"] == "evict" for step in sim.dump()["left_behind"])
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="b")
    assert "qemu-system-x86 (pid 4711)" in refusal.value.message
    waiting = root.acquire(NIC, owner="b", wait=FOR_EVER)
    sim.close(NIC, 4711)
    waiting.wait("active")
    waiting.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_a_group_of_several_devices(root, sim):
    before = sim.state()
    lease = root.hold(BRIDGE_A)
    for device in (BRIDGE_A, BRIDGE_B):
        sim.open(device, 4711, "qemu-system-x86")
    revoke(lease, deadline=0)
    lease.wait_ended()
    root.wait(lambda: "4711" in root.group_of(BRIDGE_A)["WaitsFor"], "his name")
    sim.close(BRIDGE_A, 4711)
    root.wait(lambda: sim.hanging(BRIDGE_B), "the second device")
    assert root.group_of(BRIDGE_A)["State"] == "draining"
    sim.close(BRIDGE_B, 4711)
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("how", HOWS)
def test_a_restart_while_it_is_asked(host, root, how):
    lease = root.hold(NIC)
    revoke(lease, deadline=HOUR)
    shown = lease.properties()
    host.restart(how)
    again = Lease(root, lease.path, lease.lifeline)
    assert again.properties() == shown
    assert asked(again)[1:] == []   # once is enough
    revoke(again, "now", 0)
    assert again.wait_ended() == "revoked: now"


@pytest.mark.parametrize("how", HOWS)
def test_a_deadline_that_passes_meanwhile(host, root, how):
    lease = root.hold(NIC)
    revoke(lease, deadline=SECOND // 2)
    getattr(host.daemon, how)()
    time.sleep(0.6)
    host.daemon.start()
    root.watch()
    root.wait_group(NIC, "free")
    assert lease.id not in root.leases()


@pytest.mark.parametrize("how", HOWS)
def test_a_restart_while_he_does_not_leave(host, root, sim, how):
    before = sim.state()
    lease = root.hold(NIC)
    sim.open(NIC, 4711, "qemu-system-x86")
    revoke(lease, deadline=0)
    root.wait(lambda: "4711" in root.group_of(NIC)["WaitsFor"], "his name")
    host.restart(how)
    group = root.group_of(NIC)
    assert group["State"] == "draining" and "qemu-system-x86 (pid 4711)" in group["WaitsFor"]
    sim.close(NIC, 4711)
    root.wait_group(NIC, "free", timeout=2 * PATIENCE)
    assert sim.difference(before) == {}


def test_who_counts_on_the_group_stays(root, sim):
    first, second = root.hold(NIC), root.hold(NIC)
    sim.operations()
    revoke(first, deadline=0)
    first.wait_ended()
    assert (second.State, root.group_of(NIC)["State"]) == ("active", "owned")
    assert sim.operations() == []


def test_what_nobody_has_used_ends_at_once(root, sim):
    held = root.hold(NIC)
    queued = root.acquire(NIC, owner="b", wait=FOR_EVER)
    revoke(queued)
    assert queued.wait_ended() == "revoked: maintenance"
    sim.inject("bind", NIC2, delay_us=SECOND)
    activating = root.acquire(NIC2)
    revoke(activating)
    assert activating.wait_ended() == "revoked: maintenance"
    root.wait_group(NIC2, "free")
    assert held.State == "active"


def test_a_higher_priority(root):
    low = root.hold(NIC, owner="a")
    high = root.acquire(NIC, owner="b", wait=FOR_EVER, priority=7)
    reason, deadline = root.wait(lambda: asked(low), "the request to leave")[0]
    assert reason == f"lease {high.id} with priority 7 waits for it"
    assert abs(deadline - boottime() - 30 * SECOND) < 10 * SECOND
    low.release()
    high.wait("active")


def test_who_was_asked_for_gives_up(root):
    low = root.hold(NIC, owner="a")
    high = root.acquire(NIC, owner="b", wait=FOR_EVER, priority=7)
    root.wait(lambda: asked(low), "the request to leave")
    high.release()
    low.wait("active")
    assert low.Revocation == ("", 0)
    root.acquire(NIC, owner="b", wait=FOR_EVER, priority=7)
    root.wait(lambda: len(asked(low)) == 2, "another request to leave")


def test_who_may(host, root, other_users, member):
    alice, bob = host.client(uid=1, groups=[member]), host.client(uid=2, groups=[member])
    lease = alice.hold(NIC)
    with pytest.raises(BusError) as refusal:
        bob.call(lease.path, LEASE, "Revoke", "st", "mine", 0)
    assert refusal.value.name == "AccessDenied"
    revoke(lease)
    assert root.leases()[lease.id]["State"] == "revoking"
    root.call(lease.path, LEASE, "Revoke", "st", "by root", 0)
    root.wait_group(NIC, "free")


def test_bad_input(root, unchanged):
    lease = root.hold(NIC)
    with unchanged():
        for reason in ("", "x" * 300, "a\nb"):
            with pytest.raises(BusError) as refusal:
                revoke(lease, reason)
            assert refusal.value.name == "InvalidArgs"
    lease.release()
    with pytest.raises(BusError) as refusal:
        revoke(lease)
    assert refusal.value.name == "UnknownObject"


def test_who_revokes_himself_wins_no_time(root):
    lease = root.hold(NIC)
    revoke(lease, deadline=FOR_EVER)
    assert lease.Revocation == ("maintenance", FOR_EVER)
    root.acquire(NIC, owner="second", wait=FOR_EVER, priority=1)
    root.wait(lambda: lease.Revocation[1] < FOR_EVER, "the queue's deadline")
    deadline = lease.Revocation[1]
    assert deadline < boottime() + 31 * SECOND
    revoke(lease, "later", FOR_EVER)
    assert lease.Revocation == ("later", deadline)
