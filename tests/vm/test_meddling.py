# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tools that rebind devices on real hosts, used behind the daemon's back: seen, told, not fought."""

import time

import pytest

from devices import BRIDGE, DEVICES

pytestmark = pytest.mark.one_kernel
NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
BRIDGE_A, BRIDGE_B = DEVICES["bridge_a"].address, DEVICES["bridge_b"].address


def waits_for(host, device):
    return host.property("group", host.group(device), "Group", "WaitsFor")


def lost(host, lease, device, *words):
    """Returns the seconds until the daemon knew."""
    begin = time.monotonic()
    host.wait("lease lost", lambda: host.lease_state(lease) == "lost")
    took = time.monotonic() - begin
    text = waits_for(host, device)
    for word in words:
        assert word in text, text
    assert host.property("group", host.group(device), "Group", "State") == "lost"
    status, output = host.ctl("acquire", "--owner=next", device, check=False)
    assert status != 0 and "Retry" in output
    return took


def group_call(host, device, method):
    host.run(["busctl", "call", "org.dmaowner1", f"/org/dmaowner1/group/{host.group(device)}", "org.dmaowner1.Group",
              method])


def retry(host, device):
    group_call(host, device, "Retry")
    host.wait_free(device)


HANDS = {
    "echo": "cd /sys/bus/pci; echo {device} > drivers/vfio-pci/unbind; echo > devices/{device}/driver_override; "
            "echo {device} > drivers_probe",
    "driverctl": "driverctl --nosave set-override {device} {driver}",
    "dpdk-devbind": "dpdk-devbind.py --bind={driver} {device}",
}


@pytest.mark.parametrize("tool", HANDS)
def test_a_tool_takes_it_back(host, tool):
    lease = host.acquire(NIC)
    host.run(HANDS[tool].format(device=NIC, driver="e1000e"), check=False)
    # dpdk-devbind.py may not get past the override that it finds, and leaves the device without a driver
    left = host.driver(NIC)
    assert left == "e1000e" or (tool == "dpdk-devbind" and left == "")
    took = lost(host, lease, NIC, NIC, "vfio-pci")
    print(f"{tool}: known {took:.2f} s after the tool had ended")
    # nobody fights: it stays where they put it
    time.sleep(2)
    assert host.driver(NIC) == left
    retry(host, NIC)
    assert (host.driver(NIC), host.override(NIC)) == ("e1000e", "")


def test_identity_behind_a_lease(host):
    """The kernel lets root do that to VFIO's devices as long as nobody has them open; before 6.4 never."""
    lease = host.acquire(NIC2)
    path = f"/sys/kernel/iommu_groups/{host.group(NIC2)}/type"
    status, _ = host.run(f"echo identity > {path}", check=False)
    if status != 0:
        assert host.type(NIC2) == "DMA" and host.lease_state(lease) == "active"
        host.release(lease)
        return
    lost(host, lease, NIC2, "was DMA and is identity now")
    retry(host, NIC2)
    assert (host.type(NIC2), host.driver(NIC2)) == ("DMA", "e1000e")


def test_a_member_of_the_group_is_enough(host):
    before = host.state(BRIDGE, BRIDGE_A, BRIDGE_B)
    lease = host.acquire(BRIDGE_A)
    host.run(f"driverctl --nosave set-override {BRIDGE_B} e1000")
    lost(host, lease, BRIDGE_A, BRIDGE_B)
    assert host.driver(BRIDGE_A) == "vfio-pci"
    retry(host, BRIDGE_A)
    assert host.state(BRIDGE, BRIDGE_A, BRIDGE_B) == before


def test_while_the_daemon_is_down(host):
    lease = host.acquire(NIC)
    host.run("systemctl stop dmaownerd.service")
    host.run(f"driverctl --nosave set-override {NIC} e1000e; systemctl start dmaownerd.service")
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)
    assert "is e1000e now" in waits_for(host, NIC) and "not running" in waits_for(host, NIC)
    retry(host, NIC)
    assert lease not in [one["Id"] for one in host.leases() if one["State"] == "active"]
    assert (host.driver(NIC), host.override(NIC)) == ("e1000e", "")


# the kernel's own answers to an outsider while a program has it open

# a FIFO that it has open itself: it hears no end
OPENED = ("rm -f /tmp/orders; mkfifo /tmp/orders; exec 3<>/tmp/orders; echo open {group} {device} >&3; "
          "exec python3 /payload/src/tests/scenarios/holder <&3")
