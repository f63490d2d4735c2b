# SPDX-License-Identifier: LGPL-2.1-or-later
"""Those who mean ill: connections of several users that send whatever the bus lets pass, and what it does not."""

import contextlib
import socket
import xml.etree.ElementTree as ElementTree

from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_method_call, new_signal

from harness import PATIENCE
from harness.client import LEASE, MANAGER, NAME, PROPERTIES, ROOT, Client

from values import DEVICES, SELECTORS, STRANGE

CONNECTIONS = 6         # of one user
STORM = 40
BURST, DEAR_BURST = 2000, 100
DEAR = {"GetManagedObjects", "ListGroups", "ListLeases", "Dump", "Explain", "Acquire", "Introspect", "GetAll"}     # calls that take long
MANY = 16               # descriptors in one message


class Method:
    def __init__(self, path, interface, name, signature):
        self.path, self.interface, self.name, self.signature = path, interface, name, signature


def introspect(client, path="/"):
    """Every method of every kind of object that there is, and of its properties: one object of each kind is enough."""
    node = ElementTree.fromstring(client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0])
    for interface in node.iter("interface"):
        for method in interface.iter("method"):
            yield Method(path, interface.get("name"), method.get("name"), "".join(
                arg.get("type") for arg in method.iter("arg") if arg.get("direction", "in") == "in"))
    for child in list(node.findall("node"))[:3]:
        yield from introspect(client, f"{path.rstrip('/')}/{child.get('name')}")


class User:
    """What one of them has. may_take: he is one of those whom policy gives devices."""

    def __init__(self, uid, groups, may_take, reads):
        self.uid, self.groups, self.may_take, self.reads = uid, groups, may_take, reads
        self.granted = set()        # paths of leases
        self.lifelines = []
        self.connections = []
        self.unheard = 0            # requests whose answers he did not wait for

    def may_be_untold(self):
        return self.unheard + sum(connection.requests() for connection in self.connections)


class Figures:
    def __init__(self):
        self.messages = self.connections = self.replies = self.refusals = self.granted = 0


