# SPDX-License-Identifier: LGPL-2.1-or-later
"""A D-Bus client of org.dmaowner1."""

import contextlib
import os
import time
import xml.etree.ElementTree as ElementTree

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageFlag, MessageType, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, prep_socket

from . import PATIENCE

LOOK_AGAIN = 0.2     # seconds

NAME = "org.dmaowner1"
ROOT = "/org/dmaowner1"
MANAGER = f"{NAME}.Manager"
GROUP = f"{NAME}.Group"
DEVICE = f"{NAME}.Device"
LEASE = f"{NAME}.Lease"
SIMULATION = f"{NAME}.Simulation"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
FOR_EVER = 2**64 - 1

OPTION_TYPES = {
    "owner": "s", "label": "s", "holder": "s", "pidfd": "h", "ttl": "t", "grace": "t", "default-domain-type": "s",
    "driver": "s", "access": "s", "uid": "u", "reset": "s", "force": "b",
    "alternatives": "aas", "vfs": "u",
    "wait": "t", "priority": "i", "interface": "s",
}


SIGNALS = MatchRule(type="signal", sender=NAME).serialise()


class BusError(Exception):
    """An error reply. `name` is short: "Busy" for org.dmaowner1.Error.Busy."""

    def __init__(self, full_name, message):
        super().__init__(f"{full_name}: {message}")
        self.full_name, self.message = full_name, message
        self.name = full_name.removeprefix(f"{NAME}.Error.").removeprefix("org.freedesktop.DBus.Error.")


