# SPDX-License-Identifier: LGPL-2.1-or-later
"""Others change a leased device behind the daemon's back: seen, told, not fought, and put right when a person says."""

import time

import pytest
from harness.client import GROUP, BusError
from harness.topology import BRIDGE_A, BRIDGE_B, IDENTITY, NIC, NIC2, nic

SOON = 10    # much more than it takes; how fast it is stands in the guest's tests


def lost(root, lease, *words):
    lease.wait("lost", timeout=SOON)
    name, message = lease.Failure
    assert name == "org.dmaowner1.Error.Lost"
    group = root.wait_group(lease.Devices[0], "lost")
    for word in words:
        assert word in message, message
        assert word in group["WaitsFor"], group["WaitsFor"]
    with pytest.raises(BusError) as refusal:
        root.acquire(lease.Devices[0], owner="next")
    assert refusal.value.name == "Lost" and "Retry" in refusal.value.message


def test_a_rebind_says_from_what_to_what(root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    sim.rebind(NIC, "e1000e")
    lost(root, lease, f"the driver of {NIC} was vfio-pci and is ")
    # nobody fights
    assert sim.device(NIC)["driver"] == "e1000e"
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_an_override_that_no_event_tells(root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    sim.override(NIC, "e1000e")
    lost(root, lease, f"the driver_override of {NIC} was vfio-pci and is e1000e now")
    assert sim.device(NIC)["driver"] == "vfio-pci"
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_a_type_that_no_event_tells(root, sim):
    """identity would let user space reach all memory."""
    before = sim.state()
    lease = root.hold(BRIDGE_A)
    number = sim.device(BRIDGE_A)["group"]
    sim.event("type", group=number, type="identity")
    lost(root, lease, "was DMA and is identity now")
    root.call(root.group_path(BRIDGE_A), GROUP, "Retry")
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


def test_a_type_that_one_member_cannot_tell(root, sim):
    """The group of a bridge without a driver, of which no event comes: what its siblings show is the type of all."""
    for device in BRIDGE_A, BRIDGE_B:
        sim.event("unbind", device=device)
    sim.event("type", group=root.group_of(BRIDGE_A)["Id"], type="identity")
    for device in BRIDGE_A, BRIDGE_B:
        sim.event("bind", device=device, driver="e1000")
    before = sim.state()
    root.wait(lambda: root.group_of(BRIDGE_A)["DefaultDomainType"] == "identity", "the new type")
    root.hold(BRIDGE_A).release()
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


def test_a_live_change_of_a_wished_type(root, sim):
    lease = root.hold(NIC, "dma-api", default_domain_type="DMA")
    sim.event("type", group=sim.device(NIC)["group"], type="DMA-FQ")
    lost(root, lease, "was DMA and is DMA-FQ now")
    root.call(root.group_path(NIC), GROUP, "Accept")
    assert root.wait_group(NIC, "free")["DefaultDomainType"] == "DMA-FQ"


def test_what_a_lease_does_not_care_about_is_left_alone(root, sim):
    lease = root.hold(NIC, "dma-api", owner="me")
    sim.override(NIC, "other")
    sim.event("type", group=sim.device(NIC)["group"], type="DMA-FQ")
    root.wait(lambda: root.device(NIC)["DriverOverride"] == "other"
              and root.group_of(NIC)["DefaultDomainType"] == "DMA-FQ", "the patrol")
    assert lease.State == "active"


def test_accept_takes_what_is_there(root, sim):
    lease = root.hold(NIC)
    sim.rebind(NIC, "e1000e")
    lost(root, lease)
    root.call(root.group_path(NIC), GROUP, "Accept")
    root.wait_group(NIC, "free")
    assert root.device(NIC)["HostDriver"] == "e1000e"
    root.hold(NIC).release()
    root.wait_group(NIC, "free")
    assert sim.device(NIC)["driver_override"] == "e1000e"


@pytest.mark.parametrize("restart", [None, "kill"])
def test_accept_takes_the_right_on_the_node_back(host, root, sim, restart):
    """A member that is still on VFIO keeps the node there, and the kernel would go on letting the former owner in."""
    lease = root.hold(BRIDGE_A, uid=1000)
    sim.rebind(BRIDGE_B, "e1000")
    lost(root, lease, BRIDGE_B)
    assert sim.group(BRIDGE_A)["node"]["granted"] == 1000
    sim.inject("revoke-node", errno="EIO")
    root.call(root.group_path(BRIDGE_A), GROUP, "Accept")
    assert "from uid 1000" in root.wait_group(BRIDGE_A, "failed")["WaitsFor"]
    sim.clear()
    sim.inject("revoke-node", errno="EAGAIN")
    root.call(root.group_path(BRIDGE_A), GROUP, "Accept")
    root.wait_group(BRIDGE_A, "draining")
    if restart:
        host.restart(restart)
    sim.clear()
    root.wait_group(BRIDGE_A, "free")
    assert "granted" not in sim.group(BRIDGE_A)["node"]
    assert (root.device(BRIDGE_A)["HostDriver"], root.device(BRIDGE_B)["HostDriver"]) == ("vfio-pci", "e1000")


def test_all_leases_of_the_group_hear_of_it_and_others_do_not(root, sim):
    first, second, other = root.hold(BRIDGE_A), root.hold(BRIDGE_B), root.hold(NIC2)
    sim.rebind(BRIDGE_B, "e1000")
    lost(root, first, BRIDGE_B)
    lost(root, second, BRIDGE_B)
    time.sleep(1)
    assert other.State == "active"


def test_a_private_domain_that_is_taken(root, sim):
    lease = root.hold(NIC, "private-domain", driver="vp-vdpa")
    sim.rebind(NIC, "e1000e")
    lost(root, lease, f"the driver of {NIC} was vp-vdpa and is ")


@pytest.mark.parametrize("what", ["driver", "override", "type"])
def test_what_happened_while_the_daemon_was_down(host, root, sim, what):
    root.hold(IDENTITY)
    host.daemon.kill()

    def edit(kernel):
        for device in kernel["devices"]:
            if device["name"] == IDENTITY and what == "driver":
                device["driver"] = "e1000e"
            if device["name"] == IDENTITY and what == "override":
                device["driver_override"] = "e1000e"
        for group in kernel["groups"]:
            if group["group"] == 19 and what == "type":
                group["type"] = "identity"
            if group["group"] == 19 and what == "driver":
                for key in ("node", "node_former"):
                    group.pop(key, None)
    host.edit_kernel(edit)
    host.daemon.start()
    root.watch()
    group = root.wait_group(IDENTITY, "lost")
    assert "while the daemon was not running" in group["WaitsFor"]
    assert {"driver": "is e1000e now", "override": "driver_override", "type": "is identity now"}[what] \
        in group["WaitsFor"]


# udev's rules for the node of a lease

def test_a_node_that_udev_changes_is_granted_again(root, sim):
    lease = root.hold(NIC, uid=1001)
    was = sim.group(NIC)["node"]
    sim.event("node", group=12, uid=7, mode=0o666)
    deadline = time.monotonic() + SOON
    while sim.group(NIC)["node"] != was:    # no signal tells of it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert lease.State == "active"
    lease.release()
    root.wait_group(NIC, "free")


def test_a_node_that_cannot_be_granted_again_is_shown(root, sim):
    lease = root.hold(NIC, uid=1001)
    sim.inject("grant-node", errno="EPERM")
    sim.event("node", group=12, uid=7, mode=0o666)
    root.wait(lambda: root.group_of(NIC)["WaitsFor"], "the group to say what is wrong")
    assert lease.State == "active"


def test_a_node_of_nobody_is_udevs(root, sim):
    root.hold(NIC, uid=1001)
    sim.operations()
    root.hold(NIC2, "dma-api")
    with pytest.raises(BusError):
        sim.event("node", group=13)
    assert sim.operations() == []


# a device that is being taken away while a program has it open

@pytest.mark.parametrize("how", ["unbind", "unplug"])
def test_what_waits_for_a_program_is_seen_at_once(root, sim, how):
    lease = root.hold(NIC)
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    sim.event(how, device=NIC)
    lost(root, lease, f"the driver of {NIC} was vfio-pci and is none now")
    sim.close(NIC, pid=4711)
    if how == "unplug":
        root.wait(lambda: all(NIC not in group["Devices"] for group in root.groups().values()), "the device to go")
        sim.plug(nic(NIC, 44))
        assert root.wait_group(NIC, "free")["Id"] == 44
        root.hold(NIC).release()
    else:
        root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.device(NIC)["driver"] == "e1000e"
