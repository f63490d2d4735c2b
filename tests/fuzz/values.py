# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values of any type of D-Bus that nobody would send who means well."""

import os
import socket

from harness.client import OPTION_TYPES
from harness.topology import BRIDGE_A, DISK_USED, NIC, NIC2, NIC_USED, NO_IOMMU, NO_VFIO, NVME, PLATFORM, SINGLES

DEVICES = [NIC, NIC2, BRIDGE_A, NIC_USED, DISK_USED, NO_VFIO, NVME, NO_IOMMU, PLATFORM, *SINGLES[:16]]
SELECTORS = ["class=02", "vendor=144d*3", "class=01,numa=0", "driver=nvme*1024", "driver=none", "pf=0000:03:00.0",
             "class=02*0", "vendor=", "=", "class=02,class=02", "numa=4294967296"]
WORDS = ["user", "dma-api", "private-domain", "node", "fd", "lifeline", "process", "connection", "none", "auto", "iommufd",
         "container", "flr", "required", "DMA", "DMA-FQ", "identity", "vfio-pci", "e1000e", "nvme"]
STRANGE = ["", " ", "/", ".", "..", "../../../etc/passwd", "%s%n%x", "'; --", "\x01\x7f", "\u00e4" * 300, "\U0001f4a9",
           "\ufeff", "a" * 255, "a" * 256, "a" * 4096, "l0", "l-1", "l18446744073709551616", "{}", "[" * 300, '{"op":1}',
           "org.dmaowner1", ":1.1"]
PATHS = ["/", "/org/dmaowner1", "/org/dmaowner1/lease", "/org/dmaowner1/lease/l0", "/org/dmaowner1/lease/l4294967296",
         "/org/dmaowner1/group/0", "/org/dmaowner1/group/4294967295", "/org/dmaowner1/device/_30", "/org/freedesktop/DBus"]
BOUNDS = {"y": (0, 2**8 - 1), "n": (-2**15, 2**15 - 1), "q": (0, 2**16 - 1), "i": (-2**31, 2**31 - 1),
          "u": (0, 2**32 - 1), "x": (-2**63, 2**63 - 1), "t": (0, 2**64 - 1)}
SIMPLE = "ybnqiuxtdsog"
DEEPEST = 31        # what a bus lets pass of arrays, and of structures
HUGE = 1 << 20


class Descriptors:
    """Of every kind, most of them wrong; open as long as the fuzzer."""

    def __init__(self, living):
        reading, writing = os.pipe()
        os.close(writing)       # a pipe that nobody will write to
        other, gone = socket.socketpair()
        gone.close()
        dead = os.fork()
        if dead == 0:
            os._exit(0)
        self.pidfds = [os.pidfd_open(pid) for pid in (dead, os.getpid(), 1, *living)]
        os.waitpid(dead, 0)
        self.others = [reading, other.detach(), os.open("/dev/null", os.O_RDWR), os.open("/dev/zero", os.O_RDONLY),
                       os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open("/proc/self", os.O_PATH), os.memfd_create("big"),
                       os.eventfd(0), os.open("/tmp", os.O_TMPFILE | os.O_RDWR)]
        os.truncate(self.others[6], 1 << 40)

    def close(self):
        for descriptor in self.pidfds + self.others:
            os.close(descriptor)


