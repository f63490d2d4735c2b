# SPDX-License-Identifier: LGPL-2.1-or-later
"""The process of a step, the executor and the daemon are killed at each kind of step, while testpmd runs on another
device; tests/vm/kill-points does it in the guest, and looks after everything there."""

import sys

import pytest

from devices import DEVICES
from test_lease import pid_of, start_testpmd

pytestmark = pytest.mark.one_kernel
NIC2 = DEVICES["nic2"].address
# Those that a change of a driver, of a type, of VFs, and files that are lent consist of.
KINDS = {"inspect", "set-override", "unbind", "bind", "set-type", "grant-node", "revoke-node", "wait-closed", "lend", "reclaim", "claim",
         "reset", "set-num-vfs", "set-vf-autoprobe", "scrub", "evict"}


def kill_points(host, *patterns):
    """(kinds of steps, number of cases), of which each went well. Without a pattern it is the sample: each point there
    is takes an hour of one guest, and on the simulated host tests/faults/run goes through all of them."""
    status, output = host.run(["/payload/src/tests/vm/kill-points", *patterns], timeout=3600, check=False, stream=sys.stdout)
    assert status == 0, output
    kinds, figures = output.splitlines()[-2:]
    tried, recovered = figures.split()[3].split("/")
    assert tried == recovered
    return set(kinds.split()[1:]), int(tried)


@pytest.mark.guests("debian12", "debian13")     # a module there
def test_killed_as_a_driver_is_loaded(host):
    """Nobody may use VFIO then."""
    kinds, tried = kill_points(host, "module/*load-module*")
    assert kinds == {"load-module"} and tried >= 6


def test_killed_at_each_kind_of_step(host):
    testpmd = start_testpmd(host, device=NIC2, timeout=3600)
    try:
        testpmd.wait_output("testpmd>", timeout=240)
        pid = pid_of(host, "dpdk-testpmd")
        kinds, tried = kill_points(host)
        assert kinds >= KINDS and tried >= 3 * len(KINDS)
        assert pid_of(host, "dpdk-testpmd") == pid
    finally:
        host.run("pkill -KILL dpdk-testpmd; pkill -KILL dmaownerctl", check=False)
        testpmd.wait()
    host.wait_driver(NIC2, "e1000e")
