# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may own what: the table of the ownership rules, seen from the bus."""

import pytest
from harness.client import BusError
from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, DISK_USED, NIC, NIC2, NIC_USED, NVME, SINGLES


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


@pytest.mark.story
def test_user_lease_over_and_back(root, sim):
    before = sim.state()
    lease = root.hold(NIC, owner="me")
    assert sim.device(NIC)["driver"] == "vfio-pci"
    lease.release()
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"
    assert sim.difference(before) == {}


def test_same_owner_counts(root, sim):
    first = root.hold(NIC, owner="me")
    sim.operations()
    second = root.acquire(NIC, owner="me")
    assert second.State == "active"
    assert sim.operations() == []
    group = root.group_of(NIC)
    assert (group["Count"], set(group["Leases"])) == (2, {first.id, second.id})
    first.release()
    assert root.group_of(NIC)["Count"] == 1
    assert sim.operations() == []
    assert root.device(NIC)["Driver"] == "vfio-pci"
    second.release()
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"


def test_another_owner_is_busy_and_hears_who_has_it(root, unchanged):
    lease = root.hold(NIC, owner="first", label="packet generator")
    with unchanged():
        refused(lambda: root.acquire(NIC, owner="second"), "Busy", NIC, lease.id, "first")
        refused(lambda: root.acquire(NIC, "dma-api", owner="first"), "Busy", NIC, lease.id)


def test_busy_says_until_when(root):
    root.hold(NIC, owner="first", ttl=3600 * 10**6)
    refused(lambda: root.acquire(NIC, owner="second"), "Busy", "until")


def test_same_owner_with_other_terms_is_busy(root, unchanged):
    root.hold(NIC, owner="me", reset="auto")
    with unchanged():
        refused(lambda: root.acquire(NIC, owner="me", driver="mlx5_vfio_pci"), "Busy", "driver")
        refused(lambda: root.acquire(NIC, owner="me", uid=1000), "Busy")


def test_an_owner_that_is_activating_is_busy_too(root, sim):
    sim.inject("bind", NIC, delay_us=300_000)
    first = root.acquire(NIC, owner="first")
    assert first.State == "activating"
    assert root.group_of(NIC)["State"] == "claiming"
    refused(lambda: root.acquire(NIC, owner="second"), "Busy", first.id)
    joined = root.acquire(NIC, owner="first")
    assert joined.State == "activating"
    first.wait("active")
    joined.wait("active")
    assert root.group_of(NIC)["Count"] == 2


def test_dma_api_is_shared_by_owners_that_want_the_same(root, sim):
    sim.operations()
    first = root.hold(NIC, "dma-api", owner="first")
    second = root.hold(NIC, "dma-api", owner="second", driver="e1000e")
    assert sim.operations() == []
    assert root.group_of(NIC)["Count"] == 2
    refused(lambda: root.acquire(NIC, owner="first"), "Busy", NIC)
    first.release()
    second.release()
    root.wait_group(NIC, "free")
    assert sim.operations() == []


def test_dma_api_with_another_type_is_busy(root):
    root.hold(NIC, "dma-api", owner="first", default_domain_type="DMA")
    root.hold(NIC, "dma-api", owner="second", default_domain_type="DMA")
    refused(lambda: root.acquire(NIC, "dma-api", owner="third", default_domain_type="identity"), "Busy", NIC)


def test_dma_api_with_a_type_switches_it_and_back(root, sim):
    before = sim.state()
    lease = root.hold(NIC, "dma-api", default_domain_type="identity")
    group = root.group_of(NIC)
    assert (group["DefaultDomainType"], group["OwnerKind"]) == ("identity", "dma-api")
    assert root.device(NIC)["Driver"] == "e1000e"
    lease.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_private_domain_is_one_owners(root, sim):
    before = sim.state()
    lease = root.hold(NIC, "private-domain", owner="first", driver="vp-vdpa")
    assert root.device(NIC)["Driver"] == "vp-vdpa"
    again = root.hold(NIC, "private-domain", owner="first", driver="vp-vdpa")
    refused(lambda: root.acquire(NIC, "private-domain", owner="second", driver="vp-vdpa"), "Busy", lease.id)
    lease.release()
    again.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_all_or_nothing(root, unchanged):
    root.hold(NIC2, owner="first")
    with unchanged():
        refused(lambda: root.acquire([NIC, BRIDGE_A, NIC2], owner="second"), "Busy", NIC2)


