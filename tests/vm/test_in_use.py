# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host needs is not taken from it, and the refusal says why."""

import contextlib

import pytest

from devices import DEVICES

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


def test_disk_in_swap(host):
    with done(host, "umount /mnt/used && cp --sparse=always /dev/nvme0n1 /tmp/disk && mkswap -q /dev/nvme0n1 && "
              "swapon /dev/nvme0n1",
              "swapoff /dev/nvme0n1; cp /tmp/disk /dev/nvme0n1; rm /tmp/disk; mount /mnt/used"):
        refuse(host, DISK, "swap")


def test_disk_below_device_mapper(host):
    # the table is written by hand: dmsetup is not in every guest
    with done(host, "umount /mnt/used && losetup --find --show /dev/nvme0n1 > /tmp/loop",
              "losetup --detach $(cat /tmp/loop); mount /mnt/used"):
        # a loop device opens it, but not exclusively: the host may still give it away
        lease = host.acquire(DISK)
        host.wait_driver(DISK, "vfio-pci")
        host.release(lease)
        host.wait_driver(DISK, "nvme")
        host.wait("disk is back", lambda: host.run("test -b /dev/nvme0n1", check=False)[0] == 0)


def test_disk_that_a_program_has_for_itself(host):
    script = ("import os, time; os.open('/dev/nvme0n1', os.O_RDONLY | os.O_EXCL); print('open', flush=True); "
              "time.sleep(1000)")
    host.run("umount /mnt/used")
    try:
        holder = host.start(["python3", "-c", script])
        holder.wait_output("open")
        refuse(host, DISK, "/dev/nvme0n1")
        holder.signal(9)
        holder.wait()
    finally:
        host.run("mount /mnt/used")


def test_idle_disk_can_be_had(host):
    host.run("umount /mnt/used")
    try:
        lease = host.acquire(DISK, user="alice")
        assert host.driver(DISK) == "vfio-pci"
        host.release(lease)
        host.wait_driver(DISK, "nvme")
        host.wait("disk is back", lambda: host.run("test -b /dev/nvme0n1", check=False)[0] == 0)
    finally:
        host.run("mount /mnt/used")
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