def plain(value):
    """A variant's value without its type, all the way down."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and is_variant(value):
        return plain(value[1])
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def is_variant(pair):
    """Tells a variant from a structure of a string and something, which this API has none of
    with a first member that looks like a type."""
    return pair[0] != "" and set(pair[0]) <= set("ybnqiuxtdsogahv(){}")


@contextlib.contextmanager
def acting_as(uid, gid, groups):
    """The bus asks the kernel who connects, so it is enough to be somebody else meanwhile."""
    former = os.getgroups()
    os.setgroups(groups)
    os.setresgid(gid, gid, 0)
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(former)


class Client:
    """One connection. Keeps a picture of all objects up to date by signals alone."""

    def __init__(self, address, uid=None, gid=None, groups=()):
        path = address.split(",")[0].removeprefix("unix:path=")
        with acting_as(uid, uid if gid is None else gid, list(groups)) if uid else contextlib.nullcontext():
            self.connection = DBusConnection(prep_socket(path, enable_fds=True, timeout=PATIENCE), enable_fds=True)
        self.name = self.connection.unique_name
        self.interactive = False        # an administrator may be asked for his password
        self.replies = {}
        self.leases_taken = []  # a lease that nobody refers to would close its lifeline
        self.signals = []       # (path, interface, member, body)
        self.objects = {}       # path -> interface -> property -> value
        self.gone = {}          # the last that was known of objects that are no more
        self.call_bus("AddMatch", "s", SIGNALS)
        self.call_bus("AddMatch", "s", MatchRule(type="signal", sender="org.freedesktop.DBus",
                                                 member="NameOwnerChanged").serialise())

    def close(self):
        """The connection only: lifelines stay, as they do in another process."""
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # calls

    def start(self, path, interface, member, signature="", *arguments):
        """Sends a call and does not wait; finish() does."""
        message = new_method_call(DBusAddress(path, NAME, interface), member, signature or None, arguments)
        if self.interactive:
            message.header.flags |= MessageFlag.allow_interactive_authorization
        serial = next(self.connection.outgoing_serial)
        self.connection.send(message, serial=serial)
        self.replies[serial] = None
        return serial

    def finish(self, serial, timeout=PATIENCE):
        self.receive_until(lambda: self.replies[serial], timeout, "a reply")
        return unwrap(self.replies.pop(serial))

    def call(self, path, interface, member, signature="", *arguments):
        return self.finish(self.start(path, interface, member, signature, *arguments))

    def call_bus(self, member, signature="", *arguments):
        message = new_method_call(message_bus, member, signature or None, arguments)
        serial = next(self.connection.outgoing_serial)
        self.connection.send(message, serial=serial)
        self.replies[serial] = None
        return self.finish(serial)

    def get(self, path, interface, name):
        return plain(self.call(path, PROPERTIES, "Get", "ss", interface, name)[0])

    def get_all(self, path, interface):
        return plain(self.call(path, PROPERTIES, "GetAll", "s", interface)[0])

    def manager(self, member, signature="", *arguments):
        return self.call(ROOT, MANAGER, member, signature, *arguments)

    def introspect(self, path=ROOT):
        return ElementTree.fromstring(self.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0])

    def managed_objects(self):
        return plain(self.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")[0])

    # the words of the manager

    def start_acquire(self, devices, kind="user", raw=None, **options):
        return self.start(ROOT, MANAGER, "Acquire", "assa{sv}", as_list(devices), kind, variants(options, raw))

    def acquire(self, devices, kind="user", raw=None, **options):
        """Returns the lease as soon as the daemon answers: it may still be activating."""
        path, lifeline = self.finish(self.start_acquire(devices, kind, raw, **options))
        self.leases_taken.append(Lease(self, path, lifeline))
        return self.leases_taken[-1]

    def hold(self, devices, kind="user", **options):
        """acquire() and wait until it is active."""
        lease = self.acquire(devices, kind, **options)
        lease.wait("active")
        return lease

    def explain(self, devices, kind="user", raw=None, **options):
        possible, obstacles, steps, _ = self.manager("Explain", "assa{sv}", as_list(devices), kind,
                                                     variants(options, raw))
        return possible, plain(obstacles), plain(steps)

    def choose(self, devices, kind="user", raw=None, **options):
        """The devices that Explain says the request would get."""
        return self.manager("Explain", "assa{sv}", as_list(devices), kind, variants(options, raw))[3]

    def list_all(self, member, key, first, signature):
        """Every page of ListGroups or ListLeases."""
        rows, after = [], first
        while page := plain(self.manager(member, signature, after, 256)[0]):
            rows += page
            after = page[-1][key]
        return rows

    def groups(self):
        return {row["Id"]: row for row in self.list_all("ListGroups", "Id", -1, "xu")}

    def leases(self):
        return {row["Id"]: row for row in self.list_all("ListLeases", "Sequence", 0, "tu")}

    def device(self, name):
        return self.get_all(self.manager("GetDevice", "s", name)[0], DEVICE)

    def group_of(self, device):
        return self.get_all(self.group_path(device), GROUP)

    def group_path(self, device):
        return self.manager("GetGroup", "u", self.device(device)["Group"])[0]

    # signals

    def hear_no_more(self):
        """Of the daemon's signals, which are many. Returns the client."""
        self.call_bus("RemoveMatch", "s", SIGNALS)
        return self

    def watch(self):
        """From now on self.objects is what the signals say."""
        self.objects = self.managed_objects()
        return self

    def wait(self, condition, what, timeout=PATIENCE):
        """Waits until condition() is true; looks again at every signal, and now and then, as not everything has
        one. Returns its value."""
        deadline = time.monotonic() + timeout
        while True:
            seen = len(self.signals)
            if result := condition():
                return result
            if seen < len(self.signals):
                continue
            try:
                self.receive(min(deadline, time.monotonic() + LOOK_AGAIN), what)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise

    def receive_until(self, condition, timeout, what):
        deadline = time.monotonic() + timeout
        while not condition():
            self.receive(deadline, what)

    def wait_driver(self, device, driver, timeout=PATIENCE):
        self.wait(lambda: self.device(device)["Driver"] == driver, f"{device} on {driver or 'no driver'}", timeout)

    def wait_group(self, device, state, timeout=PATIENCE):
        return self.wait(lambda: (props := self.group_of(device))["State"] == state and props,
                         f"the group of {device} to be {state}", timeout)

    def receive(self, deadline, what):
        try:
            message = self.connection.receive(timeout=max(0, deadline - time.monotonic()))
        except TimeoutError:
            raise TimeoutError(f"waited in vain for {what}; the last signals: {self.signals[-10:]}") from None
        fields = message.header.fields
        if message.header.message_type is MessageType.signal:
            self.take_signal(fields[HeaderFields.path], fields[HeaderFields.interface],
                             fields[HeaderFields.member], message.body)
        elif fields.get(HeaderFields.reply_serial) in self.replies:
            self.replies[fields[HeaderFields.reply_serial]] = message

    def take_signal(self, path, interface, member, body):
        self.signals.append((path, interface, member, body))
        if (interface, member) == (PROPERTIES, "PropertiesChanged"):
            changed = self.objects.setdefault(path, {}).setdefault(body[0], {})
            changed.update(plain(body[1]))
            for name in body[2]:
                changed.pop(name, None)
        elif (interface, member) == (OBJECT_MANAGER, "InterfacesAdded"):
            self.objects.setdefault(body[0], {}).update(plain(body[1]))
        elif (interface, member) == (OBJECT_MANAGER, "InterfacesRemoved"):
            for name in body[1]:
                removed = self.objects.get(body[0], {}).pop(name, None)
                self.gone.setdefault(body[0], {})[name] = removed
            if not self.objects.get(body[0]):
                self.objects.pop(body[0], None)


