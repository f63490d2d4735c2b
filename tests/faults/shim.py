# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test's end of shim.c: a file that both map."""

import collections
import contextlib
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


class Place(ctypes.Structure):
    _fields_ = [("callers", ctypes.c_uint64), ("kind", ctypes.c_uint32), ("nth", ctypes.c_uint32)]


class Control(ctypes.Structure):
    _fields_ = [("mode", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("nth", ctypes.c_uint32),
                ("times", ctypes.c_uint32), ("error", ctypes.c_int32), ("hits", ctypes.c_uint32),
                ("seen", ctypes.c_uint32 * len(CLASSES)), ("trace_used", ctypes.c_uint32),
                ("paused", ctypes.c_uint32),
                ("frames", ctypes.c_uint64 * FRAMES), ("places", Place * PLACES), ("trace", ctypes.c_char * TRACE)]


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

    @contextlib.contextmanager
    def paused(self):
        """No call fails, or is counted, meanwhile; changes are."""
        self.control.paused = 1
        try:
            yield
        finally:
            self.control.paused = 0

    def is_failing(self):
        return self.control.mode == FAIL

    def disarm(self):
        """Returns whether anything was hit."""
        self.control.mode = OFF
        return self.control.hits > 0

    def changes(self):
        """What was changed below the daemon's folders, in order."""
        begin = Control.trace.offset
        return self.memory[begin:begin + self.control.trace_used].decode().splitlines()

    def places(self):
        """class -> callers -> the number of the first call that came from there."""
        found = collections.defaultdict(dict)
        for place in self.control.places:
            if place.callers:
                found[CLASSES[place.kind]][place.callers] = place.nth
        return found

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
