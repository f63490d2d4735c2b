# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every place where a story can go wrong, each with a name, and what is done there."""

import collections
import json
import pathlib
import re

import shim
from harness.client import BusError
from lasting import Died, Violation
from scenarios import SCENARIOS
from world import World

STEP_ERRNOS = json.loads((pathlib.Path(__file__).parent / "errnos.json").read_text())
KILLS, STEPS, CALLS = "kill points", "failing steps", "failing calls"
# An operation of these kinds is no system call that would go on without the daemon.
TIMES = (1, 8)      # so many fail in a row, in turn
IN_USER_SPACE = ("inspect", "wait-node", "wait-closed", "lend", "reclaim", "claim", "scrub")


class NotReached(Exception):
    """The story took another way this time."""


class Case:
    """family: what the figures call it; stratum: samples have some of each."""

    def __init__(self, scenario, family, stratum, name, run):
        self.scenario, self.family, self.stratum = scenario, family, (scenario.name, *stratum)
        self.name = f"{scenario.name}/{name}"
        self.run = run


def named(things):
    """(thing, which of those that are the same, its number in all), from 1."""
    seen = collections.Counter()
    for number, thing in enumerate(things, 1):
        seen[thing] += 1
        yield thing, seen[thing], number


def without_numbers(what):
    """Lease ids differ from run to run."""
    return re.sub(r"\bl\d+\b", "LEASE", what)


def target(done, groups):
    """The device of an operation, or one of its group; a module is for all."""
    if done["op"] == "load-module":
        return None
    return done.get("device") or next((name for name, group in groups.items() if group == done.get("group")), None)


def where_they_are(world):
    return {device["name"]: device.get("group") for device in world.sim.dump()["devices"]}


class Survey:
    """A run without faults: what there is."""

    def __init__(self, scenario):
        with World(scenario) as world:
            groups = where_they_are(world)
            back = []

            def note_back():
                back.append(len(world.take_history()))
                groups.update(where_they_are(world))
            world.begin(note_back)
            world.shim.arm(shim.COUNT)
            scenario.story(world)
            world.shim.disarm()
            history = world.take_history()
            world.finish()
            self.changes, self.places = world.shim.changes(), world.shim.places()
            self.steps = [(done["op"], target(done, groups)) for done in history]
            self.groups, self.back = groups, back[0]


def kill_cases(scenario, survey):
    for what, nth, number in named(map(without_numbers, survey.changes)):
        for moment, mode in (("before", shim.KILL_BEFORE), ("after", shim.KILL_AFTER)):
            yield Case(scenario, KILLS, ("state", what.split()[0], moment), f"kill-{moment}/{what}#{nth}",
                       lambda world, mode=mode, number=number: kill_at_state(world, mode, number))
    for (op, device), nth, _ in named(survey.steps):
        for moment in ("before", "after") if op in IN_USER_SPACE else ("before", "during", "after"):
            yield Case(scenario, KILLS, ("step", op, moment), f"kill-{moment}/{op} {device or ''}#{nth}",
                       lambda world, op=op, device=device, nth=nth, moment=moment:
                       kill_at_step(world, op, device, nth, moment))


def kill_at_state(world, mode, number):
    world.begin()
    world.shim.arm(mode, nth=number)
    tell(world, kill_and_revive(world))


def kill_at_step(world, op, device, nth, moment):
    world.begin()
    world.sim.inject(op, device, nth=nth, kill=moment)
    tell(world, kill_and_revive(world))


def kill_and_revive(world):
    try:
        world.scenario.story(world)
    except Died:
        if not world.killed():
            raise Violation(f"the daemon ended with status {world.how_it_died()}") from None
        world.shim.disarm()
        world.revive()
        world.sim.clear()
        world.check_revived()
        world.finish()
        return True
    world.shim.disarm()
    world.finish()
    return False


def tell(world, reached):
    if not reached:
        raise NotReached


