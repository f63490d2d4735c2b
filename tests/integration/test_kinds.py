# SPDX-License-Identifier: LGPL-2.1-or-later
"""The owner kinds dma-api and private-domain: types, named drivers, and what the kernel does not allow."""

import contextlib
import errno
import os

import pytest
from harness.client import BusError
from harness.host import Host
from harness.topology import BRIDGE_A, BRIDGE_B, IDENTITY, NIC, small


def refused(ask, name, *words):
    with pytest.raises(BusError) as refusal:
        ask()
    assert refusal.value.name == name, refusal.value
    for word in words:
        assert word in refusal.value.message, refusal.value.message


def obstacles(client, *arguments, **options):
    possible, found, steps = client.explain(*arguments, **options)
    assert possible == (not found)
    return [(one["code"], one["device"], one["text"]) for one in found]


@contextlib.contextmanager
def kernel(version, **more):
    with Host({**small(), "kernel": version, **more}) as host:
        host.root.watch()
        yield host


# the default domain type

@pytest.mark.parametrize("version", ["6.1", "6.12"])
@pytest.mark.parametrize("now, wished", [("DMA", "identity"), ("identity", "DMA"), ("identity", "DMA-FQ")])
def test_first_lease_switches_and_the_last_restores(version, now, wished):
    with kernel(version) as host:
        root, sim = host.root, host.sim
        device = IDENTITY if now == "identity" else NIC
        before = sim.state()
        first = root.hold(device, "dma-api", owner="first", default_domain_type=wished)
        assert (sim.group(device)["type"], sim.device(device)["driver"]) == (wished, "e1000e")
        sim.operations()
        second = root.hold(device, "dma-api", owner="second", default_domain_type=wished)
        first.release()
        assert sim.operations() == []
        second.release()
        root.wait_group(device, "free")
        assert sim.difference(before) == {}


def test_auto_is_what_the_host_has(root, sim):
    before = sim.state()
    lease = root.hold(IDENTITY, "dma-api", default_domain_type="auto")
    assert sim.group(IDENTITY)["type"] == "DMA"
    lease.release()
    root.wait_group(IDENTITY, "free")
    assert sim.difference(before) == {}


def test_several_devices_change_their_type_together(root, sim):
    before = sim.state()
    lease = root.hold(BRIDGE_A, "dma-api", default_domain_type="identity")
    assert sim.group(BRIDGE_A)["type"] == "identity"
    assert {sim.device(name)["driver"] for name in (BRIDGE_A, BRIDGE_B)} == {"e1000"}
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("wished", ["identity", "DMA-FQ", "auto"])
def test_old_kernels_say_so_before_anything_is_done(wished):
    with kernel("6.1") as host:
        root, sim = host.root, host.sim
        before = sim.state()
        sim.operations()
        (code, _, text), = obstacles(root, BRIDGE_A, "dma-api", default_domain_type=wished)
        assert code == "type-needs-single-device" and "6.4" in text and BRIDGE_A in text
        refused(lambda: root.acquire(BRIDGE_A, "dma-api", default_domain_type=wished), "NotViable", "6.4", BRIDGE_A)
        assert sim.operations() == [] and sim.difference(before) == {}
        root.hold(BRIDGE_A, "dma-api", default_domain_type="DMA")


def test_a_type_that_the_platform_forbids(root, sim):
    """The kernel says it only when it is tried."""
    with kernel("6.12", groups=[{"group": 12, "forced_type": "DMA"}]) as host:
        before = host.sim.state()
        lease = host.root.acquire(NIC, "dma-api", default_domain_type="identity")
        lease.wait("failed")
        name, message = lease.Failure
        assert name == "org.dmaowner1.Error.KernelRefused"
        assert os.strerror(errno.EINVAL) in message and "does not allow the type identity" in message
        host.root.wait_group(NIC, "free")
        assert host.sim.difference(before) == {}


def test_a_type_that_somebody_keeps_from_changing(root, sim):
    before = sim.state()
    sim.inject("set-type", errno="EPERM")
    lease = root.acquire(NIC, "dma-api", default_domain_type="identity")
    lease.wait("failed")
    assert os.strerror(errno.EPERM) in lease.Failure[1]
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_type_that_is_owed_outlives_the_daemon(host, root, sim, how):
    lease = root.hold(NIC, "dma-api", default_domain_type="DMA-FQ")
    lease.release()
    root.wait_group(NIC, "free")
    assert sim.group(NIC)["type"] == "DMA-FQ"
    host.restart(how)
    lease = root.hold(NIC)
    lease.release()
    root.wait_group(NIC, "free")
    assert sim.group(NIC)["type"] == "DMA"


def test_what_is_owed_is_forgotten_once_it_is_paid(host, root, sim):
    root.hold(NIC, "dma-api", default_domain_type="DMA-FQ").release()
    root.wait_group(NIC, "free")
    assert list((host.daemon.runtime / "groups").iterdir())
    root.hold(NIC).release()
    root.wait_group(NIC, "free")
    assert list((host.daemon.runtime / "groups").iterdir()) == []


# drivers by name

