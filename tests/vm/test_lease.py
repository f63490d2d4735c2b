# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases on a real kernel, seen from outside the daemon: real drivers, VFIO, dpdk-testpmd."""

import re
import time

import pytest

from devices import BRIDGE, DEVICES

NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
BRIDGE_A, BRIDGE_B = DEVICES["bridge_a"].address, DEVICES["bridge_b"].address
DISK, SRIOV = DEVICES["nvme_used"].address, DEVICES["nvme_sriov"].address
MAC = re.compile(r"52:54:00:12:34:[0-9A-F]{2}", re.IGNORECASE)
VFS = 32

# enough locked memory for testpmd's 128 MiB; what an administrator would give with LimitMEMLOCK=.
# Not by runuser: in Debian 12 pam_limits has limits of its own.
TESTPMD = ("prlimit --memlock={memlock} --pid $$; exec setpriv --reuid=alice --regid=alice --init-groups "
           "env XDG_RUNTIME_DIR=/tmp HOME=/home/alice "
           "dmaownerctl exec {device} -- sh -c 'exec dpdk-testpmd --no-huge -m 128 -l 0,1 $DMAOWNER_EAL_ARGS -- "
           "-i --total-num-mbufs=2048 <>/tmp/silence'")     # a FIFO: a prompt that nobody answers


def start_testpmd(host, memlock=512 << 20, device=NIC, timeout=300):
    host.run("rm -rf /tmp/dpdk; [ -p /tmp/silence ] || mkfifo -m 666 /tmp/silence")
    return host.start(TESTPMD.format(memlock=memlock, device=device), timeout=timeout)


@pytest.fixture
def testpmd(host):
    command = start_testpmd(host)
    command.wait_output("testpmd>", timeout=120)
    yield command
    host.run("pkill -KILL dpdk-testpmd; pkill -KILL dmaownerctl", check=False)
    command.wait()


def pid_of(host, name):
    return host.output(f"pgrep -o -x {name}")


# somebody who may not do much runs a real program on a real device

def test_testpmd_runs_as_alice(host, testpmd):
    assert MAC.search(testpmd.output), testpmd.output
    assert host.driver(NIC) == "vfio-pci"
    assert host.output(f"stat -c %U /proc/{pid_of(host, 'dpdk-testpmd')}") == "alice"
    lease, = host.leases()
    assert lease["State"] == "active" and lease["Devices"] == [NIC] and lease["Uid"] == 1001


def test_node_is_for_alice_only(host, testpmd):
    node = f"/dev/vfio/{host.group(NIC)}"
    acl = host.output(f"getfacl --omit-header --absolute-names {node}").split()
    assert acl == ["user::rw-", "user:alice:rw-", "group::---", "mask::rw-", "other::---"]
    for user in "bob", "mallory":
        assert "Permission denied" in host.run(f"exec 3<>{node}", user=user, check=False)[1]
    # alice could, were it not open already
    assert "busy" in host.run(f"exec 3<>{node}", user="alice", check=False)[1]


@pytest.mark.one_kernel
def test_another_user_is_told_who_has_it(host, testpmd):
    status, output = host.ctl("acquire", NIC, user="bob", check=False)
    assert status == 3
    assert NIC in output and "uid 1001" in output and "sh" in output
    assert MAC.search(testpmd.output)
    assert host.driver(NIC) == "vfio-pci"


def test_killed_holder_gives_it_back(host, testpmd):
    host.run("pkill -KILL 'dpdk-testpmd|dmaownerctl'")
    closed = time.monotonic()
    host.wait_driver(NIC, "e1000e")
    print(f"back on e1000e {time.monotonic() - closed:.2f} s after the kill")
    host.wait_free(NIC)
    assert host.leases() == []


@pytest.mark.one_kernel
def test_command_that_outlives_its_parent_keeps_the_lease(host, testpmd):
    host.run("pkill -KILL dmaownerctl")
    lease, = host.leases()
    assert lease["State"] == "active"
    assert host.driver(NIC) == "vfio-pci"
    host.run("pkill -KILL dpdk-testpmd")
    host.wait_driver(NIC, "e1000e")


