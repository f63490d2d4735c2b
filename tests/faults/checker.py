# SPDX-License-Identifier: LGPL-2.1-or-later
"""Watches the simulated kernel and the bus, and says what may never be.

It knows nothing of what the daemon thinks. Besides what it sees, it hears what was done outside of the daemon: which
lease somebody was told that he has, whose end was brought about, whom a fault or a stranger may have
disturbed. Without one of these nothing may happen to a lease or to a group."""

import collections
import itertools
import json
import pathlib
import time

from harness.client import FOR_EVER, MANAGER, ROOT, SIMULATION, plain
from harness.host import difference
from lasting import OVER, Violation

# Seconds of the daemon's life, however often it is killed meanwhile.
LIMIT = 10
RIGHT = ("activating", "active", "unconfirmed", "revoking")
RESTING = ("active", "unconfirmed", "revoking")
ON_ITS_WAY = ("claiming", "draining", "restoring")
HARMLESS = ("pcieport", "pci-stub")
LOOKING = ("inspect", "wait-closed")    # changes nothing
MEDDLING, FAULT = "meddling", "fault"


TOLD_OF_LEASES = ("Owner", "Kind", "Access", "State", "Failure", "Devices", "Groups", "Holder", "Expires", "WaitsFor", "Revocation")
TOLD_OF_GROUPS = ("State", "OwnerKind", "Owner", "Leases", "Queue", "WaitsFor")
TOLD_OF_DEVICES = ("name", "driver", "driver_override", "in_use", "vf_autoprobe")


def is_owner(driver):
    """Does it own the group in the kernel's name?"""
    return bool(driver) and not driver.startswith("vfio") and driver not in HARMLESS


