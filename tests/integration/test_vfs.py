# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual functions that are made for a lease, and removed after it."""

import json
import subprocess

import pytest
from harness import PATIENCE
from harness.client import FOR_EVER, BusError, Lease
from harness.host import CLIENT, TOP, Host
from harness.topology import NIC, NVME, nic, nvme

PF = "0000:20:00.0"
VFS = [f"0000:20:{n // 8:02x}.{n % 8}" for n in range(1, 9)]
FIXED = "0000:21:00.0"      # has two VFs already
FIXED_VFS = ["0000:21:00.1", "0000:21:00.2"]
ADDRESS = {"code": "network-address", "text": "ens1 has the address 192.0.2.9"}


def topology():
    igb = {"driver": "igb", "matches": ["igb", "igbvf"], "device": "10c9"}
    return {
        "default_domain_type": "DMA",
        "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}, {"name": "igbvf", "loaded": True}],
        "devices": [
            nic(NIC, 1), nvme(NVME, 2),
            nic(PF, 3, **igb, total_vfs=8, vf_device="10ca", in_use=[ADDRESS]),
            nic(FIXED, 4, **igb, total_vfs=8, vf_device="10ca"),
            *(nic(name, 5 + n, device="10ca", driver="igbvf", matches=["igbvf"], physfn=FIXED)
              for n, name in enumerate(FIXED_VFS)),
        ],
    }


@pytest.fixture
def host():
    with Host(topology()) as host:
        root = host.root.watch()
        root.wait(lambda: root.device(PF)["InUse"], "the use of the PF")
        yield host


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


def steps(sim):
    return [(step["op"], step.get("value")) for step in sim.operations() if step["op"] in ("set-vf-autoprobe",
                                                                                          "set-num-vfs")]


def all_gone(root):
    root.wait_group(PF, "free")
    assert not set(VFS) & {device["Name"] for group in root.groups().values() for device in group["DeviceList"]}


@pytest.mark.story
def test_made_leased_removed(root, sim):
    before = sim.state()
    sim.operations()
    lease = root.hold(PF, vfs=4, owner="me")        # though the host uses the PF
    assert lease.Devices == VFS[:4]
    assert lease.Groups == sorted(root.device(name)["Group"] for name in VFS[:4])
    for name in VFS[:4]:
        assert root.device(name)["Driver"] == "vfio-pci"
        assert root.group_of(name)["Leases"] == [lease.id]
    assert (root.device(PF)["Driver"], root.device(PF)["HostDriver"]) == ("igb", "igb")
    group = root.group_of(PF)
    assert (group["State"], group["OwnerKind"], group["Leases"]) == ("owned", "dma-api", [lease.id])
    assert steps(sim) == [("set-vf-autoprobe", "0"), ("set-num-vfs", "4")]
    lease.release()
    all_gone(root)
    assert steps(sim) == [("set-num-vfs", "0"), ("set-vf-autoprobe", "1")]
    assert sim.difference(before) == {}


def test_autoprobe_that_was_off_stays_off(host, root, sim):
    host.daemon.stop()
    host.edit_kernel(lambda kernel: next(d for d in kernel["devices"] if d["name"] == PF).update(vf_autoprobe=False))
    host.daemon.start()
    root.watch()
    lease = root.hold(PF, vfs=1)
    assert steps(sim)[-1:] == [("set-num-vfs", "1")]
    lease.release()
    all_gone(root)
    assert steps(sim) == [("set-num-vfs", "0")]


def test_the_holder_dies(root, sim):
    before = sim.state()
    lease = root.hold(PF, vfs=8)
    lease.close()
    all_gone(root)
    assert sim.difference(before) == {}


def test_files_that_are_open_keep_the_vfs(root, sim):
    lease = root.hold(PF, vfs=2)
    sim.event("open", device=VFS[1], pid=77, comm="vmm")
    lease.release()
    root.wait_group(VFS[0], "free")
    root.wait(lambda: VFS[1] in root.group_of(PF)["WaitsFor"], "what the PF waits for")
    assert root.group_of(PF)["State"] == "draining"
    refused(lambda: root.acquire(VFS[0]), "Busy", VFS[0], "removed")
    refused(lambda: root.acquire(PF, vfs=2), "Busy", PF)
    refused(lambda: root.acquire(PF, force=True), "Busy", PF)
    sim.event("close", pid=77)
    all_gone(root)


def test_somebody_who_binds_a_vf_keeps_it(root, sim):
    lease = root.hold(PF, vfs=2)
    sim.event("open", device=VFS[1], pid=77, comm="vmm")
    lease.release()
    root.wait_group(VFS[0], "free")
    sim.event("bind", device=VFS[0], driver="igbvf")
    sim.event("close", pid=77)
    root.wait(lambda: "igbvf" in root.group_of(PF)["WaitsFor"], "what the PF waits for")
    assert root.device(VFS[0])["Driver"] == "igbvf"
    sim.event("unbind", device=VFS[0], driver="igbvf")
    all_gone(root)


