# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that wait, their order, and what ends their waiting."""

import os
import random
import subprocess
import time

import pytest
from harness.client import FOR_EVER, LEASE, BusError, Lease
from harness.host import Host
from harness.topology import BRIDGE_A, NIC, NIC2, NIC_USED, NVME, SINGLES, small

SECOND = 10**6


def queue(client, devices, **options):
    lease = client.acquire(devices, wait=options.pop("wait", FOR_EVER), **options)
    assert lease.State == "queued"
    return lease


def waiting(root, device):
    return root.group_of(device)["Queue"]


def failed(lease):
    """Its error, once it has failed."""
    lease.client.wait(lambda: lease.State == "failed", f"{lease.id} to fail")
    name, message = lease.Failure
    return name.removeprefix("org.dmaowner1.Error."), message


@pytest.mark.story
def test_waits_and_is_served(root):
    first = root.hold(NIC, owner="a")
    second = queue(root, NIC, owner="b")
    assert len(second.lifeline) == 1
    assert (second.Groups, second.WaitUntil) == ([12], FOR_EVER)
    assert second.WaitsFor == f"IOMMU group 12 ({NIC}) is held (user) by lease {first.id}"
    group = root.group_of(NIC)
    assert (group["Queue"], group["Leases"], group["Count"]) == ([second.id], [first.id], 1)
    root.signals.clear()
    first.release()
    second.wait("active")
    states = [body[1]["State"][1] for path, _, member, body in root.signals
              if path == second.path and member == "PropertiesChanged"]
    assert states == ["activating", "active"]
    assert root.group_of(NIC)["Owner"] == (0, "b")
    assert (waiting(root, NIC), second.WaitsFor, second.WaitUntil) == ([], "", 0)
    second.release()
    root.wait_group(NIC, "free")


def test_what_is_free_is_had_at_once(root):
    assert root.acquire(NIC, wait=FOR_EVER).State in ("activating", "active")


def test_order_is_by_priority_then_age(root):
    held = root.hold(NIC, owner="0")
    low, first, second, high = (queue(root, NIC, owner=f"{n}", priority=p) for n, p in enumerate([-1, 0, 0, 5], 1))
    root.wait(lambda: held.State == "revoking", "the holder to be asked")
    assert waiting(root, NIC) == [high.id, first.id, second.id, low.id]
    for following in (high, first, second, low):
        held.release()
        following.wait("active")
        held = following


def test_nobody_overtakes(root):
    held = root.hold(NIC, owner="a")
    wide = queue(root, [NIC, NIC2], owner="b")
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC2, owner="c")
    assert refusal.value.name == "Busy" and wide.id in refusal.value.message
    possible, obstacles, _ = root.explain(NIC2, owner="c")
    assert (possible, obstacles[0]["code"]) == (False, "busy")
    behind = queue(root, NIC2, owner="c")
    assert behind.WaitsFor == f"IOMMU group 13 ({NIC2}) is reserved for lease {wide.id}, which is ahead"
    root.hold(BRIDGE_A, owner="c")
    held.release()
    wide.wait("active")
    assert behind.State == "queued"
    wide.release()
    behind.wait("active")


def test_time_out(root, unchanged):
    held = root.hold(NIC)
    with unchanged():
        lease = queue(root, NIC, owner="b", wait=SECOND // 5)
        start = time.monotonic()
        assert failed(lease) == ("TimedOut", f"the wait is over: IOMMU group 12 ({NIC}) is held (user) by lease {held.id}")
        assert 0.1 < time.monotonic() - start < 5
        assert waiting(root, NIC) == []
        lease.release()     # who has read why


def test_the_time_to_live_begins_with_the_turn(root):
    held = root.hold(NIC, owner="a")
    lease = queue(root, NIC, owner="b", ttl=SECOND)
    assert lease.Expires == FOR_EVER
    with pytest.raises(BusError) as refusal:
        lease.call("Renew", "t", SECOND)
    assert "no right yet" in refusal.value.message
    time.sleep(1.2)
    assert lease.State == "queued"
    held.release()
    assert lease.wait_ended() == "expired"


@pytest.mark.parametrize("holder", ["lifeline", "connection", "process", "none"])
def test_leaves_with_its_holder(host, root, holder):
    root.hold(NIC)
    client = host.client()
    with subprocess.Popen(["sleep", "infinity"]) as child:
        pidfd = os.pidfd_open(child.pid)
        lease = queue(client, NIC, owner="b", holder=holder, **({"pidfd": pidfd} if holder == "process" else {}))
        os.close(pidfd)
        assert waiting(root, NIC) == [lease.id]
        if holder == "lifeline":
            lease.close()
        elif holder == "connection":
            client.close()
        child.kill()
    if holder == "none":
        assert waiting(root, NIC) == [lease.id]
        lease.release()
    watched = Lease(root, lease.path, [])
    assert watched.wait_ended() == ("released" if holder == "none" else "holder-died")
    assert waiting(root, NIC) == []


def test_its_device_is_unplugged(root, sim):
    root.hold(NIC)
    lease = queue(root, [NIC, NIC2], owner="b")
    sim.unplug(NIC2)
    assert failed(lease) == ("NoSuchDevice", f"{NIC2} was removed from the host while the request was queued")
    assert waiting(root, NIC) == []


def test_an_obstacle_when_its_turn_comes(root, sim):
    held = root.hold(NIC2, owner="a")
    lease = queue(root, [NIC2, NIC], owner="b")
    behind = queue(root, NIC2, owner="c")
    sim.use(NIC, "mounted", "is mounted at /mnt")
    held.release()
    name, message = failed(lease)
    assert name == "InUse" and "/mnt" in message
    behind.wait("active")
    assert root.group_of(NIC)["State"] == "free"
    assert root.device(NIC)["Driver"] == "e1000e"


def test_a_group_that_cannot_be_given_back_is_waited_for(root, sim):
    held = root.hold(NIC)
    sim.inject("bind", NIC, errno="EIO")
    held.release()
    root.wait_group(NIC, "failed")
    lease = queue(root, NIC, owner="b")
    assert "failed" in lease.WaitsFor
    sim.clear()
    root.call(root.group_path(NIC), "org.dmaowner1.Group", "Retry")
    lease.wait("active")


@pytest.mark.parametrize("options", [
    {"raw": {"wait": ("i", 5)}}, {"raw": {"priority": ("u", 5)}}, {"priority": 101}, {"priority": -101}])
def test_bad_input(root, unchanged, options):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, **options)
    assert refusal.value.name == "InvalidArgs"


