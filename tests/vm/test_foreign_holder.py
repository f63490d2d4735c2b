# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that nobody knows has a device open when its lease ends: an unbind would hang until it closes."""

import statistics
import time

import pytest

from devices import DEVICES

NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
HOLD = ("import sys, time; sys.path.append('/payload/src/tests/vm'); import vfio; "
        "files = vfio.open_by_node(sys.argv[1], sys.argv[2]); print('has it', flush=True); time.sleep(1000)")


@pytest.fixture
def stranger(host):
    """Opens the device that is leased, as root may."""
    commands = []

    def start():
        commands.append(host.start(["python3", "-c", HOLD, str(host.group(NIC)), NIC]))
        commands[0].wait_output("has it")
        return commands[0]
    yield start
    for command in commands:
        command.signal(9)
        command.wait()


def seconds_for_others(host):
    """Of a lease of another device from its request to its end, and of a mere question: medians."""
    leases, questions = [], []
    for _ in range(5):
        begin = time.monotonic()
        host.release(host.acquire(NIC2, user="bob"))
        host.wait_free(NIC2)
        leases.append(time.monotonic() - begin)
    for _ in range(10):
        begin = time.monotonic()
        host.output("busctl call org.dmaowner1 /org/dmaowner1 org.dmaowner1.Manager ListGroups xu -- -1 256")
        questions.append(time.monotonic() - begin)
    return statistics.median(leases), statistics.median(questions)


@pytest.mark.parametrize("how", ["released", "daemon restarted", "executor restarted"])
def test_nobody_else_waits(host, stranger, how):
    group, before = host.group(NIC), host.state(NIC)
    lease = host.acquire(NIC, user="alice")
    process = stranger()
    alone = seconds_for_others(host)
    host.release(lease)
    host.wait("who is in the way", lambda: "python3 (pid " in (host.property("group", group, "Group", "WaitsFor") or ""))
    if how != "released":
        host.run(f"systemctl restart {'dmaownerd' if how.startswith('daemon') else 'dmaowner-executor'}")
        host.wait("who is in the way", lambda: "python3 (pid " in (host.property("group", group, "Group", "WaitsFor") or ""))
    beside = seconds_for_others(host)
    print(f"{host.guest.name}: a lease and back {alone[0]:.2f} s, beside a stuck group {beside[0]:.2f} s; "
          f"a question {alone[1]:.3f} s, beside it {beside[1]:.3f} s")
    assert host.property("group", group, "Group", "State") == "draining"
    assert host.driver(NIC) == "vfio-pci"
    process.signal(9)
    host.wait_free(NIC)
    assert host.state(NIC) == before
