# SPDX-License-Identifier: LGPL-2.1-or-later
"""What has to hold of the daemon whatever hostile clients send, as it can be seen from outside."""

import collections
import os
import pathlib
import time

from harness.client import BusError
from harness.host import TROUBLE
from harness.topology import DISK_USED, NIC_USED, SPOILER

NAME = "the watcher"
WAIT = 60               # seconds for an answer, with all that others have asked for in front of it
PRIORITY = 100          # the others have none
LATER = ("Busy", "LimitsExceeded")      # the device for a moment, or the bus

# What was sent is not kept: bounds that do not depend on it.
MEMORY = 128 << 20      # more than at first
DESCRIPTORS = 64        # besides those of leases
PER_LEASE = 8


class Violation(Exception):
    pass


class Watcher:
    """Is also the client that should notice nothing of the others."""

    def __init__(self, host):
        self.host, self.pid = host, host.daemon.process.pid
        self.client = host.client().hear_no_more()
        self.calls = self.put_off = self.most_memory = self.most_descriptors = 0
        self.slowest = 0.0
        self.first_memory = self.memory()
        self.log_read = 0
        self.lasting = [self.client.hold([device], "dma-api", owner=NAME, holder=holder)
                        for device, holder in ((DISK_USED, "connection"), (SPOILER, "lifeline"))]
        self.client.leases_taken.clear()

    def look(self, crowd):
        if self.host.daemon.process.poll() is not None:
            raise Violation(f"the daemon has ended with status {self.host.daemon.process.returncode}")
        if crowd.violations:
            raise Violation("; ".join(crowd.violations[:3]))
        self.use_it()
        for lease in self.lasting:
            if (state := self.insist(lease.__getattr__, "State")) != "active":
                raise Violation(f"{lease.id} of another client is {state}")
        self.check_log()
        self.check_bounds(self.check_leases(crowd))

    def insist(self, call, *arguments, **options):
        end = time.monotonic() + WAIT
        while True:
            begin = time.monotonic()
            try:
                answer = call(*arguments, **options)
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.calls += 1
                return answer
            except BusError as error:
                self.put_off += 1
                if error.name not in LATER or begin > end:
                    raise Violation(f"another client is refused: {error}") from error
            time.sleep(0.1)

    def use_it(self):
        """Nobody else can have this device, which is in use, in a way that keeps us from it, except for the moment in
        which it is found out that he cannot."""
        self.insist(self.client.explain, [NIC_USED], "dma-api", owner=NAME)
        # before whoever waits for this and another device
        lease = self.insist(self.client.acquire, [NIC_USED], "dma-api", owner=NAME, priority=PRIORITY)
        end = time.monotonic() + WAIT
        while (state := self.insist(lease.__getattr__, "State")) != "active":
            if time.monotonic() > end:
                raise Violation(f"another client's lease is {state} for {WAIT} s")
        self.insist(lease.release)
        lease.close()
        self.client.leases_taken.clear()

    def check_log(self):
        with open(self.host.daemon.log, "rb") as log:
            log.seek(self.log_read)
            said = log.read().decode(errors="replace")
            self.log_read = log.tell()
        if TROUBLE.search(said):
            raise Violation("a sanitizer has something to say")

    def check_leases(self, crowd):
        """Each is somebody's who was told of it, or could have been if he had listened. Returns how many."""
        rows = [row for row in self.insist(self.client.leases).values() if row["Owner"][1] != NAME]
        crowd.read()
        untold = collections.Counter()
        for row in rows:
            uid = row["Owner"][0]
            users = [user for user in crowd.users if user.uid == uid]
            if not any(user.may_take for user in users):
                raise Violation(f"lease {row['Id']} is of uid {uid}, who may take nothing")
            if uid != 0 and row["Uid"] != uid:
                raise Violation(f"lease {row['Id']} of uid {uid} gives the nodes to uid {row['Uid']}")
            untold[uid] += not any(row["Path"] in user.granted for user in users)
        for uid, number in untold.items():
            users = [user for user in crowd.users if user.uid == uid]
            if all(user.reads for user in users) and number > sum(user.may_be_untold() for user in users):
                raise Violation(f"{number} leases of uid {uid} were told to nobody")
        return len(rows)

    def check_bounds(self, leases):
        memory, descriptors = self.memory(), len(os.listdir(f"/proc/{self.pid}/fd"))
        self.most_memory = max(self.most_memory, memory)
        self.most_descriptors = max(self.most_descriptors, descriptors)
        if memory > self.first_memory + MEMORY:
            raise Violation(f"the daemon has {memory >> 20} MiB, and had {self.first_memory >> 20} MiB at first")
        if descriptors > DESCRIPTORS + PER_LEASE * leases:
            raise Violation(f"the daemon has {descriptors} descriptors for {leases} leases")

    def memory(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10