def with_drivers(**more):
    """NIC may have vp-vdpa, whose module is not loaded; qed_vdpa is a module for other devices."""
    drivers = [*small()["drivers"], {"name": "vp-vdpa", "module": "vp_vdpa", "loaded": False},
               {"name": "qed-vdpa", "module": "qed_vdpa", "loaded": False}]
    return kernel("6.12", drivers=drivers, **more)


def test_private_domain_needs_a_driver(root, unchanged):
    with unchanged():
        refused(lambda: root.acquire(NIC, "private-domain"), "InvalidArgs", "private-domain", "driver")
        refused(lambda: root.explain(NIC, "private-domain"), "InvalidArgs", "private-domain", "driver")
        refused(lambda: root.acquire(NIC, "private-domain", driver="vfio-pci"), "InvalidArgs", "VFIO")


@pytest.mark.parametrize("kind", ["private-domain", "dma-api"])
@pytest.mark.parametrize("driver, code, word", [
    ("no-such-driver", "no-such-driver", "no driver no-such-driver"),
    ("nvme", "driver-not-listed", "table of devices"),
    ("pci-stub", "no-such-driver", "pci-stub")])
def test_a_driver_that_is_none_for_the_device(root, unchanged, kind, driver, code, word):
    with unchanged():
        (found, device, text), = obstacles(root, NIC, kind, driver=driver)
        assert (found, device) == (code, NIC) and word in text
        refused(lambda: root.acquire(NIC, kind, driver=driver), "NotViable", driver, NIC)


@pytest.mark.parametrize("kind", ["private-domain", "dma-api"])
def test_the_module_of_a_named_driver_is_loaded(kind):
    with with_drivers() as host:
        root, sim = host.root, host.sim
        before = sim.state()
        lease = root.hold(NIC, kind, driver="vp-vdpa")
        first = sim.operations()[0]
        assert (first["op"], first["value"]) == ("load-module", "vp_vdpa")
        assert sim.device(NIC)["driver"] == "vp-vdpa"
        lease.release()
        root.wait_group(NIC, "free")
        assert sim.difference(before) == {"/drivers/vp-vdpa/loaded": (False, True)}


def test_a_driver_whose_module_is_for_others():
    with with_drivers() as host:
        (code, _, _), = obstacles(host.root, NIC, "private-domain", driver="qed-vdpa")
        assert code == "driver-not-listed"
        assert not [op for op in host.sim.operations() if op["op"] == "load-module"]


@pytest.mark.parametrize("op, error", [("load-module", "ENOENT"), ("bind", "ENODEV"), ("bind", "EBUSY")])
def test_a_named_driver_that_does_not_take_it_is_undone(op, error):
    with with_drivers() as host:
        root, sim = host.root, host.sim
        before = sim.state()
        sim.inject(op, NIC if op == "bind" else None, nth=1, errno=error)
        lease = root.acquire(NIC, "private-domain", driver="vp-vdpa")
        lease.wait("failed")
        assert lease.Failure[0] == "org.dmaowner1.Error.KernelRefused"
        assert os.strerror(getattr(errno, error)) in lease.Failure[1]
        root.wait_group(NIC, "free")
        assert sim.device(NIC)["driver"] == "e1000e"
        assert set(sim.difference(before)) <= {"/drivers/vp-vdpa/loaded"}


def test_a_private_domain_is_for_a_device_alone_in_its_group(root, unchanged):
    with unchanged():
        (code, _, text), = obstacles(root, BRIDGE_A, "private-domain", driver="e1000")
        assert code == "private-domain-needs-single-device" and BRIDGE_A in text
        refused(lambda: root.acquire(BRIDGE_A, "private-domain", driver="e1000"), "NotViable", "alone")


def test_a_private_domain_is_exclusive_and_outlives_the_daemon(host, root, sim):
    before = sim.state()
    lease = root.hold(NIC, "private-domain", owner="first", driver="vp-vdpa")
    held = sim.state()
    host.restart("kill")
    assert sim.difference(held) == {}
    for kind, more in (("private-domain", {"driver": "vp-vdpa"}), ("dma-api", {}), ("user", {})):
        refused(lambda kind=kind, more=more: root.acquire(NIC, kind, owner="second", **more), "Busy", lease.id)
    refused(lambda: root.acquire(NIC, "private-domain", owner="first", driver="e1000e"), "Busy", "driver")
    root.hold(NIC, "private-domain", owner="first", driver="vp-vdpa").release()
    assert sim.device(NIC)["driver"] == "vp-vdpa"
    lease.close()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


def test_only_the_named_device_gets_the_driver():
    devices = small()["devices"]
    for device in devices:
        if device["name"] == BRIDGE_A:
            device["matches"] = ["e1000", "other"]
    with kernel("6.12", devices=devices) as host:
        root, sim = host.root, host.sim
        before = sim.state()
        lease = root.hold(BRIDGE_A, "dma-api", driver="other")
        assert (sim.device(BRIDGE_A)["driver"], sim.device(BRIDGE_B)["driver"]) == ("other", "e1000")
        host.restart("kill")
        refused(lambda: root.acquire(BRIDGE_B, "dma-api", driver="other", owner="second"), "Busy", "driver")
        root.hold(BRIDGE_B, "dma-api", driver="e1000", owner="second").release()
        lease.close()
        root.wait_group(BRIDGE_A, "free")
        assert sim.difference(before) == {}
