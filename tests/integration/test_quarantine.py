# SPDX-License-Identifier: LGPL-2.1-or-later
"""What policy keeps: claimed and clean on VFIO between two owners, over restarts of every kind."""

import json
import os
import subprocess
import time

import pytest
from harness.client import BusError
from harness.host import CLIENT, Host
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2, small

KEPT = [NIC, BRIDGE_A]
KEEP = {"rules": [{"match": {"device": device}, "release": "keep"} for device in KEPT]}


class KeepingHost(Host):
    def __init__(self, iommufd):
        super().__init__({**small(), "kernel": {"iommufd": iommufd}})
        policy = self.daemon.configuration / "dmaownerd.json"
        policy.write_text(json.dumps(KEEP))
        policy.chmod(0o644)


@pytest.fixture(params=["container", "iommufd"])
def interface(request):
    return request.param


@pytest.fixture
def host(interface):
    with KeepingHost(interface == "iommufd") as host:
        host.root.watch()
        yield host


def steps(sim, device=NIC):
    """What was done with the device or its group."""
    dump = sim.dump()           # takes the history with it
    group = next(one["group"] for one in dump["devices"] if one["name"] == device)
    return [done["op"] for done in dump["operations"] if done["op"] != "inspect"
            and done.get("device", device) == device and done.get("group", group) == group]


def quarantine(root, sim, device=NIC, **options):
    root.hold(device, **options).release()
    root.wait_group(device, "quarantined")
    sim.operations()


def stored(host):
    return {name.split("/")[1] for name in host.daemon.service.names()}


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


def test_what_policy_keeps_is_claimed_and_clean(root, sim):
    root.hold(NIC, owner="me", access="fd").release()
    group = root.wait_group(NIC, "quarantined")
    assert group["Claimed"] and group["Count"] == 0
    assert root.device(NIC)["Driver"] == "vfio-pci"
    assert "reset" in steps(sim)
    # what policy does not keep is the host's again
    root.hold(NIC2, owner="me", access="fd").release()
    root.wait_group(NIC2, "free")


def test_lent_memory_comes_back_at_once(root, sim):
    lease = root.hold(NIC, owner="me", access="fd")
    sim.event("open", device=NIC, pid=4711, comm="qemu", lent=True)
    sim.event("map", group=sim.group(NIC)["group"], pid=4711, bytes=1 << 30)
    assert sim.group(NIC)["mapped"] == 1 << 30
    lease.release()
    root.wait(lambda: not sim.group(NIC).get("mapped"), "the memory of the former owner")
    # his file is open still: shown, not hidden
    root.wait(lambda: "qemu (pid 4711)" in root.group_of(NIC)["WaitsFor"], "who is in the way")
    assert root.group_of(NIC)["State"] == "draining" and root.group_of(NIC)["Claimed"]
    sim.event("close", device=NIC, pid=4711)
    root.wait_group(NIC, "quarantined")


def test_another_owner_gets_a_new_binding(root, sim):
    quarantine(root, sim, owner="first", access="fd")
    lease = root.hold(NIC, owner="second", access="fd")
    done = steps(sim)
    assert "unbind" in done and "bind" in done and done[-1] == "lend"
    lease.release()
    root.wait_group(NIC, "quarantined")


def test_another_uid_with_the_same_name_is_another_owner(host, root, sim, other_users, member):
    quarantine(root, sim, owner="me", access="fd")
    other = host.client(uid=3, groups=[member])
    other.acquire(NIC, owner="me", access="fd")
    root.wait_group(NIC, "owned")
    assert "unbind" in steps(sim)


def test_the_same_owner_needs_none(root, sim, interface):
    quarantine(root, sim, owner="me", access="fd")
    root.hold(NIC, owner="me", access="fd")
    # what keeps the group in a container can be lent as it is; a bound device's file cannot
    assert steps(sim) == ([] if interface == "container" else ["lend"])
    assert root.group_of(NIC)["Claimed"] == (interface == "container")


def test_the_same_owner_by_nodes(root, sim):
    quarantine(root, sim, owner="me")
    root.hold(NIC, owner="me")
    assert "unbind" not in steps(sim)
    sim.open(NIC, pid=4711, comm="testpmd")


def test_a_refused_successor_is_none(host, root, sim):
    """Who was refused half way has not become the one whose binding it is."""
    quarantine(root, sim, owner="first", access="fd")
    sim.inject("unbind", NIC, errno="EIO", nth=1)
    lease = root.acquire(NIC, owner="second", access="fd")
    lease.wait("failed")
    root.wait_group(NIC, "quarantined")
    sim.operations()
    root.hold(NIC, owner="second", access="fd")
    assert "unbind" in steps(sim)


def test_only_user_leases_get_it(root, sim):
    quarantine(root, sim, owner="me", access="fd")
    refused(lambda: root.acquire(NIC, "dma-api"), "Quarantined", NIC, "Restore")
    possible, obstacles, _ = root.explain(NIC, "dma-api")
    assert not possible and obstacles[0]["code"] == "quarantined"


