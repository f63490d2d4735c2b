# SPDX-License-Identifier: LGPL-2.1-or-later
"""What lies between two owners: protection, resets that are required or break, and the scrub gate."""

import contextlib
import json
import subprocess

import pytest
from harness.client import GROUP, BusError
from harness.host import CLIENT
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2, NVME, SINGLES


@pytest.fixture
def policy(host):
    def write(*rules):
        path = host.daemon.configuration / "dmaownerd.json"
        path.write_text(json.dumps({"rules": rules}))
        path.chmod(0o644)
        host.root.manager("Reload")
        return path
    return write


@contextlib.contextmanager
def refused(name, *texts):
    with pytest.raises(BusError) as refusal:
        yield
    assert refusal.value.name == name, refusal.value
    for text in texts:
        assert text in refusal.value.message, refusal.value


def use(root, device, owner="first", **options):
    """One owner comes and goes."""
    root.hold(device, owner=owner, **options).release()
    return root.wait_group(device, "free")


def held_back(root, device):
    return root.device(device)["HeldBack"]


def clean(root, *devices):
    root.manager("MarkClean", "as", list(devices))


# protect

def test_a_protected_device_is_leased_to_nobody(root, policy, unchanged):
    path = policy({"match": {"device": NIC}, "protect": True}, {"match": {"device": NIC}, "protect": False})
    with unchanged():
        for kind in ("user", "dma-api"):
            with refused("AccessDenied", f"{NIC} is protected", f"{path}:1"):
                root.acquire(NIC, kind)
        with refused("AccessDenied"):
            root.acquire([NIC2, NIC])
        possible, obstacles, _ = root.explain(NIC)
        assert not possible and [one["code"] for one in obstacles] == ["protected"]
    root.hold(NIC2)


def test_a_protected_device_protects_its_group(root, policy):
    policy({"match": {"device": BRIDGE_B}, "protect": True})
    with refused("AccessDenied", BRIDGE_B):
        root.acquire(BRIDGE_A)


def test_an_earlier_rule_may_make_an_exception(root, policy):
    policy({"match": {"device": NIC}, "protect": False}, {"match": {"class": "02"}, "protect": True})
    root.hold(NIC)
    with refused("AccessDenied"):
        root.acquire(NIC2)


def test_protection_leaves_leases_alone(root, policy):
    lease = root.hold(NIC)
    policy({"protect": True})
    assert lease.State == "active"
    lease.release()
    root.wait_group(NIC, "free")
    with refused("AccessDenied"):
        root.acquire(NIC)


def test_a_rule_may_list_more_drivers(root, policy):
    assert [one["code"] for one in root.explain(NIC, "private-domain", driver="nvme")[1]] == ["driver-not-listed"]
    policy({"match": {"device": NIC}, "drivers": ["ixgbe", "nvme"]})
    assert root.explain(NIC, "private-domain", driver="nvme")[1] == []
    assert root.explain(NIC2, "private-domain", driver="nvme")[1] != []


# reset

def test_without_a_method_the_lease_warns(host, root, sim, policy):
    lease = root.hold(NIC)
    assert lease.Warning == ""
    root.hold(SINGLES[0])
    device = sim.unplug(NIC2)
    sim.plug({**device, "reset": []})
    root.wait(lambda: root.device(NIC2)["Driver"] == "e1000e", "the device")
    lease = root.hold(NIC2)
    assert f"{NIC2} has no reset method" in lease.Warning


def test_a_method_that_a_device_does_not_have_is_an_obstacle(root, unchanged):
    with unchanged():
        with refused("NotViable", f"{NIC} has no reset method bus; it has: flr pm"):
            root.acquire(NIC, reset="bus")
        assert root.explain(NIC, reset="bus")[1][0]["code"] == "no-such-reset"


def test_a_rule_for_a_method_that_a_device_does_not_have(root, sim, policy):
    policy({"reset": "bus"})
    sim.operations()
    use(root, NIC)
    assert [done["value"] for done in sim.operations() if done["op"] == "reset"] == ["auto"]


