# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a scenario: the same lines on the simulated host and on a real kernel.

One verb a line; "-> NAME" at its end means that it is refused with that error.

    acquire LEASE ROLES KIND [OPTION=VALUE...]   as=USER: asked for, and held, by that user
    release LEASE
    kill LEASE                      its holder dies
    open LEASE ROLE                 its holder opens the device
    close LEASE ROLE
    foreign-bind ROLE DRIVER        somebody binds another driver by hand: all of the next three
    unbind ROLE                     HANGS: the kernel keeps him waiting
    override ROLE DRIVER            the driver_override, "-" for none
    bind ROLE DRIVER
    probe ROLE                      drivers_probe
    type ROLE TYPE                  somebody writes the default domain type
    retry ROLE                      Group.Retry
    expect ROLE|LEASE WHAT VALUE... one of the values, at last ("-": nothing)

A role is $nic, $bridge_a, $vf0...; ROLES has commas between. WHAT is driver, override, type or
owned (what the kernel says), state, count or claimed (what the daemon says). A trace has a line
of JSON for each verb but expect, and for each role that it names.
"""

import contextlib
import json
import os
import pathlib
import pwd
import signal
import subprocess
import time

from harness import PATIENCE
from harness.client import DEVICE, GROUP, BusError, Client, Lease

HERE = pathlib.Path(__file__).resolve().parent
# States of a group in which nothing goes on by itself.
SETTLED = {"free", "owned", "failed", "lost", "quarantined"}
# For hosts that have no such people: users that every Debian has, as the bus turns unknown ones away.
USERS = {"root": 0, "alice": 1, "bob": 2, "mallory": 3}


class ScenarioError(Exception):
    pass


def parse(path):
    """Yields (line number, words, expected error or None)."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        error = None
        if "->" in words:
            words, error = words[:words.index("->")], words[-1]
        if words:
            yield number, words, error


def uid_of(user):
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return USERS[user]


class Holder:
    """A process of the user that has the lifeline and may have devices open."""

    def __init__(self, user, lifeline):
        self.user = user
        # its text, not its path: the user may not be let into the folder of this checkout
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", (HERE / "holder").read_text()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        pass_fds=lifeline, **({"user": user} if user else {}))

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise ScenarioError("the holder has died")
        return None if answer == "0" else answer

    def end(self):
        with contextlib.suppress(BrokenPipeError), self.process:
            self.process.send_signal(signal.SIGKILL)


