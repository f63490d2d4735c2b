# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host that has no room, and one whose clock jumps."""

import pytest

from devices import DEVICES

pytestmark = pytest.mark.one_kernel
NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
FILL = "dd if=/dev/zero of=/run/full bs=4k 2>/dev/null; df --output=avail /run | tail -1"


def test_run_is_full(host):
    lease = host.acquire(NIC, user="alice")
    try:
        assert int(host.output(FILL)) == 0
        status, output = host.ctl("acquire", "--holder=none", NIC2, user="bob", check=False)
        assert status != 0 and "No space left on device" in output, output
        assert host.driver(NIC2) == "e1000e"
        # to give back needs no room
        host.release(lease)
        host.wait_driver(NIC, "e1000e")
    finally:
        host.run("rm -f /run/full")
    host.wait_free(NIC, NIC2)
    host.release(host.acquire(NIC2, user="bob"))
    host.wait_driver(NIC2, "e1000e")


def test_the_clock_jumps(host):
    """Times of leases are those of a clock that nobody sets."""
    lease = host.acquire(NIC, user="alice", options=["--ttl=1h"])
    host.run("systemctl stop systemd-timesyncd 2>/dev/null; date -s '+2 days'")
    try:
        other = host.acquire(NIC2, user="bob", options=["--ttl=1h"])
        host.run("date -s '-4 days'")
        for one in lease, other:
            assert host.lease_state(one) == "active"
        host.ctl("renew", other, "--ttl=5s", user="bob")
        host.wait_driver(NIC2, "e1000e")
        assert host.lease_state(lease) == "active" and host.driver(NIC) == "vfio-pci"
    finally:
        host.run("date -s '+2 days'")
    host.release(lease)
    host.wait_driver(NIC, "e1000e")
