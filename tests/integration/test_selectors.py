# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that leave open which device they get."""

import pytest
from harness import PATIENCE
from harness.client import FOR_EVER, BusError, Lease
from harness.topology import BRIDGE_A, BRIDGE_B, DISK_USED, NIC, NIC2, NIC_USED, NVME, SINGLES, SPOILER

NICS = "vendor=8086,device=10d3"


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


@pytest.mark.story
def test_a_lease_has_names(root):
    lease = root.hold("class=02,numa=1")
    assert lease.Devices == [NIC2]
    assert root.device(NIC2)["Driver"] == "vfio-pci"
    lease.release()


def test_requests_one_after_the_other_get_different_devices(root):
    first, second = root.hold("class=0108"), root.hold("class=0108")
    assert (first.Devices, second.Devices) == ([NVME], [SINGLES[0]])
    assert root.hold("class=0108*60").Devices == SINGLES[1:61]
    refused(lambda: root.acquire("class=0108*4"), "Busy", "Of 67 devices", " 3 can be had")
    assert root.hold("class=0108*3").Devices == SINGLES[61:]


def test_names_and_selectors_in_one_request(root):
    lease = root.hold([NIC, NICS, "driver=e1000"])
    assert lease.Devices == sorted([NIC, NIC2, BRIDGE_A])
    refused(lambda: root.acquire("driver=e1000"), "Busy", lease.id)
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    assert root.hold("driver=e1000*2").Devices == [BRIDGE_A, BRIDGE_B]


def test_what_the_host_is_known_to_need_is_left_out(root, unchanged):
    for name in (NIC_USED, DISK_USED, SPOILER):
        assert name not in root.choose(f"{NICS}*5") + root.choose("class=0108*65")
    with unchanged():
        refused(lambda: root.acquire(f"{NICS}*6"), "InUse", NIC_USED)


def test_force_takes_what_the_host_needs_last(root):
    assert root.choose("vendor=144d", force=True) == [NVME]
    assert {DISK_USED, SPOILER} <= set(root.choose("vendor=144d*67", force=True))


@pytest.mark.story
def test_one_that_is_found_in_use_makes_room_for_the_next(root, sim):
    sim.inject("inspect", NVME, errno="EIO")
    sim.inject("inspect", SINGLES[0], errno="EIO")
    lease = root.hold("class=0108*2")
    assert lease.Devices == SINGLES[1:3]
    assert root.group_of(NVME)["State"] == "free"
    assert [lease["Id"] for lease in root.leases().values()] == [lease.id]


def test_explain_goes_on_to_the_next_as_acquire_does(root, sim):
    sim.inject("inspect", NVME, errno="EIO")
    possible, obstacles, steps = root.explain("class=0108")
    assert possible and not obstacles
    assert {step["device"] for step in steps} - {""} == {SINGLES[0]}
    assert root.choose("class=0108") == [SINGLES[0]]


def test_if_all_are_in_use_the_last_one_says_why(root, sim, unchanged):
    sim.inject("inspect", NIC, errno="EIO")
    sim.inject("inspect", NIC2, errno="EIO")
    with unchanged():
        refused(lambda: root.acquire(NIC, alternatives=[[NIC2]]), "InUse", NIC2)
        refused(lambda: root.acquire(f"{NICS},numa=1"), "InUse", NIC2)
        possible, obstacles, _ = root.explain(f"{NICS},numa=1")
    assert not possible and obstacles[0]["code"] == "unknown-use"
    assert root.leases() == {}


def test_another_try_keeps_the_holder(host, root, sim):
    sim.inject("inspect", NVME, errno="EIO")
    lease = root.acquire("class=0108", holder="lifeline")
    lease.wait("active")
    assert lease.Devices == [SINGLES[0]]
    lease.close()
    root.wait_group(SINGLES[0], "free")


def test_alternatives(root):
    assert root.hold(NIC, alternatives=[[NIC2]]).Devices == [NIC]
    assert root.hold(NIC, owner="other", alternatives=[[NIC_USED], [NIC2]]).Devices == [NIC2]
    assert root.hold("class=02,numa=1", owner="third", alternatives=[["vendor=dead"], ["driver=e1000"]]).Devices == [
        BRIDGE_A]
    refused(lambda: root.acquire(NIC, owner="fourth", alternatives=[[NIC2], ["vendor=dead"]]), "Busy", NIC, NIC2, "dead")


def test_alternatives_when_the_first_is_found_in_use(root, sim):
    sim.inject("inspect", NIC, errno="EIO")
    assert root.hold([NIC, NVME], alternatives=[[NIC2, NVME]]).Devices == [NIC2, NVME]
    assert root.group_of(NIC)["State"] == "free"


def test_a_selector_for_a_kernel_driver(root):
    lease = root.hold("vendor=8086,device=10d3,numa=1", "private-domain", driver="vp-vdpa")
    assert lease.Devices == [NIC2]
    assert root.device(NIC2)["Driver"] == "vp-vdpa"


def test_explain_names_what_would_be_chosen(root):
    assert root.choose(NIC) == [NIC]
    assert root.choose("class=02,numa=1", "dma-api") == [NIC2]
    possible, obstacles, steps = root.explain(f"{NICS}*6")
    assert not possible and not steps
    assert (obstacles[0]["code"], obstacles[0]["device"]) == ("in-use", f"{NICS}*6")
    assert root.choose(f"{NICS}*6") == []
    held = root.hold(NIC2)
    assert root.explain("numa=1")[1][0]["code"] == "busy"
    held.release()


