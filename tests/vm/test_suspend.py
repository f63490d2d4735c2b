# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine sleeps and wakes up. Its clock of what was promised goes on meanwhile."""

import time

import pytest

from devices import DEVICES

NIC, NIC2, HELD = (DEVICES[role].address for role in ("nic", "nic2", "bridge_a"))
ASLEEP = 12     # seconds


def sleep(host):
    """Returns when it is awake again."""
    going = host.start("sync; echo deep > /sys/power/mem_sleep && echo mem > /sys/power/state")
    host.guest.wait_event("SUSPEND")
    time.sleep(ASLEEP)
    host.guest.qmp("system_wakeup")
    host.guest.wait_event("WAKEUP")
    assert going.wait() == 0, going.output


def clock(host):
    """CLOCK_BOOTTIME, in seconds."""
    return float(host.output("cut -d' ' -f1 /proc/uptime"))


@pytest.mark.one_kernel
def test_leases_outlive_it(host):
    pids = host.output("pidof dmaownerd dmaowner-executor")
    kept = host.acquire(NIC)
    ends = host.acquire(NIC2, options=["--ttl=10s"])
    held = host.start(["dmaownerctl", "acquire", HELD])
    host.wait_driver(HELD, "vfio-pci")
    begin = clock(host)
    sleep(host)
    assert clock(host) - begin > ASLEEP - 2
    # who was promised ten seconds has had them, and his device is the host's again
    host.wait_driver(NIC2, "e1000e")
    host.wait("the lease over", lambda: host.lease_state(ends) in (None, "ended"))
    assert host.lease_state(kept) == "active" and host.driver(NIC) == "vfio-pci"
    assert host.driver(HELD) == "vfio-pci"
    # whoever died then or now is missed, and nobody had to start anything again
    held.signal(9)
    host.wait_driver(HELD, "e1000")
    host.release(kept)
    host.wait_driver(NIC, "e1000e")
    assert host.output("pidof dmaownerd dmaowner-executor") == pids
