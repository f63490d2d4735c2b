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


VIRSH = "systemctl start libvirtd && virsh {verb} {node} && systemctl stop libvirtd 'libvirtd*.socket'"


def virsh(verb, device):
    return VIRSH.format(verb=verb, node="pci_" + device.replace(":", "_").replace(".", "_"))


HANDS = {
    "echo": "cd /sys/bus/pci; echo {device} > drivers/vfio-pci/unbind; echo > devices/{device}/driver_override; "
            "echo {device} > drivers_probe",
    "driverctl": "driverctl --nosave set-override {device} {driver}",
    "dpdk-devbind": "dpdk-devbind.py --bind={driver} {device}",
    "virsh": virsh("nodedev-reattach", NIC),
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


def test_what_libvirt_detaches_by_hand(host):
    """That is the host's wish from then on: a lease ends there."""
    host.run(virsh("nodedev-detach", NIC), timeout=300)
    assert host.driver(NIC) == "vfio-pci"
    lease = host.acquire(NIC, user="alice")
    host.release(lease)
    host.wait_free(NIC)
    assert (host.driver(NIC), host.override(NIC)) == ("vfio-pci", "vfio-pci")
    host.run(virsh("nodedev-reattach", NIC), timeout=300)
    host.wait_driver(NIC, "e1000e")


# of these the second unbinds the device all the same
OVERRIDES = {
    "echo": (f"echo e1000e > /sys/bus/pci/devices/{NIC}/driver_override", "vfio-pci", "driver_override"),
    "driverctl": (f"driverctl --nosave --noprobe set-override {NIC} e1000e", "", "driver"),
}


@pytest.mark.parametrize("tool", OVERRIDES)
def test_a_tool_that_only_writes_an_override(host, tool):
    command, driver, what = OVERRIDES[tool]
    lease = host.acquire(NIC)
    host.run(command)
    lost(host, lease, NIC, f"the {what} of {NIC} was vfio-pci and is")
    assert host.driver(NIC) == driver
    retry(host, NIC)
    assert (host.driver(NIC), host.override(NIC)) == ("e1000e", "")


def test_accept_is_what_they_wanted(host):
    lease = host.acquire(NIC)
    host.run(f"driverctl --nosave set-override {NIC} e1000e")
    lost(host, lease, NIC)
    group_call(host, NIC, "Accept")
    host.wait_free(NIC)
    assert (host.driver(NIC), host.override(NIC)) == ("e1000e", "e1000e")
    # and that is what the host has now
    lease = host.acquire(NIC)
    assert host.override(NIC) == "vfio-pci"
    host.release(lease)
    host.wait_free(NIC)
    assert (host.driver(NIC), host.override(NIC)) == ("e1000e", "e1000e")
    host.run(f"driverctl --nosave unset-override {NIC}")


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


def test_an_unbind_that_waits_is_seen_at_once(host):
    """The kernel tells nobody of it until the program has closed the device."""
    lease = host.acquire(NIC)
    program = host.start(OPENED.format(group=host.group(NIC), device=NIC))
    program.wait_output("0\n")
    unbind = host.start(f"echo {NIC} > /sys/bus/pci/drivers/vfio-pci/unbind")
    took = lost(host, lease, NIC, f"the driver of {NIC} was vfio-pci and is none now")
    print(f"known {took:.2f} s after the unbind had begun")
    assert not unbind.ended
    host.run("pkill -KILL -f [s]cenarios/holder", check=False)
    assert unbind.wait(30) == 0
    program.wait()
    retry(host, NIC)
    assert host.driver(NIC) == "e1000e"


# udev's rules for a node that is granted

RULE = "/run/udev/rules.d/99-rig-vfio.rules"


def test_udev_changes_a_node_that_is_granted(host):
    lease = host.acquire(NIC, user="alice")
    node = f"/dev/vfio/{host.group(NIC)}"
    look = f"getfacl --omit-header --absolute-names {node}; stat -c %U {node}"
    before = host.output(look)
    assert "user:alice:rw-" in before and before.endswith("root")
    host.run(f"mkdir -p /run/udev/rules.d; echo 'SUBSYSTEM==\"vfio\", KERNEL==\"[0-9]*\", OWNER=\"bob\", MODE=\"0664\"' "
             f"> {RULE}; udevadm control --reload")
    try:
        # as seen by somebody else: udev did what the rule says
        host.run(f"udevadm trigger --action=change --settle {node}")
        host.wait("the daemon to have seen it", lambda: "was changed by somebody else" in host.journal())
        assert host.output(look) == before
        assert host.lease_state(lease) == "active"
        assert "Permission denied" in host.run(f"exec 3<>{node}", user="bob", check=False)[1]
        host.run(f"exec 3<>{node}", user="alice")
    finally:
        host.run(f"rm {RULE}; udevadm control --reload")
    host.release(lease)
    host.wait_free(NIC)


def test_signals_tell_everybody(host):
    lease = host.acquire(NIC)
    monitor = host.start("stdbuf -oL busctl monitor --match \"type='signal',sender='org.dmaowner1'\" org.dmaowner1")
    monitor.wait_output("Monitoring")
    host.run(HANDS["echo"].format(device=NIC))
    paths = f"/org/dmaowner1/lease/{lease}", f"/org/dmaowner1/group/{host.group(NIC)}"
    host.wait("the signals", lambda: '"lost"' in monitor.output and all(path in monitor.output for path in paths))
    monitor.signal(15)
    retry(host, NIC)
