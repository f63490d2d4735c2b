# SPDX-License-Identifier: LGPL-2.1-or-later
"""The switch itself: failing steps, hanging steps, draining, others who meddle, hot plug."""

import errno
import os

import pytest
from harness.client import GROUP, LEASE, BusError
from harness.topology import BRIDGE_A, BRIDGE_B, DISK_USED, IDENTITY, NIC, NIC2, NIC_USED


@pytest.mark.story
@pytest.mark.parametrize("op", ["set-override", "unbind", "bind", "grant-node"])
def test_a_step_that_fails_is_undone_and_the_lease_says_why(root, sim, op):
    before = sim.state()
    sim.inject(op, NIC, nth=1, errno="EIO")
    lease = root.acquire(NIC)
    lease.wait("failed")
    name, message = lease.Failure
    assert name == "org.dmaowner1.Error.KernelRefused"
    assert NIC in message or "/dev/vfio/12" in message
    assert os.strerror(errno.EIO) in message
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}
    sim.clear()
    lease.release()
    root.hold(NIC)


def test_a_failing_member_undoes_the_whole_request(root, sim):
    before = sim.state()
    sim.inject("bind", BRIDGE_B, nth=1, errno="EBUSY")
    lease = root.acquire([NIC, BRIDGE_A])
    lease.wait("failed")
    assert BRIDGE_B in lease.Failure[1]
    root.wait_group(NIC, "free")
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


def test_a_driver_that_says_yes_and_does_not_bind(root, sim):
    """Success is what is read back, not what the write returned."""
    before = sim.state()
    sim.inject("bind", NIC, nth=1, crash=True)
    lease = root.acquire(NIC)
    lease.wait("failed")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_every_step_succeeds_and_yet_it_is_not_so(root, sim):
    """Somebody takes back what a step has done while a later one is under way."""
    before = sim.state()
    sim.inject("bind", NIC, hang=True)
    lease = root.acquire(NIC, "dma-api", default_domain_type="identity")
    root.wait(lambda: sim.hanging(NIC), "bind to hang")
    sim.event("type", group=12, type="DMA")
    sim.clear()
    lease.wait("failed")
    assert "somebody else" in lease.Failure[1]
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_identity_is_left_before_user_space_gets_the_group(root, sim):
    before = sim.state()
    lease = root.hold(IDENTITY)
    assert root.group_of(IDENTITY)["DefaultDomainType"] == "DMA"
    lease.release()
    root.wait_group(IDENTITY, "free")
    assert root.group_of(IDENTITY)["DefaultDomainType"] == "identity"
    assert sim.difference(before) == {}


def test_an_override_that_was_there_comes_back(root, sim):
    sim.override(NIC, "e1000e")     # no event tells of it
    before = sim.state()
    lease = root.hold(NIC)
    lease.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_a_way_back_that_fails_is_shown_and_can_be_retried(root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    sim.inject("bind", NIC, errno="EIO")
    sim.inject("probe", NIC, errno="EIO")
    lease.release()
    failed = root.wait_group(NIC, "failed")
    assert NIC in failed["WaitsFor"]
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC)
    assert refusal.value.name == "Busy" and "Retry" in refusal.value.message
    sim.clear()
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_a_way_back_that_fails_can_be_accepted(root, sim):
    lease = root.hold(NIC)
    sim.inject("bind", NIC, errno="EIO")
    sim.inject("probe", NIC, errno="EIO")
    lease.release()
    root.wait_group(NIC, "failed")
    root.call(root.group_path(NIC), GROUP, "Accept")
    assert root.wait_group(NIC, "free")["WaitsFor"] == ""
    assert root.device(NIC)["HostDriver"] == root.device(NIC)["Driver"]


@pytest.mark.parametrize("error", ["EAGAIN", "EIO", "EINVAL"])
def test_who_joined_is_probed_also_after_an_interruption(root, sim, error):
    """Interrupted before it was tried, or before that could be told: again. Tried in vain: once is enough."""
    late = sim.unplug(BRIDGE_B)
    lease = root.hold(BRIDGE_A)
    sim.open(BRIDGE_A, 4711, "qemu")
    sim.plug(late)
    root.wait(lambda: BRIDGE_B in root.group_of(BRIDGE_A)["Devices"], "the device to have joined")
    sim.close(BRIDGE_A, 4711)
    sim.inject("probe", BRIDGE_B, nth=1, errno=error)
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    assert sim.device(BRIDGE_B).get("driver") == (None if error == "EINVAL" else "e1000")


@pytest.mark.story
def test_a_hanging_unbind_blocks_nobody_else(root, sim):
    sim.inject("unbind", NIC, hang=True)
    stuck = root.acquire(NIC)
    lease = root.hold(NIC2)
    assert stuck.State == "activating"
    lease.release()
    root.wait_group(NIC2, "free")
    assert stuck.State == "activating"
    sim.clear()
    stuck.wait("active")


def test_a_hanging_step_can_be_given_up(root, sim):
    before = sim.state()
    sim.inject("unbind", NIC, hang=True)
    lease = root.acquire(NIC)
    root.wait(lambda: sim.hanging(NIC), "the unbind to hang")
    lease.release()
    lease.wait_ended()
    stuck = root.wait_group(NIC, "draining")
    assert "unbind" in stuck["WaitsFor"]
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="next")
    assert refusal.value.name == "Busy"
    sim.clear()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_draining_says_who_still_has_it_open(root, sim):
    lease = root.hold(NIC)
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    sim.operations()
    lease.release()
    assert lease.wait_ended() == "released"
    draining = root.wait_group(NIC, "draining")
    draining = root.wait(lambda: "dpdk-testpmd" in (now := root.group_of(NIC))["WaitsFor"] and now,
                         "the group to say who has it open")
    assert "4711" in draining["WaitsFor"] and draining["Count"] == 0
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="next")
    assert refusal.value.name == "Busy" and "dpdk-testpmd" in refusal.value.message
    assert not [op for op in sim.operations() if op["op"] in ("unbind", "bind", "set-override", "reset")]
    sim.close(NIC, pid=4711)
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"


