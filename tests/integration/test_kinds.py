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