class Lease:
    def __init__(self, client, path, lifeline):
        self.client, self.path, self.lifeline = client, path, lifeline
        self.id = path.rpartition("/")[2]

    def __getattr__(self, name):
        """lease.HolderPid: the property."""
        if not name[0].isupper():
            raise AttributeError(name)
        return self.client.get(self.path, LEASE, name)

    def properties(self):
        return self.client.get_all(self.path, LEASE)

    def call(self, member, signature="", *arguments):
        return self.client.call(self.path, LEASE, member, signature, *arguments)

    def release(self):
        self.call("Release")

    def close(self):
        """Lets go of the lifeline."""
        for descriptor in self.lifeline:
            descriptor.close()
        self.lifeline = []

    def take_lifeline(self):
        """The lifeline as a plain number that somebody else closes."""
        number = self.lifeline.pop().to_raw_fd()
        os.set_inheritable(number, True)
        return number

    def seen_state(self):
        """The state by signals or, before there was any, by asking. A lease that is gone keeps
        the last one that was told."""
        known = self.client.objects.get(self.path, self.client.gone.get(self.path, {})).get(LEASE, {})
        return known.get("State") or self.State

    def wait(self, state, timeout=PATIENCE):
        """Waits for that state; another one that is final is a failure at once."""
        def reached():
            now = self.seen_state()
            if now == state:
                return True
            assert now not in ("ended", "failed", "lost"), f"{self.id} is {now}, not {state}: {self.why()}"
            return False
        self.client.wait(reached, f"{self.id} to be {state}", timeout)

    def why(self):
        known = self.client.objects.get(self.path, self.client.gone.get(self.path, {})).get(LEASE)
        return known["Failure"] if known and "Failure" in known else "no Failure was told"

    def ended_reasons(self):
        return [body[0] for path, interface, member, body in self.client.signals
                if (path, interface, member) == (self.path, LEASE, "Ended")]

    def wait_ended(self, timeout=PATIENCE):
        """Waits for the signal Ended and returns its reason."""
        return self.client.wait(self.ended_reasons, f"{self.id} to end", timeout)[0]


def as_list(devices):
    return [devices] if isinstance(devices, str) else list(devices)


def variants(options, raw):
    made = {}
    for name, value in options.items():
        name = name.replace("_", "-")
        made[name] = (OPTION_TYPES[name], value)
    return {**made, **(raw or {})}


def unwrap(message):
    if message.header.message_type is MessageType.error:
        text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
        raise BusError(message.header.fields[HeaderFields.error_name], text)
    return message.body
