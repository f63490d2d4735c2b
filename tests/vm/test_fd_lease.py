# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases with access fd through the daemon, for somebody without any right on a file, seen from
outside: memory, what the kernel refuses, and what copies of files are worth."""

import json
import time

import pytest

from devices import DEVICES

NIC = DEVICES["nic"].address
PAIR = [DEVICES["bridge_a"].address, DEVICES["bridge_b"].address]
CLIENT = "/payload/src/tests/vm/vfio-client"
PAGES = 64 * 256        # what it maps if not told otherwise
FOLDER = "/tmp/hidden"
INTERFACES = ["container", pytest.param("iommufd", marks=pytest.mark.guests("iommufd"))]

# enough locked memory, as an administrator would give it with LimitMEMLOCK=
EXEC = ("prlimit --memlock=536870912 --pid $$; exec setpriv --reuid={user} --regid={user} --init-groups "
        "env HOME=/home/{user} dmaownerctl exec {options} -- {command}")


def start_exec(host, options, command, user="alice"):
    return host.start(EXEC.format(user=user, options=options, command=command), timeout=300)


@pytest.fixture
def start(host):
    """A client of that user; all are gone afterwards."""
    commands = []

    def start(*arguments, interface, user="alice", devices=(NIC,)):
        options = " ".join(["--access=fd", f"--interface={interface}", *devices])
        command = start_exec(host, options, " ".join([CLIENT, *arguments]), user)
        commands.append(command)
        command.wait_output("ready", timeout=120)
        return command
    yield start
    kill(host)
    for command in commands:
        command.wait()


def kill(host):
    host.run("pkill -KILL vfio-client; pkill -KILL dmaownerctl; pkill -KILL qemu-system-x86", check=False)


def pinned(host):
    """Pages of the whole machine that are pinned for devices; each processor counts for itself for a while."""
    return int(host.output("cat /proc/sys/vm/stat_refresh; awk '/nr_foll_pin_acquired/ { n += $2 } /nr_foll_pin_released/ { n -= $2 } "
                           "END { print n }' /proc/vmstat"))


@pytest.fixture
def keep(host):
    """A policy that keeps devices ready for the next lease."""
    host.run("""mkdir -p /etc/dmaownerd && echo '{ "rules": [ { "release": "keep" } ] }' > /etc/dmaownerd/dmaownerd.json""")
    host.ctl("reload")
    yield
    host.run("rm /etc/dmaownerd/dmaownerd.json")
    host.ctl("reload")


def group_property(host, name, device=NIC):
    return host.property("group", host.group(device), "Group", name)


def wait_state(host, state, device=NIC):
    host.wait(f"{device} {state}", lambda: group_property(host, "State", device) == state)


def type_write_is_refused(host, device):
    file = f"/sys/bus/pci/devices/{device}/iommu_group/type"
    return host.run(f"cat {file} > {file}", check=False)[0] != 0


@pytest.mark.parametrize("interface", INTERFACES)
def test_memory_comes_back_at_once(host, start, keep, interface):
    base = pinned(host)
    for more in (0, 3000) if interface == "iommufd" else (0,):
        start("use", "64", str(more), interface=interface)
        assert host.output("stat -c %U /proc/$(pgrep -o -x vfio-client)") == "alice"
        assert pinned(host) - base >= PAGES + more
        host.wait("claimed", lambda: group_property(host, "Claimed"))
        killed = time.monotonic()
        kill(host)
        host.wait("memory back", lambda: pinned(host) == base)
        print(f"{interface}, {more} objects more: memory back {time.monotonic() - killed:.2f} s after the kill")
        wait_state(host, "quarantined")
        assert group_property(host, "Claimed")
        assert type_write_is_refused(host, NIC)


@pytest.mark.parametrize("interface", INTERFACES)
def test_quarantined_group_is_closed_to_the_host(host, start, keep, interface):
    device, sibling = PAIR
    start("use", interface=interface, devices=PAIR)
    kill(host)
    wait_state(host, "quarantined", device)
    # at once, before the daemon hears of it
    folder = f"/sys/bus/pci/devices/{sibling}"
    override = host.override(sibling)
    # bash tells the error's name
    status, output = host.run(["bash", "-c", f"echo {sibling} > {folder}/driver/unbind && echo e1000 > {folder}/driver_override "
                               f"&& echo {sibling} > /sys/bus/pci/drivers/e1000/bind"], check=False)
    assert status != 0 and "busy" in output, output
    assert type_write_is_refused(host, device)
    host.run(f"echo {override} > {folder}/driver_override; echo {sibling} > /sys/bus/pci/drivers/vfio-pci/bind")
    host.wait("the group seen as changed", lambda: group_property(host, "State", device) == "lost")
    host.retry(host.group(device))


@pytest.mark.parametrize("interface", INTERFACES)
def test_next_owner(host, start, keep, interface):
    for user in "alice", "alice", "bob", "alice":
        start("use", interface=interface, user=user)
        kill(host)
        wait_state(host, "quarantined")
        assert type_write_is_refused(host, NIC)


@pytest.mark.parametrize("interface", INTERFACES)
def test_copies_are_worth_nothing_to_their_owner(host, start, keep, interface):
    base = pinned(host)
    host.run(f"rm -rf {FOLDER}; install -d -m 777 {FOLDER}")
    start("hide", FOLDER, interface=interface)
    hider = host.output(f"cat {FOLDER}/pid")
    host.run(f"kill -KILL $(pgrep -x vfio-client | grep -vx {hider}); pkill -KILL dmaownerctl; true")
    host.wait("memory back", lambda: pinned(host) == base)
    # while a copy of a device's file is open, nobody else gets it, and everybody is told why
    wait_state(host, "draining")
    host.wait("named", lambda: f"vfio-client (pid {hider})" in (group_property(host, "WaitsFor") or ""))
    assert group_property(host, "Claimed")
    status, output = host.ctl("acquire", "--holder=none", NIC, user="bob", check=False)
    assert status == 3 and f"vfio-client (pid {hider})" in output, output
    host.run(f"touch {FOLDER}/drop")
    host.wait("dropped", lambda: host.run(f"[ -e {FOLDER}/dropped ]", check=False)[0] == 0)
    wait_state(host, "quarantined")
    start("use", interface=interface, user="bob")
    mapped = pinned(host)
    host.run(f"touch {FOLDER}/try")
    host.wait("tried", lambda: host.run(f"[ -e {FOLDER}/tried ]", check=False)[0] == 0)
    own, queued = json.loads(host.output(f"cat {FOLDER}/tried"))
    print(own)
    for attempts in own, queued:
        assert attempts and all(error != 0 for error in attempts.values()), attempts
    # what the new owner has is as it was
    assert pinned(host) == mapped
    assert group_property(host, "Owner")[0] == 1002


QMP = """\
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/tmp/nested.qmp")
lines = s.makefile("rw")
lines.readline()
for command in "qmp_capabilities", "query-pci":
    lines.write(json.dumps({"execute": command}) + "\\n")
    lines.flush()
    answer = json.loads(lines.readline())
