# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt asks for the devices of its domains: real libvirtd, real QEMU, docs/libvirt.md."""

import itertools
import json
import re

import pytest

from devices import DEVICES
from test_lease import pid_of, start_testpmd
from test_policy import put

NIC, NIC2, BRIDGE_A = (DEVICES[role].address for role in ("nic", "nic2", "bridge_a"))
PF, VF = DEVICES["nvme_sriov"].address, "0000:02:00.1"
UUID = "0d1a37c5-9a34-4a4c-9e05-3c3d2e0f7a{:02x}"
ORDERS = list(itertools.permutations(("destroy", "kill", "restart")))


def address(device):
    domain, bus, slot, function = re.split("[:.]", device)
    return f"<address type='pci' domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def hostdev(device, managed):
    return f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source>{address(device)}</source></hostdev>"


class Libvirt:
    def __init__(self, host):
        self.host = host

    def virsh(self, *words, check=True):
        return self.host.run(["virsh", *words], check=check, timeout=300)

    def define(self, name, *devices, managed="no", emulator="/usr/bin/qemu-system-x86_64", more=""):
        number = sum(name.encode()) % 256
        put(self.host, f"/tmp/{name}.xml",
            f"<domain type='qemu'><name>{name}</name><uuid>{UUID.format(number)}</uuid><memory unit='MiB'>64</memory>"
            f"<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><emulator>{emulator}</emulator>"
            f"{''.join(hostdev(device, managed) for device in devices)}{more}</devices></domain>")
        self.virsh("define", f"/tmp/{name}.xml")
        return UUID.format(number)

    def running(self):
        return self.virsh("list", "--name")[1].split()

    def wait_up(self):
        self.host.wait("libvirtd answers", lambda: self.virsh("list", check=False)[0] == 0)

    def clean(self):
        self.wait_up()
        for name in self.running():
            self.virsh("destroy", name, check=False)
        for name in self.virsh("list", "--all", "--name")[1].split():
            self.virsh("undefine", name)

    # what happens to a domain

    def destroy(self, name):
        self.virsh("destroy", name)

    def kill(self, name):
        self.host.run(f"kill -KILL $(cat /run/libvirt/qemu/{name}.pid)")
        self.host.wait(f"the end of {name}", lambda: name not in self.running())

    def restart(self, name):
        self.host.run("systemctl restart libvirtd", timeout=300)
        self.wait_up()
        assert name in self.running()


@pytest.fixture
def libvirt(host):
    host.run("systemctl start libvirtd", timeout=300)
    libvirt = Libvirt(host)
    libvirt.wait_up()
    yield libvirt
    libvirt.clean()
    host.run("systemctl stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket", check=False)


def alice(host):
    return f"(uid {host.output('id -u alice')})"


def owners(host):
    return {lease["Owner"][1]: lease for lease in host.leases()}


def test_domains_and_testpmd_side_by_side(host, libvirt):
    testpmd = start_testpmd(host, device=BRIDGE_A)
    try:
        testpmd.wait_output("testpmd>", timeout=240)
        uuid = libvirt.define("one", NIC, NIC2)
        libvirt.virsh("start", "one")
        assert host.driver(NIC) == host.driver(NIC2) == "vfio-pci"
        lease = owners(host)[f"libvirt:{uuid}"]
        pid = int(host.output("cat /run/libvirt/qemu/one.pid"))
        assert (lease["State"], lease["HolderPid"], lease["Label"]) == ("active", pid, "one")

        # who wants what another domain has, or testpmd, is told who that is
        libvirt.define("two", NIC2)
        status, said = libvirt.virsh("start", "two", check=False)
        assert status != 0 and f"libvirt:{uuid}" in said and "one" not in libvirt.virsh("list", "--name")[1].split()[1:]
        libvirt.define("three", BRIDGE_A)
        status, said = libvirt.virsh("start", "three", check=False)
        assert status != 0 and alice(host) in said and BRIDGE_A in said
        assert pid_of(host, "dpdk-testpmd")

        table = host.ctl("libvirt", "status", "--no-legend")[1]
        assert re.search(rf"one +running +{NIC} +{lease['Id']} +active", table), table
        assert re.search(rf"three +off +{BRIDGE_A} ", table), table
        libvirt.virsh("destroy", "one")
        libvirt.virsh("start", "two")
        assert f"libvirt:{uuid}" not in owners(host)
    finally:
        host.run("pkill -KILL dpdk-testpmd; pkill -KILL dmaownerctl", check=False)
        testpmd.wait()


