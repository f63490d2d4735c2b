# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host has set for a virtual function - MAC, VLAN, trust... - is recorded and put back."""

import json

import pytest
from harness.client import Lease
from harness.host import Host
from harness.topology import nic

PF, OTHER_PF = "0000:21:00.0", "0000:22:00.0"
VF, VF2, SILENT = "0000:21:00.1", "0000:21:00.2", "0000:21:00.3"    # of the last one nothing is reported
KEPT = "0000:22:00.1"
SETTINGS = "mac=00:00:00:00:00:00 vlan=0 qos=0 proto=802.1Q trust=off spoof-check=on link-state=auto min-rate=0 max-rate=0"
LIBVIRT = "mac=52:54:00:12:34:56 vlan=42 qos=3 trust=on spoof-check=off"


def topology():
    igb = {"driver": "igb", "device": "10c9", "total_vfs": 8, "vf_settings": SETTINGS}
    vf = {"device": "10ca", "driver": "igbvf", "matches": ["igbvf", "vp-vdpa"]}
    return {
        "default_domain_type": "DMA",
        "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}, {"name": "vp-vdpa", "loaded": True},
                    {"name": "igb", "loaded": True, "keeps_vfs": True}],
        "devices": [
            nic(PF, 1, **igb), nic(OTHER_PF, 2, **igb),
            nic(VF, 3, physfn=PF, vf_settings=SETTINGS, **vf),
            nic(VF2, 4, physfn=PF, vf_settings=SETTINGS.replace("spoof-check=on ", ""), **vf),
            nic(SILENT, 5, physfn=PF, **vf),
            nic(KEPT, 6, physfn=OTHER_PF, vf_settings=SETTINGS, **vf),
        ],
    }


@pytest.fixture
def host():
    with Host(topology()) as host:
        policy = host.daemon.configuration / "dmaownerd.json"
        policy.write_text(json.dumps({"rules": [{"match": {"device": KEPT}, "release": "keep"}]}))
        policy.chmod(0o644)
        host.root.call("/org/dmaowner1", "org.dmaowner1.Manager", "Reload")
        host.root.watch()
        yield host


def settings(sim, device=VF):
    return next(one for one in sim.dump()["devices"] if one["name"] == device).get("vf_settings")


def steps(sim):
    return [(step["op"], step["device"]) for step in sim.operations() if step["op"] in ("read-vf", "set-vf")]


@pytest.mark.story
@pytest.mark.parametrize("options", [{}, {"access": "fd"}, {"kind": "private-domain", "driver": "vp-vdpa"}])
def test_put_back(root, sim, options):
    before = sim.state()
    lease = root.hold(VF, **options)
    assert steps(sim) == [("read-vf", VF)]
    sim.event("vf", device=VF, vf_settings=LIBVIRT)
    assert "vlan=42" in settings(sim)
    lease.release()
    root.wait_group(VF, "free")
    assert settings(sim) == SETTINGS
    assert sim.difference(before) == {}


def test_while_somebody_counts_on_it_nothing_is_put_back(root, sim):
    first, second = (root.hold(VF, owner="me") for _ in range(2))
    assert steps(sim) == [("read-vf", VF)]
    sim.event("vf", device=VF, vf_settings=LIBVIRT)
    first.release()
    assert "vlan=42" in settings(sim)
    second.release()
    root.wait_group(VF, "free")
    assert settings(sim) == SETTINGS


def test_what_a_driver_does_not_report_is_left_alone(root, sim):
    lease = root.hold(VF2)
    sim.event("vf", device=VF2, vf_settings="max-rate=100")
    lease.release()
    root.wait_group(VF2, "free")
    assert settings(sim, VF2) == SETTINGS.replace("spoof-check=on ", "")


def test_the_host_goes_on_as_it_likes(root, sim):
    lease = root.hold(VF, "dma-api")
    sim.event("vf", device=VF, vf_settings="vlan=7")
    lease.release()
    root.wait_group(VF, "free")
    assert steps(sim) == [] and "vlan=7" in settings(sim)


def test_explain(root, unchanged):
    with unchanged():
        possible, _, shown = root.explain(VF)
        assert possible and (shown[0]["step"], shown[0]["device"]) == ("read-vf", VF)
        assert "set-vf" not in [step["step"] for step in shown]


