# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that are lent: who gets them, what they are, and what becomes of them when the lease ends."""

import contextlib
import os
import signal
import subprocess

import pytest
from harness import PATIENCE
from harness.client import BusError
from harness.host import CLIENT, Host
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2, SINGLES, small

INTERFACES = ["container", "iommufd"]
REQUESTER = 4711
ALICE, BOB = 1, 2       # users that every Debian has: the bus turns unknown ones away


@pytest.fixture(params=INTERFACES)
def interface(request):
    return request.param


@pytest.fixture
def lending(interface):
    """A host that lends by that interface when nothing else is asked for."""
    with Host({**small(), "kernel": {"version": "6.12", "iommufd": interface == "iommufd"}}) as host:
        host.root.watch()
        yield host


@pytest.fixture
def containers():
    with Host(small()) as host:
        host.root.watch()
        yield host


def files_of(lease, *devices):
    """[(device, role, descriptor)]; the test closes them."""
    return [(device, role, lent.to_raw_fd()) for device, role, lent in lease.call("OpenFiles", "as", list(devices))[0]]


@contextlib.contextmanager
def files(lease, *devices):
    lent = files_of(lease, *devices)
    try:
        yield lent
    finally:
        for _, _, descriptor in lent:
            os.close(descriptor)


def which(file):
    """What file a descriptor or a path is."""
    status = os.stat(file)
    return status.st_dev, status.st_ino


def refused(name, lease, *devices):
    with pytest.raises(BusError) as error:
        files_of(lease, *devices)
    assert error.value.name == name
    return error.value.message


