# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that ask and do not read. The bus keeps for them what they were sent, and takes nothing more from the daemon
while there are too many descriptors among it."""

import os

import pytest
from harness.client import LEASE, MANAGER, ROOT, BusError
from harness.topology import NIC, SINGLES

UNREAD = 40     # calls that are answered with descriptors


@pytest.fixture
def deaf(host):
    """Its socket is full: what comes next stays in the bus."""
    client = host.client()
    client.full = []
    for _ in range(3):
        client.full += [client.start(ROOT, MANAGER, "ListGroups", "xu", -1, 256) for _ in range(10)]
        host.root.leases()      # the bus takes no more than 128 calls that are not answered yet
    return client


def others_are_served(root):
    for holder in ("connection", "lifeline", "none"):
        lease = root.hold(NIC, owner="somebody", holder=holder)
        lease.release()
        lease.close()
        root.wait_group(NIC, "free")


def refusals(client, serials):
    """Reads after all; the descriptors are closed."""
    refused = []
    for serial in serials:
        try:
            for answer in client.finish(serial):
                if isinstance(answer, list):
                    for entry in answer:
                        os.close((entry[2] if isinstance(entry, tuple) else entry).to_raw_fd())
        except BusError as error:
            refused.append(error)
    return refused


def test_files_that_nobody_reads(root, deaf):
    lease = root.hold(SINGLES[:6], access="fd", interface="container", holder="none")
    calls = [deaf.start(lease.path, LEASE, "OpenFiles", "as", SINGLES[:6]) for _ in range(UNREAD)]
    others_are_served(root)
    for serial in deaf.full:
        deaf.finish(serial)
    refused = refusals(deaf, calls)
    assert refused and {error.name for error in refused} == {"QuotaExceeded"} and "read them first" in str(refused[0])
    # who reads is served
    assert not refusals(deaf, [deaf.start(lease.path, LEASE, "OpenFiles", "as", SINGLES[:6])])


def test_lifelines_that_nobody_reads(root, deaf):
    calls = [deaf.start_acquire([device], owner="deaf") for device in SINGLES[:UNREAD]]
    others_are_served(root)
    for serial in deaf.full:
        deaf.finish(serial)
    assert {error.name for error in refusals(deaf, calls)} == {"QuotaExceeded"}


@pytest.mark.parametrize("at_once", [1, 60])
def test_who_reads_gets_as_many_as_he_likes(root, at_once):
    lease = root.hold(SINGLES[:6], access="fd", interface="container", holder="none")
    for _ in range(120 // at_once):
        assert not refusals(root, [root.start(lease.path, LEASE, "OpenFiles", "as", SINGLES[:6]) for _ in range(at_once)])
