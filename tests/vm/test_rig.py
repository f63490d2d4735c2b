# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig itself: what other tests may rely on in a guest."""

import contextlib
import hashlib
import signal
import time

import pytest

from devices import BRIDGE, DEVICES, HOTPLUG_ADDRESS, HOTPLUG_BUS
from guest import CommandFailed

VFS = 32


@pytest.fixture
def guest(machine):
    return machine


def group_of(guest, address):
    output = guest.run(f"ls /sys/bus/pci/devices/{address}/iommu_group/devices")[1]
    return set(output.split())


def driver_of(guest, address):
    return guest.run(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)")[1].strip()


@contextlib.contextmanager
def bound_to(guest, address, driver):
    device = f"/sys/bus/pci/devices/{address}"
    rebind = f"echo {address} > {device}/driver/unbind; echo {address} > /sys/bus/pci/drivers_probe"
    guest.run(f"modprobe {driver}; echo {driver} > {device}/driver_override; {rebind}")
    assert driver_of(guest, address) == driver
    yield
    guest.run(f"echo > {device}/driver_override; {rebind}")


@pytest.mark.parametrize("role, driver", [
    ("nic", "e1000e"), ("nic2", "e1000e"), ("bridge_a", "e1000"), ("bridge_b", "e1000"),
    ("nvme_used", "nvme"), ("nvme_sriov", "nvme"), ("virtio", "virtio-pci")])
def test_role_has_its_driver(guest, role, driver):
    assert driver_of(guest, DEVICES[role].address) == driver


@pytest.mark.parametrize("role", ["nic", "nic2", "nvme_used", "nvme_sriov", "virtio"])
def test_role_is_alone_in_its_group(guest, role):
    assert group_of(guest, DEVICES[role].address) == {DEVICES[role].address}


def test_bridge_group_has_three_members(guest):
    members = {BRIDGE, DEVICES["bridge_a"].address, DEVICES["bridge_b"].address}
    assert group_of(guest, DEVICES["bridge_a"].address) == members


def test_used_disk_is_mounted(guest):
    source = guest.run("findmnt --noheadings --output SOURCE /mnt/used")[1].strip()
    assert DEVICES["nvme_used"].address in guest.run(f"readlink -f /sys/class/block/{source[5:]}/device/device")[1]
    assert guest.run("cat /mnt/used/marker")[1] == "used\n"


def test_payload_is_mounted_read_only(guest):
    assert guest.run("head -1 /payload/src/tests/vm/stage")[1] == "#!/bin/sh\n"
    assert guest.run("touch /payload/x", check=False)[0] != 0


def test_vfs_have_groups_of_their_own(guest):
    physical = f"/sys/bus/pci/devices/{DEVICES['nvme_sriov'].address}"
    guest.run(f"echo 0 > {physical}/sriov_drivers_autoprobe; echo {VFS} > {physical}/sriov_numvfs")
    groups = guest.run(f"for vf in {physical}/virtfn*; do ls $vf/iommu_group/devices | wc -l; done")[1].split()
    assert groups == ["1"] * VFS
    guest.run(f"echo 0 > {physical}/sriov_numvfs; echo 1 > {physical}/sriov_drivers_autoprobe")


def test_testpmd_is_there(guest):
    assert "testpmd" in guest.run("dpdk-testpmd --help", check=False)[1]


def test_vdpa_is_there(guest):
    assert "vdpa" in guest.run("vdpa -V", check=False)[1]


@pytest.mark.guests("debian13", "iommufd")
def test_qemu_is_there(guest):
    assert "version 10." in guest.run("qemu-system-x86_64 --version")[1]


@pytest.mark.guests("iommufd")
def test_iommufd_and_cdev_are_there(guest):
    address = DEVICES["nic2"].address
    with bound_to(guest, address, "vfio-pci"):
        guest.run(f"test -c /dev/iommu && test -c /dev/vfio/devices/$(ls /sys/bus/pci/devices/{address}/vfio-dev)")
    assert driver_of(guest, address) == "e1000e"


@pytest.mark.guests("iommufd")
def test_vp_vdpa_takes_the_virtio_nic(guest):
    address = DEVICES["virtio"].address
    with bound_to(guest, address, "vp-vdpa"):
        guest.run(f"vdpa dev add name rig mgmtdev pci/{address}")
        guest.run("until [ -c /dev/vhost-vdpa-0 ]; do sleep 0.1; done", timeout=30)
        guest.run("vdpa dev del rig")
    assert driver_of(guest, address) == "virtio-pci"


# It leaves the device's ID with vfio-pci, which takes the device back where it is part of the kernel.
@pytest.mark.guests("debian12", "debian13")
def test_driverctl_gives_vfio_a_device(guest):
    address = DEVICES["nic2"].address
    guest.run(f"driverctl --nosave set-override {address} vfio-pci")
    assert driver_of(guest, address) == "vfio-pci"
    guest.run(f"driverctl --nosave unset-override {address}")
    assert driver_of(guest, address) == "e1000e"


def test_hot_plug_and_unplug(guest):
    device = f"/sys/bus/pci/devices/{HOTPLUG_ADDRESS}"
    guest.qmp("device_add", driver="e1000e", id="plugged", bus=HOTPLUG_BUS, romfile="")
    guest.run(f"until [ -e {device}/driver ]; do sleep 0.1; done", timeout=30)
    guest.qmp("device_del", id="plugged")
    guest.wait_event("DEVICE_DELETED", device="plugged")
    guest.run(f"while [ -e {device} ]; do sleep 0.1; done", timeout=30)


@pytest.mark.parametrize("user, member", [("alice", True), ("bob", True), ("mallory", False)])
def test_users(guest, user, member):
    assert ("dmaowner" in guest.run(["id", "-Gn"], user=user)[1].split()) == member


def test_no_unit_failed(guest):
    assert guest.run("systemctl is-system-running --wait", check=False)[1].strip() == "running", \
        guest.run("systemctl --failed --no-pager")[1]


def test_agent_reports_status_and_output(guest):
    assert guest.run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in ", check=False) == (3, "in err\n")
    with pytest.raises(CommandFailed, match="no-such"):
        guest.run(["no-such-command"])


def test_agent_carries_any_bytes_and_much(guest):
    size = 4 * 1024 * 1024
    command = guest.start(f"head -c {size} /dev/urandom | tee /tmp/noise; sha256sum </tmp/noise >/tmp/sum")
    assert command.wait() == 0 and len(command.raw) == size
    assert guest.run("cat /tmp/sum")[1].split()[0] == hashlib.sha256(command.raw).hexdigest()


def test_agent_ends_what_takes_too_long(guest):
    before = time.monotonic()
    assert guest.run("sleep 100", timeout=1, check=False)[0] == -signal.SIGKILL
    assert time.monotonic() - before < 10


def test_commands_run_side_by_side(guest):
    sleeper = guest.start("echo started; sleep 100")
    sleeper.wait_output("started")
    assert guest.run(["true"])[0] == 0
    sleeper.signal(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM
