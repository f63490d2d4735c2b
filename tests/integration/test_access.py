# SPDX-License-Identifier: LGPL-2.1-or-later
"""What rules say of who may have which devices, from the files to the answer."""

import contextlib
import json
import os
import signal
import subprocess

import pytest
from harness.client import LEASE, BusError
from harness.host import CLIENT
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC2

pytestmark = pytest.mark.usefixtures("other_users")
GAMES, MAN, LP = 5, 6, 7        # users that every Debian has


@pytest.fixture
def policy(host, root):
    """Writes the policy and has it read."""
    path = host.daemon.configuration / "dmaownerd.json"

    def write(*access, match=None, **top):
        path.write_text(json.dumps({"rules": [{"match": match or {"device": NIC}, "access": list(access)}] if access else [], **top}))
        path.chmod(0o644)
        root.manager("Reload")
    return write


@contextlib.contextmanager
def refused(name, *words, without=()):
    with pytest.raises(BusError) as refusal:
        yield
    assert refusal.value.name == name, refusal.value
    assert all(word in refusal.value.message for word in words), refusal.value
    assert not any(word in refusal.value.message for word in without), refusal.value


def test_a_rule_lets_somebody_in(host, policy, root):
    policy({"users": "games"})
    games = host.client(uid=GAMES)
    games.hold(NIC).release()
    with refused("AccessDenied"):
        games.acquire(NIC2)


def test_a_device_is_reserved(host, policy, root, member):
    policy({"users": "games", "owners": "vm1"}, {"decision": "deny"})
    with refused("AccessDenied", NIC, "dmaownerd.json:1"):
        root.acquire(NIC)
    with refused("AccessDenied", "dmaownerd.json"):
        host.client(uid=MAN, groups=[member]).acquire(NIC)
    games = host.client(uid=GAMES)
    with refused("AccessDenied"):
        games.acquire(NIC, owner="vm2")
    games.hold(NIC, owner="vm1").release()


def test_who_is_in_the_way_is_told_to_those_who_may_see(host, policy, root, member):
    """A member of the group may; whom just a rule lets in may not, but for what is his own."""
    policy({"users": "games"})
    alice, games = host.client(uid=MAN, groups=[member]), host.client(uid=GAMES)
    lease = alice.hold(NIC, owner="vm1", label="the database")
    with refused("Busy", lease.id, "vm1", f"uid {MAN}", "the database"):
        root.acquire(NIC)
    with refused("Busy", lease.id, "another user", without=("vm1", str(MAN), "the database")):
        games.acquire(NIC)
    lease.release()
    root.wait_group(NIC, "free")
    own = games.hold(NIC, owner="x")
    with refused("Busy", own.id, f"x (uid {GAMES})"):
        games.acquire(NIC, owner="y")


def test_who_comes_along_is_asked_too(host, policy, root, member):
    policy({"decision": "deny", "users": "man"}, match={"device": BRIDGE_B})
    with refused("AccessDenied", BRIDGE_B, "same IOMMU group"):
        host.client(uid=MAN, groups=[member]).acquire(BRIDGE_A)
    host.client(uid=GAMES, groups=[member]).hold(BRIDGE_A).release()


def test_selectors_find_what_one_may_have(host, policy, root):
    policy({"users": "games"}, match={"device": NIC2})
    lease = host.client(uid=GAMES).hold("class=02")
    assert lease.Devices == [NIC2]
    lease.release()


def test_a_time_to_live(host, policy, root):
    policy({"users": "games", "max-ttl": 60})
    games = host.client(uid=GAMES)
    with refused("AccessDenied", "60 s at most", "dmaownerd.json"):
        games.acquire(NIC, ttl=61 * 10**6)
    lease = games.hold(NIC)
    first = lease.Expires
    assert first - lease.Created == 60 * 10**6
    for ttl in 0, 61 * 10**6:
        with refused("AccessDenied", "60 s"):
            lease.call("Renew", "t", ttl)
    lease.call("Renew", "t", 60 * 10**6)
    root.wait(lambda: lease.Expires > first, "the renewal")
    with subprocess.Popen(["sleep", "infinity"], user=GAMES) as child:
        pidfd = os.pidfd_open(child.pid)
        games.call(lease.path, LEASE, "Confirm", "h", pidfd)
        assert lease.Expires < 2**63    # a holder does not make it longer
        child.kill()
    lease.wait_ended()