class Hostile:
    """One connection."""

    def __init__(self, crowd, user):
        self.user, self.figures, self.violations, self.owners = user, crowd.figures, crowd.violations, crowd.owners
        self.client = Client(crowd.host.address, uid=user.uid or None, groups=user.groups)
        self.client.hear_no_more()
        self.connection = self.client.connection
        self.connection.sock.settimeout(PATIENCE)
        self.asked = {}     # serial -> (path, interface, member)
        self.figures.connections += 1

    def send(self, path, interface, member, signature, body, flags=0):
        message = new_method_call(DBusAddress(path, NAME, interface), member, signature or None, body)
        message.header.flags |= MessageFlag(flags)
        serial = next(self.connection.outgoing_serial)
        if self.user.reads:
            self.asked[serial] = (path, interface, member)
        self.connection.send(message, serial=serial)
        self.figures.messages += 1

    def serialise(self, path, interface, member, signature, body):
        message = new_method_call(DBusAddress(path, NAME, interface), member, signature or None, body)
        return message.serialise(serial=next(self.connection.outgoing_serial))

    def send_raw(self, data):
        self.connection.sock.sendall(data)
        self.figures.messages += 1

    def read(self):
        """All that has come; nothing is awaited."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.take(self.connection.receive(timeout=0))

    def take(self, message):
        fields = message.header.fields
        asked = self.asked.pop(fields.get(HeaderFields.reply_serial), None)
        if not asked or message.header.message_type not in (MessageType.method_return, MessageType.error):
            return
        self.figures.replies += 1
        if message.header.message_type is MessageType.error:
            self.figures.refusals += 1
            return
        path, interface, member = asked
        if (interface, member) == (MANAGER, "Acquire"):
            self.take_lease(*message.body)
        elif interface == LEASE and self.owners.get(path, self.user.uid) != self.user.uid and self.user.uid != 0:
            self.violations.append(f"uid {self.user.uid} could call {member} of {path}, which is not his")

    def take_lease(self, path, lifeline):
        if not self.user.may_take:
            self.violations.append(f"uid {self.user.uid} was granted {path}, who may take nothing")
        self.figures.granted += 1
        self.user.granted.add(path)
        self.owners[path] = self.user.uid
        self.user.lifelines += lifeline

    def requests(self):
        """Not answered yet, or the answer was not read."""
        return sum(asked[1:] == (MANAGER, "Acquire") for asked in self.asked.values())

    def close(self):
        self.user.unheard += self.requests()
        self.client.close()


class Crowd:
    """All of them. One step is one deed of one of them, chosen by chance."""

    def __init__(self, chance, values, host, users, figures):
        self.chance, self.values, self.host, self.users, self.figures = chance, values, host, users, figures
        self.violations = []
        self.owners = {}        # of leases, as far as anybody was told: their uid
        self.methods = list(introspect(host.root))
        for user in users:
            self.connect(user)
        self.deeds = [(self.call_well, 30), (self.call, 40), (self.call_wrongly, 20), (self.on_lease, 20), (self.let_go, 6),
                      (self.burst, 1), (self.forge, 4), (self.many_descriptors, 4), (self.wrong_index, 4), (self.half, 4), (self.mutate, 10),
                      (self.storm, 0.2), (self.leave, 2)]

    def step(self):
        user = self.chance.choice(self.users)
        deed, = self.chance.choices([deed for deed, _ in self.deeds], [weight for _, weight in self.deeds])
        if user.uid == 0 and deed in (self.mutate, self.half):
            return      # whatever comes out of that root may do, also to those who mean well
        try:
            connection = self.connection(user)
            deed(connection)
            if user.reads and connection in user.connections:
                connection.read()
                self.values.leases = [path for one in self.users for path in one.granted][-64:]
        except (OSError, EOFError):
            self.drop(user)     # the bus does not listen any more

    def connection(self, user):
        if len(user.connections) < CONNECTIONS and (not user.connections or self.chance.random() < 0.05):
            self.connect(user)
        return self.chance.choice(user.connections)

    def connect(self, user):
        user.connections.append(Hostile(self, user))

    def drop(self, user):
        """Those that the bus has closed, and perhaps others."""
        for one in user.connections:
            one.close()
        user.connections = []

    def method(self, user):
        """Root may release what is others'; he is hostile to the daemon only."""
        while True:
            method = self.chance.choice(self.methods)
            if user.uid != 0 or method.interface != LEASE:
                return method

    def body(self, user, method):
        body = self.values.body(method.signature)
        if user.uid != 0:
            return body
        return tuple({name: value for name, value in one.items() if name not in ("force", "priority")}
                     if isinstance(one, dict) else one for one in body)

    # deeds

    def call_well(self, by):
        """A request that may be granted."""
        count = self.chance.choice([1, 1, 1, 2, 3])
        devices = [self.chance.choice(DEVICES + SELECTORS[:5]) for _ in range(count)]
        options = {"owner": ("s", self.chance.choice(["a", "b"]))}
        if self.chance.random() < 0.5:
            options["holder"] = ("s", self.chance.choice(["lifeline", "connection", "none", "process"]))
            if options["holder"][1] == "process":
                options["pidfd"] = ("h", self.chance.choice(self.values.descriptors.pidfds))
        for name, value in (("ttl", ("t", self.chance.choice([1, 10**5, 10**6, 0]))), ("access", ("s", "fd")),
                            ("grace", ("t", self.chance.choice([1, 10**6]))),
                            ("wait", ("t", self.chance.choice([10**6, 10**7, 2**64 - 1]))),
                            ("alternatives", ("aas", [[self.chance.choice(DEVICES)]]))):
            if self.chance.random() < 0.25:
                options[name] = value
        by.send(ROOT, MANAGER, self.chance.choice(["Acquire", "Acquire", "Explain"]), "assa{sv}", (devices, "user", options))

    def call(self, by):
        method = self.method(by.user)
        by.send(method.path, method.interface, method.name, method.signature, self.body(by.user, method),
                self.chance.choice([0, 0, 0, MessageFlag.no_reply_expected, MessageFlag.allow_interactive_authorization]))

    def call_wrongly(self, by):
        """Other types, other names, other objects."""
        method = self.method(by.user)
        signature = "".join(self.values.signature() for _ in range(self.chance.randint(0, 4)))
        kind = self.chance.random()
        if kind < 0.5:
            by.send(method.path, method.interface, method.name, signature, self.values.body(signature))
        elif kind < 0.7:
            by.send(self.values.path() if by.user.uid else "/", method.interface, method.name, method.signature,
                    self.body(by.user, method))
        elif kind < 0.85:
            given = self.chance.randint(1, 3)
            by.send(method.path, PROPERTIES, self.chance.choice(["Get", "Set", "GetAll"]), "ssv"[:given],
                    (method.interface, self.values.string(), self.values.variant())[:given])
        else:
            by.send(method.path, self.chance.choice([NAME, MANAGER, "org.freedesktop.DBus.Peer"]),
                    self.chance.choice(["Nothing", "Acquire", "Ping"]), signature, self.values.body(signature))

    def on_lease(self, by):
        """Of his own, or of others."""
        paths = by.user.granted if by.user.uid == 0 or self.chance.random() < 0.5 else \
            {path for user in self.users for path in user.granted} | {f"{ROOT}/lease/l{self.chance.randint(1, 200)}"}
        if not paths:
            return
        member, signature, body = self.chance.choice([
            ("Release", "", ()), ("Renew", "t", (self.values.number("t"),)), ("OpenFiles", "as", (self.values.of("as"),)),
            ("Confirm", "h", (self.values.of("h"),)), ("Revoke", "st", (self.values.string(), self.values.number("t")))])
        by.send(self.chance.choice(sorted(paths)), LEASE, member, signature, body)

    def let_go(self, by):
        """Of some of his lifelines."""
        self.chance.shuffle(by.user.lifelines)
        while by.user.lifelines and self.chance.random() < 0.8:
            by.user.lifelines.pop().close()

    def burst(self, by):
        """Calls, and nothing is read meanwhile."""
        method = self.method(by.user)
        body = self.body(by.user, method)
        for _ in range(DEAR_BURST if method.name in DEAR else BURST):
            by.send(method.path, method.interface, method.name, method.signature, body)

    def forge(self, by):
        """Somebody is gone from the bus, says who is not the bus."""
        name = f":1.{self.chance.randint(0, 50)}"
        message = new_signal(DBusAddress("/org/freedesktop/DBus", interface="org.freedesktop.DBus"), "NameOwnerChanged", "sss",
                             (name, name, ""))
        message.header.fields[HeaderFields.destination] = NAME
        by.connection.send(message)
        self.figures.messages += 1

    def many_descriptors(self, by):
        descriptors = [self.values.of("h") for _ in range(self.chance.choice([2, MANY, 200]))]
        by.send(ROOT, MANAGER, "Acquire", "assa{sv}", ([self.values.string()], "user", {
            "pidfd": self.chance.choice([("ah", descriptors), ("h", descriptors[0])]), "more": ("ah", descriptors)}))

    def wrong_index(self, by):
        """A descriptor that is not there: the type's letter is changed in what would be a number."""
        data = by.serialise(f"{ROOT}/lease/l1", LEASE, "Confirm", "u", (self.chance.choice([0, 1, 2**31, 2**32 - 1]),))
        by.send_raw(data.replace(b"\x01u\0", b"\x01h\0", 1))

    def half(self, by):
        """He leaves in the middle of a message."""
        data = by.serialise(ROOT, MANAGER, "Acquire", "assa{sv}", ([self.values.string()], "user", {}))
        by.send_raw(data[:self.chance.randint(1, len(data) - 1)])
        by.user.connections.remove(by)
        by.close()

    def mutate(self, by):
        """Some bytes are others; mostly the bus ends that at once."""
        method = self.method(by.user)
        if "h" in method.signature or "v" in method.signature:
            return
        data = bytearray(by.serialise(method.path, method.interface, method.name, method.signature, self.body(by.user, method)))
        for _ in range(self.chance.randint(1, 3)):
            data[self.chance.randrange(len(data))] = self.chance.choice([0, 1, 0x7f, 0xff, self.chance.randrange(256)])
        by.send_raw(data)

    def storm(self, by):
        """Connections that come and go, with a call each; some not even with a greeting."""
        for number in range(STORM):
            if number % 4 == 0:
                with contextlib.closing(socket.socket(socket.AF_UNIX)) as plain:
                    plain.connect(self.host.address.split(",")[0].removeprefix("unix:path="))
                    plain.sendall(b"\0AUTH EXTERNAL \r\n" if number % 8 else STRANGE[5].encode())
                self.figures.connections += 1
                continue
            one = Hostile(self, by.user)
            self.call_well(one)
            one.close()

    def leave(self, by):
        by.user.connections.remove(by)
        by.close()

    def read(self):
        for user in self.users:
            try:
                for connection in user.connections if user.reads else []:
                    connection.read()
            except (OSError, EOFError):
                self.drop(user)

    def end(self):
        """All go, and leave nothing behind that would hold a lease."""
        for user in self.users:
            self.drop(user)
            for lifeline in user.lifelines:
                lifeline.close()
            user.lifelines = []
