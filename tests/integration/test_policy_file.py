# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy's files: what they decide, and what becomes of broken ones."""

import json
import signal
import subprocess
import time

import pytest
from harness import PATIENCE
from harness.client import BusError
from harness.host import CLIENT
from harness.topology import BRIDGE_A, NIC, NIC2

BROKEN = '{"rules": [\n  {"relaese": "keep"}]}'


@pytest.fixture
def policy(host):
    """policy(rule, ...): writes the file and has it read; policy.write() only writes."""
    class Policy:
        path = host.daemon.configuration / "dmaownerd.json"

        def write(self, text, name=None):
            path = self.path.parent / name if name else self.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)

        def __call__(self, *rules):
            self.write(json.dumps({"rules": rules}))
            host.root.manager("Reload")
    return Policy()


def resets(sim):
    return [(done["device"], done.get("value")) for done in sim.operations() if done["op"] == "reset"]


def give_back(root, sim, device, **options):
    """What resets there are when a lease ends."""
    sim.operations()
    root.hold(device, **options).release()
    root.wait_group(device, "free")
    return resets(sim)


def test_reset_is_the_policys_to_say(root, sim, policy):
    assert give_back(root, sim, NIC) == [(NIC, "auto")]
    policy({"match": {"device": NIC}, "reset": "pm"}, {"match": {"id": "8086:*"}, "reset": "none"})
    assert give_back(root, sim, NIC) == [(NIC, "pm")]
    assert give_back(root, sim, NIC2) == []
    policy()
    assert give_back(root, sim, NIC2) == [(NIC2, "auto")]


def test_a_lease_may_wish_another_reset(root, sim, policy):
    policy({"reset": "none"})
    assert give_back(root, sim, NIC, reset="flr") == [(NIC, "flr")]
    policy({"reset": "pm"})
    assert give_back(root, sim, NIC, reset="none") == []


def test_each_device_of_a_group_by_its_own_rule(root, sim, policy):
    policy({"match": {"device": BRIDGE_A}, "reset": "none"})
    assert BRIDGE_A not in dict(give_back(root, sim, BRIDGE_A))


def test_drop_ins_come_first(root, sim, host, policy):
    policy.write('{"rules": [{"reset": "pm"}]}', "conf.d/50-x.json")
    policy({"reset": "none"})
    assert give_back(root, sim, NIC) == [(NIC, "pm")]


@pytest.mark.parametrize("how", ["dmaownerctl", "Reload", "SIGHUP"])
def test_a_broken_file_leaves_the_old_policy_in_force(root, sim, host, policy, how):
    policy({"reset": "pm"})
    lease = root.hold(NIC2)
    policy.write(BROKEN)
    if how == "Reload":
        with pytest.raises(BusError) as refusal:
            root.manager("Reload")
        assert f'{policy.path}:2:4: there is no key "relaese"' in refusal.value.message
    elif how == "dmaownerctl":
        command = subprocess.run([CLIENT, f"--bus={host.address}", "reload"], capture_output=True, text=True)
        assert command.returncode == 1 and f'{policy.path}:2:4: there is no key "relaese"' in command.stderr
    else:
        host.daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while "stays as it was" not in host.daemon.said():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert f'{policy.path}:2:4: there is no key "relaese"' in host.daemon.said()
    assert give_back(root, sim, NIC) == [(NIC, "pm")]
    assert lease.State == "active"


def test_live_leases_survive_another_policy(root, sim, policy):
    lease = root.hold(NIC)
    policy({"reset": "pm"})
    assert lease.State == "active"
    sim.operations()
    lease.release()
    root.wait_group(NIC, "free")
    assert resets(sim) == [(NIC, "pm")]


def test_with_a_broken_file_at_the_start_nothing_is_granted(root, host, policy):
    """What was leased goes on, and ends as ever."""
    lease = root.hold(NIC, holder="none")
    policy.write(BROKEN)
    host.restart("stop")
    assert f"{policy.path}:2:4" in host.daemon.said()
    assert lease.State == "active"
    with pytest.raises(BusError) as refusal:
        root.acquire(NIC2)
    assert refusal.value.name == "BadPolicy"
    assert f"{policy.path}:2:4" in refusal.value.message and "dmaownerctl reload" in refusal.value.message
    lease.release()
    root.wait_group(NIC, "free")
    policy()
    root.hold(NIC2)


def test_only_root_reloads(host, other_users):
    with pytest.raises(BusError) as refusal:
        host.client(uid=3).manager("Reload")
    assert refusal.value.name == "AccessDenied"
