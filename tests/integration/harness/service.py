# SPDX-License-Identifier: LGPL-2.1-or-later
"""The part of a service manager that a daemon talks to: sd_notify(3) with the store of descriptors."""

import os
import select
import socket
import threading
import time

MAXIMUM = 253       # descriptors in one message, of the kernel


class ServiceManager:
    """Listens on a socket in a thread of its own, as the service manager is a process of its own."""

    def __init__(self, path):
        self.path = str(path)
        self.ready = threading.Event()
        self.settled = threading.Event()
        self.stored = []                # (name, descriptor)
        self.busy = 0                   # seconds, before each answer to a barrier
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.stop_read, self.stop_write = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def names(self):
        return sorted(name for name, _ in self.stored)

    def empty(self):
        """What "systemctl stop" does."""
        while self.stored:
            os.close(self.stored.pop()[1])

    def launch(self):
        """What a service is started with: its environment and what runs in it before the program."""
        self.settle()
        self.ready.clear()
        stored = list(self.stored)
        environment = {"NOTIFY_SOCKET": self.path}
        if stored:
            environment |= {"LISTEN_FDS": str(len(stored)), "LISTEN_FDNAMES": ":".join(name for name, _ in stored)}

        def hand_over():
            high = [os.dup(fd) for _, fd in stored]
            for number, fd in enumerate(high, 3):
                while fd < 3 + len(high):       # else it would be written over
                    fd = os.dup(fd)
                os.dup2(fd, number)
            os.closerange(3 + len(high), os.sysconf("SC_OPEN_MAX"))     # lifelines of the tests among them
        return environment, hand_over

    def settle(self):
        """What the last run has said comes before its end, as with systemd."""
        self.settled.clear()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"SETTLED=1", self.path)
        assert self.settled.wait(30)

    def close(self):
        os.close(self.stop_write)
        self.thread.join()
        os.close(self.stop_read)
        self.socket.close()
        self.empty()

    def _run(self):
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self.stop_read, select.POLLHUP)
        while True:
            if self.stop_read in (fd for fd, _ in poll.poll()):
                return
            message, fds, _, _ = socket.recv_fds(self.socket, 65536, MAXIMUM)
            self._handle(dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line), fds)

    def _handle(self, said, fds):
        if said.get("SETTLED") == "1":
            self.settled.set()
        if said.get("READY") == "1":
            self.ready.set()
        if said.get("FDSTORE") == "1":
            self.stored += [(said["FDNAME"], fd) for fd in fds]
            fds = []
        if said.get("FDSTOREREMOVE") == "1":
            for item in [item for item in self.stored if item[0] == said["FDNAME"]]:
                self.stored.remove(item)
                os.close(item[1])
        if said.get("BARRIER") == "1":
            time.sleep(self.busy)
        for fd in fds:          # of a barrier: closed means dealt with
            os.close(fd)
