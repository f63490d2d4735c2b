# SPDX-License-Identifier: LGPL-2.1-or-later
"""A step that hangs in the kernel: it holds nobody up but its group, and it is known over a restart."""

import time

import pytest
from harness.client import BusError, Lease
from harness.topology import NIC, NIC2

MARGIN = 20     # seconds: less than any deadline or timeout that it could wait for, more than a busy host takes

CLAIM = {"set-override": f"set driver_override of {NIC} to vfio-pci", "unbind": f"unbind {NIC} from e1000e",
         "bind": f"bind {NIC} to vfio-pci", "grant-node": "/dev/vfio/12"}
RESTORE = {"revoke-node": "/dev/vfio/12", "reset": f"reset {NIC}", "unbind": f"unbind {NIC} from vfio-pci",
           "set-override": f"driver_override of {NIC}", "bind": f"bind {NIC} to e1000e"}


def seconds(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


@pytest.fixture
def usual(host):
    """How long the daemon takes to end when nothing hangs."""
    host.root.hold(NIC2).release()
    host.root.wait_group(NIC2, "free")
    taken = seconds(host.daemon.stop)
    host.daemon.start()
    host.root.watch()
    return taken


def hang(root, sim, op, way):
    """A lease of NIC, stuck on the way there or back."""
    if way == "claim":
        sim.inject(op, NIC, hang=True)
        lease = root.acquire(NIC)
    else:
        lease = root.hold(NIC)
        sim.inject(op, NIC, hang=True)
        lease.release()
    root.wait(lambda: sim.hanging(NIC), f"{op} to hang")
    return lease


def check_others(root, sim):
    other = root.hold(NIC2)
    other.release()
    root.wait_group(NIC2, "free")


CASES = [("claim", op, says) for op, says in CLAIM.items()] + [("restore", op, says) for op, says in RESTORE.items()]


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("way,op,says", CASES, ids=[f"{way}-{op}" for way, op, _ in CASES])
def test_a_restart(host, root, sim, usual, how, way, op, says):
    before = sim.state()
    lease = hang(root, sim, op, way)
    check_others(root, sim)
    assert seconds(getattr(host.daemon, how)) < usual + MARGIN
    assert seconds(host.daemon.start) < usual + MARGIN
    root.watch()
    group = root.wait(lambda: (shown := root.group_of(NIC))["WaitsFor"] and shown, "what the group waits for")
    assert group["State"] == ("claiming" if way == "claim" else "draining" if op == "revoke-node" else "restoring")
    assert "left behind in the kernel" in group["WaitsFor"] and says in group["WaitsFor"]
    with pytest.raises(BusError) as error:
        root.acquire(NIC, owner="another")
    assert error.value.name == "Busy" and way == "claim" or says in error.value.message
    check_others(root, sim)
    assert sim.hanging(NIC)
    # a second restart knows it as well
    host.restart(how)
    root.wait(lambda: says in root.group_of(NIC)["WaitsFor"], "what the group waits for")
    sim.clear()
    if way == "claim":
        again = Lease(root, lease.path, [])
        again.wait("active")
        again.release()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_the_holder_dies_while_it_hangs(host, root, sim):
    """The claim is not finished for somebody who is gone; the way back waits for the kernel."""
    before = sim.state()
    lease = hang(root, sim, "unbind", "claim")
    host.daemon.stop()
    lease.close()
    host.daemon.start()
    root.watch()
    root.wait_group(NIC, "draining")
    root.wait(lambda: f"unbind {NIC}" in root.group_of(NIC)["WaitsFor"], "what the group waits for")
    assert root.leases() == {}
    check_others(root, sim)
    sim.clear()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}