class Values:
    def __init__(self, chance, descriptors):
        self.chance, self.descriptors = chance, descriptors
        self.leases = []        # paths that were seen

    def signature(self, depth=0):
        """One complete type."""
        kind = self.chance.random()
        if depth > 3 or kind < 0.6:
            return self.chance.choice(SIMPLE + "hv")
        if kind < 0.75:
            return "a" + self.signature(depth + 1)
        if kind < 0.85:
            return "a{" + self.chance.choice(SIMPLE) + self.signature(depth + 1) + "}"
        return "(" + "".join(self.signature(depth + 1) for _ in range(self.chance.randint(1, 3))) + ")"

    def deep(self):
        """A variant as deep as a bus lets pass, or a bit deeper."""
        depth = self.chance.choice([8, DEEPEST, DEEPEST + 1])
        kind = self.chance.random()
        if kind < 0.4:
            value = ("s", "deep")
            for _ in range(depth):
                value = ("v", value)
            return value
        if kind < 0.7:
            value = []
            for _ in range(depth - 1):
                value = [value]
            return "a" * depth + "s", value
        value = ("deep",)
        for _ in range(depth - 1):
            value = (value,)
        return "(" * depth + "s" + ")" * depth, value

    def huge(self):
        """A variant that is much to read."""
        return self.chance.choice([
            ("s", "x" * HUGE), ("as", ["y" * 64] * 4096), ("ay", bytes(HUGE)), ("aas", [["z"]] * 4096),
            ("a{sv}", {f"key{n}": ("s", "") for n in range(2048)}), ("as", SINGLES * 64),
            ("aas", [SINGLES] * 33), ("av", [("s", "")] * 4096)])

    def string(self):
        kind = self.chance.random()
        if kind < 0.35:
            return self.chance.choice(DEVICES)
        if kind < 0.6:
            return self.chance.choice(WORDS)
        if kind < 0.75:
            return self.chance.choice(SELECTORS)
        if kind < 0.8 and self.leases:
            return self.chance.choice(self.leases).rpartition("/")[2]
        return self.chance.choice(STRANGE)

    def path(self):
        if self.leases and self.chance.random() < 0.6:
            return self.chance.choice(self.leases)
        return self.chance.choice(PATHS)

    def number(self, kind):
        low, high = BOUNDS[kind]
        return self.chance.choice([low, high, 0, 1, min(high, 256), min(high, 1_000_000), self.chance.randint(low, high)])

    def of(self, signature):
        """A value of one complete type."""
        first = signature[0]
        if first in BOUNDS:
            return self.number(first)
        if first == "b":
            return self.chance.random() < 0.5
        if first == "d":
            return self.chance.choice([0.0, -1.0, float("nan"), float("inf"), 1e308])
        if first == "s":
            return self.string()
        if first == "o":
            return self.path()
        if first == "g":
            return self.chance.choice(["", "s", "a{sv}", "aas", "(" * 31 + "y" + ")" * 31])
        if first == "h":
            return self.chance.choice(self.descriptors.pidfds + self.descriptors.others)
        if first == "v":
            return self.variant()
        if first == "(":
            return tuple(self.of(one) for one in split(signature[1:-1]))
        if signature[1] == "{":
            if signature == "a{sv}":
                return self.options()
            key, value = split(signature[2:-1])
            return {self.of(key): self.of(value) for _ in range(self.chance.randint(0, 4))}
        if signature == "ay":
            return bytes(self.chance.randint(0, 64))
        return [self.of(signature[1:]) for _ in range(self.chance.choice([0, 1, 1, 2, 3, 20]))]

    def variant(self):
        kind = self.chance.random()
        if kind < 0.02:
            return self.huge()
        if kind < 0.1:
            return self.deep()
        signature = self.signature()
        return signature, self.of(signature)

    def options(self):
        """Of a request: known ones with a value of their type, or of any."""
        options = {}
        for name in self.chance.sample(sorted(OPTION_TYPES), self.chance.randint(0, 5)):
            options[name] = (OPTION_TYPES[name], self.of(OPTION_TYPES[name])) if self.chance.random() < 0.8 else self.variant()
        if self.chance.random() < 0.1:
            options[self.string()] = self.variant()
        return options

    def body(self, signature):
        return tuple(self.of(one) for one in split(signature))


def split(signature):
    """The complete types that it is made of."""
    types, at = [], 0
    while at < len(signature):
        end = end_of_type(signature, at)
        types.append(signature[at:end])
        at = end
    return types


def end_of_type(signature, at):
    if signature[at] == "a":
        return end_of_type(signature, at + 1)
    if signature[at] not in "({":
        return at + 1
    depth = 0
    for end in range(at, len(signature)):
        depth += (signature[end] in "({") - (signature[end] in ")}")
        if depth == 0:
            return end + 1
    raise ValueError(signature)