def test_the_pf_is_nobody_elses(root):
    root.hold(PF, vfs=2, owner="me")
    for ask in (lambda: root.acquire(PF, force=True), lambda: root.acquire(PF, "dma-api", owner="me"),
                lambda: root.acquire(PF, vfs=2, owner="me")):
        refused(ask, "Busy", PF, "virtual functions")
    assert root.hold(VFS[0], owner="me").Devices == [VFS[0]]       # like any group of that owner
    refused(lambda: root.acquire(VFS[1], owner="you"), "Busy", VFS[1])


def test_a_pf_that_is_leased_gets_none(root):
    root.hold(PF, "dma-api")
    refused(lambda: root.acquire(PF, vfs=2), "Busy", PF)


def test_for_a_kernel_driver(root):
    lease = root.hold(PF, "dma-api", vfs=2, driver="igbvf")
    assert [root.device(name)["Driver"] for name in lease.Devices] == ["igbvf", "igbvf"]
    lease.release()
    all_gone(root)


def test_just_as_many_as_there_are(root, sim):
    before = sim.state()
    sim.operations()
    lease = root.hold(FIXED, vfs=2)
    assert lease.Devices == FIXED_VFS
    assert root.group_of(FIXED)["State"] == "free"
    lease.release()
    for name in FIXED_VFS:
        root.wait_group(name, "free")
    assert steps(sim) == []
    assert sim.difference(before) == {}


def test_explain(root, unchanged):
    with unchanged():
        possible, obstacles, shown = root.explain(PF, vfs=3)
        assert possible and not obstacles
        assert [(step["step"], step["value"], step["former"]) for step in shown] == [
            ("set-vf-autoprobe", "0", "1"), ("set-num-vfs", "3", "0")]
        for devices, options, code, word in ((NIC, {"vfs": 1}, "no-sriov", NIC),
                                             (PF, {"vfs": 9}, "too-many-vfs", "8"),
                                             (FIXED, {"vfs": 3}, "vfs-enabled", "2"),
                                             (FIXED_VFS[0], {"vfs": 1}, "no-sriov", FIXED_VFS[0])):
            possible, obstacles, shown = root.explain(devices, **options)
            assert not possible and not shown
            assert obstacles[0]["code"] == code and word in obstacles[0]["text"]
            refused(lambda devices=devices, options=options: root.acquire(devices, **options), "NotViable", word)


def test_a_pf_without_its_driver(root, sim):
    sim.event("unbind", device=PF, driver="igb")
    root.wait_driver(PF, "")
    assert root.explain(PF, vfs=1)[1][0]["code"] == "no-pf-driver"


def test_a_selector_finds_a_pf(root):
    lease = root.hold("driver=igb", vfs=3)
    assert lease.Devices == VFS[:3]
    assert root.choose(NIC, alternatives=[["driver=igb"]], vfs=1) == []     # the other one has VFs


@pytest.mark.parametrize(("devices", "options", "name", "word"), [
    (PF, {"raw": {"vfs": ("u", 0)}}, "InvalidArgs", "vfs"),
    (PF, {"raw": {"vfs": ("u", 65536)}}, "InvalidArgs", "65535"),
    (PF, {"raw": {"vfs": ("i", 3)}}, "InvalidArgs", "'u'"),
    ([PF, NIC], {"vfs": 2}, "InvalidArgs", "one device"),
    ("driver=igb*2", {"vfs": 2}, "InvalidArgs", "one device"),
    ([], {"vfs": 2}, "InvalidArgs", "No device"),
    ("0000:ff:00.0", {"vfs": 2}, "NoSuchDevice", "0000:ff:00.0"),
    (PF, {"vfs": 2, "kind": "dma-api"}, "InvalidArgs", "driver"),
])
def test_bad_requests_change_nothing(root, unchanged, devices, options, name, word):
    with unchanged():
        for ask in (root.acquire, root.explain):
            refused(lambda ask=ask: ask(devices, **options), name, word)


@pytest.mark.parametrize(("op", "device"), [("set-vf-autoprobe", PF), ("set-num-vfs", PF), ("bind", VFS[1]),
                                            ("wait-node", VFS[0])])
def test_a_step_that_fails_is_undone(root, sim, op, device):
    before = sim.state()
    sim.inject(op, device, nth=1, errno="EIO")
    lease = root.acquire(PF, vfs=2)
    lease.wait("failed")
    all_gone(root)
    sim.clear()
    assert sim.difference(before) == {}


