# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager lets the programs do."""

import re

import pytest

# as systemd-analyze counts, of 10
EXPOSURE = {"dmaownerd.service": 1.0, "dmaowner-executor.service": 2.4}


@pytest.mark.parametrize("unit", EXPOSURE)
def test_exposure(host, unit):
    told = host.output(["systemd-analyze", "security", "--no-pager", unit])
    exposure = float(re.search(r"Overall exposure level for .*: ([0-9.]+)", told)[1])
    print(unit, exposure)
    assert exposure <= EXPOSURE[unit], told


def test_executor_has_no_network(host):
    """But for the sockets that it is handed."""
    host.output("dmaownerctl list")
    pid = host.output("systemctl show --property=MainPID --value dmaowner-executor.service")
    assert pid != "0"
    assert host.output(f"readlink /proc/{pid}/ns/net") != host.output("readlink /proc/1/ns/net")
    families = host.output("systemctl show --property=RestrictAddressFamilies --value dmaowner-executor.service")
    assert families == "AF_UNIX"
    kinds = host.output(f"for one in /proc/{pid}/fd/*; do readlink $one; done | grep -c socket:")
    assert int(kinds) >= 2
