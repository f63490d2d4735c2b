# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual functions that the daemon makes and removes, on a real PF (QEMU's NVMe), and what is set for those of a NIC
(QEMU's igb, from version 8 on)."""

import contextlib
import json

import pytest

from devices import DEVICES, HOTPLUG_ADDRESS, HOTPLUG_BUS
from guest import GuestError

pytestmark = pytest.mark.one_kernel
PF, NIC = DEVICES["nvme_sriov"].address, DEVICES["nic"].address
FOLDER = f"/sys/bus/pci/devices/{PF}"
HERE = ("nvme", "0", "1")       # what the host has: driver of the PF, number of VFs, autoprobe


def kernel(host):
    numbers = host.output(f"cat {FOLDER}/sriov_numvfs {FOLDER}/sriov_drivers_autoprobe").split()
    return (host.driver(PF), *numbers)


def functions(host):
    return sorted(host.output(f"for link in {FOLDER}/virtfn*; do [ -e $link ] && basename $(readlink $link); done; true")
                  .split())


@pytest.fixture(autouse=True)
def restored(host):
    assert kernel(host) == HERE
    yield
    for lease in host.leases():
        host.release(lease["Id"])
    host.wait("the PF as it was", lambda: kernel(host) == HERE)
    host.wait_free(PF)


@contextlib.contextmanager
def enabled(host, number):
    host.run(f"echo 0 > {FOLDER}/sriov_drivers_autoprobe; echo {number} > {FOLDER}/sriov_numvfs")
    try:
        host.wait("functions known", lambda: all(host.ctl("show", name, check=False)[0] == 0
                                                 for name in functions(host)))
        yield
    finally:
        host.run(f"echo 0 > {FOLDER}/sriov_numvfs; echo 1 > {FOLDER}/sriov_drivers_autoprobe")


def test_made_leased_removed(host):
    lease = host.acquire(PF, user="alice", options=["--vfs=4"])
    made = functions(host)
    assert len(made) == 4 and host.leases()[0]["Devices"] == made
    assert kernel(host) == ("nvme", "4", "0")
    groups = {host.group(name) for name in made}
    assert len(groups) == 4 and set(host.leases()[0]["Groups"]) == groups
    assert [host.driver(name) for name in made] == ["vfio-pci"] * 4
    for group in groups:        # alice may open each of them, and user space owns it then
        assert "viable" in host.output(["/payload/src/tests/vm/vfio-probe", str(group)])
        host.run(f"exec 3<>/dev/vfio/{group}", user="alice")
    assert host.property("group", host.group(PF), "Group", "OwnerKind") == "dma-api"
    host.release(lease)
    host.wait("the PF as it was", lambda: kernel(host) == HERE)
    assert functions(host) == []


def test_the_holder_is_killed(host):
    command = host.start(["dmaownerctl", "acquire", PF, "--vfs=8"])
    host.wait("8 functions on vfio-pci", lambda: [host.driver(name) for name in functions(host)] == ["vfio-pci"] * 8)
    host.run("pkill -KILL -x dmaownerctl")
    command.wait()
    host.wait("the PF as it was", lambda: kernel(host) == HERE)


def test_the_holder_is_killed_in_the_middle(host):
    command = host.start(["dmaownerctl", "acquire", PF, "--vfs=64"])
    host.wait("the first functions", lambda: functions(host))
    host.run("pkill -KILL -x dmaownerctl")
    command.wait()
    host.wait("the PF as it was", lambda: kernel(host) == HERE)
    host.wait("no lease", lambda: host.leases() == [])


def test_the_daemon_is_killed_in_the_middle(host):
    command = host.start(["dmaownerctl", "acquire", PF, "--vfs=64", "--holder=none"])
    host.wait("the first functions", lambda: functions(host))
    host.run("systemctl kill --signal=KILL --kill-who=main dmaownerd")
    command.wait()
    host.wait("the daemon is back", lambda: host.leases_or_none() is not None)
    leases = host.leases()      # one that was answered is finished, the other is undone
    if leases:
        host.wait("all functions", lambda: host.lease_state(leases[0]["Id"]) == "active")
        assert len(functions(host)) == 64
        assert all(host.driver(name) == "vfio-pci" for name in functions(host))


def test_open_files_put_the_removal_off(host):
    lease = host.acquire(PF, user="alice", options=["--vfs=2"])
    last = functions(host)[-1]
    program = host.start(f"exec 3<>/dev/vfio/{host.group(last)}; exec sleep 1000", user="alice")
    host.wait("the file is open", lambda: host.run(f"exec 3<>/dev/vfio/{host.group(last)}", check=False)[0] != 0)
    host.release(lease)
    host.wait("the PF waits", lambda: last in (host.property("group", host.group(PF), "Group", "WaitsFor") or ""))
    assert kernel(host)[1] == "2"
    host.run("pkill -KILL -x sleep")
    program.wait()


def test_functions_that_are_there_already(host):
    with enabled(host, 3):
        status, output = host.ctl("acquire", "--holder=none", "--vfs=2", PF, check=False)
        assert status == 4 and "3 virtual functions" in output
        lease = host.acquire(PF, options=["--vfs=3"])
        assert host.leases()[0]["Devices"] == functions(host)
        host.release(lease)
        host.wait_free(*functions(host))
        assert kernel(host) == ("nvme", "3", "0")


@pytest.mark.parametrize(("device", "number", "word"), [(PF, 121, "120"), (NIC, 1, "SR-IOV")])
def test_what_the_hardware_has_not(host, device, number, word):
    status, output = host.ctl("acquire", "--holder=none", f"--vfs={number}", device, check=False)
    assert status == 4 and word in output


def test_selectors_share_out_the_functions(host):
    with enabled(host, 6):
        first = host.acquire(f"pf={PF}*4", user="alice")
        assert len(host.leases()[0]["Devices"]) == 4
        second = host.acquire(f"pf={PF}*3", user="bob", options=[f"--or=pf={PF}*2"])
        taken = [set(lease["Devices"]) for lease in host.leases()]
        assert taken[0] | taken[1] == set(functions(host)) and not taken[0] & taken[1]
        host.release(first)
        host.release(second)
        host.wait_free(*functions(host))


@pytest.fixture
def pool(host):
    rules = json.dumps({"rules": [{"match": {"device": PF}, "vfs": 4}]})
    host.run(["sh", "-c", "mkdir -p /etc/dmaownerd && printf %s \"$1\" > /etc/dmaownerd/dmaownerd.json", "sh", rules])
    host.ctl("reload")
    yield
    host.run("rm /etc/dmaownerd/dmaownerd.json")
    host.ctl("reload")


def test_a_pool_is_made_for_the_first_and_removed_after_the_last(host, pool):
    first = host.acquire(f"pf={PF}*2", user="alice")
    made = functions(host)
    assert kernel(host) == ("nvme", "4", "0") and host.leases()[0]["Devices"] == made[:2]
    second = host.acquire(f"pf={PF},class=0108", user="bob")
    third = host.acquire(made[3])
    assert [lease["Devices"] for lease in host.leases()] == [made[:2], made[2:3], made[3:]]
    assert [host.driver(name) for name in made] == ["vfio-pci"] * 4
    host.release(first)
    host.wait_free(*made[:2])
    assert [host.driver(name) for name in made] == ["", "", "vfio-pci", "vfio-pci"]
    host.release(second)
    assert kernel(host)[1] == "4"
    host.release(third)
    host.wait("the PF as it was", lambda: kernel(host) == HERE)
    assert functions(host) == []


def test_a_pool_outlives_a_daemon_that_is_killed(host, pool):
    lease = host.acquire(f"pf={PF}", user="alice")
    host.run("systemctl kill --signal=KILL --kill-who=main dmaownerd")
    host.wait("the daemon is back", lambda: host.leases_or_none() is not None)
    assert kernel(host)[1] == "4"
    second = host.acquire(f"pf={PF}", user="bob")
    host.release(lease)
    assert kernel(host)[1] == "4"
    host.release(second)
    host.wait("the PF as it was", lambda: kernel(host) == HERE)


IGB, IGB_VF = HOTPLUG_ADDRESS, HOTPLUG_ADDRESS.replace("00.0", "10.0")


class Igb:
    """A NIC with two VFs, and what iproute2 sees and sets of the first one, past the daemon."""

    def __init__(self, host):
        self.host = host
        self.interface = host.output(f"ls /sys/bus/pci/devices/{IGB}/net")

    def settings(self, prefix=""):
        link = json.loads(self.host.output(f"{prefix} ip -json link show {self.interface}"))[0]
        return next(vf for vf in link["vfinfo_list"] if vf["vf"] == 0)

    def set(self, what, prefix=""):
        self.host.run(f"{prefix} ip link set {self.interface} vf 0 {what}")


@pytest.fixture
def igb(host):
    try:
        host.guest.qmp("device-list-properties", typename="igb")
    except GuestError as error:
        pytest.skip(f"this computer's QEMU is older than 8.0: {error}")
    host.guest.qmp("device_add", driver="igb", id="igb", bus=HOTPLUG_BUS, romfile="")
    host.wait_driver(IGB, "igb")
    host.run(f"echo 2 > /sys/bus/pci/devices/{IGB}/sriov_numvfs")
    host.wait_driver(IGB_VF, "igbvf")
    host.wait("the VF is known", lambda: host.ctl("show", IGB_VF, check=False)[0] == 0)
    yield Igb(host)
    for lease in host.leases():
        host.release(lease["Id"])
    host.wait_free(IGB_VF)
    host.run(f"echo 0 > /sys/bus/pci/devices/{IGB}/sriov_numvfs")
    host.guest.qmp("device_del", id="igb")
    host.guest.wait_event("DEVICE_DELETED", device="igb")


LIKE_LIBVIRT = "mac 52:54:00:aa:bb:01 vlan 42 qos 3 spoofchk off trust on"
in_guests_with_igb = pytest.mark.guests("debian12", "debian13")


@in_guests_with_igb
@pytest.mark.parametrize("before", ["mac 52:54:00:12:34:56 vlan 7", "mac 00:00:00:00:00:00"])
def test_settings_are_put_back(host, igb, before):
    igb.set(before)
    was = igb.settings()
    lease = host.acquire(IGB_VF, user="alice")
    igb.set(LIKE_LIBVIRT)
    now = igb.settings()
    assert (now["address"], now["vlan_list"][0]["vlan"], now["spoofchk"], now["trust"]) == (
        "52:54:00:aa:bb:01", 42, False, True)
    host.release(lease)
    host.wait_free(IGB_VF)
    assert igb.settings() == was
    assert host.driver(IGB_VF) == "igbvf"


@in_guests_with_igb
def test_settings_outlive_a_daemon_that_is_killed(host, igb):
    igb.set("mac 52:54:00:12:34:56")
    was = igb.settings()
    lease = host.acquire(IGB_VF, user="alice")
    igb.set(LIKE_LIBVIRT)
    host.run("systemctl kill --signal=KILL --kill-who=main dmaownerd")
    host.wait("the daemon is back", lambda: host.leases_or_none() is not None)
    assert igb.settings()["trust"] is True
    host.release(lease)
    host.wait_free(IGB_VF)
    assert igb.settings() == was


@in_guests_with_igb
def test_settings_of_a_pf_in_another_network_namespace(host, igb):
    """Nobody can be asked, and nobody is kept waiting for that."""
    there = "ip netns exec elsewhere"
    host.run(f"ip netns add elsewhere && ip link set {igb.interface} netns elsewhere")
    try:
        igb.set("mac 52:54:00:12:34:56", there)
        lease = host.acquire(IGB_VF, user="alice")
        igb.set("mac 52:54:00:aa:bb:01", there)
        host.release(lease)
        host.wait_free(IGB_VF)
        assert igb.settings(there)["address"] == "52:54:00:aa:bb:01"
        assert f"settings of {IGB_VF} cannot be recorded" in host.journal()
    finally:
        host.run(f"{there} ip link set {igb.interface} netns 1; ip netns delete elsewhere")
