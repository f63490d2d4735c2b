# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's hook, called as libvirt does it: tests/vm/test_libvirt.py has libvirt itself."""

import os
import subprocess
import threading
import uuid

import pytest
from harness import PATIENCE, namespace
from harness.client import FOR_EVER, LEASE
from harness.host import BUILD, TROUBLE
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2, NVME

HOOK = BUILD / "client/libvirt/libvirt-hook"
SECOND = 10**6


def address(device):
    domain, bus, rest = device.split(":")
    slot, function = rest.split(".")
    return f"<address type='pci' domain='0x{domain}' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def hostdev(device, managed="no"):
    return (f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source>{address(device)}</source></hostdev>")


class Domain:
    """As its XML has it."""

    def __init__(self, host, name, *devices):
        self.host, self.name, self.uuid = host, name, str(uuid.uuid4())
        self.devices = "".join(hostdev(device) for device in devices)
        self.owner = (os.geteuid(), f"libvirt:{self.uuid}")

    def xml(self):
        return f"<domain type='qemu'><name>{self.name}</name><uuid>{self.uuid}</uuid><devices>{self.devices}</devices></domain>"

    def port_xml(self, device):
        return (f"<hookData><network><name>pool</name></network><networkport><uuid>{uuid.uuid4()}</uuid>"
                f"<owner><name>{self.name}</name><uuid>{self.uuid}</uuid></owner>"
                f"<plug type='hostdev-pci' managed='no'>{address(device)}</plug></networkport></hookData>")

    def hook(self, operation, xml=None, run=()):
        """Status and what it says; it never says anything on the standard output, which would replace the XML."""
        process = subprocess.run([*run, HOOK, self.name, operation, "begin", "-"], input=self.xml() if xml is None else xml,
                                 capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
                                 env={"PATH": os.environ["PATH"], "LC_ALL": "C",
                                      "DBUS_SYSTEM_BUS_ADDRESS": self.host.address})
        assert not process.stdout and not TROUBLE.search(process.stderr), process.stderr
        return process.returncode, process.stderr

    def leases(self):
        return [lease for lease in self.host.root.leases().values() if tuple(lease["Owner"]) == self.owner]


@pytest.fixture
def domain(host):
    return lambda name, *devices: Domain(host, name, *devices)


def did(answer):
    assert answer == (0, ""), answer


@pytest.mark.story
def test_from_start_to_end(root, domain):
    guest = domain("a guest", NIC, BRIDGE_A)
    did(guest.hook("prepare"))
    lease, = guest.leases()
    assert (lease["State"], lease["Label"], lease["Holder"], lease["Devices"]) == ("active", "a guest", "none", [NIC, BRIDGE_A])
    assert root.device(NIC)["Driver"] == root.device(BRIDGE_B)["Driver"] == "vfio-pci"
    assert lease["Expires"] < FOR_EVER
    did(guest.hook("start"))
    assert guest.leases()[0]["Expires"] > lease["Expires"]
    did(guest.hook("stopped"))
    assert guest.leases()[0]["State"] == "active"
    did(guest.hook("release"))
    assert not guest.leases()
    did(guest.hook("release"))
    root.wait_driver(NIC, "e1000e")
    root.wait_driver(BRIDGE_A, "e1000")


@pytest.mark.parametrize("operation", ["prepare", "start", "started", "release", "reconnect", "attach"])
def test_domains_without_devices_do_not_need_the_daemon(host, domain, operation):
    host.daemon.kill()
    did(domain("a").hook(operation))
    host.start()


@pytest.mark.parametrize("operation", ["migrate", "restore"])
def test_filters_change_nothing(domain, operation):
    did(domain("a", NIC).hook(operation, "x" * 200000))


def test_who_has_the_device_is_named(root, domain):
    other = root.hold(NIC, owner="dpdk-of-bob")
    guest = domain("a", NIC2, NIC)
    status, said = guest.hook("prepare")
    assert status != 0 and said.count("\n") == 1
    assert said.startswith("dmaownerd: domain a: ") and "dpdk-of-bob" in said and NIC in said
    assert not guest.leases() and root.device(NIC2)["Driver"] == "e1000e"
    did(guest.hook("release"))      # as libvirt does then
    assert other.State == "active"


def test_two_domains(root, domain):
    one, two = domain("one", NIC), domain("two", NIC)
    did(one.hook("prepare"))
    status, said = two.hook("prepare")
    assert status != 0 and one.uuid in said
    did(two.hook("release"))
    assert len(one.leases()) == 1


def test_stopped_and_started_at_once(root, sim, domain):
    """The devices are on their way back to the host yet."""
    one, two = domain("one", NIC), domain("two", NIC)
    did(one.hook("prepare"))
    sim.inject("reset", NIC, hang=True)
    did(one.hook("release"))
    root.wait_group(NIC, "restoring")
    timer = threading.Timer(1, sim.clear)
    timer.start()
    did(two.hook("prepare"))
    timer.join()
    assert len(two.leases()) == 1


def test_one_after_the_other(domain):
    """At whatever moment of the way back the next one asks."""
    guests = [domain(name, NIC, BRIDGE_A) for name in ("one", "two")]
    for turn in range(20):
        did(guests[turn % 2].hook("prepare"))
        did(guests[turn % 2].hook("release"))


def test_what_a_start_left_that_nobody_finished(root, domain, sim):
    """libvirt was killed between prepare and started."""
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    former, = guest.leases()
    sim.operations()
    did(guest.hook("prepare"))
    now, = guest.leases()
    assert now["Id"] != former["Id"]
    assert not sim.operations(), "the device went back to the host in between"


def test_start_wants_a_lease_of_each_device(root, domain):
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    guest.devices += hostdev(NIC2)
    status, said = guest.hook("start")
    assert status != 0 and NIC2 in said and "network.d" in said


def test_network_ports(root, domain):
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    did(guest.hook("port-created", guest.port_xml(NIC2)))
    assert sorted(lease["Devices"][0] for lease in guest.leases()) == [NIC, NIC2]
    other = domain("b")
    status, said = other.hook("port-created", other.port_xml(NIC2))
    assert status != 0 and guest.uuid in said
    guest.devices += hostdev(NIC2)      # as the live XML has it from now on
    did(guest.hook("start"))
    did(guest.hook("port-deleted", guest.port_xml(NIC2)))
    assert [lease["Devices"] for lease in guest.leases()] == [[NIC]]
    did(guest.hook("release"))


def test_networks_that_are_not_about_devices(domain):
    guest = domain("a")
    did(guest.hook("started", "<hookData><network><name>default</name></network></hookData>"))
    did(guest.hook("port-created", guest.port_xml(NIC).replace("hostdev-pci", "bridge")))
    assert not guest.leases()


def test_disks_of_one_controller(root, domain):
    guest = domain("a")
    guest.devices = "".join(f"<disk type='nvme'><source type='pci' namespace='{n}'>{address(NVME)}</source></disk>" for n in (1, 2))
    did(guest.hook("prepare"))
    assert guest.leases()[0]["Devices"] == [NVME]


@pytest.mark.parametrize("xml, says", [
    ("", "cannot be read"), ("<domain><name>a</name>", "cannot be read"),
    ("<domain><name>a</name><devices/></domain>", "no UUID"),
    (f"<!--{'x' * (9 << 20)}-->", "larger than 8 MiB")], ids=["empty", "cut-off", "no-uuid", "huge"])
def test_xml_that_is_none(domain, xml, says):
    guest = domain("a", NIC)
    status, said = guest.hook("prepare", xml)
    assert status != 0 and says in said
    # never to a guest that runs
    for operation in ("started", "reconnect", "attach", "release", "port-deleted"):
        status, said = guest.hook(operation, xml)
        assert status == 0 and says in said


def test_twice_the_same_device(domain):
    status, said = domain("a", NIC, NIC).hook("prepare")
    assert status != 0 and f"{NIC} twice" in said


def test_no_such_device(domain):
    status, said = domain("a", "0000:7f:00.0").hook("prepare")
    assert status != 0 and "0000:7f:00.0" in said


def test_unknown_operation(domain):
    status, said = domain("a", NIC).hook("dance")
    assert status == 0 and "dance" in said and said.count("\n") == 1


def test_called_by_hand():
    process = subprocess.run([HOOK], capture_output=True, text=True, check=False)
    assert process.returncode == 2 and "libvirt" in process.stderr


def test_switch_that_hangs(root, sim, domain):
    """It ends in time, and the devices are not left half-way."""
    guest = domain("a", NIC)
    sim.inject("bind", NIC, hang=True)
    status, said = guest.hook("prepare")
    assert status != 0 and "not ready after 25 s" in said
    sim.clear()
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"


# With the folders of a host of its own

@pytest.fixture
def own_folders(tmp_path):
    """A command that runs another one with other /run and /sys."""
    if why := namespace.missing():
        pytest.skip(why)
    for name in ("run/libvirt/qemu", "sys"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path, ["unshare", "--mount", "sh", "-c",
                      f"mount --bind {tmp_path}/run /run && mount --bind {tmp_path}/sys /sys && exec \"$@\"", "sh"]


def arbitrate(folder, *devices):
    (folder / "run/dmaownerd").mkdir()
    for device in devices:
        (folder / "sys/bus/pci/devices" / device / "iommu_group").mkdir(parents=True)


def test_without_the_daemon(host, domain, own_folders):
    folder, run = own_folders
    host.daemon.kill()
    guest = domain("a", NIC)
    status, said = guest.hook("prepare", run=run)
    assert status == 0 and "not leased" in said     # it was never there
    arbitrate(folder, NIC)
    status, said = guest.hook("prepare", run=run)
    assert status != 0 and NIC in said and "systemctl status dmaownerd" in said
    status, said = domain("b", NIC2).hook("prepare", run=run)
    assert status == 0 and "not leased" in said     # not its business
    for operation in ("started", "reconnect", "attach", "release"):
        status, said = guest.hook(operation, run=run)
        assert status == 0 and said
    host.start()


@pytest.fixture
def qemu(own_folders):
    """Starts what looks like the QEMU of a domain."""
    started = []

    def start(guest, identity=None):
        # a shell keeps its arguments
        started.append(subprocess.Popen(["sh", "-c", "read x", "qemu", "-uuid", identity or guest.uuid], stdin=subprocess.PIPE))
        (own_folders[0] / f"run/libvirt/qemu/{guest.name}.pid").write_text(f"{started[-1].pid}")
        return started[-1]
    yield start
    for process in started:
        process.stdin.close()
        process.kill()
        process.wait()


def test_qemu_holds_the_lease(root, domain, own_folders, qemu):
    guest = domain("ä guest", NIC)
    did(guest.hook("prepare"))
    process = qemu(guest)
    did(guest.hook("started", run=own_folders[1]))
    lease, = guest.leases()
    assert (lease["State"], lease["Holder"], lease["HolderPid"], lease["Expires"]) == ("active", "process", process.pid, FOR_EVER)
    did(guest.hook("reconnect", run=own_folders[1]))
    # QEMU is dead, libvirt is not done with the devices
    process.kill()
    process.wait()
    root.wait(lambda: guest.leases()[0]["State"] == "unconfirmed", "QEMU's death")
    assert root.device(NIC)["Driver"] == "vfio-pci"
    did(guest.hook("release", run=own_folders[1]))
    root.wait_driver(NIC, "e1000e")


def test_started_a_second_time(root, domain, own_folders, qemu):
    """libvirt has forgotten a guest that runs: neither its start nor what follows a refused one may harm it."""
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    process = qemu(guest)
    did(guest.hook("started", run=own_folders[1]))
    status, said = guest.hook("prepare", run=own_folders[1])
    assert status != 0 and f"process {process.pid}" in said
    did(guest.hook("release", run=own_folders[1]))
    assert guest.leases()[0]["State"] == "active"


def test_pid_of_somebody_else(domain, own_folders, qemu):
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    qemu(guest, identity=str(uuid.uuid4()))
    status, said = guest.hook("started", run=own_folders[1])
    assert status == 0 and "not confirmed" in said
    assert guest.leases()[0]["Holder"] == "none"


def test_missed_the_start(root, sim, domain, own_folders, qemu):
    """Nobody has confirmed it in time; when libvirt is there again it is."""
    guest = domain("a", NIC)
    did(guest.hook("prepare"))
    lease, = guest.leases()
    process = qemu(guest)
    sim.open(NIC, pid=process.pid, comm="qemu")
    root.call(f"/org/dmaowner1/lease/{lease['Id']}", LEASE, "Renew", "t", SECOND // 10)
    root.wait(lambda: guest.leases()[0]["State"] == "unconfirmed", "the end of its time")
    did(guest.hook("reconnect", run=own_folders[1]))
    assert guest.leases()[0]["HolderPid"] == process.pid and guest.leases()[0]["Id"] == lease["Id"]
    assert guest.leases()[0]["State"] == "active"