def test_a_new_policy_leaves_leases_and_says_so(host, policy, root):
    policy({"users": "games"})
    lease = host.client(uid=GAMES).hold(NIC)
    waiting = host.client(uid=GAMES).acquire(NIC, owner="other", wait=10**9)
    policy({"users": "lp"})
    root.wait(lambda: "would not be granted any more" in lease.Warning, "the warning")
    waiting.wait("failed")
    assert waiting.Failure[0].endswith("AccessDenied")
    policy({"users": "games"})
    root.wait(lambda: lease.Warning == "", "the warning to go")
    lease.release()


def test_how_much_one_may_have(host, policy, root):
    policy({"users": "games"}, {"users": "lp"}, match={"device": "*"}, limits={"leases": 3, "queued": 1})
    games, lp = host.client(uid=GAMES), host.client(uid=LP)
    games.hold(NIC)
    games.acquire(NIC, owner="b", wait=10**9)
    with refused("QuotaExceeded", "queued"):
        games.acquire(NIC, owner="c", wait=10**9)
    games.hold(NIC2)
    with refused("QuotaExceeded", "3 leases"):
        games.acquire(BRIDGE_A)
    lp.hold(BRIDGE_A).release()
    root.acquire(NIC, owner="c", wait=10**9)


def test_a_driver_is_not_bound_again(policy, root, sim):
    path = NIC
    policy(rules=[{"match": {"device": path}, "release": "unbound"}])
    root.hold(NIC).release()
    root.wait_group(NIC, "free")
    assert sim.device(NIC).get("driver") is None and sim.device(NIC).get("driver_override") is None
    root.hold(NIC).release()
    root.wait_group(NIC, "free")
    root.hold(NIC, "dma-api", driver="e1000e").release()
    root.wait_group(NIC, "free")
    assert sim.device(NIC).get("driver") is None


def test_the_commands(host, policy, root, tmp_path):
    policy({"users": "games", "kinds": "user"}, {"users": "lp", "decision": "ask"}, {"groups": "man", "decision": "deny"})

    def ask(*words):
        done = subprocess.run([CLIENT, f"--bus={host.address}", "policy", "test", *words], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    rule = f"{host.daemon.configuration}/dmaownerd.json:1"
    assert ask("games", NIC) == (0, f"games: allowed, by the rule at {rule}\n")
    assert ask("lp", NIC) == (0, f"lp: an administrator is asked, by the rule at {rule}\n")
    assert ask("root", NIC2) == (0, "root: allowed, by what holds without a rule\n")
    status, said = ask("man", NIC)
    assert status == 5 and f"man: denied, by the rule at {rule}\n" in said and "may not take" in said
    status, said = ask("games", NIC, "--kind=dma-api")
    assert status == 5 and "denied, by what holds without a rule" in said
    assert ask("no-such-user", NIC)[0] == 2
    assert "There is no device" in ask("games", "0000:77:00.0")[1]

    path = tmp_path / "policy.json"
    path.write_text('{"rules": [{"access": {"users": ["games", "no-such-user"]}}]}')
    path.chmod(0o644)
    done = subprocess.run([CLIENT, "policy", "check", path], capture_output=True, text=True)
    assert done.returncode == 0 and "there is no user no-such-user" in done.stderr


def test_hangup_reads_the_policy_again(host, root):
    path = host.daemon.configuration / "dmaownerd.json"
    path.write_text(json.dumps({"rules": [{"access": {"users": ["games", "nobody-here"]}}]}))
    path.chmod(0o644)
    games = host.client(uid=GAMES)
    host.daemon.process.send_signal(signal.SIGHUP)
    root.wait(lambda: "there is no user nobody-here" in host.daemon.said(), "the policy to be read")
    games.hold(NIC).release()


def test_what_one_asks_for_others(host, policy):
    """Who may see nothing of others does not learn what they may."""
    games = host.client(uid=GAMES)
    arguments = [GAMES], "", [NIC], "user", {}
    assert games.manager("TestPolicy", "uausassa{sv}", GAMES, *arguments)[0] == "deny"
    with refused("AccessDenied"):
        games.manager("TestPolicy", "uausassa{sv}", LP, *arguments)
