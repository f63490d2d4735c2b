# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools: virtual functions that policy has made for whoever asks for one, and that go with the last lease."""

import json

import pytest
from harness.client import FOR_EVER, BusError, Lease
from harness.host import Host
from harness.topology import NIC, nic

PF, PF2, BARE = "0000:20:00.0", "0000:21:00.0", "0000:22:00.0"      # for the last one there is no rule
VFS = [f"0000:20:{n // 8:02x}.{n % 8}" for n in range(1, 5)]
VFS2 = [f"0000:21:{n // 8:02x}.{n % 8}" for n in range(1, 3)]
RULES = [{"match": {"device": PF}, "vfs": 4}, {"match": {"device": PF2}, "vfs": 2}]
ADDRESS = {"code": "network-address", "text": "ens1 has the address 192.0.2.9"}


def topology():
    igb = {"driver": "igb", "matches": ["igb", "igbvf"], "device": "10c9", "total_vfs": 8, "vf_device": "10ca",
           "vf_settings": "mac=00:00:00:00:00:00 trust=off"}
    return {
        "default_domain_type": "DMA",
        "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}, {"name": "igbvf", "loaded": True}],
        "devices": [nic(NIC, 1), nic(PF, 2, in_use=[ADDRESS], **igb), nic(PF2, 3, numa=1, **igb), nic(BARE, 4, **igb)],
    }


def set_policy(host, rules):
    policy = host.daemon.configuration / "dmaownerd.json"
    policy.write_text(json.dumps({"rules": rules}))
    policy.chmod(0o644)
    host.root.call("/org/dmaowner1", "org.dmaowner1.Manager", "Reload")


@pytest.fixture
def host():
    with Host(topology()) as host:
        set_policy(host, RULES)
        host.root.watch()
        host.root.wait(lambda: host.root.device(PF)["InUse"], "the use of the PF")
        yield host


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


def made(sim):
    return [(step["device"], step["op"], step["value"]) for step in sim.operations()
            if step["op"] in ("set-vf-autoprobe", "set-num-vfs")]


def names(root):
    return {device["Name"] for group in root.groups().values() for device in group["DeviceList"]}


def all_gone(root, pf=PF):
    root.wait_group(pf, "free")
    assert not set(VFS if pf == PF else VFS2) & names(root)


@pytest.mark.story
def test_made_for_the_first_and_removed_after_the_last(root, sim):
    before = sim.state()
    sim.operations()
    first = root.hold(f"pf={PF}*2", owner="a")
    assert first.Devices == VFS[:2]
    assert made(sim) == [(PF, "set-vf-autoprobe", "0"), (PF, "set-num-vfs", "4")]
    assert set(VFS) <= names(root)
    assert first.Groups == sorted(root.device(name)["Group"] for name in VFS[:2])
    second = root.hold(f"pf={PF}", owner="b")
    third = root.hold(VFS[3], owner="c", kind="dma-api", driver="igbvf")      # by name, and in another way
    assert second.Devices == VFS[2:3] and third.State == "active"
    group = root.group_of(PF)
    assert (group["State"], group["Count"], set(group["Leases"])) == ("owned", 3, {first.id, second.id, third.id})
    for lease in (first, third):
        lease.release()
    root.wait_group(VFS[0], "free")
    root.wait_group(VFS[3], "free")
    assert root.group_of(PF)["State"] == "owned" and root.device(VFS[0])["Driver"] == ""
    again = root.hold(f"pf={PF}", owner="d")
    assert again.Devices == VFS[:1]
    second.release()
    again.release()
    all_gone(root)
    assert made(sim) == [(PF, "set-num-vfs", "0"), (PF, "set-vf-autoprobe", "1")]
    assert sim.difference(before) == {}


@pytest.mark.parametrize(("selectors", "pf"), [
    (["vendor=8086,device=10ca"], PF), (["class=02,driver=none*4"], PF), (["class=02,numa=1,driver=none"], PF2),
    ([f"pf={PF2}", "device=10ca"], PF2), (["device=10ca*2", "driver=none"], PF)])
def test_whatever_its_vfs_are(root, selectors, pf):
    lease = root.hold(selectors)
    assert set(lease.Devices) <= set(VFS if pf == PF else VFS2)
    assert root.group_of(PF2 if pf == PF else PF)["State"] == "free"
    lease.release()
    all_gone(root, pf)


def test_what_is_there_comes_first(root, sim):
    assert root.hold("class=02*3", owner="a").Devices == [NIC, PF2, BARE]     # the other one the host uses
    assert made(sim) == []
    assert root.hold("class=02", owner="b").Devices == VFS[:1]