@pytest.mark.parametrize("restart", [None, "kill"])
def test_a_reset_that_breaks_is_a_persons_business(host, root, sim, restart):
    before = sim.state()
    sim.inject("reset", NIC, errno="EIO")
    root.hold(NIC).release()
    group = root.wait_group(NIC, "failed")
    assert f"reset {NIC}" in group["WaitsFor"]
    assert root.device(NIC)["Driver"] == "vfio-pci"     # neither the host has it nor anybody else
    assert group["Claimed"]
    if restart:
        host.restart(restart)
    with refused("Busy", f"reset {NIC}"):
        root.acquire(NIC)
    sim.clear()
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_accepting_after_a_broken_reset_lets_go(root, sim):
    sim.inject("reset", NIC, errno="EIO")
    root.hold(NIC).release()
    root.wait_group(NIC, "failed")
    root.call(root.group_path(NIC), GROUP, "Accept")
    assert not root.wait_group(NIC, "free")["Claimed"]
    sim.rebind(NIC, "e1000e")


def test_where_a_reset_is_required(root, sim, policy):
    policy({"reset": "required"})
    use(root, NIC, reset="none")        # no answer where one is required
    assert held_back(root, NIC) == ""
    use(root, NIC, "second")
    assert [done["value"] for done in sim.operations() if done["op"] == "reset"] == ["auto", "auto"]


@pytest.mark.parametrize("restart", [None, "stop", "kill", "reboot"])
def test_what_was_not_reset_is_for_no_other_owner(host, root, sim, policy, restart):
    """Not even after the daemon, or the host, was started again."""
    device = sim.unplug(NIC)
    sim.plug({**device, "reset": []})
    root.wait(lambda: root.device(NIC)["Driver"] == "e1000e", "the device")
    policy({"reset": "required"})
    lease = root.hold(NIC, owner="first", holder="none")
    assert "until an administrator marks it clean" in lease.Warning
    assert held_back(root, NIC) == ""
    lease.release()
    root.wait_group(NIC, "free")
    if restart == "reboot":
        host.daemon.stop()
        (host.folder / "kernel.json").unlink()
        for left in host.daemon.runtime.rglob("*.json"):
            left.unlink()
        host.daemon.start()
        root.watch()
    elif restart:
        host.restart(restart)
    for kind in ("user", "dma-api"):
        with refused("Quarantined", "first (uid", "not reset", f"dmaownerctl clean {NIC}"):
            root.acquire(NIC, kind, owner="second")
    possible, obstacles, _ = root.explain(NIC, owner="second")
    assert not possible and obstacles[0]["code"] == "quarantined"
    assert "not reset" in held_back(root, NIC)
    use(root, NIC, "first")
    clean(root, NIC)
    assert held_back(root, NIC) == ""
    use(root, NIC, "second")


def test_another_device_in_its_place_is_another_device(root, sim, policy):
    device = sim.unplug(NIC)
    sim.plug({**device, "reset": []})
    policy({"reset": "required"})
    use(root, NIC)
    sim.unplug(NIC)
    sim.plug({**device, "device": "10d4"})
    root.wait(lambda: root.device(NIC)["Driver"] == "e1000e", "the device")
    root.hold(NIC, owner="second")


def test_a_damaged_record_holds_back(host, root, policy):
    policy({"reset": "required", "scrub": "administrator"})
    use(root, NIC)
    [record] = (host.folder / "var/used").glob("*.json")
    record.write_text("{")
    host.restart("stop")
    with refused("Quarantined", "an unknown owner"):
        root.acquire(NIC, owner="first")
    clean(root, NIC)
    assert not record.exists()
    root.hold(NIC, owner="first")


# scrub

def test_the_first_owner_needs_no_scrub(root, sim, policy):
    policy({"scrub": "unit"})
    root.hold(NVME, owner="first")
    assert not [done for done in sim.operations() if done["op"] == "scrub"]


def test_a_unit_scrubs_between_owners(root, sim, policy):
    policy({"scrub": "unit"})
    sim.inject("scrub", NVME, hang=True)
    use(root, NVME)
    root.wait(lambda: "being cleaned by" in held_back(root, NVME), "the unit to run")
    assert root.device(NVME)["Driver"] == "nvme"        # the unit may need the host's driver
    for owner in ("first", "second"):
        with refused("Quarantined", f"being cleaned by dmaowner-scrub@{NVME}.service"):
            root.acquire(NVME, owner=owner)
    with refused("Busy"):
        clean(root, NVME)
    sim.clear()
    root.wait(lambda: held_back(root, NVME) == "", "the unit to end")
    use(root, NVME, "second")


