# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input: the named error, and nothing changed."""

import contextlib
import os
import signal

import pytest
from harness.client import LEASE, OBJECT_MANAGER, ROOT, BusError
from harness.topology import (BRIDGE_A, DISK_USED, NIC, NIC2, NIC_USED, NO_IOMMU, NO_VFIO, PLATFORM, SPOILER,
                              SPOILT)
from jeepney import DBusAddress, new_method_call

BAD_DEVICES = {
    "none": ([], "InvalidArgs"),
    "unknown": (["0000:ff:00.0"], "NoSuchDevice"),
    "one unknown among known": ([NIC, "0000:ff:00.0", NIC2], "NoSuchDevice"),
    "empty name": ([""], "InvalidArgs"),
    "no address": (["eth0"], "InvalidArgs"),
    "path": (["/sys/bus/pci/devices/0000:03:00.0"], "InvalidArgs"),
    "climbing": (["../../" + NIC], "InvalidArgs"),
    "without PCI domain": ([NIC.removeprefix("0000:")], "InvalidArgs"),
    "function too high": ([NIC[:-1] + "8"], "InvalidArgs"),
    "upper case": (["0000:3B:00.0"], "InvalidArgs"),
    "blank after": ([NIC + " "], "InvalidArgs"),
    "very long": (["0" * 100_000], "InvalidArgs"),
    "twice": ([NIC, NIC], "InvalidArgs"),
    "twice among others": ([NIC, NIC2, NIC], "InvalidArgs"),
    "another bus": ([PLATFORM], "Unsupported"),
    "no IOMMU": ([NO_IOMMU], "NoIommu"),
    "no IOMMU among others": ([NIC, NO_IOMMU], "NoIommu"),
}


@pytest.mark.parametrize("case", BAD_DEVICES)
def test_devices(root, unchanged, case):
    devices, name = BAD_DEVICES[case]
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(devices)
    assert refusal.value.name == name
    assert len(refusal.value.message) > 10


@pytest.mark.parametrize("case", BAD_DEVICES)
def test_devices_of_explain(root, unchanged, case):
    """What is not even a request is an error; what cannot be granted is explained."""
    devices, name = BAD_DEVICES[case]
    with unchanged():
        if name in ("InvalidArgs", "NoSuchDevice"):
            with pytest.raises(BusError) as refusal:
                root.explain(devices)
            assert refusal.value.name == name
        else:
            possible, obstacles, steps = root.explain(devices)
            assert (possible, steps) == (False, [])
            assert obstacles[0]["code"] and devices[-1] in obstacles[0]["text"]


BAD_OPTIONS = {
    "unknown": {"colour": ("s", "red")},
    "unknown beside known": {"label": ("s", "x"), "whenever": ("t", 1)},
    "wait as text": {"wait": ("s", "5")},
    "wait negative": {"wait": ("x", -5)},
    "priority as text": {"priority": ("s", "high")},
    "priority too high": {"priority": ("i", 101)},
    "priority too low": {"priority": ("i", -101)},
    "empty name": {"": ("s", "x")},
    "ttl as text": {"ttl": ("s", "5")},
    "ttl too narrow": {"ttl": ("u", 5)},
    "ttl negative": {"ttl": ("x", -5)},
    "ttl zero": {"ttl": ("t", 0)},
    "ttl absurd": {"ttl": ("t", 2**63)},
    "ttl for ever and a bit": {"ttl": ("t", 2**64 - 1)},
    "owner as number": {"owner": ("u", 5)},
    "owner too long": {"owner": ("s", "x" * 10_000)},
    "owner with control characters": {"owner": ("s", "a\nb")},
    "label too long": {"label": ("s", "x" * 100_000)},
    "holder unknown": {"holder": ("s", "ghost")},
    "holder empty": {"holder": ("s", "")},
    "holder process without pidfd": {"holder": ("s", "process")},
    "pidfd as number": {"holder": ("s", "process"), "pidfd": ("u", 1)},
    "force as text": {"force": ("s", "yes")},
    "uid as text": {"uid": ("s", "root")},
    "uid invalid": {"uid": ("u", 2**32 - 1)},
    "access unknown": {"access": ("s", "magic")},
    "default domain type unknown": {"default-domain-type": ("s", "identitty")},
    "driver as path": {"driver": ("s", "../vfio-pci")},
    "reset unknown": {"reset": ("s", "hammer")},
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_options(root, unchanged, case):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, raw=BAD_OPTIONS[case])
    assert refusal.value.name == "InvalidArgs"
    assert len(refusal.value.message) > 10


@pytest.mark.parametrize("kind, driver", [("user", "nvme"), ("user", "uio_pci_generic"), ("user", "e1000e"),
                                          ("dma-api", "vfio-pci"), ("private-domain", "vfio-pci")])
def test_drivers_that_are_not_for_that(root, unchanged, kind, driver):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, kind, driver=driver)
    assert refusal.value.name in ("InvalidArgs", "NotViable")
    assert driver in refusal.value.message


@pytest.mark.parametrize("kind", ["dma-api", "private-domain"])
def test_driver_that_does_not_match(root, unchanged, kind):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NIC, kind, driver="nvme")
    assert refusal.value.name == "NotViable"
    assert "nvme" in refusal.value.message and NIC in refusal.value.message