def test_the_next_pf_when_one_is_exhausted(root):
    assert root.hold("device=10ca*4", owner="a").Devices == VFS
    assert root.hold("device=10ca", owner="b").Devices == VFS2[:1]
    assert root.hold("device=10ca", owner="c").Devices == VFS2[1:]
    refused(lambda: root.acquire("device=10ca"), "Busy", "device=10ca", "can be had")


@pytest.mark.parametrize(("devices", "name"), [
    (f"pf={PF}*5", "NoSuchDevice"), (f"pf={BARE}", "NoSuchDevice"), ("device=10ca,numa=3", "NoSuchDevice"),
    ([f"pf={PF}", f"pf={PF2}"], "NoSuchDevice"), ([f"pf={PF}", NIC], "NoSuchDevice"), (VFS[0], "NoSuchDevice"),
])
def test_what_no_pool_serves(root, unchanged, devices, name):
    with unchanged():
        refused(lambda: root.acquire(devices), name)
        refused(lambda: root.explain(devices), name)


def test_an_alternative(root):
    assert root.hold(f"pf={PF}*5", owner="a", alternatives=[[f"pf={PF2}*2"], [NIC]]).Devices == VFS2
    assert root.hold(f"pf={PF2}", owner="b", alternatives=[[f"pf={PF}"]]).Devices == VFS[:1]


def test_explain(root, unchanged):
    with unchanged():
        possible, obstacles, shown = root.explain(f"pf={PF}*2")
        assert possible and not obstacles
        assert [(step["step"], step["value"], step["former"]) for step in shown] == [
            ("set-vf-autoprobe", "0", "1"), ("set-num-vfs", "4", "0")]


@pytest.mark.parametrize(("rules", "name", "word"), [
    ([{"match": {"device": PF}, "vfs": 9}], "NotViable", "8 virtual functions, not 9"),
    ([{"match": {"device": PF}, "vfs": 0}, *RULES], "NoSuchDevice", "matches"),
    ([{"match": {"device": PF}, "protect": True}, *RULES], "AccessDenied", PF),
    ([], "NoSuchDevice", "matches"),
])
def test_no_pool_by_policy(host, root, unchanged, rules, name, word):
    set_policy(host, rules)
    with unchanged():
        refused(lambda: root.acquire(f"pf={PF}"), name, word)


def test_no_pool_of_a_pf_that_is_not_free(root, sim):
    lease = root.hold(PF, force=True)
    refused(lambda: root.acquire(f"pf={PF}"), "Busy", lease.id)
    lease.release()
    root.wait_group(PF, "free")
    sim.event("unbind", device=PF, driver="igb")
    root.wait_driver(PF, "")
    refused(lambda: root.acquire(f"pf={PF}"), "NotViable", "host's driver")
    assert root.explain(f"pf={PF}")[1][0]["code"] == "not-viable"


def test_no_pool_without_a_driver_for_its_vfs(root):
    refused(lambda: root.acquire(f"pf={PF}", "dma-api"), "NoSuchDevice")


def test_the_pf_is_nobody_elses(root):
    root.hold(f"pf={PF}", owner="me")
    for ask in (lambda: root.acquire(PF, force=True), lambda: root.acquire(PF, "dma-api", owner="me"),
                lambda: root.acquire(PF, vfs=4, owner="me")):
        refused(ask, "Busy", PF, "virtual functions")


def test_open_files_keep_the_pool(root, sim):
    lease = root.hold(f"pf={PF}*2")
    sim.event("open", device=VFS[1], pid=77, comm="vmm")
    lease.release()
    root.wait(lambda: VFS[1] in root.group_of(PF)["WaitsFor"], "what the PF waits for")
    refused(lambda: root.acquire(f"pf={PF}"), "Busy", "removed")
    sim.event("close", pid=77)
    all_gone(root)
    root.hold(f"pf={PF}").release()
    all_gone(root)


def test_nothing_of_a_pool_is_kept(host, root):
    set_policy(host, [{"release": "keep"}, *RULES])
    first, second = (root.hold(f"pf={PF}", owner=owner) for owner in ("a", "b"))
    first.release()
    root.wait_group(VFS[0], "free")
    second.release()
    all_gone(root)


def test_settings_between_two_leases(root, sim):
    """What the first had set for its VF is not the second's."""
    first, other = (root.hold(f"pf={PF}", owner=owner) for owner in ("a", "other"))
    sim.event("vf", device=VFS[0], vf_settings="trust=on mac=52:54:00:12:34:56")
    first.release()
    root.wait_group(VFS[0], "free")
    assert sim.device(VFS[0])["vf_settings"] == "mac=00:00:00:00:00:00 trust=off"
    other.release()
    all_gone(root)