def clock():
    """That of the bus: microseconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 10**6


def by_id(rows):
    return {row["Id"]: row for row in plain(rows)}


def only(row, *keys):
    return {key: row[key] for key in keys if row.get(key) not in (None, "", [], ("", ""), ("", 0), FOR_EVER)}


def without(row, *keys):
    return {key: value for key, value in (row or {}).items() if key not in keys}


class Look:
    """The kernel, and what the bus said before and after. What it said both times was so in between."""

    def __init__(self, client):
        asked = [(MANAGER, "ListLeases", "tu", 0, 256), (MANAGER, "ListGroups", "xu", -1, 256), (SIMULATION, "Dump"),
                 (MANAGER, "ListLeases", "tu", 0, 256), (MANAGER, "ListGroups", "xu", -1, 256)]
        self.begin = time.monotonic()
        calls = [client.start(ROOT, *what) for what in asked]
        try:
            leases, groups, kernel, leases_after, groups_after = [client.finish(call)[0] for call in calls]
        finally:
            for call in calls:
                client.replies.pop(call, None)
        self.leases, self.groups = by_id(leases), by_id(groups)
        self.leases_after, self.groups_after = by_id(leases_after), by_id(groups_after)
        self.kernel = json.loads(kernel)
        self.time, self.boottime = time.monotonic(), clock()
        self.devices = {device["name"]: device for device in self.kernel["devices"]}
        self.nodes = {group["group"]: group for group in self.kernel["groups"]}
        self.members = collections.defaultdict(list)
        for device in self.kernel["devices"]:
            self.members[device.get("group", -1)].append(device)

    def settled_leases(self, states):
        return [lease for name, lease in self.leases.items() if lease["State"] in states
                and self.leases_after.get(name, {}).get("State") in states]

    def settled_groups(self):
        return [group for number, group in self.groups.items() if number in self.nodes
                and self.groups_after.get(number, {}).get("State") == group["State"]]

    def group_of(self, done):
        """Of an operation."""
        return done.get("group", self.devices.get(done.get("device"), {}).get("group"))

    def open_files(self, number):
        names = {device["name"] for device in self.members[number]}
        return [file for file in self.kernel.get("open", []) if file.get("device") in names or file.get("group") == number]

    def vfs(self, number):
        """The groups of the VFs of PFs of a group."""
        names = {device["name"] for device in self.members[number]}
        return {device["group"] for device in self.kernel["devices"] if device.get("physfn") in names}

    def is_held(self, number):
        """Does the kernel keep somebody waiting for this group?"""
        names = {device["name"] for device in self.members[number]}
        stuck = self.kernel["pending"] + [step for step in self.kernel["left_behind"] if step.get("hang")]
        return self.open_files(number) or any(what.get("device") in names or what.get("group") == number for what in stuck)


class Known:
    """What was seen and heard of a lease."""

    def __init__(self, devices):
        self.devices = set(devices)
        self.groups = set()
        self.answered = False       # somebody was told that he has it
        self.rested = False
        self.row = None
        self.lives = 0              # that the daemon had had when it was last known to be alive
        self.may_end = []           # why
        self.ends = FOR_EVER
        self.priority = 0
        self.uid = None             # who may open its nodes
        self.has_to_end = None      # since when it may not be there any more
        self.over = 0               # the look that found it so


class Checker:
    def __init__(self, host):
        self.host = host
        self.client = host.client().hear_no_more()
        self.first = host.first
        self.home = {name: device.get("group", -1) for name, device in self.first["devices"].items()}
        self.leases = {}
        self.disturbed = collections.defaultdict(list)      # group -> [(when, MEDDLING or FAULT, what)]
        self.armed = set()          # groups that a fault waits for
        self.soiled = set()         # groups that are not what they were at first, by what others did to them
        self.kept = collections.Counter()       # group -> duplicates of its files that requesters have
        self.programs = {}          # pid -> owner
        self.uids = collections.defaultdict(set)
        self.since = {}             # what should not last -> since when
        self.life = 0.0
        self.last = None
        self.looks = 0
        self.lives = 0              # how often the daemon was started again

    # what is heard

    def answered(self, name, devices, uid, ends, priority, lives):
        """uid: for whom. ends: when it may have waited or lasted long enough, in the clock of the bus. lives: when he asked for it."""
        known = self.lease(name, devices)
        known.answered, known.uid, known.ends, known.priority = True, uid, ends, priority
        known.lives = lives

    def may_end(self, name, why):
        self.lease(name).may_end.append(why)

    def has_to_end(self, name, why):
        self.may_end(name, why)
        self.lease(name).has_to_end = why

    def disturb(self, kind, what, device=None):
        """Before it happens. Of a PF it concerns the VFs, too; and of a VF the PF, whose lease makes others by the same name
        and is over, perhaps, before anybody has seen them."""
        for number in self.groups_of(device) if device else list(self.last.nodes):
            self.disturbed[number].append((time.monotonic(), kind, what))
            if kind == FAULT:
                self.armed.add(number)

    def disarm(self):
        self.armed.clear()

    # what is seen

    def lease(self, name, devices=()):
        return self.leases.setdefault(name, Known(devices))

    def groups_of(self, device):
        found = self.last.devices.get(device)
        number = found["group"] if found else self.home.get(device, -1)
        physfn = found and self.last.devices.get(found.get("physfn"))
        return {number} | (self.last.vfs(number) if found else set()) | ({physfn["group"]} if physfn else set())

    def is_disturbed(self, numbers, *kinds):
        return any(kind in kinds for number in numbers for _, kind, _ in self.disturbed.get(number, ()))

    def look(self):
        look = Look(self.client)
        if self.last:
            self.life += min(look.time - self.last.time, 0.5)
        self.looks += 1
        self.still = {}
        for lease in look.leases.values():
            known = self.lease(lease["Id"], lease["Devices"])
            known.devices |= set(lease["Devices"])
            known.groups |= set(lease["Groups"])
            known.priority, known.uid = lease["Priority"], lease["Uid"]
        self.check_leases(look)
        self.check_owners(look)
        self.check_steps(look)
        for group in look.settled_groups():
            self.check_group(look, group)
        for lease in look.settled_leases(RESTING):
            self.check_kernel(look, lease)
        self.check_time(look)
        self.forget(look)
        self.last, self.since = look, self.still

    def lasts(self, what, condition):
        """Has it been so for too long?"""
        if not condition:
            return False
        self.still[what] = self.since.get(what, self.life)
        return self.life - self.still[what] > LIMIT

    def concerned(self, look, known):
        """The groups whose fate is a lease's: those of its PFs, too."""
        if not known.groups and not known.devices:      # a selector, before anybody has seen what it got
            return set(look.nodes)
        numbers = set(known.groups)
        for name in known.devices:
            for device in (look.devices.get(name), self.last and self.last.devices.get(name)):
                if device:
                    numbers |= {device["group"]} | {look.devices[pf]["group"] for pf in [device.get("physfn")] if pf in look.devices}
            numbers |= {self.home[name]} if name in self.home else set()
        for number in list(numbers):
            numbers |= look.vfs(number)
        return numbers

    # leases

    def check_leases(self, look):
        for name, known in self.leases.items():
            if known.over:
                continue
            row = look.leases.get(name)
            if row and row["State"] not in OVER:
                if known.rested and row["State"] in ("queued", "activating"):
                    raise Violation(f"lease {name} was {known.row['State']} and is {row['State']}")
                known.rested |= row["State"] in RESTING
                known.row, known.lives = row, self.lives
                continue
            if known.answered or row:
                known.over = self.looks
                self.check_end(look, name, known, row)

    def check_end(self, look, name, known, row):
        was = known.row or {}
        groups = self.concerned(look, known)
        due = min(was.get("Expires", FOR_EVER), was.get("WaitUntil") or FOR_EVER, known.ends) <= look.boottime
        ended = bool(known.may_end) or due or self.is_outranked(look, known, groups)
        lost = self.is_disturbed(groups, MEDDLING)
        failed = lost or due or not known.rested and self.is_disturbed(groups, FAULT)
        if row and row["State"] == "failed" and row["Kind"] == "dma-api" and not known.rested:
            failed = failed or row["Failure"][0].endswith("NotViable")      # only its turn tells that its wish cannot be had
        if known.lives < self.lives:    # the daemon died over its end, after that was written of a group
            lost = lost or ended or failed
        allowed = {"ended": ended, "lost": lost, "failed": failed}.get(row and row["State"], ended or lost or failed)
        if not allowed and known.answered:
            raise Violation(f"lease {name} of groups {sorted(groups)} is {row['State'] if row else 'gone'} without a cause: "
                            f"{row and row['Failure']}; it was {was.get('State', 'not seen yet')}")
        if row and row["State"] in ("lost", "failed") and not row["Failure"][1]:
            raise Violation(f"lease {name} is {row['State']} and says nothing")

    def is_outranked(self, look, known, groups):
        """Has it made way for another one?"""
        return any(other.priority > known.priority and groups & self.concerned(look, other) for other in self.leases.values())

    def check_owners(self, look):
        for number, leases in self.by_group(look, RIGHT).items():
            for one, other in itertools.combinations(leases, 2):
                same = {"dma-api": (), "private-domain": ("Owner",), "user": ("Owner", "Access", "Uid")}[one["Kind"]]
                if one["Kind"] != other["Kind"] or any(one[key] != other[key] for key in same):
                    raise Violation(f"group {number} has two owners: {one} and {other}")

    def by_group(self, look, states):
        found = collections.defaultdict(list)
        for lease in look.settled_leases(states):
            for number in lease["Groups"]:
                found[number].append(lease)
        return found

    def check_steps(self, look):
        """What was at rest then and is now was so all the time; operations are those since then."""
        if not self.last:
            return
        before, now = self.by_group(self.last, RESTING), self.by_group(look, RESTING)
        resting = {number for number, leases in before.items()
                   if {lease["Id"] for lease in leases} & {lease["Id"] for lease in now.get(number, ())}}
        for done in look.kernel["operations"]:
            number = look.group_of(done)
            if number in resting and done["op"] not in LOOKING and not self.is_disturbed([number], MEDDLING):
                raise Violation(f"a step on group {number}, which {now[number]} has: {done}")

    # groups

    def check_group(self, look, group):
        number, state, node = group["Id"], group["State"], look.nodes[group["Id"]]
        drivers = {device["driver"] for device in look.members[number] if device.get("driver")}
        if node.get("mapped") and any(map(is_owner, drivers)):
            raise Violation(f"group {number} is mapped, and on {drivers}")
        if state in ("failed", "lost"):
            self.check_stuck(look, group)
        if state == "free":
            self.check_free(look, number, node)
        if state == "quarantined" and not self.is_disturbed([number], MEDDLING):
            if not (node.get("claimed") or any(file.get("bound") for file in node.get("cdevs", []))) or node.get("mapped"):
                raise Violation(f"group {number} is quarantined, and {node}")
        self.check_node(look, group, node)

    def check_stuck(self, look, group):
        number = group["Id"]
        kinds = (MEDDLING,) if group["State"] == "lost" else (MEDDLING, FAULT)
        if not group["WaitsFor"]:
            raise Violation(f"group {number} is {group['State']} and says nothing")
        if not self.is_disturbed({number} | look.vfs(number), *kinds):
            raise Violation(f"group {number} is {group['State']} without a cause: {group['WaitsFor']}")

    def is_first(self, look, number, node):
        """Every device of it that is there is as it was."""
        rows = [(self.first["devices"].get(device["name"]), device) for device in look.members[number]]
        rows.append((self.first["groups"].get(str(number)), without(node, "owner_count")))
        rows = [(without(then, "remembered", "vf_remembered", "owner_count"), without(now, "remembered", "vf_remembered"))
                for then, now in rows if then]
        return [change for then, now in rows if (change := difference(then, now))]

    def check_free(self, look, number, node):
        changes = self.is_first(look, number, node)
        if not changes:
            self.soiled.discard(number)
        elif number not in self.soiled and not look.is_held(number):
            raise Violation(f"group {number} is free, and not what it was: {changes}")

    def check_node(self, look, group, node):
        number, state = group["Id"], group["State"]
        granted = node.get("node", {}).get("granted")
        rows = [*look.leases.values(), *look.leases_after.values()]
        uids = {lease["Uid"] for lease in rows if lease["State"] in RIGHT and number in lease["Groups"]}
        names = {device["name"] for device in look.members[number]}
        former = set()
        if state in ("claiming", "draining", "restoring", "failed", "lost"):
            former = self.uids[number] | {lease["Uid"] for lease in rows if lease["State"] in OVER and names & set(lease["Devices"])}
            if granted not in uids | former:
                former |= {known.uid for known in self.leases.values()
                           if known.over in (0, self.looks) and number in self.concerned(look, known)}
        held = any(what.get("device") in names for what in look.kernel["pending"])
        if granted is not None and granted not in uids | former and not held:
            raise Violation(f"uid {granted} may open the node of group {number}, which is {state} and for {uids or 'nobody'}")
        if uids or former:
            self.uids[number] = uids or former

    # the kernel under a lease

    def check_kernel(self, look, lease):
        for number in lease["Groups"]:
            if number not in look.nodes or lease["Kind"] == "dma-api":
                continue
            wrong = self.wrong_in_kernel(look, lease, number)
            disturbed = self.is_disturbed([number], MEDDLING)
            if wrong and not disturbed or self.lasts(("wrong", lease["Id"], number), wrong):
                raise Violation(f"{lease['Id']} is {lease['State']}, but {wrong}")
            if lease["Kind"] == "user":
                self.check_users(look, lease, number)

    def wrong_in_kernel(self, look, lease, number):
        node, members = look.nodes[number], look.members[number]
        for device in members:
            driver = device.get("driver", "")
            named = device["name"] in lease["Devices"]
            if lease["Kind"] == "user" and (is_owner(driver) or named and not driver.startswith("vfio")):
                return f"{device['name']} is on {driver or 'no driver'}"
            if lease["Kind"] == "private-domain" and named and not is_owner(driver):
                return f"{device['name']} is on {driver or 'no driver'}"
        if lease["Kind"] == "user" and node["type"] == "identity":
            return f"the default domain type of group {number} is identity"
        # devices' files claim it when the requester has bound them
        if lease["Kind"] == "user" and lease["Access"] == "fd" and not node.get("claimed") and not node.get("cdevs"):
            return f"the files of group {number} are closed"
        return None

    def rested_before(self, name):
        return self.last.leases.get(name, {}).get("State") in RESTING

    def check_users(self, look, lease, number):
        """Only its owner's programs have it open, or have mapped memory there. Root needs no right to come in, but
        who was in before has to be out."""
        files = look.open_files(number)
        before = [] if not self.last or self.rested_before(lease["Id"]) else self.last.open_files(number)
        for file in files:
            owner = self.programs.get(file["pid"])
            if owner is not None and owner != tuple(lease["Owner"]) and (file["uid"] != 0 or file in before):
                raise Violation(f"group {number} is {lease['Owner']}'s, but open for {owner}: {file}")
        if lease["Access"] == "node" and look.nodes[number].get("mapped") and not files:
            raise Violation(f"group {number} is mapped, and nobody has it open")

    # time

    def check_time(self, look):
        for name, row in look.leases.items():
            alive = row["State"] not in OVER
            groups = self.concerned(look, self.leases[name])
            easy = not self.is_disturbed(groups, FAULT, MEDDLING)
            now = look.boottime
            for what, condition in {
                    "outlives its end": alive and self.leases[name].has_to_end,
                    "outlives its holder": alive and row["HolderPid"] and not is_alive(row["HolderPid"]),
                    "is active although it expired": easy and row["State"] == "active" and row["Expires"] < now,
                    "lasts although nobody has it open": easy and row["State"] == "unconfirmed"
                    and not any(look.open_files(number) or self.kept[number] for number in row["Groups"]),
                    "waits although its wait is over": row["State"] == "queued" and row["WaitUntil"] < now,
                    "lasts although its deadline is over": easy and row["State"] == "revoking" and row["Revocation"][1] < now,
                    "does not get active": easy and row["State"] == "activating"
                    and not any(map(look.is_held, groups))}.items():
                if self.lasts((name, what), condition):
                    raise Violation(f"lease {name} {what}: {row}, {self.leases[name].may_end}")
        for number, group in look.groups.items():
            waits = number in self.armed or look.is_held(number) or self.kept[number] > 0 or any(
                look.groups.get(vf, {}).get("State") != "free" for vf in look.vfs(number))
            if self.lasts((number, "way"), group["State"] in ON_ITS_WAY and not waits):
                raise Violation(f"group {number} is {group['State']} for more than {LIMIT} s: {group['WaitsFor']}")

    def forget(self, look):
        for number in list(self.disturbed):
            state = look.groups.get(number, {}).get("State", "free")
            after = look.groups_after.get(number, {}).get("State", "free")
            if {state, after} <= {"free", "quarantined"} and number not in self.soiled and number not in self.armed and not look.is_held(number):
                self.disturbed[number] = [one for one in self.disturbed[number] if one[0] > look.time - 2]
            if not self.disturbed[number]:
                del self.disturbed[number]

    def describe(self):
        """The bus and the kernel, as they were last seen: what is not as at rest."""
        look = self.last
        if not look:
            return "  nothing"
        lines = [f"  lease {name}: {only(row, *TOLD_OF_LEASES)}" for name, row in look.leases_after.items()]
        for number, group in look.groups_after.items():
            if group["State"] == "free" and number not in self.disturbed and number not in self.soiled:
                continue
            lines.append(f"  group {number}: {only(group, *TOLD_OF_GROUPS)}, {look.nodes.get(number)}")
            lines += [f"    {only(device, *TOLD_OF_DEVICES)}" for device in look.members[number]]
            lines += [f"    {what}, {look.time - when:.1f} s ago" for when, _, what in self.disturbed.get(number, ())]
        return "\n".join([*lines, *(f"  {key}: {look.kernel[key]}" for key in ("open", "pending", "left_behind"))])


def is_alive(pid):
    """A zombie is dead."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