def test_explain_tells_the_very_steps(root, sim):
    quarantine(root, sim, owner="first", access="fd")
    for owner in ("first", "second"):
        possible, _, plan = root.explain(NIC, owner=owner, access="fd")
        assert possible
        lease = root.hold(NIC, owner=owner, access="fd")
        assert steps(sim) == [step["step"] for step in plan if step["step"] != "release"]
        lease.release()
        root.wait_group(NIC, "quarantined")
        sim.operations()


def test_restore_gives_it_back(root, sim):
    before = sim.device(NIC)["driver"]
    quarantine(root, sim, owner="me", access="fd")
    refused(lambda: root.manager("Restore", "as", []), "InvalidArgs")
    refused(lambda: root.manager("Restore", "as", [NIC, NIC2]), "InvalidArgs", NIC2, "free")
    assert root.group_of(NIC)["State"] == "quarantined"
    root.manager("Restore", "as", [NIC])
    root.wait_group(NIC, "free")
    assert sim.device(NIC)["driver"] == before


def test_the_command(host, root, sim):
    quarantine(root, sim, owner="me", access="fd")
    command = [CLIENT, f"--bus={host.address}", "restore"]
    assert subprocess.run([*command, NIC[5:]]).returncode == 0
    root.wait_group(NIC, "free")
    again = subprocess.run([*command, NIC], capture_output=True, text=True)
    assert again.returncode == 2 and "free: only what is quarantined" in again.stderr


def test_a_group_is_kept_whole(host, root, sim):
    quarantine(root, sim, BRIDGE_A, owner="me", access="fd")
    assert sim.device(BRIDGE_B)["driver"] == "vfio-pci"
    # the rule is of one member; a kernel driver has no way in to the other one either
    with pytest.raises(BusError):
        sim.rebind(BRIDGE_B, "e1000")
    root.wait_group(BRIDGE_B, "lost")
    # nor once that is known, and was written down
    for _ in range(2):
        assert root.group_of(BRIDGE_B)["Claimed"]
        with pytest.raises(BusError):
            sim.event("bind", device=BRIDGE_B, driver="e1000")
        host.restart("kill")
    sim.override(BRIDGE_B, None)
    root.call(root.group_path(BRIDGE_B), "org.dmaowner1.Group", "Retry")
    root.wait_group(BRIDGE_B, "quarantined")
    assert sim.device(BRIDGE_B)["driver"] == "vfio-pci"
    root.hold(BRIDGE_B, owner="other", access="fd").release()
    root.wait_group(BRIDGE_B, "quarantined")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_quarantine_outlives_the_daemon(host, root, sim, how):
    quarantine(root, sim, owner="me", access="fd")
    assert stored(host) == {"claim"}
    host.restart(how)
    group = root.group_of(NIC)
    assert group["State"] == "quarantined" and group["Claimed"]
    assert steps(sim) == []
    root.manager("Restore", "as", [NIC])
    root.wait_group(NIC, "free")
    assert stored(host) == set()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_is_lent_outlives_the_daemon(host, root, sim, how):
    lease = root.hold(NIC, owner="me", access="fd", holder="none")
    sim.event("open", device=NIC, pid=4711, comm="qemu", lent=True)
    assert stored(host) == {"lent"}
    sim.operations()
    host.restart(how)
    assert steps(sim) == []
    sim.event("map", group=sim.group(NIC)["group"], pid=4711, bytes=4096)
    sim.event("close", device=NIC, pid=4711)
    root.call(lease.path, "org.dmaowner1.Lease", "Release")
    root.wait_group(NIC, "quarantined")
    assert "reclaim" in steps(sim)
    assert stored(host) == {"claim"}


def test_a_store_that_was_emptied(host, root, sim):
    """systemctl stop, then start: nothing is kept, and nothing is pretended."""
    quarantine(root, sim, owner="me", access="fd")
    lease = root.hold(BRIDGE_A, owner="me", access="fd", holder="none")
    host.daemon.stop()
    host.daemon.service.empty()
    host.daemon.start()
    root.watch()
    # claimed anew, and cleaned
    assert root.wait_group(NIC, "quarantined")["Claimed"]
    assert "claim" in steps(sim)
    assert root.call(lease.path, "org.freedesktop.DBus.Properties", "Get", "ss", "org.dmaowner1.Lease",
                     "State")[0] == ("s", "active")
    root.call(lease.path, "org.dmaowner1.Lease", "Release")
    root.wait_group(BRIDGE_A, "quarantined")