def test_removal_that_fails_can_be_retried(root, sim):
    sim.inject("set-num-vfs", PF, errno="EINVAL")
    sim.clear()
    lease = root.hold(PF, vfs=2)
    sim.inject("set-num-vfs", PF, errno="EINVAL")
    lease.release()
    root.wait_group(PF, "failed")
    assert "virtual functions" in root.group_of(PF)["WaitsFor"]
    sim.clear()
    root.call(root.group_path(PF), "org.dmaowner1.Group", "Retry")
    all_gone(root)


def test_the_pf_is_unplugged(root, sim):
    lease = root.hold(PF, vfs=2)
    sim.event("unplug", device=PF)
    lease.wait("lost")
    root.wait(lambda: PF not in str(root.groups()) and VFS[0] not in str(root.groups()), "all of them to go")


def test_somebody_else_takes_the_driver_of_the_pf(root, sim):
    lease = root.hold(PF, vfs=2)
    sim.event("unbind", device=PF, driver="igb")
    lease.wait("lost")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_touches_nothing(host, root, sim, how):
    before = sim.state()
    lease = root.hold(PF, vfs=3, holder="none")
    shown, held = lease.properties(), sim.state()
    sim.operations()
    host.restart(how)
    assert sim.operations() == [] and sim.difference(held) == {}
    again = Lease(root, lease.path, lease.lifeline)
    assert again.properties() == shown
    again.release()
    all_gone(root)
    assert sim.difference(before) == {}


@pytest.mark.parametrize("op", ["set-num-vfs", "bind"])
@pytest.mark.parametrize("alive", [True, False])
def test_killed_in_the_middle(host, root, sim, op, alive):
    before = sim.state()
    sim.inject(op, delay_us=300_000)
    lease = root.acquire(PF, vfs=2)
    root.wait(lambda: lease.State == "activating", "the lease")
    host.daemon.kill()
    if not alive:
        lease.close()
    host.daemon.start()
    root.watch()
    again = Lease(root, lease.path, lease.lifeline)
    if alive:
        again.wait("active")
        assert again.Devices == VFS[:2]
        again.release()
    all_gone(root)
    sim.clear()
    assert sim.difference(before) == {}


def test_waiting_for_a_pf(root):
    first = root.hold(PF, vfs=2, owner="a")
    second = root.acquire(PF, vfs=3, owner="b", wait=FOR_EVER)
    assert second.State == "queued"
    first.release()
    second.wait("active")
    assert second.Devices == VFS[:3]


def test_somebody_else_changes_the_number(root, sim):
    lease = root.hold(PF, vfs=2)
    sim.event("unplug", device=VFS[1])
    lease.wait("lost")


def test_the_server_that_is_shipped():
    """Two PFs whose VFs are there, a disk that makes its own."""
    with Host(json.loads((TOP / "tests/topologies/server.json").read_text())) as host:
        root = host.root
        assert len(root.hold("0000:11:00.0", vfs=8, owner="a").Devices) == 8
        lease = root.hold("0000:a2:00.0", vfs=32, owner="a")
        assert (len(lease.Devices), lease.Devices[0], lease.Devices[-1]) == (32, "0000:a2:00.1", "0000:a2:04.0")
        assert root.explain("0000:91:00.0", vfs=4)[1][0]["code"] == "vfs-enabled"
        assert len(root.hold("pf=0000:91:00.0,driver=mlx5_core*4", owner="b").Devices) == 4
        lease.release()
        host.root.watch()
        root.wait_group("0000:a2:00.0", "free", timeout=2 * PATIENCE)


def test_exec_is_told_of_the_vfs(host, root):
    command = subprocess.run([CLIENT, f"--bus={host.address}", "exec", "20:00.0", "--vfs=2", "--", "sh", "-c",
                              "echo $DMAOWNER_DEVICES; echo $DMAOWNER_GROUPS"], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=PATIENCE)
    devices, groups = command.stdout.splitlines()
    assert devices.split() == VFS[:2]
    assert len(groups.split()) == 2 and "3" not in groups.split()
    all_gone(root)


def test_descriptors_of_vfs(root, sim):
    before = sim.state()
    lease = root.hold(PF, vfs=2, access="fd")
    files = lease.call("OpenFiles", "as", [])[0]
    assert {name for name, role, _ in files if role == "group"} <= {*VFS[:2], ""}
    assert sum(role == "group" for _, role, _ in files) == 2
    for _, _, descriptor in files:
        descriptor.close()
    refused(lambda: lease.call("OpenFiles", "as", [PF]), "NoSuchDevice", PF)
    lease.release()
    all_gone(root)
    assert sim.difference(before) == {}


def test_who_waits_for_a_vf_does_not_keep_it(root):
    """A VF that is about to be removed is nobody's, though its group is free for a moment."""
    lease = root.hold(PF, vfs=2)
    queued = root.acquire(VFS[0], owner="second", wait=FOR_EVER)
    lease.release()
    all_gone(root)
    queued.wait("failed")
    assert queued.Failure[0] == "org.dmaowner1.Error.NoSuchDevice"
