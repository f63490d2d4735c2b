# SPDX-License-Identifier: LGPL-2.1-or-later
"""Explain says the very steps that Acquire then runs."""

import pytest
from harness.client import BusError
from harness.host import Host
from harness.topology import (BRIDGE, BRIDGE_A, BRIDGE_B, DISK_USED, IDENTITY, NIC, NO_IOMMU, NO_VFIO, NVME,
                              SINGLES, SPOILT, small)

REQUESTS = {
    "user": (NIC, "user", {}),
    "user, a group of three": (BRIDGE_A, "user", {}),
    "user, several groups": ([NIC, BRIDGE_B, NVME, *SINGLES[:4]], "user", {}),
    "user, identity": (IDENTITY, "user", {}),
    "user, other uid": (NIC, "user", {"uid": 1001}),
    "user, no reset": (NIC, "user", {"reset": "none"}),
    "user, vfio-pci": (NIC, "user", {"driver": "vfio-pci"}),
    "user, forced": (DISK_USED, "user", {"force": True}),
    "dma-api": (NIC, "dma-api", {}),
    "dma-api, live": (NIC, "dma-api", {"default_domain_type": "DMA-FQ"}),
    "dma-api, identity": (NIC, "dma-api", {"default_domain_type": "identity"}),
    "dma-api, a group of three": (BRIDGE_A, "dma-api", {"default_domain_type": "identity"}),
    "dma-api, auto": (IDENTITY, "dma-api", {"default_domain_type": "auto"}),
    "dma-api, driver": (NIC, "dma-api", {"driver": "vp-vdpa"}),
    "dma-api, driver and type": (NIC, "dma-api", {"driver": "vp-vdpa", "default_domain_type": "identity"}),
    "private-domain": (NIC, "private-domain", {"driver": "vp-vdpa"}),
}

REFUSED = {
    "no VFIO": (NO_VFIO, "user", {}),
    "in use": (DISK_USED, "user", {}),
    "a neighbour in use": (SPOILT, "user", {}),
    "no IOMMU": (NO_IOMMU, "user", {}),
    "a bridge": (BRIDGE, "user", {}),
    "no such driver": (NIC, "private-domain", {"driver": "nothing"}),
    "no driver for it": (NIC, "dma-api", {"driver": "nvme"}),
    "not alone": (BRIDGE_A, "private-domain", {"driver": "e1000"}),
    "no VFIO driver for it": (NIC, "user", {"driver": "mlx5_vfio_pci"}),
}


def by_group(host, steps, name):
    """Groups are switched side by side, so only the order within each says something."""
    groups = {device["name"]: device["group"] for device in host.sim.dump()["devices"]}
    ordered = {}
    for step in steps:
        group = groups[step["device"]] if step.get("device") else step["group"]
        ordered.setdefault(group, []).append((step[name], step.get("device") or "", step.get("value") or ""))
    return ordered


def host_with(**more):
    drivers = [{"name": "vfio-pci", "module": "vfio_pci", "loaded": False},
               {"name": "vp-vdpa", "module": "vp_vdpa", "loaded": False}]
    return Host({**small(), "drivers": drivers, **more})


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_explained_is_what_is_done(name):
    device, kind, options = REQUESTS[name]
    with host_with() as host:
        host.root.watch()
        # what no event has told
        host.sim.override(NIC, "e1000e")
        possible, obstacles, steps = host.root.explain(device, kind, **options)
        assert possible or options.get("force"), obstacles
        explained = by_group(host, steps, "step")
        host.sim.operations()
        lease = host.root.hold(device, kind, **options)
        done = [one for one in host.sim.operations() if "errno" not in one]
        loads = [one["value"] for one in done if one["op"] == "load-module"]
        assert loads == [value for steps in explained.values() for step, _, value in steps if step == "load-module"]
        without = {group: [step for step in steps if step[0] != "load-module"] for group, steps in explained.items()}
        ran = by_group(host, [one for one in done if one["op"] != "load-module"], "op")
        assert ran == {group: steps for group, steps in without.items() if steps}
        # and with the lease there is nothing left to do
        assert host.root.explain(device, kind, **options)[1:] == ([], [])
        lease.release()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_the_way_is_what_refuses(name):
    device, kind, options = REFUSED[name]
    with host_with() as host:
        root = host.root.watch()
        before = host.sim.state()
        possible, obstacles, _ = root.explain(device, kind, **options)
        assert not possible and obstacles
        assert all(one["code"] and one["text"] for one in obstacles)
        with pytest.raises(BusError) as refusal:
            root.acquire(device, kind, **options)
        assert obstacles[0]["text"] in refusal.value.message
        assert host.sim.difference(before) == {}


@pytest.mark.parametrize("how", ["", "stop", "kill"])
def test_what_was_only_believed_is_not_put_back(host, root, sim, how):
    """The lease has nothing to do to the device; what is recorded of it is seen all the same."""
    sim.override(NVME, "nvme")
    root.hold(NVME).release()
    root.wait_group(NVME, "free")
    assert root.device(NVME)["DriverOverride"] == "nvme"
    sim.override(NVME, None)        # no event tells
    lease = root.hold(NVME, kind="dma-api", holder="none")
    if how:
        host.restart(how)
    lease.release()
    root.wait_group(NVME, "free")
    assert not sim.device(NVME).get("driver_override")
