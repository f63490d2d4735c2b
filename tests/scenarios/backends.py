# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hosts that scenarios run on: what a person would do and see there without the daemon."""

import errno
import fcntl
import grp
import os
import pathlib
import struct
import subprocess
import sys
import time

from harness import PATIENCE
from harness.client import BusError

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "vm"))
from devices import BRIDGE, DEVICES     # noqa: E402  the roles have the same addresses everywhere

ROLES = {**{role: device.address for role, device in DEVICES.items()}, "bridge": BRIDGE}
VFS = 4
HANGS = "HANGS"     # in place of an errno or a value
DEVICES_FOLDER = pathlib.Path("/sys/bus/pci/devices")
# Drivers beside which user space may own a group; those of VFIO come on top.
HARMLESS = {None, "pcieport", "pci-stub"}
VFIO_GROUP_GET_STATUS, VIABLE = 0x3b67, 1   # linux/vfio.h
SOON = 5            # an emulated machine takes its time


def ends(process):
    """Does it end soon, or is it stuck?"""
    deadline = time.monotonic() + SOON
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process.returncode is not None


def is_viable(node):
    """May user space own the group? Not if somebody does already."""
    try:
        group = os.open(node, os.O_RDWR)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    try:
        return bool(struct.unpack("II", fcntl.ioctl(group, VFIO_GROUP_GET_STATUS, struct.pack("II", 8, 0)))[1] & VIABLE)
    finally:
        os.close(group)


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
        stuck = any(pending["device"] == name for pending in dump["pending"])
        locked = stuck and dump["kernel"]["override_locks"]
        return {"driver": None if stuck else device.get("driver"),
                "override": HANGS if locked else device.get("driver_override"),
                "type": group["type"], "owned": "yes" if group["owner_count"] else "no"}

    def driver(self, name):
        return self.facts(name)["driver"]

    def number(self, name):
        return self.sim.device(name)["group"]

    def attempt(self, event, **what):
        try:
            self.sim.event(event, **what)
        except BusError as error:
            # sd-bus has names of its own for some errnos; two are told apart by what was tried
            return {"AccessDenied": "EACCES" if event == "open" else "EPERM", "FileNotFound": "ENOENT",
                    "InvalidArgs": "EINVAL"}.get(error.name, error.name.removeprefix("System.Error."))
        return None

    def open(self, holder, name):
        return self.attempt("open", device=name, pid=holder.process.pid, comm="holder", uid=holder.user)

    def close(self, holder, name):
        return self.attempt("close", device=name, pid=holder.process.pid)

    def died(self, holder):
        """What the kernel does for a process that ends."""
        self.attempt("close", pid=holder.process.pid)

    def rebind(self, name, driver):
        return self.unbind(name) or self.override(name, driver) or self.bind(name, driver)

    def unbind(self, name):
        error = self.attempt("unbind", device=name)
        return HANGS if any(stuck["device"] == name for stuck in self.sim.dump()["pending"]) else error

    def override(self, name, driver):
        return self.attempt("override", device=name, **({} if driver == "-" else {"driver": driver}))

    def bind(self, name, driver):
        return self.attempt("bind", device=name, driver=driver)

    def probe(self, name):
        return self.attempt("probe", device=name)

    def set_type(self, name, value):
        return self.attempt("type", group=self.number(name), type=value)


class Guest:
    """A real kernel: this runs in the guest, as root."""

    address = "unix:path=/run/dbus/system_bus_socket"

    def __init__(self, kernel, vfs):
        self.kernel, self.vfs = kernel, vfs
        self.stuck = {}     # device: a process that is stuck with it
        self.physical = DEVICES_FOLDER / ROLES["nvme_sriov"]

    def __enter__(self):
        if self.vfs:    # they take their time
            self.make_vfs(self.vfs)
        self.roles = {**ROLES, **{f"vf{n}": (self.physical / f"virtfn{n}").resolve().name for n in range(self.vfs)}}
        return self

    def __exit__(self, *_):
        if self.vfs:
            self.make_vfs(0)

    def make_vfs(self, number):
        (self.physical / "sriov_drivers_autoprobe").write_text("0" if number else "1")
        (self.physical / "sriov_numvfs").write_text(str(number))

    def groups(self, user):
        return os.getgrouplist(user, grp.getgrnam(user).gr_gid)

    def facts(self, name):
        return {"driver": self.driver(name), "override": self.driver_override(name),
                "type": (DEVICES_FOLDER / name / "iommu_group/type").read_text().strip(),
                "owned": "yes" if self.owned(name) else "no"}

    def driver(self, name):
        link = DEVICES_FOLDER / name / "driver"
        return link.resolve().name if link.exists() else None

    def driver_override(self, name):
        reader = subprocess.Popen(["cat", DEVICES_FOLDER / name / "driver_override"], stdout=subprocess.PIPE, text=True)
        if not ends(reader):
            return HANGS    # with the device that it waits for
        override = reader.communicate()[0].strip()
        return None if override == "(null)" else override

    def owned(self, name):
        """The kernel shows it nowhere, but it says so where ownership is in the way."""
        group = DEVICES_FOLDER / name / "iommu_group"
        if "strict_type" not in self.kernel.features:
            return bool(self.write(group / "type", (group / "type").read_text()))
        node = pathlib.Path("/dev/vfio") / group.resolve().name
        if node.exists():
            return not is_viable(node)
        return any(self.driver(member.name) not in HARMLESS for member in (group / "devices").iterdir())

    @staticmethod
    def write(path, text):
        try:
            path.write_text(text)
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    @staticmethod
    def number(name):
        return (DEVICES_FOLDER / name / "iommu_group").resolve().name

    def open(self, holder, name):
        return holder.tell("open", self.number(name), name)

    def close(self, holder, name):
        error = holder.tell("close", self.number(name))
        # who waited for that goes on
        if name in self.stuck:
            self.stuck.pop(name).wait(PATIENCE)
        return error

    def died(self, holder):
        """The kernel knows."""

    def rebind(self, name, driver):
        return self.unbind(name) or self.override(name, driver) or self.bind(name, driver)

    def unbind(self, name):
        """In a process of its own: it may be kept by the kernel until somebody closes the device."""
        script = "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY)\ntry: os.write(fd, sys.argv[2].encode())\n" \
                 "except OSError as error: sys.exit(error.errno)"
        writer = subprocess.Popen(["/usr/bin/python3", "-c", script, DEVICES_FOLDER / name / "driver/unbind", name])
        if not ends(writer):
            self.stuck[name] = writer
            return HANGS
        return errno.errorcode[writer.returncode] if writer.returncode else None

    def override(self, name, driver):
        return self.write(DEVICES_FOLDER / name / "driver_override", "\n" if driver == "-" else driver)

    def bind(self, name, driver):
        return self.write(pathlib.Path("/sys/bus/pci/drivers") / driver / "bind", name)

    def probe(self, name):
        return self.write(pathlib.Path("/sys/bus/pci/drivers_probe"), name)

    def set_type(self, name, value):
        return self.write(pathlib.Path("/sys/kernel/iommu_groups") / self.number(name) / "type", value)
