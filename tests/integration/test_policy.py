# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: root all, members of dmaowner user leases, everybody else nothing."""

import os
import subprocess

import pytest
from harness.client import GROUP, LEASE, BusError
from harness.topology import NIC, NIC2, NIC_USED

ALICE, BOB, MALLORY = 1, 2, 3     # users that every Debian has: the bus turns unknown ones away
pytestmark = pytest.mark.usefixtures("other_users")


@pytest.fixture
def alice(host, member):
    return host.client(uid=ALICE, groups=[member])


@pytest.fixture
def bob(host, member):
    return host.client(uid=BOB, groups=[member])


@pytest.fixture
def mallory(host):
    return host.client(uid=MALLORY)


def denied(ask):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.full_name == "org.freedesktop.DBus.Error.AccessDenied", refusal.value


@pytest.mark.story
def test_a_member_takes_a_user_lease_and_gets_the_node(alice, root, sim):
    lease = alice.hold(NIC, owner="dpdk")
    assert (lease.Owner, lease.Uid) == ((ALICE, "dpdk"), ALICE)
    assert str(ALICE) in str(sim.group(NIC)["node"])
    lease.release()
    root.wait_group(NIC, "free")


def test_the_primary_group_counts_too(host, member):
    host.client(uid=ALICE, gid=member).hold(NIC)


def test_two_users_never_share_an_owner(alice, bob, unchanged):
    alice.hold(NIC, owner="same")
    with unchanged(), pytest.raises(BusError) as refusal:
        bob.acquire(NIC, owner="same")
    assert refusal.value.name == "Busy"
    assert str(ALICE) in refusal.value.message


def test_a_member_may_not_take_other_kinds_nor_force(alice, unchanged):
    with unchanged():
        denied(lambda: alice.acquire(NIC, "dma-api"))
        denied(lambda: alice.acquire(NIC, "private-domain", driver="vp-vdpa"))
        denied(lambda: alice.acquire(NIC_USED, force=True))
        denied(lambda: alice.acquire(NIC, uid=BOB))
        denied(lambda: alice.acquire(NIC, uid=0))


def test_a_member_may_name_itself(alice):
    assert alice.hold(NIC, uid=ALICE).Uid == ALICE


def test_an_outsider_may_nothing(mallory, root, unchanged):
    lease = root.hold(NIC)
    with unchanged():
        denied(lambda: mallory.acquire(NIC2))
        denied(lambda: mallory.acquire(NIC2, "dma-api"))
        denied(lambda: mallory.call(lease.path, LEASE, "Release"))
        denied(lambda: mallory.call(lease.path, LEASE, "Renew", "t", 10**6))
        denied(lambda: mallory.call(root.group_path(NIC), GROUP, "Retry"))
        denied(lambda: mallory.call(root.group_path(NIC), GROUP, "Accept"))


def test_an_outsider_learns_no_owners_and_labels(mallory, root):
    lease = root.hold(NIC, owner="secret-owner", label="secret-label")
    for ask in (lambda: mallory.get_all(lease.path, LEASE), lambda: mallory.get_all(root.group_path(NIC), GROUP),
                mallory.managed_objects, mallory.leases, mallory.groups,
                lambda: mallory.get(lease.path, LEASE, "Label")):
        try:
            assert "secret" not in str(ask())
        except BusError as refusal:
            assert "secret" not in str(refusal)


def test_a_member_sees_owners_and_labels(alice, root):
    lease = root.hold(NIC, owner="theirs", label="a label")
    assert alice.get_all(lease.path, LEASE)["Label"] == "a label"
    assert alice.groups()[alice.device(NIC)["Group"]]["Owner"] == (0, "theirs")


def test_another_members_lease_is_not_ours(alice, bob, unchanged):
    lease = alice.hold(NIC)
    with unchanged():
        denied(lambda: bob.call(lease.path, LEASE, "Release"))
        denied(lambda: bob.call(lease.path, LEASE, "Renew", "t", 0))
        pidfd = os.pidfd_open(os.getpid())
        denied(lambda: bob.call(lease.path, LEASE, "Confirm", "h", pidfd))
        os.close(pidfd)


def test_release_owner_is_of_the_callers_uid(alice, bob, root):
    lease = alice.hold(NIC, owner="dpdk")
    assert bob.manager("ReleaseOwner", "s", "dpdk")[0] == 0
    assert lease.State == "active"
    assert root.manager("ReleaseOwner", "s", "dpdk")[0] == 1
    assert lease.wait_ended() == "released"


def test_root_may_release_and_give_to_others(alice, root, sim):
    lease = alice.hold(NIC)
    root.call(lease.path, LEASE, "Release")
    assert lease.wait_ended() == "released"
    given = root.hold(NIC2, uid=ALICE)
    assert given.Uid == ALICE
    assert str(ALICE) in str(sim.group(NIC2)["node"])


def test_nobody_is_made_a_holder_by_others(alice, unchanged):
    """The process must be of the caller's uid."""
    with subprocess.Popen(["sleep", "infinity"], user=BOB) as child:
        pidfd = os.pidfd_open(child.pid)
        with unchanged():
            denied(lambda: alice.acquire(NIC, holder="process", pidfd=pidfd))
        lease = alice.hold(NIC)
        with unchanged():
            denied(lambda: lease.call("Confirm", "h", pidfd))
        os.close(pidfd)
        child.kill()


def test_everybody_may_ask(mallory):
    assert mallory.device(NIC)["Driver"] == "e1000e"
    assert mallory.groups()