def everything_once(host, libvirt, order):
    libvirt.define("one", NIC, NIC2)
    for deed in order:
        if "one" not in libvirt.running():
            libvirt.virsh("start", "one")
        getattr(libvirt, deed)("one")
        for lease in host.leases():
            # QEMU's death is seen at once, libvirt's "release" may still come
            assert lease["State"] in ("active", "unconfirmed"), lease
    libvirt.clean()
    host.wait("all is given back", lambda: not host.leases())


@pytest.mark.one_kernel
def test_destroy_kill_restart(host, libvirt):
    everything_once(host, libvirt, ("restart", "kill", "destroy"))


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_in_every_order(host, libvirt, order):
    everything_once(host, libvirt, order)


@pytest.mark.one_kernel
def test_managed(host, libvirt):
    libvirt.define("one", NIC, managed="yes")
    libvirt.virsh("start", "one")
    assert host.leases()[0]["State"] == "active"
    libvirt.virsh("destroy", "one")
    host.wait_driver(NIC, "e1000e")


@pytest.mark.one_kernel
def test_without_the_daemon(host, libvirt):
    """A guest that runs does not notice; none starts, also not with what libvirt takes for its own from the time before."""
    libvirt.define("one", NIC)
    libvirt.define("two", NIC2)
    libvirt.virsh("start", "two")
    libvirt.virsh("destroy", "two")
    host.wait_driver(NIC2, "e1000e")
    libvirt.virsh("start", "one")
    lease, = host.leases()
    host.run("systemctl mask --runtime dmaownerd; systemctl stop dmaownerd")
    try:
        status, said = libvirt.virsh("start", "two", check=False)
        assert status != 0 and NIC2 in said and "dmaownerd" in said
        assert host.driver(NIC2) == "e1000e"
        libvirt.restart("one")
    finally:
        host.run("systemctl unmask --runtime dmaownerd; systemctl start dmaownerd")
    host.wait("the daemon is back", lambda: host.leases_or_none() is not None)
    assert [found["Id"] for found in host.leases()] == [lease["Id"]] and "one" in libvirt.running()


@pytest.mark.one_kernel
def test_qemu_that_does_not_start(host, libvirt):
    put(host, "/usr/local/bin/no-qemu",
        "#!/bin/sh\ncase \"$*\" in *-uuid*) exit 1;; esac\nexec qemu-system-x86_64 \"$@\"\n")
    host.run("chmod 755 /usr/local/bin/no-qemu")
    libvirt.define("one", NIC, emulator="/usr/local/bin/no-qemu")
    assert libvirt.virsh("start", "one", check=False)[0] != 0
    assert not host.leases()
    host.wait_driver(NIC, "e1000e")


@pytest.fixture
def vf(host):
    """libvirt takes nothing else for its networks."""
    host.run(f"cd /sys/bus/pci/devices/{PF} && echo 0 > sriov_drivers_autoprobe && echo 1 > sriov_numvfs", timeout=300)
    host.wait("the VF is known", lambda: any(VF in group["Devices"] for group in host.groups()))
    yield
    host.wait_free(VF)
    host.run(f"cd /sys/bus/pci/devices/{PF} && echo 0 > sriov_numvfs && echo 1 > sriov_drivers_autoprobe", timeout=300)


@pytest.mark.one_kernel
def test_devices_of_a_network(host, libvirt, vf):
    """The network's own hook: libvirt chooses the device after the domain's prepare."""
    put(host, "/tmp/pool.xml", f"<network><name>pool</name><forward mode='hostdev' managed='yes'>{address(VF)}</forward></network>")
    uuid = UUID.format(1)
    put(host, "/tmp/port.xml", f"<networkport><uuid>{UUID.format(2)}</uuid><owner><name>one</name><uuid>{uuid}</uuid></owner>"
        f"<mac address='52:54:00:00:00:01'/></networkport>")
    libvirt.virsh("net-create", "/tmp/pool.xml")
    try:
        libvirt.virsh("net-port-create", "pool", "/tmp/port.xml")
        lease, = host.leases()
        assert lease["Owner"][1] == f"libvirt:{uuid}" and lease["Devices"] == [VF] and lease["Label"] == "one"
        port, = libvirt.virsh("net-port-list", "pool", "--uuid")[1].split()
        libvirt.virsh("net-port-delete", "pool", port)
        assert not host.leases()
        held = host.acquire(VF)
        status, said = libvirt.virsh("net-port-create", "pool", "/tmp/port.xml", check=False)
        assert status != 0 and f"lease {held}" in said
        host.release(held)
    finally:
        libvirt.virsh("net-destroy", "pool")


