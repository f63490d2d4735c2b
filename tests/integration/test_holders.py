# SPDX-License-Identifier: LGPL-2.1-or-later
"""What keeps a lease alive, and how it ends without it."""

import os
import subprocess

import pytest
from harness import PATIENCE
from harness.client import FOR_EVER, BusError
from harness.topology import NIC, NIC2

SECOND = 10**6


@pytest.fixture
def process():
    """Starts processes that live until they are told otherwise."""
    started = []

    def start(**options):
        started.append(subprocess.Popen(["sleep", "infinity"], **options))
        return started[-1]
    yield start
    for child in started:
        child.kill()
        child.wait()


def back(root, device=NIC):
    root.wait_group(device, "free")
    assert root.device(device)["Driver"] == "e1000e"


@pytest.mark.story
def test_lifeline_closed(root):
    lease = root.hold(NIC)
    assert (lease.Holder, len(lease.lifeline)) == ("lifeline", 1)
    lease.close()
    assert lease.wait_ended() == "holder-died"
    back(root)


def test_lifeline_outlives_the_connection(host, root):
    client = host.client()
    lease = client.hold(NIC)
    number = lease.take_lifeline()
    client.close()
    assert root.leases()[lease.id]["State"] == "active"
    os.close(number)
    back(root)


def test_lifeline_in_a_child_that_dies(root, process):
    lease = root.hold(NIC)
    number = lease.take_lifeline()
    child = process(pass_fds=[number])
    os.close(number)
    assert lease.State == "active"
    child.kill()
    assert lease.wait_ended() == "holder-died"
    back(root)


def test_lifeline_held_twice_ends_with_the_last(root, process):
    lease = root.hold(NIC)
    number = lease.take_lifeline()
    first, second = process(pass_fds=[number]), process(pass_fds=[number])
    os.close(number)
    first.kill()
    first.wait()
    assert lease.State == "active"
    second.kill()
    lease.wait_ended()


def test_writing_into_the_lifeline_does_nothing(root):
    lease = root.hold(NIC)
    number = lease.take_lifeline()
    os.set_blocking(number, False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += os.write(number, b"x" * 4096)
    assert lease.State == "active"
    os.close(number)
    lease.wait_ended()


def test_others_get_no_lifeline(root):
    assert root.hold(NIC, holder="none").lifeline == []
    assert root.hold(NIC2, holder="connection").lifeline == []


def test_process(root, process):
    child = process()
    pidfd = os.pidfd_open(child.pid)
    lease = root.hold(NIC, holder="process", pidfd=pidfd)
    os.close(pidfd)
    assert (lease.Holder, lease.HolderPid) == ("process", child.pid)
    child.kill()
    assert lease.wait_ended() == "holder-died"
    child.wait()
    back(root)


def test_process_that_is_dead_already(root, process, unchanged):
    child = process()
    pidfd = os.pidfd_open(child.pid)
    child.kill()
    child.wait()
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, holder="process", pidfd=pidfd)
    os.close(pidfd)
    assert refusal.value.name == "InvalidArgs"


@pytest.mark.story
# Grace: somebody tidies up behind a process that has died

def orphan(root, process, grace):
    """A lease whose process has died."""
    child = process()
    pidfd = os.pidfd_open(child.pid)
    lease = root.hold(NIC, holder="process", pidfd=pidfd, grace=grace)
    os.close(pidfd)
    child.kill()
    child.wait()
    return lease


def test_grace(root, process):
    lease = orphan(root, process, 600 * SECOND)
    lease.wait("unconfirmed")
    assert (lease.Holder, lease.HolderPid) == ("none", 0) and lease.Expires < FOR_EVER
    assert root.device(NIC)["Driver"] == "vfio-pci"
    lease.release()
    back(root)