def test_a_group_is_taken_whole(root, sim):
    before = sim.state()
    lease = root.hold(BRIDGE_A, owner="me")
    drivers = [root.device(name)["Driver"] for name in (BRIDGE, BRIDGE_A, BRIDGE_B)]
    assert drivers == ["", "vfio-pci", "vfio-pci"]
    refused(lambda: root.acquire(BRIDGE_B, owner="other"), "Busy", BRIDGE_B, lease.id)
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


def test_two_devices_of_one_group_count_once(root):
    lease = root.hold([BRIDGE_A, BRIDGE_B])
    assert root.group_of(BRIDGE_A)["Count"] == 1
    assert lease.Groups == [root.device(BRIDGE_A)["Group"]]
    lease.release()
    root.wait_group(BRIDGE_A, "free")


def test_leases_over_several_groups_overlap_by_the_same_owner(root):
    left = root.hold([NIC, NIC2], owner="me")
    right = root.hold([NIC2, BRIDGE_A], owner="me")
    assert [root.group_of(name)["Count"] for name in (NIC, NIC2, BRIDGE_A)] == [1, 2, 1]
    left.release()
    root.wait_group(NIC, "free")
    assert [root.group_of(name)["Count"] for name in (NIC2, BRIDGE_A)] == [1, 1]
    right.release()
    root.wait_group(NIC2, "free")


def test_opposite_order_does_not_deadlock(host, root):
    other = host.client()
    serials = [(client, client.start_acquire(devices, owner=owner, holder="none"))
               for client, devices, owner in ((root, [NIC, NIC2], "a"), (other, [NIC2, NIC], "b"))]
    outcomes = []
    for client, serial in serials:
        try:
            outcomes.append(client.finish(serial)[0])
        except BusError as error:
            outcomes.append(error.name)
    assert sorted(outcome == "Busy" for outcome in outcomes) == [False, True]


def test_release_owner_releases_that_owner_only(root):
    mine = [root.hold(NIC, owner="me"), root.hold(NIC2, owner="me")]
    others = root.hold(NVME, owner="other")
    assert root.manager("ReleaseOwner", "s", "me")[0] == 2
    assert [lease.wait_ended() for lease in mine] == ["released", "released"]
    root.wait_group(NIC, "free")
    root.wait_group(NIC2, "free")
    assert others.State == "active"


def test_many_leases_at_once(root, sim):
    before = sim.state()
    lease = root.hold(SINGLES)
    assert {root.device(name)["Driver"] for name in SINGLES} == {"vfio-pci"}
    assert len(lease.Groups) == len(SINGLES) == 64
    lease.release()
    for name in SINGLES:
        root.wait_group(name, "free")
    assert sim.difference(before) == {}


def test_explain_is_what_acquire_does(root, sim, unchanged):
    with unchanged():
        possible, obstacles, steps = root.explain([NIC, BRIDGE_A])
    assert (possible, obstacles) == (True, [])
    lease = root.hold([NIC, BRIDGE_A])
    done = [(op["op"], op.get("device", ""), op.get("value", "")) for op in sim.operations()]
    planned = [(step["step"], step.get("device", ""), step.get("value", "")) for step in steps]
    assert sorted(planned) == sorted(done)      # groups switch side by side
    for device in (NIC, BRIDGE_A, BRIDGE_B):
        assert [op for op in planned if op[1] == device] == [op for op in done if op[1] == device]
    assert all(step["text"] for step in steps)
    lease.release()


def test_explain_names_the_obstacles(root, unchanged):
    root.hold(NIC, owner="first")
    with unchanged():
        possible, obstacles, _ = root.explain(NIC, owner="second")
    assert not possible and NIC in obstacles[0]["text"] and "first" in obstacles[0]["text"]
    with unchanged():
        possible, obstacles, _ = root.explain([NIC_USED, DISK_USED])
    assert not possible
    assert [obstacle["device"] for obstacle in obstacles] == [NIC_USED, DISK_USED]
    assert [obstacle["code"] for obstacle in obstacles] == ["network-address", "mounted"]
