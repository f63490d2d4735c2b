# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hosts that scenarios run on: what a person would do and see there without the daemon."""

import errno
import grp
import os
import pathlib
import sys

from harness.client import BusError

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "vm"))
from devices import BRIDGE, DEVICES     # noqa: E402  the roles have the same addresses everywhere

ROLES = {**{role: device.address for role, device in DEVICES.items()}, "bridge": BRIDGE}
VFS = 4


class Sim:
    """The simulated host, by org.dmaowner1.Simulation."""

    def __init__(self, host):
        self.host, self.sim, self.address = host, host.sim, host.address
        physical = ROLES["nvme_sriov"]
        vfs = [device["name"] for device in self.sim.dump()["devices"] if device.get("physfn") == physical]
        self.roles = {**ROLES, **{f"vf{n}": name for n, name in enumerate(sorted(vfs)[:VFS])}}

    def groups(self, user):
        return [] if user == "mallory" else [grp.getgrnam("dmaowner").gr_gid]

    def facts(self, name):
        dump = self.sim.dump()
        device = next(device for device in dump["devices"] if device["name"] == name)
        group = next(group for group in dump["groups"] if group["group"] == device["group"])
        return {"driver": device.get("driver"), "override": device.get("driver_override"), "type": group["type"],
                "owned": "yes" if group["owner_count"] else "no"}

    def number(self, name):
        return self.sim.device(name)["group"]

    def attempt(self, event, **what):
        try:
            self.sim.event(event, **what)
        except BusError as error:
            # sd-bus has names of its own for two errnos that are told apart by what was tried
            return {"AccessDenied": "EACCES" if event == "open" else "EPERM",
                    "FileNotFound": "ENOENT"}.get(error.name, error.name.removeprefix("System.Error."))
        return None

    def open(self, holder, name):
        return self.attempt("open", device=name, pid=holder.process.pid, comm="holder", uid=holder.user)

    def close(self, holder, name):
        return self.attempt("close", device=name, pid=holder.process.pid)

    def died(self, holder):
        """What the kernel does for a process that ends."""
        self.attempt("close", pid=holder.process.pid)

    def rebind(self, name, driver):
        return (self.attempt("unbind", device=name) or self.attempt("override", device=name, driver=driver)
                or self.attempt("bind", device=name, driver=driver))

    def set_type(self, name, value):
        return self.attempt("type", group=self.number(name), type=value)


class Guest:
    """A real kernel: this runs in the guest, as root."""

    address = "unix:path=/run/dbus/system_bus_socket"

    def __init__(self):
        self.physical = pathlib.Path("/sys/bus/pci/devices") / ROLES["nvme_sriov"]

    def __enter__(self):
        self.make_vfs(VFS)
        self.roles = {**ROLES, **{f"vf{n}": (self.physical / f"virtfn{n}").resolve().name for n in range(VFS)}}
        return self

    def __exit__(self, *_):
        self.make_vfs(0)

    def make_vfs(self, number):
        (self.physical / "sriov_drivers_autoprobe").write_text("0" if number else "1")
        (self.physical / "sriov_numvfs").write_text(str(number))

    def groups(self, user):
        return os.getgrouplist(user, grp.getgrnam(user).gr_gid)

    def facts(self, name):
        device = pathlib.Path("/sys/bus/pci/devices") / name
        driver, override = device / "driver", (device / "driver_override").read_text().strip()
        kind = (device / "iommu_group/type").read_text().strip()
        return {"driver": driver.resolve().name if driver.exists() else None,
                "override": None if override == "(null)" else override, "type": kind,
                # the only place where the kernel tells: owned groups keep their type
                "owned": "yes" if self.write(device / "iommu_group/type", kind) else "no"}

    @staticmethod
    def write(path, text):
        try:
            path.write_text(text)
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    @staticmethod
    def number(name):
        return (pathlib.Path("/sys/bus/pci/devices") / name / "iommu_group").resolve().name

    def open(self, holder, name):
        return holder.tell("open", self.number(name), name)

    def close(self, holder, name):
        return holder.tell("close", self.number(name))

    def died(self, holder):
        """The kernel knows."""

    def rebind(self, name, driver):
        bus = pathlib.Path("/sys/bus/pci")
        return (self.write(bus / "devices" / name / "driver/unbind", name)
                or self.write(bus / "devices" / name / "driver_override", driver)
                or self.write(bus / "drivers" / driver / "bind", name))

    def set_type(self, name, value):
        return self.write(pathlib.Path("/sys/kernel/iommu_groups") / self.number(name) / "type", value)