def test_grace_is_over(root, process):
    lease = orphan(root, process, SECOND // 10)
    assert lease.wait_ended() == "holder-died"
    back(root)


@pytest.mark.native
def test_grace_over_a_restart(host, root, process):
    """It goes on where it was, also for a process that dies while nobody watches."""
    lease = orphan(root, process, 600 * SECOND)
    lease.wait("unconfirmed")
    until = lease.Expires
    child = process()
    pidfd = os.pidfd_open(child.pid)
    other = root.hold(NIC2, holder="process", pidfd=pidfd, grace=600 * SECOND)
    os.close(pidfd)
    host.daemon.kill()
    child.kill()
    child.wait()
    host.start()
    leases = host.client().leases()
    assert leases[lease.id]["Expires"] == until
    assert [leases[id]["State"] for id in (lease.id, other.id)] == ["unconfirmed"] * 2


def test_grace_is_for_another_process_too(root, process):
    lease = orphan(root, process, 600 * SECOND)
    lease.wait("unconfirmed")
    child = process()
    pidfd = os.pidfd_open(child.pid)
    lease.call("Confirm", "h", pidfd)
    os.close(pidfd)
    assert (lease.State, lease.HolderPid, lease.Expires) == ("active", child.pid, FOR_EVER)


@pytest.mark.parametrize("options", [{"grace": 601 * SECOND, "holder": "none"}, {"grace": 1}, {"grace": 1, "holder": "connection"}])
def test_no_such_grace(root, unchanged, options):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, **options)
    assert refusal.value.name == "InvalidArgs" and "grace" in str(refusal.value)


def test_connection(host, root):
    client = host.client()
    lease = client.hold(NIC, holder="connection")
    assert root.leases()[lease.id]["Holder"] == "connection"
    client.close()
    back(root)
    assert root.leases() == {}


def test_none_lives_on_until_released(host, root):
    client = host.client()
    lease = client.hold(NIC, holder="none")
    client.close()
    assert root.leases()[lease.id]["State"] == "active"
    root.call(lease.path, "org.dmaowner1.Lease", "Release")
    back(root)


@pytest.mark.story
@pytest.mark.parametrize("holder", ["lifeline", "connection"])
def test_a_caller_that_disconnects_while_activating(host, root, sim, holder):
    before = sim.state()
    client = host.client()
    sim.inject("bind", NIC, hang=True)
    lease = client.acquire(NIC, holder=holder)
    assert lease.State == "activating"
    lease.close()
    client.close()
    root.wait(lambda: root.leases() == {}, "the lease to end")
    sim.clear()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("holder", ["lifeline", "connection"])
def test_a_caller_that_disconnects_before_the_answer(host, root, sim, holder):
    before = sim.state()
    sim.inject("inspect", NIC, delay_us=2_000_000)
    client = host.client()
    client.start_acquire(NIC, holder=holder)
    root.wait(lambda: root.group_of(NIC)["State"] == "claiming", "the reservation")
    client.close()
    root.wait(lambda: root.leases() == {} and root.group_of(NIC)["State"] == "free", "nothing to be left")
    assert sim.difference(before) == {}


def test_release_by_another_connection_of_the_same_user(host, root):
    lease = root.hold(NIC)
    host.client().call(lease.path, "org.dmaowner1.Lease", "Release")
    assert lease.wait_ended() == "released"
    back(root)


# time to live