@pytest.mark.one_kernel
def test_little_locked_memory_is_said(host):
    command = start_testpmd(host, memlock=8 << 20)
    command.wait_output("testpmd>", timeout=120)
    host.run("pkill -KILL dpdk-testpmd")
    command.wait()
    assert "RLIMIT_MEMLOCK" in command.output and "LimitMEMLOCK=" in command.output
    assert not MAC.search(command.output)
    host.wait_driver(NIC, "e1000e")


# what happens to the daemon is nothing to a leased device

@pytest.mark.one_kernel
@pytest.mark.parametrize("what", [
    "systemctl restart dmaownerd.service",
    "systemctl kill --signal=KILL dmaownerd.service",
    "systemctl restart dmaowner-executor.service",
    "systemctl kill --signal=KILL dmaowner-executor.service"])
def test_restart_leaves_testpmd_alone(host, testpmd, what):
    pid, bound = pid_of(host, "dpdk-testpmd"), host.output(f"stat -c %Y /dev/vfio/{host.group(NIC)}")
    host.run(what)
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)
    lease, = host.leases()
    assert lease["State"] == "active"
    assert pid_of(host, "dpdk-testpmd") == pid
    assert host.output(f"stat -c %Y /dev/vfio/{host.group(NIC)}") == bound
    host.release(lease["Id"])
    # its files are open still: shown, and not taken away by force
    host.wait("draining", lambda: host.property("group", host.group(NIC), "Group", "State") == "draining")
    host.wait("who is in the way",
              lambda: f"pid {pid}" in host.property("group", host.group(NIC), "Group", "WaitsFor"))
    assert host.driver(NIC) == "vfio-pci"
    assert host.ctl("acquire", NIC, user="bob", check=False)[0] == 3
    host.run("pkill -KILL dpdk-testpmd")
    host.wait_driver(NIC, "e1000e")


@pytest.mark.one_kernel
def test_holder_that_dies_while_the_daemon_is_down(host, testpmd):
    host.run("systemctl stop dmaownerd.service")
    host.run("pkill -KILL 'dpdk-testpmd|dmaownerctl'")
    assert host.driver(NIC) == "vfio-pci"
    host.run("systemctl start dmaownerd.service")
    host.wait_driver(NIC, "e1000e")


@pytest.mark.one_kernel
def test_process_as_holder(host):
    sleeper = host.start("exec sleep 1000", user="alice")
    host.wait("sleeper", lambda: host.run("pgrep -u alice -x sleep", check=False)[0] == 0)
    pid = host.output("pgrep -u alice -x sleep")
    host.acquire(NIC, user="alice", holder="process", options=[f"--pid={pid}"])
    assert host.leases()[0]["HolderPid"] == int(pid)
    host.run("systemctl restart dmaownerd.service")
    assert host.driver(NIC) == "vfio-pci"
    sleeper.signal(9)
    host.wait_driver(NIC, "e1000e")


# groups

def test_group_goes_over_and_back_as_a_whole(host):
    before = host.state(BRIDGE, BRIDGE_A, BRIDGE_B)
    assert host.group(BRIDGE) == host.group(BRIDGE_A) == host.group(BRIDGE_B)
    lease = host.acquire(BRIDGE_A, user="alice")
    assert (host.driver(BRIDGE_A), host.driver(BRIDGE_B)) == ("vfio-pci", "vfio-pci")
    assert host.property("group", host.group(BRIDGE), "Group", "Count") == 1
    # the kernel agrees that user space may have it
    assert host.output(["/payload/src/tests/vm/vfio-probe", str(host.group(BRIDGE))]) == "viable"
    host.release(lease)
    host.wait_free(BRIDGE_A)
    assert host.state(BRIDGE, BRIDGE_A, BRIDGE_B) == before


@pytest.mark.one_kernel
def test_many_functions_in_one_call(host):
    physical = f"/sys/bus/pci/devices/{SRIOV}"
    host.run(f"echo 0 > {physical}/sriov_drivers_autoprobe; echo {VFS} > {physical}/sriov_numvfs")
    functions = host.output(f"for i in $(seq 0 {VFS - 1}); do basename $(readlink {physical}/virtfn$i); done").split()
    assert len(set(functions)) == VFS
    try:
        host.wait("all functions known", lambda: host.run(
            f"dmaownerctl show {functions[-1]}", check=False)[0] == 0)
        lease = host.acquire(*functions, user="alice")
        drivers = host.output("ls /sys/bus/pci/drivers/vfio-pci | grep -c '^0000:02'")
        assert drivers == str(VFS)
        assert host.output("ls /dev/vfio | grep -c '^[0-9]'") == str(VFS)
        assert len(host.leases()[0]["Groups"]) == VFS
        host.release(lease)
        host.wait_free(*functions)
        # VFs had no driver before
        assert host.output("ls /sys/bus/pci/drivers/vfio-pci | grep -c '^0000:02' || true") == "0"
        assert {host.override(vf) for vf in functions} == {""}
    finally:
        host.run(f"echo 0 > {physical}/sriov_numvfs; echo 1 > {physical}/sriov_drivers_autoprobe")