def test_claimed_is_told(root, sim):
    root.hold(NIC)
    assert not root.group_of(NIC)["Claimed"]


def test_the_node_is_the_lease_uids_and_is_taken_back(root, sim):
    before = sim.group(NIC)
    lease = root.hold(NIC, uid=1000)
    assert lease.Uid == 1000
    assert "1000" in str(sim.group(NIC)["node"])
    lease.release()
    root.wait_group(NIC, "free")
    assert sim.group(NIC) == before


def test_a_foreign_driver_makes_the_lease_lost(root, sim):
    lease = root.hold(NIC)
    sim.operations()
    sim.rebind(NIC, "e1000e")
    lease.wait("lost")
    assert NIC in lease.Failure[1]
    assert root.group_of(NIC)["State"] == "lost"
    assert sim.operations() == []       # it does not fight
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC)
    assert refusal.value.name in ("Busy", "Lost")
    root.call(root.group_path(NIC), GROUP, "Accept")
    root.wait_group(NIC, "free")
    lease.release()
    root.hold(NIC)


def test_a_lost_group_can_be_put_back(root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    sim.rebind(NIC, "e1000e")
    lease.wait("lost")
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_an_unplugged_device_ends_its_lease(root, sim):
    lease = root.hold([NIC, NIC2])
    sim.unplug(NIC)
    lease.wait("lost")
    assert NIC in lease.Failure[1]
    with pytest.raises(BusError) as refusal:
        root.device(NIC)
    assert refusal.value.name == "NoSuchDevice"
    root.wait_group(NIC2, "free")


def test_a_plugged_device_can_be_leased(root, sim):
    device = sim.unplug(NIC)
    root.wait(lambda: ("InterfacesRemoved" in [signal[2] for signal in root.signals]), "the device to vanish")
    sim.plug(device)
    root.wait(lambda: any(device["name"] == objects.get("org.dmaowner1.Device", {}).get("Name")
                          for objects in root.objects.values()), "the device to come back")
    root.hold(NIC)


def test_force_takes_what_the_host_uses(root, sim):
    before = sim.state()
    lease = root.hold(NIC_USED, force=True)
    assert root.device(NIC_USED)["Driver"] == "vfio-pci"
    lease.release()
    root.wait_group(NIC_USED, "free")
    assert sim.device(NIC_USED)["driver"] == before["devices"][NIC_USED]["driver"]


def test_use_is_shown_and_followed(root, sim):
    assert "192.0.2.7" in root.wait(lambda: root.device(NIC_USED)["InUse"], "the use of the NIC")
    assert "/srv" in root.wait(lambda: root.device(DISK_USED)["InUse"], "the use of the disk")
    sim.use(NIC, "network-address", "enp3s0 has the address 192.0.2.9")
    root.wait(lambda: "192.0.2.9" in root.device(NIC)["InUse"], "the new use of the NIC")
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC)
    assert refusal.value.name == "InUse"
    sim.use(NIC)
    root.wait(lambda: not root.device(NIC)["InUse"], "the NIC to be unused")
    root.hold(NIC)


@pytest.mark.parametrize("op", ["set-override", "unbind", "bind", "wait-node", "grant-node"])
def test_unplugged_while_a_step_runs(root, sim, op):
    sim.inject(op, NIC, delay_us=500_000)
    group = root.group_of(NIC)["Id"]
    lease = root.acquire(NIC)
    sim.unplug(NIC)
    root.wait(lambda: lease.State == "lost", "the lease to be lost")
    root.wait(lambda: group not in root.groups(), "the group to go")
    root.hold(NIC2).release()       # the daemon is well
    root.wait_group(NIC2, "free")


def test_who_joins_a_claim_goes_on_without_the_first(root, sim):
    """The first one is released before its devices have been looked at."""
    sim.inject("inspect", NIC, delay_us=500_000)
    first = root.start_acquire(NIC, owner="me")
    root.wait(lambda: root.group_of(NIC)["State"] == "claiming", "the reservation")
    name = root.group_of(NIC)["Leases"][0]
    joined = root.acquire(NIC, owner="me")
    root.call(root.manager("GetLease", "s", name)[0], LEASE, "Release")
    with pytest.raises(BusError) as refusal:
        root.finish(first)
    assert refusal.value.name == "NoSuchLease"
    joined.wait("active")
    joined.release()
    root.wait_group(NIC, "free")


def test_nobody_begins_what_another_still_asks_about(root, sim):
    """A second lease of the owner joins a claim whose devices are being inspected."""
    sim.operations()
    sim.inject("inspect", NIC_USED, delay_us=300_000)
    first = root.start_acquire(NIC_USED)
    root.wait(lambda: root.group_of(NIC_USED)["State"] == "claiming", "the reservation")
    joined = root.acquire(NIC_USED)
    with pytest.raises(BusError) as refusal:
        root.finish(first)
    assert refusal.value.name == "InUse"
    root.wait(lambda: joined.State == "failed", "the other to fail")
    root.wait_group(NIC_USED, "free")
    assert sim.operations() == []
