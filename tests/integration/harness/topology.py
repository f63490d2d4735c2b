# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hosts that the tests run on; the format is that of docs/simulation.md."""

NIC = "0000:03:00.0"
NIC2 = "0000:04:00.0"
BRIDGE, BRIDGE_A, BRIDGE_B = "0000:05:00.0", "0000:06:01.0", "0000:06:02.0"     # one group
NIC_USED = "0000:07:00.0"
DISK_USED = "0000:08:00.0"
SPOILT, SPOILER = "0000:09:00.0", "0000:09:00.1"        # one group; the host needs the second
NO_VFIO = "0000:0a:00.0"
IDENTITY = "0000:0b:00.0"
NVME = "0000:0c:00.0"
NO_IOMMU = "0000:0d:00.0"
PLATFORM = "4a006000.ethernet"
SINGLES = [f"0000:40:{n // 8:02x}.{n % 8}" for n in range(64)]      # VFs, a group each


def nic(name, group, **more):
    return {"name": name, "vendor": "8086", "device": "10d3", "class": "020000", "vendor_name": "Intel Corporation",
            "model_name": "82574L Gigabit Network Connection", "group": group, "driver": "e1000e",
            "matches": ["e1000e", "vp-vdpa"], "reset": ["flr", "pm"], **more}


def nvme(name, group, **more):
    return {"name": name, "vendor": "144d", "device": "a808", "class": "010802", "vendor_name": "Samsung",
            "model_name": "NVMe SSD Controller", "group": group, "driver": "nvme", "reset": ["flr"], **more}


def small():
    """A bit of everything."""
    return {
        "default_domain_type": "DMA",
        "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}],
        "devices": [
            nic(NIC, 12),
            nic(NIC2, 13, numa=1),
            {"name": BRIDGE, "vendor": "8086", "device": "244e", "class": "060401", "group": 14},
            nic(BRIDGE_A, 14, device="100e", driver="e1000", matches=["e1000"]),
            nic(BRIDGE_B, 14, device="100e", driver="e1000", matches=["e1000"]),
            nic(NIC_USED, 15, in_use=[{"code": "network-address", "text": "enp7s0 has the address 192.0.2.7"}]),
            nvme(DISK_USED, 16, in_use=[{"code": "mounted", "text": "nvme0n1p1 is mounted at /srv"}]),
            nic(SPOILT, 17),
            nvme(SPOILER, 17, in_use=[{"code": "mounted", "text": "nvme1n1 is mounted at /var"}]),
            nic(NO_VFIO, 18, vfio_driver=""),
            nic(IDENTITY, 19),
            nvme(NVME, 20),
            nic(NO_IOMMU, -1),
            {"name": PLATFORM, "bus": "platform", "group": 21, "driver": "cpsw"},
            *(nvme(name, 100 + n) for n, name in enumerate(SINGLES)),
        ],
        "groups": [{"group": 19, "type": "identity"}],
    }


def flat(groups):
    """That many groups of one NIC each."""
    return {"devices": [nic(f"{n >> 13:04x}:{n >> 5 & 0xff:02x}:{n & 0x1f:02x}.0", n) for n in range(groups)]}
