# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test's end of shim.c: a file that both map."""

import collections
import ctypes
import errno
import mmap
import subprocess

CLASSES = ["state", "allocate", "open", "write", "rename", "unlink", "mkfifo", "pipe", "duplicate", "epoll", "timer",
           "notify"]
# What the kernel says if it has no more of it.
ERRNOS = {"allocate": ["ENOMEM"], "open": ["EMFILE", "ENFILE"], "write": ["ENOSPC", "EIO"], "rename": ["EIO", "ENOSPC"],
          "unlink": ["EIO"], "mkfifo": ["ENOSPC"], "pipe": ["EMFILE"], "duplicate": ["EMFILE"], "epoll": ["ENOSPC"],
          "timer": ["EMFILE"], "notify": ["ENOBUFS"]}
OFF, COUNT, KILL_BEFORE, KILL_AFTER, FAIL = range(5)
FRAMES, PLACES, TRACE = 32, 1 << 14, 1 << 20


class Control(ctypes.Structure):
    _fields_ = [("mode", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("nth", ctypes.c_uint32),
                ("times", ctypes.c_uint32), ("error", ctypes.c_int32), ("hits", ctypes.c_uint32),
                ("seen", ctypes.c_uint32 * len(CLASSES)), ("trace_used", ctypes.c_uint32),
                ("frames", ctypes.c_uint64 * FRAMES), ("places", ctypes.c_uint64 * 2 * PLACES), ("trace", ctypes.c_char * TRACE)]


class Shim:
    def __init__(self, folder, library, program):
        self.path, self.library, self.program = folder / "faults", library, program
        self.path.write_bytes(bytes(ctypes.sizeof(Control)))
        self.file = open(self.path, "r+b")
        self.memory = mmap.mmap(self.file.fileno(), ctypes.sizeof(Control))
        self.control = Control.from_buffer(self.memory)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "DMAOWNER_FAULTS": str(self.path)}

    def arm(self, mode, kind="state", nth=0, times=1, error=None):
        control = self.control
        control.mode = OFF
        control.kind, control.nth, control.times = CLASSES.index(kind), nth, times
        control.error = getattr(errno, error) if error else 0
        control.hits = control.trace_used = 0
        control.seen[:] = [0] * len(CLASSES)
        control.frames[:] = [0] * FRAMES
        ctypes.memset(control.places, 0, ctypes.sizeof(control.places))
        control.mode = mode

    def disarm(self):
        """Returns whether anything was hit."""
        self.control.mode = OFF
        return self.control.hits > 0

    def trace(self):
        """class -> what was called, in order; and callers of allocations -> the first."""
        found = collections.defaultdict(list)
        begin = Control.trace.offset
        text = self.memory[begin:begin + self.control.trace_used].decode()
        for line in text.splitlines():
            number, _, what = line.partition(" ")
            found[CLASSES[int(number)]].append(what.strip())
        return found, {place: nth for place, nth in self.control.places if place}

    def caller(self):
        """The functions of the program that the call came from."""
        addresses = [hex(frame - 1) for frame in self.control.frames if 0 < frame < 1 << 24]
        if not addresses:
            return ""
        done = subprocess.run(["addr2line", "-sfe", self.program, *addresses], stdout=subprocess.PIPE, text=True,
                              check=True)
        lines = done.stdout.split("\n")
        return " < ".join(f"{name} ({where})" for name, where in zip(lines[::2], lines[1::2]) if name != "??")

    def close(self):
        del self.control
        self.memory.close()
        self.file.close()
