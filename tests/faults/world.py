# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host whose daemon may die or be refused things at any moment, and what has to be true of it
then, as far as it can be seen from outside: on the bus, in the simulated kernel, in the daemon's folders."""

import contextlib
import json
import signal
import time

from harness.client import GROUP, LEASE, NAME, BusError, Client
from harness.host import BUILD, DAEMON, Host
from shim import Shim

PATIENCE = 25
REPLY = 2        # seconds: where there is no memory for a reply there is none
OVER = ("ended", "failed", "lost")
# The executor's answer may be tried again later; all others are free of what was.
STUCK = ("failed", "lost")


class Died(Exception):
    """The daemon is gone."""


class Violation(AssertionError):
    """What may never be."""


class Impatient(Client):
    shim = None

    def finish(self, serial, timeout=None):
        return super().finish(serial, timeout or (REPLY if self.shim.is_failing() else PATIENCE))


class World(Host):
    def __init__(self, scenario):
        super().__init__(scenario.host)
        self.scenario = scenario
        self.shim = Shim(self.folder, BUILD / "tests/faults/faults.so", DAEMON)
        self.daemon.environment = self.shim.environment() | {"MALLOC_PERTURB_": "165"}
        if scenario.policy:
            policy = self.daemon.configuration / "dmaownerd.json"
            policy.write_text(json.dumps(scenario.policy))
            policy.chmod(0o644)
        self.begin_back = None

    def client(self, **who):
        Impatient.shim = self.shim
        self.clients.append(Impatient(self.address, **who))
        return self.clients[-1]

    def start(self):
        super().start()
        self.root.watch()
        self.wait_for(lambda: not any(row["op"] == "inspect" for row in self.sim.dump()["operations"]), "a quiet host")
        self.first = self.sim.state()
        return self

    def begin(self, begin_back=None):
        """begin_back is called where the way back begins."""
        self.leases = {}        # id -> lease: granted to us
        self.ending = set()     # ids of those that may be gone: their end was asked for
        self.at_rest = set()    # ids of those that were active
        self.failures = {}      # id -> why
        self.history = []       # what was done to the kernel, before restarts of the stories
        self.begin_back = begin_back
        self.root.signals.clear()
        self.root.leases_taken.clear()
        self.sim.operations()

    # the words of the stories

    def call(self, function, *arguments, **options):
        try:
            return function(*arguments, **options)
        except BusError:
            if self.is_dead():
                raise Died from None
            raise
        except TimeoutError:
            # libsystemd had no memory to say that it had none
            raise BusError("org.freedesktop.DBus.Error.NoReply", "no reply") from None

    def ask(self, devices, kind="user", **options):
        lease = self.call(self.root.acquire, devices, kind, **options)
        self.leases[lease.id] = lease
        return lease

    def hold(self, devices, kind="user", **options):
        lease = self.ask(devices, kind, **options)
        self.until_active(lease)
        return lease

    def until_active(self, lease):
        def decided():
            state = lease.seen_state()
            if state in OVER:
                self.failures[lease.id] = lease.why()
                raise BusError(f"{NAME}.Lease.{state}", f"{lease.id}: {lease.why()}")
            return state == "active"
        self.until(decided, f"{lease.id} to be active")
        self.at_rest.add(lease.id)

    def release(self, lease):
        self.ending.add(lease.id)
        with self.gone_already():
            self.call(lease.release)

    def revoke(self, lease, deadline):
        self.ending.add(lease.id)
        self.call(lease.call, "Revoke", "st", "maintenance", deadline)

    def let_go(self, lease):
        self.ending.add(lease.id)
        lease.close()

    def expires(self, lease, ttl):
        self.ending.add(lease.id)
        self.call(lease.call, "Renew", "t", ttl)

    def is_hanging(self, device):
        with self.shim.paused():
            return self.call(self.sim.hanging, device)

    def give_back(self, device):
        self.call(self.root.manager, "Restore", "as", [device])

    def event(self, event, **what):
        """The simulated kernel is no part of what is tested."""
        with self.shim.paused():
            self.call(self.sim.event, event, **what)

    def way_back(self):
        if self.begin_back:
            self.call(self.begin_back)

    def restart(self):
        self.take_history()
        if self.shim.is_failing():
            # a kill before what could not be written is made good would be a second fault
            self.until(self.ends_are_written, "the ends of leases to be written")
        self.daemon.kill()
        self.revive()

    def ends_are_written(self):
        written = {path.stem for path in (self.daemon.runtime / "leases").glob("*.json")}
        return written <= {name for name, state in self.told_leases().items() if state != "ended"}

    def take_history(self):
        with self.shim.paused():
            self.history += self.call(self.sim.dump)["operations"]
        return self.history

    def until(self, condition, what):
        """Like wait(), but the death of the daemon ends it."""
        def alive():
            if self.is_dead():
                raise Died
            return condition() or self.check_not_stuck()
        return self.call(self.wait_for, alive, what)

    def until_state(self, device, *states):
        self.until(lambda: self.root.group_of(device)["State"] in states, f"the group of {device} to be {states}")

    def until_free(self):
        self.until(lambda: {group["State"] for group in self.root.groups().values()} == {"free"}, "all groups to be free")

    def check_not_stuck(self):
        """What a fault keeps where it is ends the story."""
        for state, why in self.told_groups().values():
            if state in STUCK or "injected" in why:
                raise BusError(f"{NAME}.Group.{state}", why)

    # without a story

    def wait_for(self, condition, what):
        """Nobody signals what the kernel does: looks again after a while, too."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if result := condition():
                return result
            with contextlib.suppress(TimeoutError):
                self.root.receive(time.monotonic() + 0.2, what)
            if time.monotonic() > deadline:
                raise Violation(f"waited in vain for {what}: groups {self.told_groups()}, leases {self.told_leases()}")

    def told_groups(self):
        return {number: (group["State"], group["WaitsFor"]) for number, group in self.root.groups().items()
                if group["State"] != "free"}

    def told_leases(self):
        return {name: lease["State"] for name, lease in self.root.leases().items()}

    def is_dead(self):
        if self.daemon.process.poll() is not None:
            return True
        owners = [body[2] for _, _, member, body in self.root.signals if member == "NameOwnerChanged" and body[0] == NAME]
        if not owners or owners[-1]:
            return False
        self.daemon.process.wait(PATIENCE)      # it left the bus, so it is about to
        return True

    @contextlib.contextmanager
    def gone_already(self):
        try:
            yield
        except BusError as error:
            if error.name not in ("NoSuchLease", "UnknownObject", "UnknownMethod"):
                raise

    def how_it_died(self):
        return self.daemon.process.wait(PATIENCE)

    def revive(self):
        """Starts the daemon again; it may be killed at once."""
        self.root.signals.clear()
        self.daemon.process = self.daemon.spawn()
        deadline = time.monotonic() + PATIENCE
        while not self.daemon.service.ready.wait(0.002):
            if self.daemon.process.poll() is not None:
                raise Died
            if time.monotonic() > deadline:
                raise Violation("the daemon does not get ready")
        self.call(self.root.watch)

    # what has to be true

    def check_revived(self):
        """Right after a start: leases that were active are as they were, and nobody touched their devices."""
        dump = self.sim.dump()
        known = self.root.leases()
        promised = self.leases.keys() - self.ending - self.failures.keys()
        for name in promised:
            if name not in known or known[name]["State"] in OVER:
                raise Violation(f"{name} was granted, and is {known.get(name, {}).get('State', 'gone')} after the restart")
        self.check_resting(dump, known)
        self.check_owners()
        for name in sorted(promised):
            if known[name]["State"] != "queued":
                self.until_active(self.leases[name])

    def check_resting(self, dump=None, known=None):
        """Leases that were active are, and nobody has touched their devices."""
        dump, known = dump or self.sim.dump(), known or self.root.leases()
        resting = self.at_rest - self.ending
        for name in resting:
            if name not in known or known[name]["State"] in OVER:
                raise Violation(f"{name} was active, and is {known.get(name, {}).get('State', 'gone')} after the restart")
        devices = {device for name in resting for device in known[name]["Devices"]}
        groups = {group for name in resting for group in known[name]["Groups"]}
        touched = [done for done in dump["operations"] if done["op"] not in ("inspect", "wait-closed")
                   and (done.get("device") in devices or done.get("group") in groups)]
        if touched:
            raise Violation(f"devices of active leases were touched: {touched}")

    def check_owners(self):
        """One owner for each group, and no right without a lease."""
        leases, groups = self.root.leases(), self.root.groups()
        kernel = self.sim.dump()
        for group in kernel["groups"]:
            number = group["group"]
            known = groups[number]
            alive = [leases[name] for name in known["Leases"] if leases[name]["State"] not in OVER]
            owners = {(lease["Kind"], lease["Owner"] if lease["Kind"] != "dma-api" else None) for lease in alive}
            if len(owners) > 1:
                raise Violation(f"group {number} has two owners: {alive}")
            if bool(alive) != (known["Count"] > 0):
                raise Violation(f"group {number} counts {known['Count']}, but has {alive}")
            drivers = {device["driver"] for device in kernel["devices"] if device.get("group") == number
                       and device.get("driver")}
            if known["State"] == "free" and (group.get("claimed") or group.get("mapped")
                                             or any(driver.startswith("vfio") for driver in drivers)):
                raise Violation(f"group {number} is free, but {group}, {drivers}")
            if group.get("mapped") and not all(driver.startswith("vfio") for driver in drivers):
                raise Violation(f"group {number} is mapped, and on {drivers}")

    def finish(self, may_be_stuck=False):
        """Everything is released; then the host is what it was, and nothing is left behind."""
        self.sim.clear()
        for number in {file["pid"] for file in self.sim.dump().get("open", [])}:
            self.sim.event("close", pid=number)
        for lease in self.leases.values():
            lease.close()
        for name in self.root.leases():
            with self.gone_already():
                self.root.call(self.root.manager("GetLease", "s", name)[0], LEASE, "Release")
        self.check_owners()
        retried = self.until_restored(may_be_stuck)
        self.check_unchanged()
        self.check_folders()
        return retried

    def until_restored(self, may_be_stuck):
        retried = False

        def restored():
            nonlocal retried
            groups = self.root.groups()
            for number, group in groups.items():
                if group["State"] in STUCK and not group["WaitsFor"]:
                    raise Violation(f"group {number} is {group['State']} without a reason")
                if group["State"] in STUCK and may_be_stuck:
                    self.root.call(self.root.manager("GetGroup", "u", number)[0], GROUP, "Retry")
                    retried = True
                elif group["State"] in STUCK:
                    raise Violation(f"group {number} is {group['State']}: {group['WaitsFor']}")
                if group["State"] == "quarantined":
                    self.root.manager("Restore", "as", [group["DeviceList"][0]["Name"]])
            return all(group["State"] == "free" for group in groups.values())
        self.wait_for(restored, "everything to be given back")
        self.wait_for(lambda: not self.root.leases() or all(lease["State"] in OVER for lease in self.root.leases().values()),
                      "the leases to end")
        return retried

    def check_unchanged(self):
        difference = {what: values for what, values in self.sim.difference(self.first).items()
                      if not what.endswith("/loaded")}      # modules stay
        if difference:
            raise Violation(f"not as it was: {difference}")

    def check_folders(self):
        """A record of what is over would come back with the next start."""
        def left():
            return [str(path.relative_to(self.daemon.runtime)) for folder in ("leases", "groups", "lifelines", "damaged")
                    for path in (self.daemon.runtime / folder).iterdir()] + self.daemon.service.names()
        deadline = time.monotonic() + 5
        while left() and time.monotonic() < deadline:
            time.sleep(0.02)
        if left():
            raise Violation(f"left behind: {left()}")

    def check_still_itself(self):
        """Nothing that was over comes back."""
        self.daemon.kill()
        self.revive()
        if self.root.leases() or self.told_groups():
            raise Violation(f"came back after a restart: {self.told_leases()}, {self.told_groups()}")
        self.check_unchanged()

    def check_alive(self):
        """It may be told to end by its bus, but never by a signal, nor by itself."""
        if self.daemon.process.poll() is not None:
            raise Violation(f"the daemon ended with status {self.daemon.process.returncode}")

    def ended_with_a_word(self):
        """So that the service manager starts it again: it could not begin, or libsystemd had no memory to go
        on with its connection, and closed it."""
        begun = self.daemon.service.ready.is_set()
        return self.how_it_died() == 1 and (not begun or "The connection to the bus is lost" in self.daemon.said())

    def killed(self):
        return self.how_it_died() == -signal.SIGKILL

    def close(self):
        self.shim.close()
        super().close()
