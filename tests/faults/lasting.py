# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host whose daemon dies and is started again, and what has to be true of it in the end, as far as it can be
seen from outside: on the bus, in the simulated kernel, in the daemon's folders."""

import contextlib
import json
import signal
import time

from harness.client import GROUP, LEASE, NAME, BusError
from harness.host import Host

PATIENCE = 25
OVER = ("ended", "failed", "lost")
# The executor's answer may be tried again later; all others are free of what was.
STUCK = ("failed", "lost")


class Died(Exception):
    """The daemon is gone."""


class Violation(AssertionError):
    """What may never be."""


class LastingHost(Host):
    def __init__(self, topology, policy=None):
        super().__init__(topology)
        if policy:
            file = self.daemon.configuration / "dmaownerd.json"
            file.write_text(json.dumps(policy))
            file.chmod(0o644)

    def start(self):
        super().start()
        self.root.watch()
        self.wait_for(lambda: not any(row["op"] == "inspect" for row in self.sim.dump()["operations"]), "a quiet host")
        self.first = self.sim.state()
        return self

    def call(self, function, *arguments, **options):
        try:
            return function(*arguments, **options)
        except BusError:
            if self.is_dead():
                raise Died from None
            raise

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

    def killed(self):
        return self.how_it_died() == -signal.SIGKILL

    # the end of everything

    def release_all(self):
        """No fault, no program and no lease is left."""
        self.sim.clear()
        for number in {file["pid"] for file in self.sim.dump().get("open", [])}:
            self.sim.event("close", pid=number)
        for name in self.root.leases():
            with self.gone_already():
                self.root.call(self.root.manager("GetLease", "s", name)[0], LEASE, "Release")

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