def test_a_store_that_was_being_filled(host, root, sim):
    """The daemon died between two files: half of what keeps the group is nothing."""
    quarantine(root, sim, owner="me", access="fd")
    host.daemon.kill()
    service = host.daemon.service
    half = next(item for item in service.stored if item[0].split("/")[2] in ("group", "cdev"))
    service.stored.remove(half)
    os.close(half[1])
    host.daemon.start()
    root.watch()
    assert root.wait_group(NIC, "quarantined")["Claimed"]
    assert "claim" in steps(sim)
    assert len(service.stored) == 2


def test_a_file_that_is_nobodys_is_dropped(host):
    host.daemon.stop()
    for name in ("0000_99_00.0/lent/container/", "0000_03_00.0/lent/container/", "nonsense", "a/b/c/d"):
        host.daemon.service.stored.append((name, os.open("/dev/null", os.O_RDONLY)))
    host.daemon.start()
    host.root.watch()
    host.root.wait_group(NIC, "free")
    host.root.hold(NIC, access="fd").release()
    host.root.wait_group(NIC, "quarantined")
    assert stored(host) == {"claim"}
    assert "nonsense" in host.daemon.said()


def test_policy_that_changes(host, root, sim):
    quarantine(root, sim, owner="me", access="fd")
    (host.daemon.configuration / "dmaownerd.json").write_text('{"rules": []}')
    root.manager("Reload")
    # what is kept for nobody is the host's
    root.wait_group(NIC, "free")


@pytest.mark.parametrize("event", ["unbind", "unplug"])
def test_somebody_takes_it_out_of_quarantine(root, sim, event):
    """Nobody is held up by what the daemon keeps open."""
    quarantine(root, sim, owner="me", access="fd")
    sim.event(event, device=NIC)
    if event == "unplug":
        root.wait(lambda: NIC not in {device["name"] for device in sim.dump()["devices"]}, "the end of the unplug")
        return
    assert "driver" in root.wait_group(NIC, "lost")["WaitsFor"]
    root.wait(lambda: not sim.hanging(NIC) and not sim.dump()["pending"], "the end of the unbind")
    root.call(root.group_path(NIC), "org.dmaowner1.Group", "Retry")
    root.wait_group(NIC, "free")
    assert sim.device(NIC)["driver"] == "e1000e"


def test_unplugged_before_it_is_reset(root, sim):
    """The reset waits for the unplug, which waits for what the daemon keeps open."""
    lease = root.hold(NIC, owner="me", access="fd")
    sim.inject("reset", NIC, delay_us=1000000)
    lease.release()
    root.wait(lambda: any(row["op"] == "claim" for row in sim.dump()["operations"]), "the claim")
    sim.event("unplug", device=NIC)
    root.wait(lambda: NIC not in {device["name"] for device in sim.dump()["devices"]}, "the end of the unplug")
    root.wait(lambda: not sim.dump()["left_behind"], "the end of the reset")


def test_a_right_that_cannot_be_taken_back(root, sim):
    """The node stays, so nobody may be left who can open it."""
    lease = root.hold(NIC, uid=1001)
    sim.inject("revoke-node", NIC, errno="EIO")
    lease.release()
    assert "take /dev/vfio/" in root.wait_group(NIC, "failed")["WaitsFor"]
    sim.clear()
    root.call(root.group_path(NIC), "org.dmaowner1.Group", "Retry")
    root.wait_group(NIC, "quarantined")
    assert "granted" not in sim.group(NIC)["node"]


def test_a_node_that_udev_changes_is_granted_to_nobody(root, sim):
    quarantine(root, sim, uid=1001)
    sim.event("node", group=sim.device(NIC)["group"], uid=0, mode=0o600)
    time.sleep(1)
    assert steps(sim) == []
    assert "granted" not in sim.group(NIC)["node"]


def test_what_somebody_has_changed_in_quarantine_is_put_right(root, sim):
    quarantine(root, sim, owner="me", access="fd")
    sim.override(NIC, "e1000e")
    assert "driver_override" in root.wait_group(NIC, "lost")["WaitsFor"]
    root.call(root.group_path(NIC), "org.dmaowner1.Group", "Retry")
    root.wait_group(NIC, "quarantined")
    assert sim.device(NIC)["driver_override"] == "vfio-pci"
    time.sleep(1.5)     # somebody looks twice a second
    assert root.group_of(NIC)["State"] == "quarantined"
    root.hold(NIC, owner="other").release()
    root.wait_group(NIC, "quarantined")


@pytest.mark.parametrize("op", ["unbind", "bind", "lend"])
def test_killed_while_it_is_bound_anew(host, op):
    """What kept the group before is of a binding that is no more: it is lent to nobody."""
    root, sim = host.root, host.sim
    quarantine(root, sim, owner="first", access="fd")
    sim.inject(op, NIC if op != "lend" else None, nth=1, delay_us=500000)
    lease = root.acquire(NIC, owner="second", access="fd", holder="none")
    time.sleep(0.3)
    host.restart("kill")
    lease.wait("active")
    lease.release()
    root.wait_group(NIC, "quarantined")