def test_who_waits_is_next_when_it_is_clean(root, sim, policy):
    policy({"scrub": "unit"})
    sim.inject("scrub", NVME, hang=True)
    use(root, NVME)
    root.wait(lambda: "being cleaned by" in held_back(root, NVME), "the unit to run")
    lease = root.acquire(NVME, owner="second", wait=10**8)
    assert lease.State == "queued" and "dmaowner-scrub@" in lease.WaitsFor and "first" not in lease.WaitsFor
    sim.clear()
    lease.wait("active")


@pytest.mark.parametrize("how", ["clean", "reload"])
def test_who_waits_is_next_when_the_gate_opens(root, policy, how):
    policy({"scrub": "administrator"})
    use(root, NVME)
    lease = root.acquire(NVME, owner="second", wait=10**8)
    assert lease.State == "queued" and "administrator" in lease.WaitsFor
    if how == "clean":
        clean(root, NVME)
    else:
        policy()
    lease.wait("active")


def test_the_host_waits_for_no_unit(root, sim, policy):
    policy({"scrub": "unit"})
    sim.inject("scrub", NVME, hang=True)
    use(root, NVME)
    assert root.device(NVME)["Driver"] == "nvme"
    assert root.group_of(NVME)["State"] == "free"
    sim.clear()


def test_a_unit_that_fails_holds_back_until_it_is_retried(root, sim, policy):
    policy({"scrub": "unit"})
    sim.inject("scrub", NVME, errno="EREMOTEIO")
    use(root, NVME)
    root.wait(lambda: "journalctl -u" in held_back(root, NVME), "the unit to fail")
    with refused("Quarantined", "Retry", "dmaownerctl clean"):
        root.acquire(NVME, owner="second")
    sim.clear()
    root.call(root.group_path(NVME), GROUP, "Retry")
    root.wait(lambda: held_back(root, NVME) == "", "the unit to end")
    root.hold(NVME, owner="second")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_unit_under_way_survives_a_restart(host, root, sim, policy, how):
    policy({"scrub": "unit"})
    sim.inject("scrub", NVME, hang=True)
    use(root, NVME)
    root.wait(lambda: "being cleaned by" in held_back(root, NVME), "the unit to run")
    host.restart(how)
    with refused("Quarantined", "dmaowner-scrub@"):
        root.acquire(NVME, owner="second")
    sim.clear()
    root.wait(lambda: held_back(root, NVME) == "", "the unit to end")
    root.hold(NVME, owner="second")


def test_an_administrator_says_that_it_is_clean(host, root, policy):
    policy({"scrub": "administrator"})
    lease = root.hold(NVME, owner="first")
    with refused("Busy", "is leased"):
        clean(root, NVME)
    lease.release()
    root.wait_group(NVME, "free")
    with refused("Quarantined", f"dmaownerctl clean {NVME}"):
        root.acquire(NVME, owner="second")
    listed = subprocess.run([CLIENT, f"--bus={host.address}", "list"], capture_output=True, text=True).stdout
    assert f"held back: {NVME} was last had by first" in listed
    command = subprocess.run([CLIENT, f"--bus={host.address}", "clean", NVME.removeprefix("0000:")],
                             capture_output=True, text=True)
    assert command.returncode == 0, command
    root.hold(NVME, owner="second")


def test_only_what_is_there_is_clean_and_only_root_says_so(host, root, policy, other_users):
    policy({"scrub": "administrator"})
    use(root, NVME)
    with refused("NoSuchDevice", "ffff:00:00.0"):
        clean(root, NVME, "ffff:00:00.0")
    assert held_back(root, NVME) != ""          # all or none
    with refused("AccessDenied"):
        clean(host.client(uid=3), NVME)
    assert "first" not in host.client(uid=3).device(NVME)["HeldBack"]


def test_another_policy_may_lift_the_gate(root, policy):
    policy({"scrub": "administrator"})
    use(root, NVME)
    policy()
    assert held_back(root, NVME) == ""
    use(root, NVME, "second")


def test_a_policy_may_close_the_gate_behind_a_lease(root, policy):
    lease = root.hold(NVME, owner="first")
    policy({"scrub": "administrator"})
    lease.release()
    root.wait_group(NVME, "free")
    with refused("Quarantined"):
        root.acquire(NVME, owner="second")


def test_where_the_record_cannot_be_written_nothing_is_lent(host, root, policy):
    policy({"scrub": "administrator"})
    folder = host.folder / "var/used"
    folder.rmdir()
    lease = root.acquire(NVME)
    root.wait(lambda: lease.seen_state() == "failed", "the lease to fail")
    assert "cannot be written" in str(lease.why())