@pytest.mark.story
def test_expiry(root):
    # over soon, but not before it is active
    lease = root.hold(NIC, ttl=PATIENCE * SECOND // 30, holder="none")
    assert lease.wait_ended() == "expired"
    back(root)


def test_renew_puts_it_off(root):
    lease = root.hold(NIC, ttl=PATIENCE * SECOND, holder="none")
    first = lease.Expires
    lease.call("Renew", "t", 3600 * SECOND)
    assert lease.Expires > first + 3000 * SECOND
    lease.call("Renew", "t", 0)
    assert lease.Expires == FOR_EVER
    lease.call("Renew", "t", SECOND // 10)
    assert lease.wait_ended() == "expired"


def test_expired_with_open_files_is_unconfirmed_until_they_close(root, sim):
    lease = root.hold(NIC, holder="none")
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    lease.call("Renew", "t", SECOND // 10)
    lease.wait("unconfirmed")
    root.wait(lambda: root.group_of(NIC)["WaitsFor"] == "dpdk-testpmd (pid 4711)", "who is in the way")
    assert root.group_of(NIC)["State"] == "owned"
    assert root.device(NIC)["Driver"] == "vfio-pci"
    sim.close(NIC, pid=4711)
    assert lease.wait_ended() == "expired"
    back(root)


def test_whether_files_are_closed_cannot_be_told(root, sim):
    lease = root.hold(NIC, holder="none")
    sim.inject("wait-closed", errno="EIO")
    lease.call("Renew", "t", SECOND // 10)
    lease.wait("unconfirmed")
    why = root.wait(lambda: root.group_of(NIC)["WaitsFor"], "the reason")
    assert lease.id in why and "Input/output error" in why
    sim.clear()
    assert lease.wait_ended() == "expired"
    back(root)


def test_two_leases_expire_on_one_group(root, sim):
    first, second = (root.hold(NIC, holder="none") for _ in range(2))
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    for lease in first, second:
        lease.call("Renew", "t", SECOND // 10)
    # the one that others share takes nothing away with it
    root.wait(lambda: len(root.leases()) == 1, "one of them to end")
    assert root.device(NIC)["Driver"] == "vfio-pci"
    sim.close(NIC, pid=4711)
    root.wait(lambda: root.leases() == {}, "the other to end")
    back(root)


def test_unconfirmed_that_is_lost(root, sim):
    lease = root.hold([NIC, NIC2], holder="none")
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    lease.call("Renew", "t", SECOND // 10)
    lease.wait("unconfirmed")
    sim.unplug(NIC2)
    root.wait(lambda: lease.State == "lost", "the lease to be lost")
    root.wait_group(NIC, "draining")
    sim.close(NIC, pid=4711)
    back(root)


def test_unconfirmed_is_renewed(root, sim):
    lease = root.hold(NIC, holder="none")
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    lease.call("Renew", "t", SECOND // 10)
    lease.wait("unconfirmed")
    root.wait(lambda: root.group_of(NIC)["WaitsFor"], "who is in the way")
    lease.call("Renew", "t", 3600 * SECOND)
    assert lease.State == "active"
    assert root.group_of(NIC)["WaitsFor"] == ""
    sim.close(NIC, pid=4711)
    assert root.leases()[lease.id]["State"] == "active"
    lease.release()
    back(root)


# Confirm

def test_confirm_moves_the_lease_to_a_process(root, process):
    child = process()
    lease = root.hold(NIC, ttl=3600 * SECOND)
    pidfd = os.pidfd_open(child.pid)
    lease.call("Confirm", "h", pidfd)
    os.close(pidfd)
    assert (lease.Holder, lease.HolderPid, lease.Expires) == ("process", child.pid, FOR_EVER)
    lease.close()
    assert lease.State == "active"
    child.kill()
    assert lease.wait_ended() == "holder-died"


def test_confirm_that_cannot_be_written(host, root, process):
    """It holds all the same, and the process is watched."""
    child = process()
    lease = root.hold(NIC, ttl=3600 * SECOND)
    leases = host.daemon.runtime / "leases"
    leases.rename(host.daemon.runtime / "aside")
    pidfd = os.pidfd_open(child.pid)
    lease.call("Confirm", "h", pidfd)
    os.close(pidfd)
    lease.close()
    assert lease.State == "active"
    (host.daemon.runtime / "aside").rename(leases)
    # what is opened from now on has the number of one that would have been closed too often
    other = root.hold(NIC2)
    other.close()
    assert other.wait_ended() == "holder-died"
    assert lease.State == "active"
    child.kill()
    assert lease.wait_ended() == "holder-died"


def test_confirm_by_what_is_no_process(root, unchanged):
    lease = root.hold(NIC)
    reading, writing = os.pipe()
    with unchanged(), pytest.raises(BusError) as refusal:
        lease.call("Confirm", "h", reading)
    os.close(reading)
    os.close(writing)
    assert refusal.value.name == "InvalidArgs"


def test_confirm_keeps_an_unconfirmed_lease(root, sim, process):
    lease = root.hold(NIC, holder="none")
    sim.open(NIC, pid=4711, comm="dpdk-testpmd")
    lease.call("Renew", "t", SECOND // 10)
    lease.wait("unconfirmed")
    child = process()
    pidfd = os.pidfd_open(child.pid)
    lease.call("Confirm", "h", pidfd)
    os.close(pidfd)
    assert lease.State == "active"


def test_many_lifelines_at_once(root):
    leases = [root.hold(NIC, owner="me") for _ in range(100)]
    assert root.group_of(NIC)["Count"] == 100
    for lease in leases[:-1]:
        lease.close()
    root.wait(lambda: root.group_of(NIC)["Count"] == 1, "99 leases to end")
    assert leases[-1].State == "active"
