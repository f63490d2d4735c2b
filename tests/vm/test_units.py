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


# The protocols of the netlink sockets of the host's network namespace that a process has.
PROTOCOLS = """\
import os, sys
inodes = {os.readlink(f"/proc/{sys.argv[1]}/fd/{fd}") for fd in os.listdir(f"/proc/{sys.argv[1]}/fd")}
with open("/proc/1/net/netlink") as file:
    rows = [line.split() for line in file][1:]
print(*sorted(int(row[1]) for row in rows if f"socket:[{row[9]}]" in inodes))
"""
ROUTE, AUDIT = "0", "9"


def test_executor_has_no_network(host):
    """But for the sockets that it is handed."""
    host.output("dmaownerctl list")
    pid = host.output("systemctl show --property=MainPID --value dmaowner-executor.service")
    assert pid != "0"
    assert host.output(f"readlink /proc/{pid}/ns/net") != host.output("readlink /proc/1/ns/net")
    families = host.output("systemctl show --property=RestrictAddressFamilies --value dmaowner-executor.service")
    assert families == "AF_UNIX"
    audit = [AUDIT] if host.run("systemctl is-active dmaowner-audit.socket", check=False)[0] == 0 else []
    assert audit or host.output("systemctl show --property=ConditionResult --value dmaowner-audit.socket") == "no"
    assert host.output(["python3", "-c", PROTOCOLS, pid]).split() == [ROUTE, *audit]


def test_bus_tells_the_daemon_what_is_unread(host):
    """The bus's own policy lets nobody but root ask."""
    question = ["busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats",
                "GetConnectionStats", "s", "org.dmaowner1"]
    assert "IncomingFDs" in host.output(["runuser", "-u", "dmaownerd", "--", *question])
    assert host.run(["runuser", "-u", "alice", "--", *question], check=False)[0] != 0
