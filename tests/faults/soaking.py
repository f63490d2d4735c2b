# SPDX-License-Identifier: LGPL-2.1-or-later
"""A round of a soak: a host, who takes part, and what happens to them, by chance."""

import collections
import contextlib
import grp
import heapq
import itertools
import json
import os
import pathlib
import random
import signal
import time

from checker import FAULT, MEDDLING, Checker
from harness.client import FOR_EVER, GROUP, LEASE, BusError
from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, IDENTITY, NIC, NIC2, NVME, SINGLES, nic, nvme
from lasting import OVER, STUCK, Died, LastingHost, Violation
from players import GONE, Party

SECOND = 10**6
PF, INTRUDER, ALICE, BOB = "0000:20:00.0", 99, 1, 2
KEPT = [NIC2, SINGLES[0]]
NAMES = [NIC, NIC2, BRIDGE_A, BRIDGE_B, IDENTITY, NVME, *SINGLES[:5]]
NICS = [NIC, NIC2, IDENTITY]
UNPLUGGED = [name for name in NAMES if name != IDENTITY]     # its type would not come back
ERRNOS = json.loads((pathlib.Path(__file__).parent / "errnos.json").read_text())
ERRNOS.pop("comment")
ERRNOS["probe"] = ["EAGAIN", "EIO"]     # that no driver takes a device is an answer, which stands
KERNELS = [{"version": "6.12"}, {"version": "6.12", "iommufd": True}, {"version": "6.1"}]
LATENCIES = {"inspect": 500, "set-override": 500, "unbind": 3000, "bind": 5000, "set-type": 2000, "reset": 10000, "lend": 1000,
             "claim": 1000, "set-num-vfs": 20000, "udev": 3000}
# In these nothing that was recorded can be what a stranger has just left. While it is restoring, an override that is
# written after the last look at the device stays: the kernel tells nobody.
RECORDED = ("owned", "draining", "quarantined", *STUCK)
LOOK = 0.08     # seconds
QUIET = 40
# What is done, how often each second.
RATES = {"request": 16, "release": 4, "holder_dies": 1.6, "party_dies": 0.3, "renew": 0.8, "confirm": 0.3, "operate": 5, "meddle": 0.5,
         "unplug": 0.3, "fault": 1.2, "clear": 0.4, "kill": 0.35, "revoke": 0.5, "repair": 3, "nothing": 12}


class Figures:
    def __init__(self):
        self.minutes = 0.0
        self.requests = self.granted = self.refused = self.deaths = self.kills = self.plugs = self.meddlings = 0
        self.faults = self.violations = 0

    def __str__(self):
        return (f"soak minutes {self.minutes:.1f}, requests {self.requests}, granted {self.granted}, refused {self.refused}, "
                f"deaths {self.deaths}, daemon kills {self.kills}, hot plugs {self.plugs}, meddlings {self.meddlings}, "
                f"faults {self.faults}, violations {self.violations}")


def topology(kernel):
    igb = {"driver": "igb", "matches": ["igb", "igbvf"], "device": "10c9", "total_vfs": 4, "vf_device": "10ca"}
    return {
        "default_domain_type": "DMA", "kernel": kernel, "latency_us": LATENCIES,
        "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}, {"name": "igbvf", "loaded": True}],
        "devices": [nic(NIC, 12), nic(NIC2, 13), {"name": BRIDGE, "vendor": "8086", "device": "244e", "class": "060401", "group": 14},
                    nic(BRIDGE_A, 14, device="100e", driver="e1000", matches=["e1000"]),
                    nic(BRIDGE_B, 14, device="100e", driver="e1000", matches=["e1000"]),
                    nic(IDENTITY, 19), nvme(NVME, 20), *(nvme(name, 100 + n) for n, name in enumerate(SINGLES[:5])),
                    # VFs get the numbers behind it, and none that an unplugged device comes back with
                    nic(PF, 200, **igb)],
        "groups": [{"group": 19, "type": "identity"}],
    }


POLICY = {"rules": [{"match": {"device": device}, "release": "keep"} for device in KEPT]}