@pytest.mark.parametrize("op", ["set-vf-autoprobe", "set-num-vfs", "bind"])
def test_a_step_that_fails_is_undone(root, sim, op):
    before = sim.state()
    sim.inject(op, nth=1, errno="EIO")
    lease = root.acquire(f"pf={PF}")
    lease.wait("failed")
    all_gone(root)
    sim.clear()
    assert sim.difference(before) == {}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_touches_nothing(host, root, sim, how):
    before = sim.state()
    leases = [root.hold(f"pf={PF}*{count}", owner=owner, holder="none") for count, owner in ((2, "a"), (1, "b"))]
    shown, held = [lease.properties() for lease in leases], sim.state()
    sim.operations()
    host.restart(how)
    assert sim.operations() == [] and sim.difference(held) == {}
    again = [Lease(root, lease.path, lease.lifeline) for lease in leases]
    assert [lease.properties() for lease in again] == shown
    again[0].release()
    root.wait_group(VFS[0], "free")
    assert root.group_of(PF)["Count"] == 1
    again[1].release()
    all_gone(root)
    assert sim.difference(before) == {}


@pytest.mark.parametrize("op", ["set-num-vfs", "bind"])
@pytest.mark.parametrize("alive", [True, False])
def test_killed_in_the_middle(host, root, sim, op, alive):
    before = sim.state()
    sim.inject(op, delay_us=300_000)
    lease = root.acquire(f"pf={PF}*2")
    root.wait(lambda: lease.State == "activating", "the lease")
    host.daemon.kill()
    if not alive:
        lease.close()
    host.daemon.start()
    root.watch()
    if alive:
        again = Lease(root, lease.path, lease.lifeline)
        again.wait("active")
        assert again.Devices == VFS[:2]
        again.release()
    all_gone(root)
    sim.clear()
    assert sim.difference(before) == {}


def test_waiting(root):
    """Selectors outlive the pool; a name does not."""
    first = root.hold("device=10ca*4", owner="a")
    other = root.hold("device=10ca*2", owner="b")
    queued = root.acquire("device=10ca*3", owner="c", wait=FOR_EVER)
    named = root.acquire(VFS[0], owner="d", wait=FOR_EVER)
    assert (queued.State, named.State) == ("queued", "queued")
    other.release()
    all_gone(root, PF2)
    assert queued.State == "queued"
    first.release()
    queued.wait("active")
    assert queued.Devices == VFS[:3]
    named.wait("failed")
    assert named.Failure[0] == "org.dmaowner1.Error.NoSuchDevice"


def test_one_waiter_does_not_hold_up_the_others(root):
    root.hold(f"pf={PF}", owner="a")
    waiter = root.acquire(VFS[0], owner="b", wait=FOR_EVER)
    assert waiter.State == "queued"
    assert root.hold(f"pf={PF}", owner="c").Devices == VFS[1:2]
    assert root.hold(VFS[2], owner="d").Devices == VFS[2:3]


def test_a_new_policy_leaves_the_pool(host, root):
    first = root.hold(f"pf={PF}", owner="a")
    set_policy(host, [])
    second = root.hold(f"pf={PF}", owner="b")
    first.release()
    root.wait_group(VFS[0], "free")
    assert root.group_of(PF)["State"] == "owned"
    second.release()
    all_gone(root)
    refused(lambda: root.acquire(f"pf={PF}"), "NoSuchDevice")


def test_what_happens_to_the_pf_happens_to_all(root, sim):
    leases = [root.hold(f"pf={PF}", owner=owner) for owner in ("a", "b")]
    sim.event("unplug", device=VFS[3])
    for lease in leases:
        lease.wait("lost")
    assert root.wait_group(PF, "lost")["WaitsFor"]


def test_at_once(root, sim):
    """Who comes while the VFs are being made waits for them."""
    sim.inject("set-num-vfs", PF, delay_us=3_000_000)
    first = root.acquire(f"pf={PF}", owner="a")
    refused(lambda: root.acquire(f"pf={PF}", owner="b"), "Busy", first.id)
    second = root.acquire("device=10ca", owner="b")        # the other PF
    third = root.acquire(f"pf={PF}", owner="c", wait=FOR_EVER)
    for lease in (first, second, third):
        lease.wait("active")
    assert second.Devices == VFS2[:1] and third.Devices == VFS[1:2]
