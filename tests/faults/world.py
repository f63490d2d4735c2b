# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host whose daemon may die or be refused things at any moment of a story, the words that the stories are
written in, and what has to be true then."""

from harness.client import NAME, BusError, Client
from harness.host import BUILD, DAEMON
from lasting import OVER, PATIENCE, STUCK, Died, LastingHost, Violation
from shim import Shim

REPLY = 2        # seconds: where there is no memory for a reply there is none


class Impatient(Client):
    shim = None

    def finish(self, serial, timeout=None):
        return super().finish(serial, timeout or (REPLY if self.shim.is_failing() else PATIENCE))


class World(LastingHost):
    def __init__(self, scenario):
        super().__init__(scenario.host, scenario.policy)
        self.scenario = scenario
        self.shim = Shim(self.folder, BUILD / "tests/faults/faults.so", DAEMON)
        self.daemon.environment = self.shim.environment() | {"MALLOC_PERTURB_": "165"}
        self.begin_back = None

    def client(self, **who):
        Impatient.shim = self.shim
        self.clients.append(Impatient(self.address, **who))
        return self.clients[-1]

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
            return super().call(function, *arguments, **options)
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
        for lease in self.leases.values():
            lease.close()
        self.release_all()
        self.check_owners()
        retried = self.until_restored(may_be_stuck)
        self.check_unchanged()
        self.check_folders()
        return retried

    def check_alive(self):
        """It may be told to end by its bus, but never by a signal, nor by itself."""
        if self.daemon.process.poll() is not None:
            raise Violation(f"the daemon ended with status {self.daemon.process.returncode}")

    def ended_with_a_word(self):
        """So that the service manager starts it again: it could not begin, or libsystemd had no memory to go
        on with its connection, and closed it."""
        begun = self.daemon.service.ready.is_set()
        return self.how_it_died() == 1 and (not begun or "The connection to the bus is lost" in self.daemon.said())

    def close(self):
        self.shim.close()
        super().close()
