# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon goes and comes back. The simulated kernel lives on, as the real one would."""

import os
import subprocess

import pytest
from harness import PATIENCE
from harness.client import FOR_EVER, Lease
from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, NIC, NIC2, NIC_USED

HOWS = ["stop", "kill"]
SECOND = 10**6


def same(root, lease):
    """The lease again, after a restart: its old connection to a lifeline is still ours."""
    return Lease(root, lease.path, lease.lifeline)


@pytest.mark.story
@pytest.mark.parametrize("how", HOWS)
def test_a_live_lease_is_not_touched(host, root, sim, how):
    before = sim.state()
    lease = root.hold([NIC, BRIDGE_A], owner="me", label="kept", holder="lifeline", ttl=3600 * SECOND)
    shown, held = lease.properties(), sim.state()
    sim.operations()
    host.restart(how)
    assert sim.operations() == []
    assert sim.difference(held) == {}
    again = same(root, lease)
    assert again.properties() == shown
    assert root.group_of(NIC)["Owner"] == (0, "me")
    again.release()
    for device in (NIC, BRIDGE_A):
        root.wait_group(device, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("how", HOWS)
def test_a_lifeline_works_afterwards(host, root, how):
    lease = root.hold(NIC)
    host.restart(how)
    again = same(root, lease)
    again.close()
    assert again.wait_ended() == "holder-died"
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"


@pytest.mark.parametrize("how", HOWS)
def test_a_lifeline_closed_meanwhile(host, root, how):
    lease = root.hold(NIC)
    getattr(host.daemon, how)()
    lease.close()
    host.daemon.start()
    root.wait_group(NIC, "free")
    assert root.leases() == {}
    assert root.device(NIC)["Driver"] == "e1000e"


def test_a_lifeline_of_no_lease_goes(host, root):
    """The daemon was killed between making it and writing the lease."""
    lease = root.hold(NIC)
    host.daemon.kill()
    lifelines = host.daemon.runtime / "lifelines"
    os.mkfifo(lifelines / "l9")
    host.daemon.start()
    assert [path.name for path in lifelines.iterdir()] == [lease.id]


@pytest.mark.native
@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
def test_a_process_that_dies(host, root, when):
    with subprocess.Popen(["sleep", "infinity"]) as child:
        pidfd = os.pidfd_open(child.pid)
        lease = root.hold(NIC, holder="process", pidfd=pidfd)
        os.close(pidfd)
        host.daemon.kill()
        if when == "meanwhile":
            child.kill()
            child.wait()
        host.daemon.start()
        if when == "afterwards":
            assert root.leases()[lease.id]["HolderPid"] == child.pid
            child.kill()
        root.wait_group(NIC, "free")
        assert root.leases() == {}


@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
def test_a_connection_that_goes(host, root, when):
    client = host.client()
    lease = client.hold(NIC, holder="connection")
    host.daemon.kill()
    if when == "meanwhile":
        client.close()
    host.daemon.start()
    if when == "afterwards":
        assert root.leases()[lease.id]["State"] == "active"
        client.close()
    root.wait_group(NIC, "free")
    assert root.leases() == {}


@pytest.mark.parametrize("how", HOWS)
def test_time_to_live_goes_on(host, root, how):
    lease = root.hold(NIC, holder="none", ttl=PATIENCE * SECOND // 30)
    getattr(host.daemon, how)()
    host.daemon.start()
    root.wait(lambda: lease.id not in root.leases(), "the lease to expire")
    root.wait_group(NIC, "free")


def test_no_time_to_live_stays(host, root):
    lease = root.hold(NIC, holder="none")
    host.restart("kill")
    assert same(root, lease).Expires == FOR_EVER


# in the middle of a switch

@pytest.mark.story
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("op", ["set-override", "unbind", "bind", "grant-node"])
def test_while_activating_with_a_holder(host, root, sim, how, op):
    """The lease was promised and its holder lives: it becomes active, or it says why not."""
    before = sim.state()
    sim.inject(op, hang=True)
    lease = root.acquire(NIC)
    root.wait(lambda: sim.hanging(NIC), f"{op} to hang")
    host.restart(how)
    sim.clear()
    again = same(root, lease)
    root.wait(lambda: again.id not in root.leases() or again.State != "activating", "the lease to be decided")
    if again.id in root.leases() and again.State == "active":
        assert root.device(NIC)["Driver"] == "vfio-pci"
        again.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("op", ["set-override", "unbind", "bind"])
def test_while_activating_and_the_holder_dies_meanwhile(host, root, sim, op):
    before = sim.state()
    sim.inject(op, hang=True)
    lease = root.acquire([NIC, NIC2])
    root.wait(lambda: sim.hanging(NIC) and sim.hanging(NIC2), f"{op} to hang")
    host.daemon.kill()
    lease.close()
    host.daemon.start()
    sim.clear()
    for device in (NIC, NIC2):
        root.wait_group(device, "free")
    assert root.leases() == {}
    assert sim.difference(before) == {}


@pytest.mark.parametrize("op", ["revoke-node", "unbind", "set-override", "bind", "probe", "reset"])
def test_while_restoring(host, root, sim, op):
    before = sim.state()
    lease = root.hold(NIC)
    sim.operations()
    sim.inject(op, hang=True)
    lease.release()
    root.wait(lambda: sim.hanging(NIC) or root.group_of(NIC)["State"] == "free", f"{op} to hang")
    host.restart("kill")
    sim.clear()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_while_draining(host, root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    lease.release()
    root.wait_group(NIC, "draining")
    host.restart("kill")
    assert root.group_of(NIC)["State"] == "draining"
    assert root.device(NIC)["Driver"] == "vfio-pci"
    sim.close(NIC, pid=4711)
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_failed_and_lost_are_remembered(host, root, sim):
    failing, lost = root.hold(NIC), root.hold(NIC2)
    sim.inject("bind", NIC, errno="EIO")
    sim.inject("probe", NIC, errno="EIO")
    failing.release()
    root.wait_group(NIC, "failed")
    sim.rebind(NIC2, "e1000e")
    lost.wait("lost")
    host.restart("kill")
    assert (root.group_of(NIC)["State"], root.group_of(NIC2)["State"]) == ("failed", "lost")
    sim.clear()
    for device in (NIC, NIC2):
        root.call(root.group_path(device), "org.dmaowner1.Group", "Retry")
        root.wait_group(device, "free")


def taken_back(kernel):
    """As if somebody had bound e1000e again."""
    nic = next(device for device in kernel["devices"] if device["name"] == NIC)
    nic.update(driver="e1000e", driver_override="")
    group = next(group for group in kernel["groups"] if group["group"] == nic["group"])
    for name in ("node", "node_former"):
        group.pop(name, None)


def test_rebound_behind_its_back_meanwhile(host, root, sim):
    """What was changed while nobody looked is seen at the start, and not fought."""
    lease = root.hold(NIC)
    host.daemon.kill()
    host.edit_kernel(taken_back)
    host.daemon.start()
    root.watch()
    same(root, lease).wait("lost")
    assert sim.operations() == []


def test_ids_are_not_used_again(host, root):
    first = root.hold(NIC)
    host.restart("kill")
    assert root.hold(NIC2).id != first.id


def test_many_restarts(host, root, sim):
    before = sim.state()
    lease = root.hold(NIC)
    for how in HOWS * 3:
        host.restart(how)
    same(root, lease).release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_force_is_remembered(host, root, sim):
    sim.inject("set-override", NIC_USED, delay_us=300_000)
    lease = root.acquire(NIC_USED, force=True)
    host.restart("kill")
    same(root, lease).wait("active")


def ask_and_kill(host, root, sim):
    """The daemon has not looked at the device yet."""
    sim.inject("inspect", NIC, delay_us=300_000)
    root.start_acquire(NIC, holder="none")
    root.wait(lambda: root.group_of(NIC)["State"] == "claiming", "the reservation")
    host.restart("kill")
    root.wait_group(NIC, "free")


def test_what_was_never_granted_is_dropped(host, root, sim):
    before = sim.state()
    ask_and_kill(host, root, sim)
    assert root.leases() == {}
    assert sim.difference(before) == {}


def test_what_was_never_looked_at_is_not_put_back(host, root, sim):
    """Nobody tells the daemon of an override. It died before it had looked at the device for a request: what it had
    believed until then is not put back."""
    sim.event("override", device=NIC, driver="e1000e")
    host.restart("kill")
    sim.event("override", device=NIC)
    before = sim.state()
    ask_and_kill(host, root, sim)
    assert sim.difference(before) == {}


def test_ids_of_ended_leases_are_not_used_again(host, root):
    first = root.hold(NIC)
    first.release()
    root.wait_group(NIC, "free")
    host.restart("kill")
    assert root.hold(NIC).id != first.id


def test_a_record_goes_only_when_its_successor_is_written(host, root, sim):
    """The file of a group is named after its first device. That one is unplugged, and the file under the
    next name cannot be written: what the host had may not be forgotten."""
    root.hold(BRIDGE_A)
    records = host.daemon.runtime / "groups"
    assert [path.name for path in records.iterdir()] == [f"{BRIDGE}.json"]
    for successor in (BRIDGE_A, BRIDGE_B):
        (records / f"{successor}.json.new").mkdir()         # in the way of the new file
    sim.unplug(BRIDGE)
    root.wait(lambda: BRIDGE not in root.group_of(BRIDGE_A)["Devices"], "the bridge to be gone")
    assert f"{BRIDGE}.json" in {path.name for path in records.iterdir()}
    for successor in (BRIDGE_A, BRIDGE_B):
        (records / f"{successor}.json.new").rmdir()
    root.wait_group(BRIDGE_A, "free")       # nothing is done that is not written down; then it goes on
    assert sim.device(BRIDGE_A)["driver"] == "e1000"


def test_a_member_that_went_while_it_was_dead(host, root, sim):
    """The group's file was named after it: it does not come back as a group that is long free."""
    lease = root.hold(BRIDGE_A, holder="none")
    host.daemon.kill()
    host.edit_kernel(lambda kernel: kernel.update(devices=[one for one in kernel["devices"] if one["name"] != BRIDGE]))
    host.daemon.start()
    root.watch()
    root.call(lease.path, "org.dmaowner1.Lease", "Release")
    root.wait_group(BRIDGE_A, "free")
    files = host.daemon.runtime / "groups"
    root.wait(lambda: not list(files.iterdir()), "the records to go")
    sim.event("unbind", device=BRIDGE_B)
    host.restart("kill")
    assert root.group_of(BRIDGE_A)["State"] == "free"
    assert not sim.device(BRIDGE_B).get("driver")
