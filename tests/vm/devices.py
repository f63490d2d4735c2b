# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test devices of a guest: role -> where the guest sees it and how QEMU makes it.

The ports and bridges are always there, so a role keeps its address whatever else is
chosen: buses are numbered in the order of their bridges' slots.
"""

import dataclasses

# slot 4: bus 1, slot 5: bus 2, slot 6: bus 3, slot 8: bus 4, slot 9: bus 5
SKELETON = (
    "pcie-root-port,id=port_nic2,bus=pcie.0,addr=0x4,chassis=1",
    "pcie-root-port,id=port_sriov,bus=pcie.0,addr=0x5,chassis=2",
    "i82801b11-bridge,id=bridge,bus=pcie.0,addr=0x6",
    "pcie-root-port,id=port_hotplug,bus=pcie.0,addr=0x8,chassis=3",
    "pcie-root-port,id=port_virtio,bus=pcie.0,addr=0x9,chassis=4",
)


@dataclasses.dataclass(frozen=True)
class Device:
    address: str
    qemu: tuple[str, ...]       # arguments of -device
    disk: str | None = None     # the disk behind it, mounted as guests/root/etc/fstab says


# No NIC has a network behind it; an empty romfile saves the wait for the option ROM.
DEVICES = {
    # alone in its group, directly on the root complex
    "nic": Device("0000:00:03.0", ("e1000e,id=nic,bus=pcie.0,addr=0x3,romfile=",)),
    # alone in its group, behind a port of its own
    "nic2": Device("0000:01:00.0", ("e1000e,id=nic2,bus=port_nic2,romfile=",)),
    # one group with each other and the bridge (BRIDGE)
    "bridge_a": Device("0000:03:01.0", ("e1000,id=bridge_a,bus=bridge,addr=0x1,romfile=",)),
    "bridge_b": Device("0000:03:02.0", ("e1000,id=bridge_b,bus=bridge,addr=0x2,romfile=",)),
    # a disk in use: its file system is mounted at /mnt/used
    "nvme_used": Device("0000:00:07.0", ("nvme,id=nvme_used,bus=pcie.0,addr=0x7,serial=used,drive=nvme_used",),
                        disk="used"),
    # up to 120 VFs, each in a group of its own; no namespace
    "nvme_sriov": Device("0000:02:00.0", (
        "nvme-subsys,id=nvme_subsys",
        "nvme,id=nvme_sriov,bus=port_sriov,serial=sriov,subsys=nvme_subsys,sriov_max_vfs=120,sriov_vq_flexible=240,"
        "sriov_vi_flexible=120,max_ioqpairs=250,msix_qsize=130")),
    # a modern virtio NIC behind the IOMMU: vp-vdpa takes it, too
    "virtio": Device("0000:05:00.0", (
        "virtio-net-pci,id=virtio,bus=port_virtio,disable-legacy=on,iommu_platform=on,romfile=",)),
}

BRIDGE = "0000:00:06.0"
# an empty port for Guest.qmp("device_add", driver="e1000e", id=..., bus=HOTPLUG_BUS)
HOTPLUG_BUS = "port_hotplug"
HOTPLUG_ADDRESS = "0000:04:00.0"