print(json.dumps(answer))
"""


@pytest.mark.guests("iommufd")
def test_nested_machine(host, start, keep):
    """An unprivileged QEMU has the NIC, and is killed."""
    base = pinned(host)
    host.run("rm -f /tmp/nested.qmp")
    command = start_exec(host, f"--qemu {NIC}", "qemu-system-x86_64 -machine q35,accel=tcg -m 128 -nodefaults -display none "
                         f"-device vfio-pci,host={NIC},id=lent,rombar=0 -S -qmp unix:/tmp/nested.qmp,server=on,wait=off")
    host.wait("QEMU up", lambda: command.ended or host.run(["python3", "-c", QMP], check=False)[0] == 0)
    assert not command.ended, command.output
    assert host.output("stat -c %U /proc/$(pgrep -o qemu-system-x86)") == "alice"
    devices = json.loads(host.output(["python3", "-c", QMP]))["return"][0]["devices"]
    nic, = [device for device in devices if device["qdev_id"] == "lent"]
    assert (nic["id"]["vendor"], nic["id"]["device"]) == (0x8086, 0x10d3)
    line = host.output("tr '\\0' ' ' < /proc/$(pgrep -o qemu-system-x86)/cmdline")
    print(line)
    assert "iommufd,id=" in line and "host=" not in line
    # the guest's memory, all of it
    assert pinned(host) - base >= 128 * 256
    kill(host)
    killed = time.monotonic()
    host.wait("memory back", lambda: pinned(host) == base)
    print(f"memory back {time.monotonic() - killed:.2f} s after the kill")
    wait_state(host, "quarantined")
    assert type_write_is_refused(host, NIC)
    command.wait()
    start("use", interface="iommufd", user="bob")