# what is kept passes the same gate

def keep(root, device, owner="first"):
    root.hold(device, owner=owner).release()
    return root.wait_group(device, "quarantined")


def test_what_is_kept_and_was_reset_is_for_everybody(root, sim, policy):
    policy({"release": "keep", "reset": "required"})
    keep(root, NIC)
    assert held_back(root, NIC) == ""
    assert [done["value"] for done in sim.operations() if done["op"] == "reset"] == ["auto"]
    root.hold(NIC, owner="second")


def test_what_is_kept_and_was_not_reset_is_held_back(root, sim, policy):
    device = sim.unplug(NIC)
    sim.plug({**device, "reset": []})
    policy({"release": "keep", "reset": "required"})
    keep(root, NIC)
    with refused("Quarantined", "not reset"):
        root.acquire(NIC, owner="second")
    keep(root, NIC, "first")
    clean(root, NIC)
    root.hold(NIC, owner="second")


def test_a_unit_cleans_what_is_kept(root, sim, policy):
    policy({"release": "keep", "scrub": "unit"})
    sim.inject("scrub", NVME, hang=True)
    keep(root, NVME)
    root.wait(lambda: "being cleaned by" in held_back(root, NVME), "the unit to run")
    assert root.device(NVME)["Driver"] == "vfio-pci"
    with refused("Quarantined", "dmaowner-scrub@"):
        root.acquire(NVME, owner="second")
    sim.clear()
    root.wait(lambda: held_back(root, NVME) == "", "the unit to end")
    root.hold(NVME, owner="second")


def test_a_broken_reset_of_what_would_be_kept(root, sim, policy):
    policy({"release": "keep"})
    sim.inject("reset", NIC, errno="EIO")
    root.hold(NIC).release()
    assert root.wait_group(NIC, "failed")["Claimed"]
    sim.clear()
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "quarantined")


# the words for it

def test_policy_check(host, policy):
    def check(*operands):
        return subprocess.run([CLIENT, "policy", *operands], capture_output=True, text=True)
    path = policy({"protect": True})
    done = check("check", path)
    assert (done.returncode, done.stdout) == (0, f"{path} is right: 1 rule\n")
    path.write_text('{"rules": [{"protect": 1}]}')
    done = check("check", path)
    assert done.returncode == 1
    assert f'{path}:1:24: key "protect": expected is true or false, not a number' in done.stderr
    assert check("chekc", path).returncode == 2
    assert check("check", "/nowhere").returncode == 1


# around the gate

def test_nobody_joins_what_is_held_back(root, policy):
    """Its last owner may have it for a kernel driver meanwhile, which others could share."""
    policy({"match": {"device": NIC}, "scrub": "administrator"})
    use(root, NIC)
    lease = root.hold(NIC, "dma-api", owner="first")
    with refused("Quarantined", f"{NIC} was last had by first"):
        root.acquire(NIC, "dma-api", owner="second")
    queued = root.acquire(NIC, "dma-api", owner="second", wait=10**9)
    assert "is held back" in queued.WaitsFor
    lease.release()
    root.wait_group(NIC, "free")
    clean(root, NIC)
    queued.wait("active")


def test_who_never_got_at_it_is_no_owner(root, sim, policy):
    policy({"match": {"device": NIC}, "reset": "required"})
    sim.inject("bind", NIC, nth=1, errno="EIO")
    root.acquire(NIC, owner="first").wait("failed")
    root.wait_group(NIC, "free")
    assert not held_back(root, NIC)
    root.hold(NIC, owner="second")


def test_what_is_queued_for_does_not_escape_protection(root, policy):
    lease = root.hold([NIC, NIC2])
    queued = root.acquire([NIC, NIC2], owner="second", wait=10**9)
    policy({"match": {"device": NIC}, "protect": True})
    queued.wait("failed")
    assert queued.Failure[0] == "org.freedesktop.DBus.Error.AccessDenied" and NIC in queued.Failure[1]
    lease.release()
    root.wait_group(NIC, "free")


def test_a_record_that_cannot_be_read_holds_back(host, root, policy):
    policy({"match": {"device": NIC}, "scrub": "administrator"})
    use(root, NIC)
    host.daemon.stop()
    record = host.folder / "var" / "used" / f"{NIC}.json"
    record.unlink()
    record.mkdir()
    host.daemon.start()
    root.watch()
    assert "an unknown owner" in held_back(root, NIC)
