# SPDX-License-Identifier: LGPL-2.1-or-later
"""The queue and revocation on a real kernel. Whether two had the same device at once is seen by
those who have it, not by asking the daemon."""

import json
import random

import pytest

from devices import DEVICES
from test_lease import NIC, pid_of, start_testpmd
from test_policy import FILE, put

pytestmark = pytest.mark.one_kernel
SRIOV = DEVICES["nvme_sriov"].address
VFS, CLIENTS = 24, 20

# One request: OWNER DEVICE... What it has it marks as its own, which can succeed only once; it opens the nodes, which the kernel
# lets only one do; and it leaves. By the shell alone: in a guest each program more costs more than the kernel's part.
ASK = """#!/bin/sh
owner=$1; shift
exec dmaownerctl exec --wait --owner=$owner "$@" -- sh -c '
    set -eC
    for device in $DMAOWNER_DEVICES; do
        : > /tmp/owned/$device
        cd -P /sys/bus/pci/devices/$device/driver
        test ${PWD##*/} = vfio-pci
        cd -P /sys/bus/pci/devices/$device/iommu_group
        exec 9<>/dev/vfio/${PWD##*/}
    done
    cd /tmp/owned
    rm $DMAOWNER_DEVICES
    echo served'
"""


@pytest.fixture
def functions(host):
    physical = f"/sys/bus/pci/devices/{SRIOV}"
    host.run(f"echo 0 > {physical}/sriov_drivers_autoprobe; echo {VFS} > {physical}/sriov_numvfs")
    names = host.output(f"for i in $(seq 0 {VFS - 1}); do basename $(readlink {physical}/virtfn$i); done").split()
    host.wait("all functions known", lambda: host.run(f"dmaownerctl show {names[-1]}", check=False)[0] == 0)
    yield names
    host.wait_free(*names)
    host.run(f"echo 0 > {physical}/sriov_numvfs; echo 1 > {physical}/sriov_drivers_autoprobe")


@pytest.fixture
def unlimited(host):
    """As many requests of one user in the queue as he likes."""
    put(host, FILE, json.dumps({"limits": {"queued": 1000}}))
    host.ctl("reload")
    yield
    host.run(f"rm {FILE}")
    host.ctl("reload")


def test_many_clients_at_once(host, functions, unlimited, request):
    # all 200 take ten minutes where everything is emulated
    number = 200 if request.config.getoption("everywhere") else 40
    chance = random.Random(11)
    requests = [f"client{n % CLIENTS}.{n // CLIENTS} {' '.join(chance.sample(functions, chance.randint(1, 3)))}"
                for n in range(number)]
    host.run("rm -rf /tmp/owned; mkdir -m 777 /tmp/owned; cat > /tmp/ask; chmod 755 /tmp/ask", stdin=ASK.encode())
    host.run("cat > /tmp/requests", stdin="\n".join(requests).encode() + b"\n")
    status, output = host.run(f"xargs -a /tmp/requests -L 1 -P {number} /tmp/ask 2>/tmp/asked", user="alice",
                              check=False, timeout=900)
    assert status == 0, host.output("grep -vE 'is queued|is activating|RLIMIT_MEMLOCK|raise it:' /tmp/asked | tail -50")
    assert output.count("served") == number
    assert host.output("grep -c 'is queued' /tmp/asked") != "0"
    assert host.output("ls /tmp/owned") == ""
    assert host.leases() == []


def test_waits_until_the_host_has_it_back(host):
    first = host.acquire(NIC, user="alice", options=["--owner=first"])
    second = host.start("exec dmaownerctl exec --wait --owner=second " + NIC + " -- sh -c 'echo $DMAOWNER_LEASE has it'",
                        user="alice")
    second.wait_output("is queued")
    assert host.driver(NIC) == "vfio-pci"
    host.release(first)
    second.wait_output("has it")
    second.wait()
    host.wait_driver(NIC, "e1000e")


def test_one_who_does_not_leave(host):
    """VFIO asks testpmd to let go, which it does not; who it is is shown, and when it has gone all comes back by itself."""
    command = start_testpmd(host)
    command.wait_output("testpmd>", timeout=120)
    pid, group = pid_of(host, "dpdk-testpmd"), host.group(NIC)
    lease, = host.leases()
    host.ctl("revoke", lease["Id"], "--deadline=1s", "--reason=maintenance")
    host.wait("the end of the right", lambda: host.leases() == [])
    host.wait("who is in the way", lambda: f"pid {pid}" in host.property("group", group, "Group", "WaitsFor"))
    assert host.property("group", group, "Group", "State") == "draining"
    # the kernel is at it: nobody else can open the device
    host.wait("the unbind", lambda: host.run("dmesg | grep -q 'vfio-pci.*Relaying device request to user'", check=False)[0] == 0)
    waiting = host.start(f"exec dmaownerctl exec --wait --owner=other {NIC} -- echo has it", user="bob")
    waiting.wait_output("is queued")
    host.run("pkill -KILL dpdk-testpmd; pkill -KILL -u alice dmaownerctl", check=False)
    waiting.wait_output("has it")
    waiting.wait()
    command.wait()
    host.wait_driver(NIC, "e1000e")


def test_leaves_in_time(host):
    lease = host.acquire(NIC, user="alice")
    host.ctl("revoke", lease, "--deadline=1h")
    assert host.lease_state(lease) == "revoking"
    assert host.driver(NIC) == "vfio-pci"
    host.ctl("release", lease, user="alice")
    host.wait_driver(NIC, "e1000e")