@pytest.mark.parametrize("kind", ["", "none", "DMA-API", "user ", "private_domain"])
def test_kind(root, unchanged, kind):
    for ask in (root.acquire, root.explain):
        with unchanged(), pytest.raises(BusError) as refusal:
            ask(NIC, kind)
        assert refusal.value.name == "InvalidArgs"


def test_options_that_do_not_fit_the_kind(root, unchanged):
    for kind, options in (("private-domain", {}), ("dma-api", {"access": "fd"})):
        with unchanged(), pytest.raises(BusError) as refusal:
            root.acquire(NIC, kind, **options)
        assert refusal.value.name in ("InvalidArgs", "Unsupported"), kind


def test_wrong_signature(root, unchanged):
    for signature, arguments in (("", ()), ("s", (NIC,)), ("assa{ss}", ([NIC], "user", {}))):
        with unchanged(), pytest.raises(BusError) as refusal:
            root.manager("Acquire", signature, *arguments)
        assert refusal.value.name == "InvalidArgs"


def test_pidfd_that_is_none(root, unchanged):
    reading, writing = os.pipe()
    try:
        with unchanged(), pytest.raises(BusError) as refusal:
            root.acquire(NIC, holder="process", pidfd=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert refusal.value.name == "InvalidArgs"


def test_pidfd_with_a_holder_that_has_none(root, unchanged):
    pidfd = os.pidfd_open(os.getpid())
    try:
        with unchanged(), pytest.raises(BusError) as refusal:
            root.acquire(NIC, holder="none", pidfd=pidfd)
    finally:
        os.close(pidfd)
    assert refusal.value.name == "InvalidArgs"


@pytest.mark.parametrize("ttl", [2**63, 2**64 - 1])
def test_renew_for_an_absurd_time(root, unchanged, ttl):
    lease = root.hold(NIC)
    with unchanged(), pytest.raises(BusError) as refusal:
        lease.call("Renew", "t", ttl)
    assert refusal.value.name == "InvalidArgs"


def test_calls_on_a_lease_that_has_ended(root, unchanged):
    lease = root.hold(NIC)
    lease.release()
    root.wait_group(NIC, "free")
    with unchanged():
        for member, signature, arguments in (("Release", "", ()), ("Renew", "t", (10**6,))):
            with pytest.raises(BusError) as refusal:
                root.call(lease.path, LEASE, member, signature, *arguments)
            assert refusal.value.name in ("NoSuchLease", "UnknownObject", "UnknownMethod")


@pytest.mark.parametrize("member", ["Retry", "Accept"])
def test_only_failed_and_lost_groups_are_retried_or_accepted(root, unchanged, member):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.call(root.group_path(NIC), "org.dmaowner1.Group", member)
    assert refusal.value.name == "InvalidArgs"


def test_release_of_an_owner_that_has_nothing(root, unchanged):
    with unchanged():
        assert root.manager("ReleaseOwner", "s", "nobody")[0] == 0


# What is in the way has a name.

@pytest.mark.parametrize("device, words", [(NIC_USED, [NIC_USED, "192.0.2.7"]), (DISK_USED, [DISK_USED, "/srv"])])
def test_in_use(root, unchanged, device, words):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire([NIC, device])
    assert refusal.value.name == "InUse"
    assert all(word in refusal.value.message for word in words), refusal.value.message


def test_a_sibling_in_use(root, unchanged):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire([BRIDGE_A, SPOILT])
    assert refusal.value.name == "InUse"
    assert SPOILER in refusal.value.message


def test_a_device_that_vfio_cannot_drive(root, unchanged):
    with unchanged(), pytest.raises(BusError) as refusal:
        root.acquire(NO_VFIO)
    assert refusal.value.name == "NotViable"
    assert NO_VFIO in refusal.value.message


def test_what_disturbs_nothing_is_granted_on_a_device_in_use(root, sim):
    """The refusal belongs to the step, not to the request."""
    sim.operations()
    lease = root.acquire(NIC_USED, "dma-api")
    lease.wait("active")
    assert sim.operations() == []
    lease.release()
    root.wait_group(NIC_USED, "free")
    assert sim.operations() == []


def test_who_has_left_is_asked_for_once(host, root):
    """The daemon asks the bus who a caller is, and waits for the answer."""
    leaving, monitor = host.client(), host.client().connection
    monitor.send_and_get_reply(new_method_call(
        DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus.Monitoring"),
        "BecomeMonitor", "asu", (["member='GetConnectionCredentials'"], 0)))
    host.daemon.process.send_signal(signal.SIGSTOP)
    for _ in range(3):
        leaving.start(ROOT, OBJECT_MANAGER, "GetManagedObjects")
    leaving.close()
    root.call_bus("GetId")          # the bus has seen it go
    host.daemon.process.send_signal(signal.SIGCONT)
    assert root.managed_objects()
    asked = []
    with contextlib.suppress(TimeoutError):
        while True:
            asked.append(monitor.receive(timeout=1).body)
    assert asked.count((leaving.name,)) == 1
