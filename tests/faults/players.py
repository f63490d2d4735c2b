# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who takes part in a soak: requesters that come, hold, use and die, and what each of their leases is made of."""

import contextlib
import os
import signal
import subprocess

from checker import clock
from harness.client import FOR_EVER, LEASE, BusError, Lease
from lasting import OVER

# The daemon is dead, or was when it should have answered.
GONE = ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected")
NO_LEASE = ("NoSuchLease", "UnknownObject", "UnknownMethod", "UnknownInterface")
REFUSALS = ("Busy", "NotViable", "InUse", "NoSuchDevice", "KernelRefused", "TimedOut", "QuotaExceeded", "Quarantined", "Lost",
            "NoSuchLease")     # it has ended before anybody could say that it begins


class Holder:
    """A process that does nothing but live."""

    def __init__(self, uid):
        identity = {"user": uid, "group": uid, "extra_groups": []} if uid != os.geteuid() else {}
        self.process = subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL, **identity)

    @contextlib.contextmanager
    def pidfd(self):
        descriptor = os.pidfd_open(self.process.pid)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Held:
    """A lease that somebody was told he has, with all that he has of it."""

    def __init__(self, soak, party, lease, request, holder):
        self.soak, self.party, self.lease, self.request = soak, party, lease, request
        self.holders = [holder] if holder else []
        self.id = lease.id
        self.pid = soak.new_pid()       # of a simulated program
        self.files = []                 # descriptors, duplicates of the daemon's
        self.groups = []                # that they are of
        self.in_use = self.left = False

    def call(self, member, signature="", *arguments):
        """On the connection that its requester has now."""
        return self.party.client.call(self.lease.path, LEASE, member, signature, *arguments)

    def row(self):
        return self.soak.row(self.id)

    def state(self):
        return (self.row() or {}).get("State")

    def use(self):
        """A program of the requester's opens the devices and maps memory."""
        row = self.row()
        self.in_use = True
        self.soak.checker.programs[self.pid] = tuple(row["Owner"])
        lent = {"lent": True} if row["Access"] == "fd" else {}
        if lent and not self.take_files(row):
            return
        for device in row["Devices"]:
            self.soak.event("open", device=device, pid=self.pid, uid=row["Uid"], comm="testpmd", **lent)
        self.soak.event("map", pid=self.pid, bytes=1 << 20)

    def take_files(self, row):
        try:
            files = self.call("OpenFiles", "as", row["Devices"])[0]
        except BusError:
            return False
        self.files = [descriptor for _, _, descriptor in files]
        self.groups = row["Groups"]
        self.soak.checker.kept.update(self.groups)
        return True

    def stop_using(self):
        for descriptor in self.files:
            descriptor.close()
        if self.files:
            self.soak.checker.kept.subtract(self.groups)
        self.files = []
        self.in_use = self.in_use and self.soak.event("close", pid=self.pid) in GONE

    def leave(self, slowly):
        """The lease is over, or will be: its program ends sooner or later."""
        if not self.left:
            self.left = True
            self.soak.later(slowly, self.leave_now)

    def leave_now(self):
        self.stop_using()
        self.lease.close()
        self.kill_holders()
        if self.in_use:         # the daemon, and the simulated kernel in it, was not there
            self.soak.later(0.1, self.leave_now)

    def confirm(self):
        """Another process is to be its holder. Whether it is may not be known."""
        holder = Holder(self.party.uid)
        self.holders.append(holder)
        with holder.pidfd() as pidfd:
            if self.soak.ask(self.call, "Confirm", "h", pidfd) is True:
                self.holders.remove(holder)
                self.kill_holders()
                self.holders.append(holder)

    # ends

    def kill_holders(self):
        while self.holders:
            self.holders.pop().kill()

    def release(self):
        self.soak.checker.may_end(self.id, "Release")
        done = self.soak.ask(self.call, "Release")
        if done is True or done in NO_LEASE:
            self.soak.checker.has_to_end(self.id, "released")
            self.leave(self.soak.moment())
        elif done in GONE:
            self.soak.later(0.2, self.release)
        else:
            self.soak.fail(f"{self.id} cannot be released: {done}")

    def die(self):
        """Its holder is no more; a lease without one stays."""
        kind = self.request["holder"]
        if kind == "none":
            return
        self.soak.checker.may_end(self.id, "its holder dies")
        if kind == "lifeline":
            self.lease.close()
        self.kill_holders()
        self.soak.checker.has_to_end(self.id, "its holder is dead")


class Party:
    """A requester: a user, with a connection that may break."""

    def __init__(self, soak, name, uid, groups, owners):
        self.soak, self.name, self.uid, self.groups, self.owners = soak, name, uid, groups, owners
        self.privileged = uid == 0
        self.held = []
        self.connect()

    def connect(self):
        self.client = self.soak.host.client(uid=self.uid or None, groups=self.groups).hear_no_more()
        self.pending = {}       # serial -> (request, holder, ends, lives)

    def ask(self, request):
        request = dict(request)
        devices, kind = request.pop("devices"), request.pop("kind")
        holder = Holder(self.uid) if request["holder"] == "process" else None
        with holder.pidfd() if holder else contextlib.nullcontext() as pidfd:
            options = request | ({"pidfd": pidfd} if holder else {})
            serial = self.client.start_acquire(devices, kind, **options)
        ends = clock() + min(request.get("wait") or FOR_EVER, request.get("ttl", FOR_EVER))
        self.pending[serial] = ({"devices": devices, "kind": kind, **request}, holder, ends, self.soak.checker.lives)

    def poll(self):
        self.soak.drain(self.client)
        for serial in [serial for serial in self.pending if self.client.replies[serial]]:
            request, holder, ends, lives = self.pending.pop(serial)
            try:
                path, lifeline = self.client.finish(serial)
            except BusError as refusal:
                self.refused(refusal, request, holder)
            else:
                self.granted(Lease(self.client, path, lifeline), request, holder, ends, lives)
        for held in list(self.held):
            self.look_after(held)

    def refused(self, refusal, request, holder):
        if holder:
            holder.kill()
        self.soak.figures.refused += refusal.name not in GONE
        if refusal.name not in REFUSALS + GONE:
            self.soak.fail(f"{self.name} asked for {request} and got {refusal}")

    def granted(self, lease, request, holder, ends, lives):
        self.soak.figures.granted += 1
        self.soak.tell(f"{self.name} has {lease.id}: {request}")
        self.held.append(Held(self.soak, self, lease, request, holder))
        self.soak.checker.answered(lease.id, [] if "=" in request["devices"][0] else request["devices"],
                                   request.get("uid", self.uid), ends, request.get("priority", 0), lives)
        self.held[-1].since = self.soak.checker.looks

    def look_after(self, held):
        state = held.state()
        seen = self.soak.checker.looks > held.since + 1
        if seen and (state is None or state in OVER):
            self.held.remove(held)
            held.leave(self.soak.moment())
        elif state in ("active", "revoking") and held.request["kind"] == "user" and not held.in_use and not held.left \
                and self.soak.chance.random() < 0.03:
            held.use()

    def die(self):
        """All that is its: connections, lifelines, processes. What needs no holder is released by others."""
        for held in self.held:
            held.die()
            if held.request["holder"] == "none":
                self.soak.orphans.append(held)
            else:
                held.leave(self.soak.moment())
        self.held = []
        for _, holder, *_ in self.pending.values():
            if holder:
                holder.kill()
        self.soak.host.clients.remove(self.client)
        self.client.close()
        self.connect()