class Round:
    def __init__(self, seed, figures):
        self.chance, self.figures = random.Random(seed), figures
        self.host = LastingHost(topology(KERNELS[seed % len(KERNELS)]), POLICY)
        self.done = collections.deque(maxlen=60)
        self.begin = time.monotonic()
        self.events, self.order = [], itertools.count()      # of the near future
        self.pids = itertools.count(1000)
        self.orphans = []       # without a holder, of requesters that are gone
        self.unplugged = {}     # name -> when
        self.late = set()       # plugged in, and not yet seen in a free group: what was there before them is recorded
        self.parties, self.checker = [], None
        self.ending = False

    def run(self, seconds):
        """Returns what was violated, or None."""
        try:
            self.start()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.turn()
            self.end()
        except (Violation, AssertionError, TimeoutError) as violation:
            self.figures.violations += 1
            seen = self.checker.describe() if self.checker else "  nothing"
            return "\n".join([f"{violation}", "what was done before:", *self.done, "as last seen:", seen])
        return None

    def start(self):
        self.host.start()
        self.host.root.hear_no_more()
        self.checker = Checker(self.host)
        self.checker.look()
        self.looked = time.monotonic()
        member = []
        with contextlib.suppress(KeyError):
            member = [grp.getgrnam("dmaowner").gr_gid]
        others = [("alice", ALICE, member), ("bob", BOB, member)] if os.geteuid() == 0 and member else []
        self.parties = [Party(self, name, uid, groups, [name, "guest"]) for name, uid, groups in
                        [*others, ("carol", os.geteuid(), []), ("dave", os.geteuid(), [])]]
        self.root_can = os.geteuid() == 0

    def close(self):
        for party in self.parties:
            with contextlib.suppress(Exception):
                party.die()
        for _, _, function in sorted(self.events):
            with contextlib.suppress(Exception):
                function()
        self.host.close()

    # words for all

    def tell(self, what):
        self.done.append(f"  {time.monotonic() - self.begin:8.3f} {what}")

    def fail(self, what):
        raise Violation(what)

    def later(self, seconds, function):
        heapq.heappush(self.events, (time.monotonic() + seconds, next(self.order), function))

    def moment(self):
        """Until somebody has closed his files."""
        return 0 if self.ending else self.chance.choice([0, 0, 0.05, 0.3, 1.5])

    def new_pid(self):
        return next(self.pids)

    def row(self, name):
        last = self.checker.last
        return last.leases_after.get(name) or last.leases.get(name)

    def ask(self, function, *arguments):
        """True, or the name of what was wrong."""
        try:
            function(*arguments)
        except BusError as refusal:
            return refusal.name
        return True

    def event(self, event, **what):
        return self.ask(lambda: self.host.sim.event(event, **what))

    def drain(self, client):
        client.signals.clear()
        while True:
            try:
                client.receive(0, "nothing")
            except TimeoutError:
                return

    # time goes on

    def turn(self):
        kind = self.chance.choices(list(RATES), RATES.values())[0]
        with contextlib.suppress(Died):
            getattr(self, kind)()
        self.go_on()
        time.sleep(self.chance.choice([0, 0, 0.002, 0.02]))

    def go_on(self):
        while self.host.daemon.process.poll() is not None:
            self.revive()
        self.drain(self.host.root)
        while self.events and self.events[0][0] <= time.monotonic():
            heapq.heappop(self.events)[2]()
        for party in self.parties:
            party.poll()
        if time.monotonic() - self.looked >= LOOK:
            self.look()

    def look(self):
        try:
            self.checker.look()
        except BusError as error:
            if error.name not in GONE:
                raise Violation(f"nobody could look: {error}") from None
        self.looked = time.monotonic()
        for group in self.checker.last.groups_after.values():
            if group["State"] == "free":
                self.late -= {device["Name"] for device in group["DeviceList"]}

    # requests

    def request(self):
        party = self.chance.choice(self.parties)
        if len(party.pending) > 8 or len(party.held) > 12:
            return
        self.figures.requests += 1
        party.ask(self.make_request(party))

    def make_request(self, party):
        pick = self.chance.random
        kind = self.chance.choices(["user", "dma-api", "private-domain"], [70, 20, 10])[0] if party.privileged else "user"
        request = {"kind": kind, "owner": self.chance.choice(party.owners),
                   "holder": self.chance.choices(["lifeline", "process", "connection", "none"], [45, 20, 20, 15])[0]}
        request["devices"] = self.chance.sample(NAMES, self.chance.choices([1, 2, 4], [75, 20, 5])[0])
        if kind == "user":
            self.make_user_request(party, request)
        elif kind == "private-domain":
            request |= {"devices": [self.chance.choice(NICS)], "driver": "vp-vdpa"}
        elif pick() < 0.3:
            request["default_domain_type"] = self.chance.choice(["identity", "DMA"])
        if pick() < 0.25:
            request["ttl"] = self.chance.randrange(SECOND // 5, 3 * SECOND)
        if pick() < 0.4:
            request["wait"] = FOR_EVER if pick() < 0.1 else self.chance.randrange(SECOND // 10, 5 * SECOND)
        if party.privileged and pick() < 0.1:
            request["priority"] = self.chance.randrange(-3, 4)
        return request

    def make_user_request(self, party, request):
        request["access"] = self.chance.choice(["node", "node", "fd"])
        what = self.chance.random()
        if what < 0.06:
            request |= {"devices": [PF], "vfs": self.chance.randrange(1, 4)}
        elif what < 0.14:
            request["devices"] = [self.chance.choice(["class=0108", "class=02", "class=0108*2"])]
        if party.privileged and self.root_can and self.chance.random() < 0.2:
            request["uid"] = self.chance.choice([ALICE, BOB])

    def any_held(self, *states, **wanted):
        found = [held for party in self.parties for held in party.held if held.state() in states
                 and not held.left and all(held.request[key] == value for key, value in wanted.items())]
        return self.chance.choice(found) if found else None

    def release(self):
        if held := self.any_held("queued", "activating", "active", "active", "unconfirmed", "revoking"):
            self.tell(f"release of {held.id}")
            held.release()

    def holder_dies(self):
        if held := self.any_held("queued", "activating", "active", "unconfirmed", "revoking",
                                 holder=self.chance.choice(["lifeline", "process"])):
            self.tell(f"the holder of {held.id} dies")
            self.figures.deaths += 1
            held.die()
            held.leave(self.moment())

    def party_dies(self):
        party = self.chance.choice(self.parties)
        self.tell(f"{party.name} dies with {[held.id for held in party.held]}, {len(party.pending)} requests")
        self.figures.deaths += 1
        party.die()

    def renew(self):
        if held := self.any_held("active", "unconfirmed", "queued"):
            ttl = self.chance.choice([0, SECOND // 10, SECOND, 10 * SECOND])
            self.tell(f"renewal of {held.id}: {ttl}")
            if ttl:
                self.checker.may_end(held.id, "its time to live")
            self.ask(held.call, "Renew", "t", ttl)

    def confirm(self):
        if held := self.any_held("active", "unconfirmed", holder="process"):
            held.confirm()

    # persons and others

    def nothing(self):
        pass

    def operate(self):
        """What a person has to do: stuck groups, quarantine, leases that nobody will release."""
        groups = list(self.checker.last.groups.values())
        self.chance.shuffle(groups)
        for group in groups:
            if group["State"] in STUCK:
                # VFs that are accepted would be there for ever
                retry = self.ending or self.is_of_pf(group["Id"]) or self.chance.random() < 0.75
                self.put_right(group, "Retry" if retry else "Accept")
                return
            if group["State"] == "quarantined" and self.chance.random() < (1 if self.ending else 0.1):
                self.tell(f"Restore of group {group['Id']}")
                self.ask(self.host.root.manager, "Restore", "as", [group["DeviceList"][0]["Name"]])
                return
        self.release_orphans()

    def is_of_pf(self, number):
        return any(PF in (device["name"], device.get("physfn")) for device in self.checker.last.members[number])

    def put_right(self, group, how):
        self.tell(f"{how} of group {group['Id']}, {group['State']}: {group['WaitsFor']}")
        if how == "Accept":
            self.checker.soiled.add(group["Id"])
        self.ask(self.host.root.call, group["Path"], GROUP, how)

    def release_orphans(self):
        """Those whose requester is gone, or was gone before he heard that he has it."""
        for held in self.orphans:
            held.release()
        self.orphans = []
        mine = {held.id for party in self.parties for held in party.held}
        for name, row in self.checker.last.leases.items():
            if name not in mine and row["State"] not in OVER and row["Holder"] == "none" \
                    and row["Created"] < self.checker.last.boottime - SECOND:
                self.checker.may_end(name, "nobody has it")
                self.ask(self.host.root.call, row["Path"], LEASE, "Release")

    def revoke(self):
        if held := self.any_held("active", "activating", "queued", "unconfirmed"):
            deadline = self.chance.choice([0, SECOND // 5, 2 * SECOND])
            self.tell(f"revocation of {held.id} in {deadline}")
            self.checker.may_end(held.id, "revoked")
            self.ask(self.host.root.call, held.lease.path, LEASE, "Revoke", "st", "maintenance", deadline)

    def meddle(self):
        name = self.chance.choice([*NAMES, PF])
        device = self.checker.last.devices.get(name)
        if not device:
            return
        kind = self.chance.choice(["unbind", "rebind", "override", "type", "open", "open", "node"])
        self.tell(f"somebody meddles with {name}: {kind}")
        self.figures.meddlings += 1
        self.from_outside(name, device["group"], lambda: self.meddle_with(kind, name, device))

    def from_outside(self, name, number, act):
        """What he leaves of a group that nobody has, is what it is from then on."""
        self.checker.disturb(MEDDLING, "meddling", name)
        before = name not in self.late and self.is_put_back(number)
        act()
        if not before or not self.is_put_back(number):
            self.checker.soiled.add(number)

    def is_put_back(self, number):
        """Is whatever somebody changes now undone, in the end? A lease that changes nothing has nothing undone; nor has
        a device of which nothing is recorded, see above."""
        try:
            group = self.host.root.groups().get(number, {})
        except BusError:
            return False
        return group.get("State") in RECORDED and group["OwnerKind"] != "dma-api"

    def meddle_with(self, kind, name, device):
        if kind == "open":
            if self.event("open", device=name, pid=INTRUDER, uid=0, comm="intruder") is True:
                self.later(self.chance.choice([0.1, 0.5, 2]), self.close_intruder)
        elif kind == "node":
            self.event("node", group=device["group"], uid=0, mode=0o600)
        elif kind == "type":
            self.event("type", group=device["group"], type=self.chance.choice(["identity", "DMA"]))
        elif kind == "override":
            self.event("override", device=name, driver=self.chance.choice(["vfio-pci", self.host.first["devices"][name]["driver"]]))
        else:
            self.event("unbind", device=name)
            if kind == "rebind":
                driver = self.chance.choice(["vfio-pci", self.host.first["devices"][name]["driver"]])
                self.event("override", device=name, driver=driver)
                self.event("bind", device=name, driver=driver)

    def close_intruder(self):
        if self.event("close", pid=INTRUDER) in GONE:
            self.later(0.1, self.close_intruder)

    def repair(self):
        """Who has changed a group puts it back when nobody has it."""
        last = self.checker.last
        for number in sorted(self.checker.soiled):
            group = last.groups.get(number)
            if group and group["State"] == "free" and not last.is_held(number):
                devices = [device["name"] for device in last.members[number]]
                self.tell(f"group {number} is put back: {devices}")
                self.from_outside(devices[0], number, lambda: self.put_back(number, devices))
                return

    def put_back(self, number, devices):
        first = self.host.first
        now = {device["name"]: device for device in self.checker.last.members[number]}
        type_wrong = self.checker.last.nodes[number]["type"] != first["groups"][str(number)]["type"] \
            if str(number) in first["groups"] else False
        for name in devices:
            was = first["devices"].get(name)
            if not was:
                continue
            if now[name].get("driver_override"):
                self.event("override", device=name)
            if now[name].get("driver") and (type_wrong or now[name]["driver"] != was.get("driver")):
                self.event("unbind", device=name)
        if type_wrong:
            self.event("type", group=number, type=first["groups"][str(number)]["type"])
        for name in devices:
            was = first["devices"].get(name) or {}
            if was.get("driver") and (type_wrong or now[name].get("driver") != was["driver"]):
                self.event("bind", device=name, driver=was["driver"])

    def unplug(self):
        name = self.chance.choice(UNPLUGGED)
        if name in self.unplugged or name not in self.checker.last.devices:
            return
        self.tell(f"{name} is unplugged")
        self.figures.plugs += 1
        self.checker.disturb(MEDDLING, "unplugged", name)
        self.event("unplug", device=name)
        self.unplugged[name] = time.monotonic()
        self.later(self.chance.choice([0.05, 0.5, 2]), lambda: self.plug(name))

    def plug(self, name):
        """The unplug may still wait for somebody who has the device open, or may have found a dead daemon."""
        last = self.checker.last
        is_there = name in last.devices
        seen = last.begin > self.unplugged[name]
        if seen and is_there and not any(what["device"] == name for what in last.kernel["pending"]):
            del self.unplugged[name]
            return
        if seen and not is_there:
            self.checker.disturb(MEDDLING, "plugged in", name)
            self.tell(f"{name} is plugged in")
            self.late.add(name)
            self.event("hotplug", device=self.host.first["devices"][name])
        self.later(0.3, lambda: self.plug(name))

    # faults

    def fault(self):
        op = self.chance.choice([*ERRNOS, "wait-closed"])
        device = self.chance.choice([*self.checker.last.devices])
        what = self.chance.choice([{"errno": self.chance.choice(ERRNOS.get(op, ["EIO"]))}, {"delay_us": 300000}, {"hang": True},
                                   {"crash": True}, {"kill": self.chance.choice(["before", "during", "after"])}])
        self.tell(f"fault: {op} of {device}: {what}")
        self.figures.faults += 1
        self.checker.disturb(FAULT, f"{op} {what}", device)
        self.ask(lambda: self.host.sim.inject(op, device, nth=1, **what))
        if "hang" in what:
            self.later(self.chance.choice([0.2, 1, 3]), lambda: self.event("release-hang"))

    def clear(self):
        if self.ask(self.host.sim.clear) is True:
            self.checker.disarm()

    # the daemon

    def kill(self):
        """Requests are under way, or it has just begun."""
        for _ in range(self.chance.randrange(3)):
            self.request()
        time.sleep(self.chance.choice([0, 0.001, 0.005, 0.02]))
        self.tell("the daemon is killed")
        self.host.daemon.process.send_signal(signal.SIGKILL)

    def revive(self):
        """It was killed, here or by a fault: whoever dies meanwhile is missed afterwards."""
        if not self.host.killed():
            raise Violation(f"the daemon ended with status {self.host.how_it_died()}")
        self.figures.kills += 1
        for _ in range(self.chance.choice([0, 0, 1, 2])):
            self.chance.choice([self.holder_dies, self.party_dies])()
        if self.chance.random() < 0.3:
            self.host.daemon.process = self.host.daemon.spawn()
            time.sleep(self.chance.choice([0.005, 0.02, 0.05]))
            self.host.daemon.process.send_signal(signal.SIGKILL)
            if not self.host.killed():
                raise Violation(f"the daemon ended with status {self.host.how_it_died()}")
            self.figures.kills += 1
            self.tell("the daemon is killed while it starts")
        self.checker.lives += 1
        with contextlib.suppress(Died):
            self.host.revive()
            self.tell("the daemon runs again")

    # the end

    def end(self):
        """Nobody is left; then the host is what it was."""
        self.ending = True
        self.tell("the end")
        for party in self.parties:
            party.die()
        self.until(lambda: self.ask(self.host.sim.clear) is True, "no fault to be left")
        self.checker.disarm()
        self.until(self.is_quiet, "everything to be closed and plugged in")
        self.until(self.is_over, "everything to be given back")
        self.checker.look()
        self.host.check_unchanged()
        self.host.check_folders()
        self.host.check_still_itself()
        self.host.check()

    def is_quiet(self):
        """An unplug may wait for what a failed group keeps."""
        self.operate()
        return not self.events and not self.unplugged

    def is_over(self):
        last = self.checker.last
        self.operate()
        self.repair()
        return not self.checker.soiled and all(group["State"] == "free" for group in last.groups.values()) \
            and all(lease["State"] in OVER for lease in last.leases.values()) and not last.kernel["open"]

    def until(self, condition, what):
        deadline = time.monotonic() + QUIET
        while not condition():
            self.go_on()
            time.sleep(0.02)
            if time.monotonic() > deadline:
                left = [function.__qualname__ for _, _, function in self.events]
                raise Violation(f"waited in vain for {what}: still unplugged {list(self.unplugged)}, to be done {left}")