def ctl(host, *arguments, status=0):
    done = subprocess.run([CLIENT, f"--bus={host.address}", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == status, done.stderr
    return done


# what is lent

def test_files_by_interface(lending, interface):
    lease = lending.root.hold([NIC, NIC2], access="fd")
    assert (lease.Access, lease.Interface) == ("fd", interface)
    with files(lease) as lent:
        kinds = [(device, role) for device, role, _ in lent]
        if interface == "container":
            assert kinds == [(device, role) for device in (NIC, NIC2) for role in ("container", "group")]
        else:
            assert kinds == [(device, role) for device in (NIC, NIC2) for role in ("iommufd", "cdev")]
    with files(lease, NIC2) as lent:
        assert {device for device, _, _ in lent} == {NIC2}


def test_container_by_wish_on_a_kernel_with_iommufd(lending):
    lease = lending.root.hold(NIC, access="fd", interface="container")
    assert lease.Interface == "container"
    with files(lease) as lent:
        assert [role for _, role, _ in lent] == ["container", "group"]
    assert lending.sim.group(NIC)["claimed"]


def test_the_same_files_each_time(lending, interface):
    lease = lending.root.hold(NIC, access="fd")
    with files(lease) as first, files(lease) as again:
        assert [which(descriptor) for _, _, descriptor in first] == [which(descriptor) for _, _, descriptor in again]
        kernels = "kernel.json." + ("group-12" if interface == "container" else f"cdev-{NIC}")
        assert which(first[1][2]) == which(lending.folder / kernels)


def test_what_a_group_shares_is_lent_once(lending, interface):
    lease = lending.root.hold([BRIDGE_A, BRIDGE_B], access="fd")
    with files(lease, BRIDGE_B, BRIDGE_A) as lent:
        kinds = [(device, role) for device, role, _ in lent]
    if interface == "container":
        assert kinds == [(BRIDGE_B, "container"), (BRIDGE_B, "group")]
    else:
        assert kinds == [(BRIDGE_B, "iommufd"), (BRIDGE_B, "cdev"), (BRIDGE_A, "cdev")]


def test_claimed_from_the_start_or_when_bound(lending, interface):
    lending.root.hold(NIC, access="fd")
    assert lending.sim.group(NIC)["owner_count"] == (1 if interface == "container" else 0)
    assert lending.root.group_of(NIC)["Claimed"] == (interface == "container")
    lending.sim.event("open", device=NIC, pid=REQUESTER, comm="vmm", uid=1000, lent=True)
    assert lending.sim.group(NIC)["owner_count"] == 1
    lending.root.wait(lambda: lending.root.group_of(NIC)["Claimed"], "the claim to be seen")
    with pytest.raises(BusError):
        lending.sim.event("open", group=12, pid=1, comm="other")


# refusals

def test_refusals(containers, other_users, member):
    root, user = containers.root, containers.client(uid=ALICE, groups=[member])
    lease = user.hold(NIC, access="fd")
    with files(lease):
        pass
    lease.client = stranger = containers.client(uid=BOB, groups=[member])
    refused("AccessDenied", lease)
    lease.client = root
    with files(lease):
        pass
    assert NIC2 in refused("NoSuchDevice", lease, NIC, NIC2)
    refused("NoSuchDevice", lease, "0000:ff:00.0")
    queued = stranger.acquire(NIC, access="fd", wait=10**9)
    assert "is queued" in refused("Busy", queued)
    queued.release()
    node = root.hold(NIC2)
    assert (node.Access, node.Interface) == ("node", "")
    assert "without access fd" in refused("InvalidArgs", node)
    lease.release()
    refused("UnknownObject", lease)


def test_bad_requests(containers):
    root = containers.root
    before = containers.sim.state()
    for options in ({"access": "fd", "interface": "magic"}, {"interface": "container"},
                    {"access": "node", "interface": "iommufd"}, {"kind": "dma-api", "access": "fd"}):
        for ask in (root.acquire, root.explain):
            with pytest.raises(BusError) as error:
                ask(NIC, **options)
            assert error.value.name == "InvalidArgs"
    assert containers.sim.difference(before) == {}


def test_at_most_16_descriptors(lending):
    lease = lending.root.hold(SINGLES[:9], access="fd")
    assert "16" in refused("InvalidArgs", lease)
    with files(lease, *SINGLES[:8]) as lent:
        assert len(lent) == 16
    with files(lease, SINGLES[8]) as lent:
        assert len(lent) == 2


def test_no_iommufd_in_this_kernel(containers):
    before = containers.sim.state()
    lease = containers.root.acquire(NIC, access="fd", interface="iommufd")
    containers.root.wait(lambda: lease.seen_state() == "failed", "the lease to fail")
    assert "ask for the interface container" in lease.why()[1]
    containers.root.wait_group(NIC, "free")
    assert containers.sim.difference(before) == {}


# the end of a lease

def test_the_requester_dies(lending, interface):
    root, sim = lending.root, lending.sim
    before = sim.state()
    lease = root.hold(NIC, access="fd")
    sim.event("open", device=NIC, pid=REQUESTER, comm="vmm", uid=1000, lent=True)
    sim.event("map", pid=REQUESTER, bytes=2**30)
    lease.close()
    # his memory comes back though he has his files still
    root.wait(lambda: "mapped" not in sim.group(NIC), "his memory to come back")
    root.wait(lambda: f"vmm (pid {REQUESTER})" in root.group_of(NIC)["WaitsFor"], "the group to say whom it waits for")
    assert sim.group(NIC)["owner_count"] == 1
    sim.event("close", pid=REQUESTER)
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_duplicates_of_a_file(lending, interface):
    """That of a device keeps it, whoever has it; those of a container keep nothing, once a fresh one took its place."""
    root, sim = lending.root, lending.sim
    before = sim.state()
    lease = root.hold(NIC, access="fd")
    with files(lease):
        lease.release()
        if interface == "iommufd":
            root.wait(lambda: root.group_of(NIC)["WaitsFor"] == "whoever has files that were lent", "the group to wait")
        else:
            root.wait_group(NIC, "free")
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}
    assert lending.daemon.service.names() == []


def test_ends_while_its_files_are_opened(lending, interface):
    """The service manager has not heard of them yet when the way back begins: one step after the other."""
    root, sim = lending.root, lending.sim
    before = sim.state()
    sim.inject("lend", nth=1, delay_us=300_000)
    lease = root.acquire([BRIDGE_A, BRIDGE_B], access="fd")
    root.wait(lambda: root.device(BRIDGE_A)["Driver"] == root.device(BRIDGE_B)["Driver"] == "vfio-pci", "the files to be opened")
    lending.daemon.service.busy = 0.2
    sim.operations()
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    done = [(step["op"], step.get("device"), step.get("errno")) for step in sim.operations()]
    assert len(set(done)) == len(done) and not any(errno for _, _, errno in done), done
    assert sim.difference(before) == {}
    assert lending.daemon.service.names() == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_files_outlive_the_daemon(lending, interface, how):
    root, sim = lending.root, lending.sim
    lease = root.hold(NIC, access="fd", holder="none")
    with files(lease) as lent:
        before = {role: which(descriptor) for _, role, descriptor in lent}
    sim.event("open", device=NIC, pid=REQUESTER, comm="vmm", uid=1000, lent=True)
    lending.restart(how)
    assert (lease.State, lease.Interface) == ("active", interface)
    with files(lease) as lent:
        assert {role: which(descriptor) for _, role, descriptor in lent} == before
    assert sim.group(NIC)["owner_count"] == 1
    sim.event("close", pid=REQUESTER)
    lease.release()
    root.wait_group(NIC, "free")


def test_files_that_nobody_kept(lending):
    lease = lending.root.hold(NIC, access="fd", holder="none")
    lending.daemon.stop()
    lending.daemon.service.empty()
    lending.daemon.start()
    lending.root.watch()
    assert "release it" in refused("Lost", lease)
    lease.release()
    lending.root.wait_group(NIC, "free")


@pytest.mark.parametrize("interface", ["iommufd"])
def test_an_unbind_ends_with_a_file_that_is_closed_while_the_daemon_is_dead(lending):
    root, sim = lending.root, lending.sim
    root.hold([BRIDGE_A, BRIDGE_B], access="fd", holder="none")
    sim.event("open", device=BRIDGE_A, pid=REQUESTER, comm="vmm", uid=1000, lent=True)
    sim.event("unbind", device=BRIDGE_B)
    lending.daemon.kill()
    service = lending.daemon.service
    for name, descriptor in [item for item in service.stored if item[0].endswith(BRIDGE_B.replace(":", "_"))]:
        service.stored.remove((name, descriptor))
        os.close(descriptor)
    lending.daemon.start()
    root.watch()
    root.wait(lambda: sim.dump()["pending"] == [], "the unbind to end")
    root.wait_group(BRIDGE_B, "lost")
    sim.event("bind", device=BRIDGE_B, driver="vfio-pci")
    assert sim.device(BRIDGE_B)["driver"] == root.device(BRIDGE_B)["Driver"] == "vfio-pci"


# dmaownerctl

SHOW = """
import os
for name, number in (pair.split("=") for pair in os.environ["DMAOWNER_FDS"].split(",")):
    print(name, os.get_inheritable(int(number)), os.fstat(int(number)).st_ino)
"""


def test_exec_passes_files_on(lending, interface):
    out = ctl(lending, "exec", "--access=fd", NIC, NIC2, "--", "/usr/bin/python3", "-c", SHOW).stdout
    lines = [line.split() for line in out.splitlines()]
    assert [name for name, _, _ in lines] == {
        "container": ["container", "group", f"container@{NIC2}", f"group@{NIC2}"],
        "iommufd": ["iommufd", NIC, f"iommufd@{NIC2}", NIC2],
    }[interface]
    assert {inheritable for _, inheritable, _ in lines} == {"True"}
    assert len({inode for name, _, inode in lines if "iommufd" not in name and "container" not in name}) == 2
    lending.root.wait_group(NIC, "free")
    lending.root.wait_driver(NIC2, "e1000e")


def test_exec_killed_with_its_command(lending):
    root = lending.root
    command = subprocess.Popen([CLIENT, f"--bus={lending.address}", "exec", "--access=fd", NIC, "--", "sh", "-c",
                                "echo $DMAOWNER_FDS; exec sleep infinity"], stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        assert command.stdout.readline() != ""
        assert root.group_of(NIC)["State"] == "owned"
    finally:
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate()
    root.wait_group(NIC, "free")
    root.wait_driver(NIC, "e1000e")


ECHO = ("sh", "-c", 'printf "%s\\n" "$*"; echo "$DMAOWNER_QEMU_ARGS"; echo "$DMAOWNER_CLOUD_HYPERVISOR_ARGS"', "vmm")


def test_exec_tells_vmms(interface, lending):
    if interface == "container":
        for vmm, name in (("--qemu", "QEMU"), ("--cloud-hypervisor", "cloud-hypervisor")):
            err = ctl(lending, "exec", vmm, NIC, "--", *ECHO, status=1).stderr
            assert f"{name} takes descriptors only of iommufd" in err and "--access=node" in err
            lending.root.wait_group(NIC, "free")
        return
    said, qemu, hypervisor = ctl(lending, "exec", "--qemu", NIC, "--", *ECHO, "-device",
                                 f"vfio-pci,host={NIC.removeprefix('0000:')},bus=rp0").stdout.splitlines()
    assert said.startswith("-device vfio-pci,iommufd=dmaowner0,fd=") and ",bus=rp0,id=dmaowner-0000-03-00.0 -object" in said
    assert qemu.startswith("-object iommufd,id=dmaowner0,fd=") and " -device vfio-pci,iommufd=dmaowner0,fd=" in qemu
    assert hypervisor.startswith("--platform iommufd_fd=") and " --device fd=" in hypervisor
    lending.root.wait_group(NIC, "free")
    said, *_ = ctl(lending, "exec", "--cloud-hypervisor", NIC, "--", *ECHO, "--device",
                   f"path=/sys/bus/pci/devices/{NIC}/").stdout.splitlines()
    assert said.startswith("--device fd=") and " --platform iommufd_fd=" in said


@pytest.mark.parametrize("options", [["--qemu", "--cloud-hypervisor"], ["--qemu", "--access=node"],
                                     ["--cloud-hypervisor", "--interface=container"]])
def test_vmm_options_that_contradict(containers, options):
    ctl(containers, "exec", *options, NIC, "--", "true", status=2)
    ctl(containers, "acquire", "--qemu", NIC, status=2)


def test_expires_though_the_daemon_has_its_files(lending):
    lease = lending.root.hold(NIC, access="fd", ttl=10**6)
    lending.sim.event("open", device=NIC, pid=REQUESTER, comm="vmm", uid=1000, lent=True)
    lease.wait("unconfirmed")
    lending.sim.close(NIC, REQUESTER)
    assert lease.wait_ended() == "expired"
    lending.root.wait_group(NIC, "free")