def test_vfs_that_go_with_their_lease(root, sim):
    for name in (VF, VF2, SILENT):
        sim.event("unplug", device=name)
    root.wait(lambda: not {VF, VF2, SILENT} & {device["Name"] for group in root.groups().values()
                                               for device in group["DeviceList"]}, "the VFs to go")
    lease = root.hold(PF, vfs=2)
    lease.release()
    root.wait_group(PF, "free")
    assert steps(sim) == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_after_a_restart(host, root, sim, how):
    lease = root.hold(VF, holder="none")
    sim.event("vf", device=VF, vf_settings=LIBVIRT)
    host.restart(how)
    assert "vlan=42" in settings(sim)
    Lease(root, lease.path, lease.lifeline).release()
    root.wait_group(VF, "free")
    assert settings(sim) == SETTINGS


@pytest.mark.parametrize("op", ["read-vf", "unbind", "bind"])
def test_killed_in_the_middle(host, root, sim, op):
    sim.inject(op, VF, delay_us=300_000)
    lease = root.acquire(VF)
    root.wait(lambda: lease.State == "activating", "the lease")
    host.daemon.kill()
    host.daemon.start()
    root.watch()
    again = Lease(root, lease.path, lease.lifeline)
    again.wait("active")
    sim.clear()
    sim.event("vf", device=VF, vf_settings=LIBVIRT)
    again.release()
    root.wait_group(VF, "free")
    assert settings(sim) == SETTINGS


def test_nobody_to_ask(host, root, sim):
    lease = root.hold(SILENT)
    assert lease.State == "active"
    lease.release()
    root.wait_group(SILENT, "free")
    assert steps(sim) == [("read-vf", SILENT)]
    assert f"settings of {SILENT} cannot be recorded" in host.daemon.said()


def test_nobody_to_give_it_to(host, root, sim):
    """The PF's driver goes and leaves its VFs: what is to be put back cannot be."""
    lease = root.hold(VF)
    sim.event("vf", device=VF, vf_settings="trust=on")
    sim.event("unbind", device=PF, driver="igb")
    lease.release()
    root.wait_group(VF, "free")
    assert f"settings of {VF} cannot be put back" in host.daemon.said()


def test_what_is_refused_can_be_retried(root, sim):
    lease = root.hold(VF)
    sim.event("vf", device=VF, vf_settings=LIBVIRT)
    sim.inject("set-vf", VF, errno="EINVAL")
    lease.release()
    group = root.wait_group(VF, "failed")
    assert VF in group["WaitsFor"] and "mac=00:00:00:00:00:00" in group["WaitsFor"]
    assert root.device(VF)["Driver"] == "igbvf"     # the rest is as it was
    sim.clear()
    root.call(root.group_path(VF), "org.dmaowner1.Group", "Retry")
    root.wait_group(VF, "free")
    assert settings(sim) == SETTINGS


def test_in_quarantine(root, sim):
    """The next owner does not inherit what the former one had set, and the host may say something else in between."""
    lease = root.hold(KEPT, owner="a")
    sim.event("vf", device=KEPT, vf_settings=LIBVIRT)
    lease.release()
    root.wait_group(KEPT, "quarantined")
    assert settings(sim, KEPT) == SETTINGS
    sim.event("vf", device=KEPT, vf_settings="vlan=9")
    lease = root.hold(KEPT, owner="b")
    sim.event("vf", device=KEPT, vf_settings=LIBVIRT)
    lease.release()
    root.wait_group(KEPT, "quarantined")
    assert settings(sim, KEPT) == SETTINGS.replace("vlan=0", "vlan=9")
    root.manager("Restore", "as", [KEPT])
    root.wait_group(KEPT, "free")
    assert settings(sim, KEPT) == SETTINGS.replace("vlan=0", "vlan=9")


def test_a_bad_event(sim):
    for event in ({"device": VF, "vf_settings": "colour=red"}, {"device": VF2, "vf_settings": "spoof-check=on"},
                  {"device": SILENT, "vf_settings": "vlan=1"}, {"device": VF}):
        with pytest.raises(Exception, match="set|expected"):
            sim.event("vf", **event)