def step_cases(scenario, survey):
    for (op, device), nth, _ in named(survey.steps):
        for error in STEP_ERRNOS[op]:
            yield Case(scenario, STEPS, ("once", op, error), f"step/{op} {device or ''}#{nth}/{error}",
                       lambda world, op=op, device=device, nth=nth, error=error:
                       fail_step(world, survey, op, device, nth, error))
    for op, device in dict.fromkeys(survey.steps[survey.back:]):
        for error in STEP_ERRNOS[op]:
            yield Case(scenario, STEPS, ("always", op, error), f"back/{op} {device or ''}/{error}",
                       lambda world, op=op, device=device, error=error:
                       fail_way_back(world, survey, op, device, error))


def fail_step(world, survey, op, device, nth, error):
    world.begin()
    world.sim.inject(op, device, nth=nth, errno=error)
    fail_and_retry(world, survey, op, device)


def fail_way_back(world, survey, op, device, error):
    world.begin(lambda: world.sim.inject(op, device, errno=error))
    fail_and_retry(world, survey, op, device)


def fail_and_retry(world, survey, op, device):
    refused = None
    try:
        world.scenario.story(world)
    except BusError as failure:
        refused = failure
    except Died:
        raise Violation(f"the daemon ended with status {world.how_it_died()}") from None
    if not any(fault["seen"] for fault in world.sim.dump()["faults"]):
        world.sim.clear()
        world.finish()
        raise NotReached
    if refused:
        check_refusal(refused, op, device, survey.groups.get(device))
    world.check_owners()
    world.finish(may_be_stuck=True)


def check_refusal(refused, op, device, group):
    """It says what and which device, unless the daemon was started again since."""
    if device and refused.name != "UnknownObject" and not any(word in refused.message for word in (device, f"/{group}", f"group {group}")):
        raise Violation(f"{op} of {device} failed, and the refusal names no device: {refused}")


def call_cases(scenario, survey, known):
    """One from each place that is not known from another story."""
    for kind, places in sorted(survey.places.items()):
        numbers = sorted(nth for callers, nth in places.items() if callers not in known)
        known.update(places)
        for which, nth in enumerate(numbers):
            for error in shim.ERRNOS[kind]:
                times = TIMES[which % len(TIMES)]
                yield Case(scenario, CALLS, (kind, error), f"call/{kind}#{nth}x{times}/{error}",
                           lambda world, kind=kind, nth=nth, times=times, error=error:
                           fail_call(world, kind, nth, times, error))


def start_again(world):
    if not world.ended_with_a_word():
        raise Violation(f"the daemon ended with status {world.how_it_died()}")
    world.shim.disarm()
    world.revive()
    world.check_resting()


def fail_call(world, kind, nth, times, error):
    world.begin()
    world.shim.arm(shim.FAIL, kind, nth, times, error)
    try:
        try:
            world.scenario.story(world)
        except BusError:
            pass
        except Died:
            start_again(world)
        hit = world.shim.disarm()
        world.check_alive()
        world.finish(may_be_stuck=True)
        world.check_still_itself()
    except (Violation, Died) as problem:
        raise Violation(f"{problem}\n    {world.shim.caller()}") from None
    tell(world, hit)


def call_case(name):
    """The number of a call is not the same in each survey: a case is made from its name. None: it is no call."""
    match = re.fullmatch(r"([^/]+)/call/(\w+)#(\d+)x(\d+)/(E\w+)", name)
    if not match or match[1] not in SCENARIOS:
        return None
    kind, nth, times, error = match[2], int(match[3]), int(match[4]), match[5]
    return Case(SCENARIOS[match[1]], CALLS, (kind, error), name.partition("/")[2],
                lambda world: fail_call(world, kind, nth, times, error))


def all_cases(names):
    known = set()
    for name in names:
        scenario = SCENARIOS[name]
        survey = Survey(scenario)
        yield from kill_cases(scenario, survey)
        yield from step_cases(scenario, survey)
        yield from call_cases(scenario, survey, known)