@pytest.mark.one_kernel
def test_devices_of_a_domain_that_runs(host, libvirt):
    libvirt.define("one", NIC, more="<controller type='pci' index='0' model='pcie-root'/>"
                   + "".join(f"<controller type='pci' index='{n}' model='pcie-root-port'/>" for n in range(1, 9)))
    assert host.ctl("libvirt", "attach", "one", NIC2, check=False)[0] != 0
    libvirt.virsh("start", "one")
    host.ctl("libvirt", "attach", "one", NIC2)
    assert host.driver(NIC2) == "vfio-pci" and len(host.leases()) == 2
    rows = json.loads(host.ctl("libvirt", "status", "--json")[1])
    assert [(row["device"], row["state"]) for row in rows] == [(NIC, "active"), (NIC2, "active")]
    held = host.acquire(BRIDGE_A, user="bob")
    status, said = host.ctl("libvirt", "attach", "one", BRIDGE_A, check=False)
    assert status == 3 and f"lease {held}" in said
    host.release(held)
    # a guest without a system does not let go, and so keeps its lease
    status, said = host.ctl("libvirt", "detach", "one", NIC2, check=False)
    assert status in (0, 6), said
    assert len(host.leases()) == (2 if status else 1)
    libvirt.virsh("destroy", "one")
    host.wait_driver(NIC2, "e1000e")


# DPDK and libvirt want the same device at the same moment

@pytest.mark.long
def test_race_of_the_hook(host):
    uuid = UUID.format(1)
    xml = (f"<domain><name>one</name><uuid>{uuid}</uuid><devices>{hostdev(NIC, 'no')}</devices></domain>")
    put(host, "/tmp/race.xml", xml)
    hook = "/etc/libvirt/hooks/qemu.d/50-dmaownerd one {} begin - < /tmp/race.xml"
    script = ("n=0; while [ $n -lt 50 ]; do n=$((n + 1))\n"
              "runuser -u alice -- dmaownerctl exec " + NIC + " -- echo won > /tmp/race.dpdk 2>&1 & dpdk=$!\n"
              + hook.format("prepare") + " > /tmp/race.hook 2>&1; hook=$?\n"
              "wait $dpdk; dpdk=$?\n"
              + hook.format("release") + "\n"
              "echo \"$hook $dpdk $(tr '\\n' ' ' < /tmp/race.hook) | $(tr '\\n' ' ' < /tmp/race.dpdk)\"\ndone")
    alice_is = alice(host)
    rounds = host.output(script, timeout=600).splitlines()
    assert len(rounds) == 50
    for line in rounds:
        hook_status, dpdk_status, said = line.split(maxsplit=2)
        of_hook, of_dpdk = said.split("|")
        assert "0" in (hook_status, dpdk_status), line
        assert hook_status == "0" or alice_is in of_hook or "try again soon" in of_hook, line
        assert (dpdk_status == "0") == ("won" in of_dpdk), line
        assert dpdk_status == "0" or uuid in of_dpdk or "lease" in of_dpdk, line
    host.wait_driver(NIC, "e1000e")


@pytest.mark.long
@pytest.mark.parametrize("later", [0, 1, 3])
def test_race_of_a_domain(host, libvirt, later):
    uuid = libvirt.define("one", NIC)
    dpdk = host.start(["sh", "-c", f"sleep {later}; exec dmaownerctl exec {NIC} -- sh -c 'echo won; sleep 60'"], user="alice")
    status, said = libvirt.virsh("start", "one", check=False)
    won = "won" in dpdk.output or status != 0
    try:
        if won:
            assert status != 0 and alice(host) in said, said
            dpdk.wait_output("won", timeout=120)
        else:
            assert dpdk.wait() != 0 and (uuid in dpdk.output or "lease" in dpdk.output), dpdk.output
        assert len(host.leases()) == 1
    finally:
        host.run("pkill -KILL dmaownerctl", check=False)
        dpdk.wait()
