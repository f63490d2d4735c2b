# SPDX-License-Identifier: LGPL-2.1-or-later
"""What could not be done at once - no space, no descriptors - is done as soon as it can be, or refused
as a whole. tests/faults has the rest."""

import time

import pytest
from harness import PATIENCE
from harness.client import BusError
from harness.topology import NIC, NIC2


def in_the_way(path):
    """A folder where a file is to be written or removed."""
    path.mkdir()
    return path


def test_a_record_that_cannot_be_removed(host, root):
    """What is over may not come back with the next start."""
    lease = root.hold(NIC, holder="none")
    record = host.daemon.runtime / "leases" / f"{lease.id}.json"
    text = record.read_text()
    record.unlink()
    obstacle = in_the_way(record)
    lease.release()
    root.wait_group(NIC, "free")        # the right is gone all the same
    obstacle.rmdir()
    record.write_text(text)
    deadline = time.monotonic() + PATIENCE
    while record.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    host.restart("kill")
    assert root.leases() == {}


def test_a_lifeline_that_cannot_be_made(host, root):
    """A request that would have waited is refused, and nothing of it waits."""
    root.hold(NIC, owner="first", holder="none")
    obstacle = in_the_way(host.daemon.runtime / "lifelines" / "l2")
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC, owner="second", wait=2**62)
    assert refusal.value.name == "QuotaExceeded"
    assert list(root.leases()) == ["l1"]
    obstacle.rmdir()
    root.hold(NIC2, owner="second")


def test_a_bus_that_goes(host):
    """Nobody could reach it any more: it ends so that the service manager starts it again."""
    host.bus.process.kill()
    assert host.daemon.process.wait(PATIENCE) == 1
    assert "The connection to the bus is lost" in host.daemon.said()
    host.daemon.process = None