@pytest.mark.parametrize(("devices", "alternatives", "name", "word"), [
    (["colour=red"], [], "InvalidArgs", "colour"),
    (["vendor=80867"], [], "InvalidArgs", "vendor="),
    (["class=02*0"], [], "InvalidArgs", "'class=02*0'"),
    (["class=02*-1"], [], "InvalidArgs", "number of devices"),
    (["class=02*1025"], [], "InvalidArgs", "1024"),
    (["class=02*1024", "class=01"], [], "InvalidArgs", "1025"),
    (["class=02"] * 40, [["class=02"] * 25], "InvalidArgs", "65 selectors"),
    (["class=02, numa=0"], [], "InvalidArgs", "blanks"),
    (["class=02\n"], [], "InvalidArgs", "printable"),
    (["=" * 5000], [], "InvalidArgs", "256"),
    ([NIC, NIC, "class=02"], [], "InvalidArgs", "twice"),
    ([NIC], [["numa=x"]], "InvalidArgs", "numa="),
    ([NIC], [[]], "InvalidArgs", "No device"),
    ([], [[NIC]], "InvalidArgs", "No device"),
    ([NIC], [[NIC2]] * 33, "QuotaExceeded", "32"),
    ([NIC], [["class=02"] * 1025], "QuotaExceeded", "1024"),
    (["vendor=dead"], [], "NoSuchDevice", "'vendor=dead'"),
    (["class=0604"], [], "NoSuchDevice", "class=0604"),
    (["driver=e1000*3"], [], "NoSuchDevice", "Only 2"),
    (["pf=0000:03:00.0"], [], "NoSuchDevice", "pf="),
    (["class=02", "0000:ff:00.0"], [], "NoSuchDevice", "0000:ff:00.0"),
])
def test_bad_requests_change_nothing(root, unchanged, devices, alternatives, name, word):
    options = {"alternatives": alternatives} if alternatives else {}
    with unchanged():
        for ask in (root.acquire, root.explain):
            refused(lambda ask=ask: ask(devices, **options), name, word)


def test_a_wrong_type_of_alternatives(root, unchanged):
    with unchanged():
        refused(lambda: root.acquire(NIC, raw={"alternatives": ("as", [NIC2])}), "InvalidArgs", "'aas'")


# waiting

def queued(root, devices, **options):
    lease = root.acquire(devices, wait=FOR_EVER, **options)
    assert (lease.State, lease.Devices, lease.Groups) == ("queued", [], [])
    return lease


def test_a_selector_waits_for_whichever_comes_free(root):
    first, second = root.hold(BRIDGE_A, owner="a"), root.hold(NIC2, owner="b")
    waiter = queued(root, "numa=1", owner="c", alternatives=[["driver=e1000"]])
    assert waiter.WaitsFor == "free devices for numa=1, or an alternative"
    first.release()
    waiter.wait("active")
    assert waiter.Devices == [BRIDGE_A]
    second.release()


def test_all_of_a_selector_or_none(root):
    held = [root.hold(NIC2, owner="a"), root.hold([NVME, *SINGLES], owner="b")]
    waiter = queued(root, ["class=0108*65", "numa=1"], owner="c")
    held[0].release()
    root.wait_group(NIC2, "free")
    assert waiter.State == "queued"
    held[1].release()
    waiter.wait("active", timeout=2 * PATIENCE)
    assert set(waiter.Devices) == {NIC2, NVME, *SINGLES}


def test_selectors_in_the_queue_are_served_in_order(root):
    lease = root.hold(NIC2, owner="a")
    waiters = [queued(root, "numa=1", owner=f"{n}", priority=n % 2) for n in range(4)]
    for n in (1, 3, 0, 2):      # by priority, then by age
        lease.release()
        lease = waiters[n]
        lease.wait("active")
        assert lease.Devices == [NIC2]
        assert sum(waiter.State == "queued" for waiter in waiters if waiter.id in root.leases()) == 3 - (1, 3, 0, 2).index(n)


def test_what_time_does_not_heal_is_refused_at_once(root, unchanged):
    with unchanged():
        refused(lambda: root.acquire("vendor=dead", wait=FOR_EVER), "NoSuchDevice", "vendor=dead")
        refused(lambda: root.acquire(f"{NICS}*6", wait=FOR_EVER), "InUse", NIC_USED)
        refused(lambda: root.acquire("colour=red", wait=FOR_EVER), "InvalidArgs", "colour")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_keeps_the_selectors(host, root, how):
    held = root.hold(NIC2, owner="a", holder="none")
    waiter = queued(root, "numa=1", owner="b")
    host.restart(how)
    again, held = (Lease(root, lease.path, lease.lifeline) for lease in (waiter, held))
    assert again.State == "queued"
    held.release()
    again.wait("active")
    assert again.Devices == [NIC2]


def test_a_wait_for_a_selector_ends(root):
    held = root.hold(NIC2, owner="a")
    waiter = root.acquire("numa=1", owner="b", wait=200_000)
    waiter.wait("failed")
    assert "numa=1" in waiter.Failure[1]
    gone = queued(root, "numa=1", owner="c")
    gone.close()
    root.wait(lambda: gone.id not in root.leases(), "the waiter to go")
    held.release()
    root.wait_group(NIC2, "free")
