# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host needs is not taken from it, and the refusal says why."""

import contextlib

import pytest

from devices import DEVICES

pytestmark = pytest.mark.one_kernel
NIC = DEVICES["nic"].address
DISK = DEVICES["nvme_used"].address
SRIOV = DEVICES["nvme_sriov"].address


@contextlib.contextmanager
def done(host, begin, end):
    host.run(begin)
    try:
        yield
    finally:
        host.run(end)


def interface(host, device):
    return host.output(f"ls /sys/bus/pci/devices/{device}/net")


def refuse(host, device, *words):
    """Nobody gets it, root neither; every reason is named; nothing has changed."""
    before = host.state(device)
    for user in "alice", "root":
        status, output = host.ctl("acquire", "--holder=none", device, user=user, check=False)
        assert status == 4, output
        for word in words:
            assert word in output, output
    status, output = host.ctl("explain", device, check=False)
    assert status == 4 and words[0] in output
    assert host.state(device) == before
    assert host.leases() == []


def test_mounted_disk(host):
    refuse(host, DISK, "/mnt/used", "mounted")
    assert host.output("cat /mnt/used/marker") == "used"
    host.run("touch /mnt/used/written && sync -f /mnt/used && rm /mnt/used/written")


def disk_name(host):
    """It may have another name each time that it comes back."""
    path = f"/sys/bus/pci/devices/{DISK}/nvme"
    host.wait("disk is there", lambda: host.run(f"ls -d {path}/nvme*/nvme*n1", check=False)[0] == 0)
    return "/dev/" + host.output(f"basename {path}/nvme*/nvme*n1")


@contextlib.contextmanager
def unmounted(host):
    with done(host, "umount /mnt/used", "udevadm wait --timeout=60 /dev/disk/by-label/rig-used && mount /mnt/used"):
        yield disk_name(host)


def test_disk_in_swap(host):
    # the first page is put back as it was, so that the file system is found again
    with unmounted(host) as disk:
        with done(host, f"head -c 65536 {disk} > /tmp/head; mkswap -q {disk} && swapon {disk}",
                  f"swapoff {disk}; dd if=/tmp/head of={disk} conv=fsync status=none; udevadm trigger --settle {disk}"):
            refuse(host, DISK, "swap")


def test_disk_that_a_program_has_for_itself(host):
    script = "import os, sys, time; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print('open', flush=True); time.sleep(1000)"
    with unmounted(host) as disk:
        holder = host.start(["python3", "-c", script, disk])
        holder.wait_output("open")
        refuse(host, DISK, disk)
        holder.signal(9)
        holder.wait()


def test_idle_disk_can_be_had(host):
    with unmounted(host):
        lease = host.acquire(DISK, user="alice")
        assert host.driver(DISK) == "vfio-pci"
        host.release(lease)
        host.wait_driver(DISK, "nvme")
    assert host.output("cat /mnt/used/marker") == "used"


@pytest.mark.parametrize("begin, end, word", [
    ("ip address add 192.0.2.1/24 dev {}", "ip address flush dev {}", "192.0.2.1"),
    ("ip -6 address add 2001:db8::1/64 dev {} nodad", "ip address flush dev {}", "2001:db8::1"),
    ("ip link add br0 type bridge && ip link set {} master br0", "ip link del br0", "br0"),
    ("ip route add default dev {}", "ip route flush dev {}", "default route"),
    ("ip netns add other && ip link set {} netns other", "ip netns del other", "namespace"),
], ids=["IPv4", "IPv6", "enslaved", "default-route", "namespace"])
def test_interface(host, begin, end, word):
    name = interface(host, NIC)
    with done(host, f"ip link set {name} up && {begin.format(name)}",
              f"{end.format(name)}; for i in 1 2 3 4 5; do ip link set {name} down && break; sleep 1; done"):
        refuse(host, NIC, word)


def test_interface_that_is_only_up_can_be_had(host):
    name = interface(host, NIC)
    # without a link-local address, which would be an address
    host.run(f"ip link set {name} addrgenmode none && ip link set {name} up")
    lease = host.acquire(NIC, user="alice")
    host.release(lease)
    host.wait_driver(NIC, "e1000e")


def test_function_whose_virtual_functions_are_used(host):
    physical = f"/sys/bus/pci/devices/{SRIOV}"
    with done(host, f"echo 0 > {physical}/sriov_drivers_autoprobe; echo 2 > {physical}/sriov_numvfs",
              f"echo 0 > {physical}/sriov_numvfs; echo 1 > {physical}/sriov_drivers_autoprobe"):
        function = host.output(f"basename $(readlink {physical}/virtfn0)")
        host.wait("function known", lambda: host.ctl("show", function, check=False)[0] == 0)
        refuse(host, SRIOV, "virtual functions")
        lease = host.acquire(function, user="alice")
        refuse_busy = host.ctl("acquire", SRIOV, check=False)
        assert refuse_busy[0] in (3, 4)
        host.release(lease)
        host.wait_free(function)


def test_lease_that_disturbs_nothing_is_granted(host):
    """The refusal belongs to the step that disturbs, not to the request."""
    lease = host.acquire(DISK, options=["--kind=dma-api"])
    assert host.output("cat /mnt/used/marker") == "used"
    assert host.driver(DISK) == "nvme"
    host.release(lease)


def test_everything_or_nothing(host):
    status, output = host.ctl("acquire", "--holder=none", NIC, DISK, user="alice", check=False)
    assert status == 4 and "/mnt/used" in output
    assert (host.driver(NIC), host.driver(DISK)) == ("e1000e", "nvme")
    assert host.leases() == []


LOCK = "/var/tmp/spdk_pci_lock_" + SRIOV      # as SPDK names it
HOLD = ("import fcntl, os, sys, time; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600); fcntl.lockf(f, fcntl.LOCK_EX); "
        "os.write(f, os.getpid().to_bytes(4, 'little')); print('locked', flush=True); time.sleep(3600)")


@contextlib.contextmanager
def locked_by(host, user):
    """What SPDK does with a device that it drives by UIO, of which no VFIO file tells."""
    program = host.start(["python3", "-c", HOLD, LOCK], user=user)
    program.wait_output("locked", timeout=60)
    try:
        yield
    finally:
        host.run(f"pkill -KILL -f {LOCK}; rm {LOCK}", check=False)
        program.wait()


@pytest.fixture
def on_uio(host):
    with done(host, f"driverctl --nosave set-override {SRIOV} uio_pci_generic", f"driverctl --nosave unset-override {SRIOV}"):
        yield
    host.wait_driver(SRIOV, "nvme")


def test_device_that_spdk_drives(host, on_uio):
    with locked_by(host, "root"):
        refuse(host, SRIOV, "SPDK", "pid")
    assert host.ctl("explain", SRIOV)[0] == 0


def test_lock_that_anybody_may_make_keeps_nobody_out(host, on_uio):
    with locked_by(host, "mallory"):
        assert host.ctl("explain", SRIOV)[0] == 0