def test_a_wait_of_zero_does_not_wait(root, unchanged):
    root.hold(NIC)
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="b", wait=0)
    assert refusal.value.name == "Busy"


def test_only_root_goes_before_others(host, root, other_users, member, unchanged):
    user = host.client(uid=1, groups=[member])
    with unchanged(), pytest.raises(BusError) as refusal:
        user.acquire(NIC, priority=1)
    assert refusal.value.name == "AccessDenied" and "priority 1" in refusal.value.message
    user.hold(NIC, priority=-3)


def test_bound(root):
    root.hold(NIC)
    leases = [queue(root, NIC, owner="b", holder="connection") for _ in range(256)]
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="b", wait=FOR_EVER)
    assert refusal.value.name == "QuotaExceeded"
    assert root.manager("ReleaseOwner", "s", "b")[0] == len(leases)
    assert waiting(root, NIC) == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart(host, root, how):
    held = root.hold(NIC, owner="a")
    lost, kept, first = (queue(root, NIC, owner=f"{n}", priority=p, holder=h, ttl=900 * SECOND)
                         for n, p, h in [(1, 0, "lifeline"), (2, -2, "connection"), (3, -1, "lifeline")])
    shown = kept.properties(), first.properties()
    soon = queue(root, NIC, owner="4", wait=2 * SECOND)
    getattr(host.daemon, how)()
    lost.close()
    time.sleep(2)
    host.daemon.start()
    root.watch()
    kept, first, soon, held = (Lease(root, lease.path, lease.lifeline) for lease in (kept, first, soon, held))
    assert (kept.properties(), first.properties()) == shown
    root.wait(lambda: waiting(root, NIC) == [first.id, kept.id], "the two to be left")
    assert failed(soon)[0] == "TimedOut"
    held.release()
    first.wait("active")
    first.release()
    kept.wait("active")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_before_its_turn_is_answered_for(host, root, sim, how):
    """Nothing is begun for one that was not inspected: it waits again."""
    held = root.hold(NIC, owner="a")
    lease = queue(root, NIC, owner="b")
    sim.inject("inspect", NIC, delay_us=SECOND)
    held.release()
    lease.wait("activating")
    getattr(host.daemon, how)()
    host.daemon.start()
    root.watch()
    Lease(root, lease.path, lease.lifeline).wait("active")


def held_now(root):
    """The leases that have a right, by what the signals told; no device may be in two of them."""
    found, taken = {}, set()
    for path, interfaces in root.objects.items():
        lease = interfaces.get(LEASE)
        if lease and lease["State"] in ("activating", "active"):
            assert taken.isdisjoint(lease["Devices"]), f"two owners: {path} {lease}"
            taken.update(lease["Devices"])
            found[path] = lease["State"]
    return found


def test_many_clients_at_once():
    """200 overlapping requests of 20 clients, all in the queue together: everybody is served,
    nobody shares with anybody else, and the host is as it was."""
    chance = random.Random(7)
    with Host(small(), persist=False) as host:
        root, before = host.root.watch(), host.sim.state()
        clients = [host.client() for _ in range(20)]
        calls = [(client, client.start_acquire(chance.sample(SINGLES[:24], chance.randint(1, 4)),
                                               owner=f"{number}.{k}", wait=FOR_EVER))
                 for k in range(10) for number, client in enumerate(clients)]
        leases = {}
        for client, serial in calls:
            path, lifeline = client.finish(serial)
            leases[path] = Lease(root, path, lifeline)
        assert len(leases) == 200
        while leases:
            root.wait(lambda: "active" in held_now(root).values(), "somebody's turn")
            for path in [path for path, state in held_now(root).items() if state == "active"]:
                leases.pop(path).release()
                root.objects.pop(path, None)
        root.wait(lambda: all(group["State"] == "free" for group in root.groups().values()), "all groups to be free")
        assert host.sim.difference(before) == {}


def test_a_turn_that_joins(root):
    """One that wants what is shared and what is not gets both when the second is free."""
    root.hold(NVME, kind="dma-api", owner="a")
    held = root.hold(NIC_USED, kind="dma-api", owner="a", driver="e1000e")
    lease = queue(root, [NVME, NIC_USED], kind="dma-api", owner="b", default_domain_type="identity")
    assert "dma-api" in lease.WaitsFor
    lease.release()
    lease = root.acquire([NVME, NIC_USED], kind="dma-api", owner="b", wait=FOR_EVER)
    assert lease.State == "active"
    held.release()