class Scenario:
    def __init__(self, backend, kernel, trace=None):
        self.backend, self.kernel, self.trace = backend, kernel, trace
        self.client = Client(backend.address).watch()
        self.clients = {}
        self.leases, self.holders = {}, {}
        self.opened = set()     # (lease, device)

    def run(self, path):
        try:
            for number, words, error in parse(path):
                try:
                    self.line(path.stem, words, error)
                except (ScenarioError, BusError, TimeoutError, AssertionError) as problem:
                    raise ScenarioError(f"{path.name}:{number}: {' '.join(words)}: {problem}") from problem
        finally:
            for holder in self.holders.values():
                holder.end()
            for client in [self.client, *self.clients.values()]:
                client.close()

    def line(self, scenario, words, error):
        verb, *arguments = words
        if verb == "expect":
            return self.expect(*arguments)
        roles, got = getattr(self, verb.replace("-", "_"))(*arguments)
        for role in roles:
            self.settle(role)
        for role in roles if self.trace else ():
            print(json.dumps({"op": verb, "role": role, "arg": " ".join(arguments), "errno": got,
                              "after": self.backend.facts(self.device(role))}), file=self.trace, flush=True)
        error = self.kernel.error(scenario, verb, " ".join(arguments), error)
        if got != error:
            raise ScenarioError(f"{got or 'no error'}, but {error or 'no error'} was expected")

    # verbs: each returns the roles it was about and the error that it met

    def acquire(self, lease, roles, kind, *options):
        options = dict(option.split("=", 1) for option in options)
        user = options.pop("as", "root")
        roles = roles.split(",")
        devices = [self.device(role) for role in roles]
        self.wait(lambda: set(devices) <= self.known(), "the daemon to know the devices")
        try:
            got = self.client_of(user).hold(devices, kind, **options)
        except BusError as error:
            return roles, error.name
        # from here on the main client looks, and the holder holds
        self.leases[lease] = Lease(self.client, got.path, [])
        numbers = [got.take_lifeline() for _ in list(got.lifeline)]
        self.holders[lease] = Holder(uid_of(user), numbers)
        for number in numbers:
            os.close(number)
        return roles, None

    def release(self, lease):
        roles = self.roles_of(lease)
        self.leases[lease].release()
        return roles, None

    def kill(self, lease):
        roles = self.roles_of(lease)
        holder = self.holders.pop(lease)
        self.backend.died(holder)
        holder.end()
        self.opened = {(name, device) for name, device in self.opened if name != lease}
        gone = self.leases[lease].id
        self.wait(lambda: gone not in self.client.leases(), "the lease to end")
        return roles, None

    def open(self, lease, role):
        error = self.backend.open(self.holders[lease], self.device(role))
        if not error:
            self.opened.add((lease, self.device(role)))
        return [role], error

    def close(self, lease, role):
        self.opened.discard((lease, self.device(role)))
        return [role], self.backend.close(self.holders[lease], self.device(role))

    def foreign_bind(self, role, driver):
        error = self.backend.rebind(self.device(role), driver)
        self.wait(lambda: self.client.device(self.device(role))["Driver"] == driver, "the daemon to see it")
        return [role], error

    def unbind(self, role):
        return self.by_hand(role, self.backend.unbind(self.device(role)))

    def override(self, role, driver):
        return [role], self.backend.override(self.device(role), driver)

    def bind(self, role, driver):
        return self.by_hand(role, self.backend.bind(self.device(role), driver))

    def probe(self, role):
        return self.by_hand(role, self.backend.probe(self.device(role)))

    def by_hand(self, role, error):
        """What the kernel has done, the daemon sees by and by."""
        def seen():
            return self.client.device(self.device(role))["Driver"] == (self.backend.driver(self.device(role)) or "")
        if not error:
            self.wait(seen, "the daemon to see it")
        return [role], error

    def type(self, role, value):
        error = self.backend.set_type(self.device(role), value)
        # no event tells the daemon, but it keeps looking at what is leased
        if not error and self.client.group_of(self.device(role))["State"] == "owned":
            self.wait(lambda: self.client.group_of(self.device(role))["DefaultDomainType"]
                      == self.backend.facts(self.device(role))["type"], "the daemon to see it")
        return [role], error

    def retry(self, role):
        try:
            self.client.call(self.client.group_path(self.device(role)), GROUP, "Retry")
        except BusError as error:
            return [role], error.name
        return [role], None

    # looking

    def expect(self, subject, what, *values):
        def now():
            if not subject.startswith("$"):
                return {"state": self.leases[subject].seen_state}[what]()
            if what in ("state", "count", "claimed"):
                return str(self.client.group_of(self.device(subject))[what.capitalize()])
            return self.backend.facts(self.device(subject))[what] or "-"
        try:
            self.wait(lambda: now() in values, "")
        except TimeoutError:
            raise ScenarioError(f"it is {now()}") from None

    def settle(self, role):
        """Until nothing goes on by itself, so that what is seen then is always the same."""
        def settled():
            group = self.client.group_of(self.device(role))
            is_open = any(device in group["Devices"] for _, device in self.opened)
            return group["State"] in SETTLED or (group["State"] == "draining" and group["WaitsFor"] and is_open)
        self.wait(settled, f"the group of {role} to settle")

    def wait(self, condition, what):
        """Signals say when to look again; what no signal tells is looked at now and then."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            with contextlib.suppress(TimeoutError):
                self.client.receive(time.monotonic() + 0.1, what)

    # names

    def known(self):
        return {interfaces[DEVICE]["Name"] for interfaces in self.client.objects.values() if DEVICE in interfaces}

    def device(self, role):
        return self.backend.roles[role.removeprefix("$")]

    def roles_of(self, lease):
        names = {device: role for role, device in self.backend.roles.items()}
        return [f"${names[device]}" for device in self.leases[lease].Devices]

    def client_of(self, user):
        if user == "root":
            return self.client
        if user not in self.clients:
            client = Client(self.backend.address, uid=uid_of(user), groups=self.backend.groups(user))
            self.clients[user] = client.watch()
        return self.clients[user]