@pytest.mark.one_kernel
def test_same_owner_counts(host):
    first = host.acquire(NIC, user="alice")
    second = host.acquire(NIC, user="alice")
    assert host.property("group", host.group(NIC), "Group", "Count") == 2
    host.release(first)
    assert host.driver(NIC) == "vfio-pci"
    host.release(second)
    host.wait_driver(NIC, "e1000e")


# what was recorded is what is restored

def test_identity_is_left_for_the_time_of_the_lease(host):
    group = f"/sys/kernel/iommu_groups/{host.group(NIC2)}/type"
    former = host.type(NIC2)
    host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/unbind; echo identity > {group}; "
             f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/bind")
    try:
        lease = host.acquire(NIC2, user="alice")
        assert host.type(NIC2) == "DMA"
        host.release(lease)
        host.wait_free(NIC2)
        assert (host.type(NIC2), host.driver(NIC2)) == ("identity", "e1000e")
    finally:
        host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/unbind; echo {former} > {group}; "
                 f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/bind")


def test_override_of_the_host_comes_back(host):
    """No event tells of it, so it has to be looked for."""
    path = f"/sys/bus/pci/devices/{NIC2}/driver_override"
    host.run(f"echo e1000e > {path}")
    try:
        lease = host.acquire(NIC2, user="alice")
        assert host.override(NIC2) == "vfio-pci"
        host.release(lease)
        host.wait_free(NIC2)
        assert host.override(NIC2) == "e1000e"
    finally:
        host.run(f"echo > {path}")


def test_device_without_a_driver_goes_back_to_none(host):
    host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/unbind")
    try:
        lease = host.acquire(NIC2, user="alice")
        assert host.driver(NIC2) == "vfio-pci"
        host.release(lease)
        host.wait_free(NIC2)
        assert host.driver(NIC2) == ""
    finally:
        host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/bind")


# the doors

@pytest.mark.one_kernel
def test_mallory_is_denied(host):
    status, output = host.ctl("acquire", NIC, user="mallory", check=False)
    assert status == 5 and "dmaowner" in output
    assert host.driver(NIC) == "e1000e"


@pytest.mark.one_kernel
def test_alice_may_not_take_what_is_not_hers(host):
    lease = host.acquire(NIC, user="alice")
    status, _ = host.ctl("release", lease, user="bob", check=False)
    assert status == 5
    assert host.lease_state(lease) == "active"
    status, _ = host.ctl("acquire", "--force", NIC2, user="alice", check=False)
    assert status == 5


@pytest.mark.one_kernel
def test_executor_is_out_of_reach(host):
    script = ("import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
              "s.connect('/run/dmaowner-executor.socket')")
    status, output = host.run(["python3", "-c", script], user="alice", check=False)
    assert status != 0 and "Permission denied" in output


@pytest.mark.one_kernel
def test_second_daemon_refuses(host):
    status, output = host.run("RUNTIME_DIRECTORY=/run/dmaownerd /usr/libexec/dmaownerd/dmaownerd", check=False)
    assert status == 1 and "already" in output


@pytest.mark.one_kernel
def test_bus_starts_the_daemon(host):
    host.run("systemctl stop dmaownerd.service")
    assert host.output("busctl get-property org.dmaowner1 /org/dmaowner1 org.dmaowner1.Manager Kernel") == 's "linux"'
    assert host.output("systemctl is-active dmaownerd.service") == "active"


@pytest.mark.one_kernel
def test_busctl_sees_the_tree(host):
    tree = host.output("busctl tree --list org.dmaowner1").split()
    assert f"/org/dmaowner1/group/{host.group(NIC)}" in tree
    methods = host.output("busctl introspect org.dmaowner1 /org/dmaowner1 org.dmaowner1.Manager")
    assert ".Acquire" in methods and ".Explain" in methods
