# SPDX-License-Identifier: LGPL-2.1-or-later
"""What happens to the daemon while a program has lent files of a device in use: whatever ends it, the service manager
keeps its files, and the program, the device and the lease stay as they are."""

import pytest

from devices import DEVICES
from test_fd_lease import EXEC, kill

pytestmark = pytest.mark.one_kernel
NIC = DEVICES["nic"].address
CLIENT = f"--access=fd {NIC}", "/payload/src/tests/vm/vfio-client use"
STORE = "busctl get-property org.freedesktop.systemd1 {unit} org.freedesktop.systemd1.Service NFileDescriptorStore | cut -d' ' -f2"
UNIT = "/org/freedesktop/systemd1/unit/dmaownerd_2eservice"
DROP_IN = "/run/systemd/system/dmaownerd.service.d/watchdog.conf"

ENDS = {
    "restarted": "systemctl restart dmaownerd",
    "killed": "systemctl kill --signal=KILL dmaownerd",
    "aborted": "systemctl kill --signal=ABRT dmaownerd",
    "manager reloaded": "systemctl daemon-reload",
    # what a package's scripts do: the files anew, and then
    "upgraded": "/payload/src/tests/vm/guest-setup && systemctl try-restart dmaowner-executor dmaownerd",
}


@pytest.fixture
def user(host):
    """alice's program, which has files of the NIC; killed in the end."""
    command = host.start(EXEC.format(user="alice", options=CLIENT[0], command=CLIENT[1]), timeout=300)
    command.wait_output("ready", timeout=120)
    yield command
    kill(host)
    command.wait()


def stored(host):
    return int(host.output(STORE.format(unit=UNIT)))


def back(host):
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)


def pid_of(host, name):
    return host.output(f"pgrep -o -x {name}")


def main_pid(host):
    return host.output("systemctl show --property=MainPID --value dmaownerd")


def assert_nothing_happened(host, before):
    back(host)
    lease, = host.leases()
    assert lease["State"] == "active"
    assert (pid_of(host, "vfio-client"), stored(host), host.driver(NIC)) == before
    assert host.property("group", host.group(NIC), "Group", "Claimed")


def taken_back(host):
    """The lease ends with its holder, and its device goes back."""
    kill(host)
    host.wait_driver(NIC, "e1000e")
    host.wait_free(NIC)
    assert stored(host) == 0


@pytest.mark.parametrize("end", ENDS)
def test_files_stay(host, user, end):
    before = (pid_of(host, "vfio-client"), stored(host), host.driver(NIC))
    assert before[1] > 0 and before[2] == "vfio-pci"
    host.run(ENDS[end])
    assert_nothing_happened(host, before)
    taken_back(host)


def test_a_daemon_that_hangs(host):
    host.run(f"mkdir -p $(dirname {DROP_IN}) && printf '[Service]\\nWatchdogSec=5s\\n' > {DROP_IN} && systemctl daemon-reload "
             "&& systemctl restart dmaownerd")
    try:
        command = host.start(EXEC.format(user="alice", options=CLIENT[0], command=CLIENT[1]), timeout=300)
        command.wait_output("ready", timeout=120)
        before = (pid_of(host, "vfio-client"), stored(host), host.driver(NIC))
        daemon = main_pid(host)
        host.run(f"kill -STOP {daemon}")
        host.wait("the watchdog", lambda: main_pid(host) not in ("0", daemon))
        assert "watchdog" in host.output("journalctl -b --no-pager -u dmaownerd").lower()
        assert_nothing_happened(host, before)
        taken_back(host)
        command.wait()
    finally:
        host.run(f"rm {DROP_IN} && systemctl daemon-reload && systemctl restart dmaownerd")
        back(host)


def test_a_daemon_that_dies_again_and_again(host, user):
    before = (pid_of(host, "vfio-client"), stored(host), host.driver(NIC))
    for _ in range(12):     # more than the service manager's own limit, in less than its interval
        host.run("systemctl kill --signal=KILL dmaownerd dmaowner-executor; sleep 0.7")
    assert_nothing_happened(host, before)
    assert host.output("systemctl is-active dmaownerd dmaowner-executor").split() == ["active"] * 2
    taken_back(host)


def test_stopped_and_started(host, user):
    """The service manager keeps files of a service that runs: what is lost with them is said."""
    assert stored(host) > 0
    host.run("systemctl stop dmaownerd && systemctl start dmaownerd")
    assert stored(host) == 0
    lease, = host.leases()
    assert lease["State"] == "active" and host.driver(NIC) == "vfio-pci"
    status, output = host.run(f"busctl call org.dmaowner1 /org/dmaowner1/lease/{lease['Id']} org.dmaowner1.Lease OpenFiles as 1 {NIC}",
                              user="alice", check=False)
    assert status != 0 and "lost when the daemon was stopped" in output, output
    # its own copies are as good as before: nothing is taken from it
    assert pid_of(host, "vfio-client")
    kill(host)
    host.wait_driver(NIC, "e1000e")
