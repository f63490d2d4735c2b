# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: each method by each caller, without polkit and with it. The table in docs/authorisation.md is what
came of it; DMAOWNER_WRITE_TABLE=1 writes it anew."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

import pytest
from harness import namespace
from harness.authority import POLKITD, Authority
from harness.client import GROUP, LEASE, BusError
from harness.topology import NIC, NIC2, NIC_USED

pytestmark = pytest.mark.usefixtures("other_users")
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/authorisation.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"

# users that every Debian has: the bus turns unknown ones away
OWNER, MEMBER, LISTED, OUTSIDER, TRUSTED, REFUSED, STRANGER = 5, 6, 7, 8, 9, 10, 13  # games, man, lp, mail, news, uucp, proxy
ANSWERS = {"news": "YES", "uucp": "NO"}
POLICY = {"rules": [{"match": {"device": [NIC, NIC_USED]},
                     "access": [{"users": "lp", "kinds": ["user", "dma-api"], "force": True},
                                {"users": ["news", "uucp"], "decision": "ask", "force": True}]}]}

MEANING = {"AccessDenied": "no", "InteractiveAuthorizationRequired": "password"}
COLUMNS = {         # who -> uid, a member of dmaowner, polkit runs
    "root": (0, False, False),
    "its owner": (OWNER, True, False),
    "another member": (MEMBER, True, False),
    "allowed by a rule": (LISTED, False, False),
    "anybody": (OUTSIDER, False, False),
    "a rule asks, no polkit": (TRUSTED, False, False),
    "another member, polkit asks": (MEMBER, True, True),
    "a rule asks, polkit agrees": (TRUSTED, False, True),
    "a rule asks, polkit refuses": (REFUSED, False, True),
}


def confirm(client, lease):
    """A process of the lease's uid becomes its holder."""
    with subprocess.Popen(["sleep", "infinity"], user=OWNER) as child:
        pidfd = os.pidfd_open(child.pid)
        try:
            client.call(lease.path, LEASE, "Confirm", "h", pidfd)
        finally:
            os.close(pidfd)
            child.kill()


def see(client, lease):
    if client.get_all(lease.path, LEASE)["Label"] != "secret":
        raise BusError("AccessDenied", "it is not shown")


def administer(member):
    return lambda client, lease: client.call(client.group_path(NIC2), GROUP, member)


def of_manager(member, *devices):
    return lambda client, lease: client.manager(member, *(("as", list(devices)) if devices else ()))


# What is done to the lease of its owner on NIC2, or for oneself with another device.
ROWS = {
    "Acquire of kind user": lambda client, lease: client.hold(NIC, owner="mine").release(),
    "Acquire of kind dma-api": lambda client, lease: client.hold(NIC, "dma-api", owner="mine").release(),
    "Acquire with force": lambda client, lease: client.hold(NIC_USED, owner="mine", force=True).release(),
    "Acquire for another uid": lambda client, lease: client.hold(NIC, owner="mine", uid=STRANGER).release(),
    "Acquire as \"libvirt:x\"": lambda client, lease: client.hold(NIC, owner="libvirt:x").release(),
    "Explain": lambda client, lease: client.explain(NIC),
    "ListLeases, ListGroups": lambda client, lease: (client.leases(), client.groups()),
    "owner and label": see,
    "Release": lambda client, lease: client.call(lease.path, LEASE, "Release"),
    "Revoke": lambda client, lease: client.call(lease.path, LEASE, "Revoke", "st", "test", 10**9),
    "Renew": lambda client, lease: client.call(lease.path, LEASE, "Renew", "t", 0),
    "Confirm": confirm,
    "OpenFiles": lambda client, lease: client.call(lease.path, LEASE, "OpenFiles", "as", []),
    "Retry": administer("Retry"),
    "Accept": administer("Accept"),
    "MarkClean": of_manager("MarkClean", NIC2),
    "Restore": of_manager("Restore", NIC2),
    "Reload": of_manager("Reload"),
}


@pytest.fixture
def policy(host):
    path = host.daemon.configuration / "dmaownerd.json"
    path.write_text(json.dumps(POLICY))
    path.chmod(0o644)
    host.root.manager("Reload")


def cell(host, member, act, uid, is_member):
    """yes: it was not refused for who asks."""
    owner = host.client(uid=OWNER, groups=[member])
    lease = owner.hold(NIC2, owner="theirs", label="secret", access="fd")
    client = host.client(uid=uid, groups=[member] if is_member else []) if uid else host.root
    try:
        act(client, lease)
        return "yes"
    except BusError as refusal:
        return MEANING.get(refusal.name, "yes")
    finally:
        for one in NIC, NIC_USED, NIC2:
            for held in host.root.leases().values():
                if one in held["Devices"] and held["State"] not in ("ended", "failed", "lost"):
                    with contextlib.suppress(BusError):
                        host.root.call(held["Path"], LEASE, "Release")
            host.root.wait_group(one, "free")


def read_table():
    lines = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in lines if not line.startswith("|-")]
    return {row[0]: dict(zip(rows[0][1:], row[1:])) for row in rows[1:]}


def write_table(who, cells):
    known = read_table()
    rows = [["", *COLUMNS]] + [[name, *({**known.get(name, {}), who: cells[name]}.get(column, "") for column in COLUMNS)]
                               for name in ROWS]
    lines = ["| " + " | ".join(row) + " |\n" for row in rows]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + lines[0] + "|" + "---|" * len(rows[0]) + "\n" + "".join(lines[1:]) + END + rest.partition(END)[2])


@pytest.fixture
def polkit():
    if why := namespace.missing(POLKITD):
        pytest.skip(why)


@pytest.mark.parametrize("who", COLUMNS)
def test_table(host, member, policy, who, request):
    uid, is_member, asks = COLUMNS[who]
    if asks:
        request.getfixturevalue("polkit")
    with Authority(host, ANSWERS) if asks else contextlib.nullcontext():
        cells = {name: cell(host, member, act, uid, is_member) for name, act in ROWS.items()}
    if os.environ.get("DMAOWNER_WRITE_TABLE"):
        write_table(who, cells)
    assert cells == {name: row[who] for name, row in read_table().items()}


# polkit

def asks_for(host, member, uid):
    """Of a member who would have to be asked for."""
    lease = host.client(uid=OWNER, groups=[member]).hold(NIC2, owner="theirs")
    client = host.client(uid=uid, groups=[member])
    return lease, client


def refusal_of(act):
    with pytest.raises(BusError) as refusal:
        act()
    return refusal.value


def test_polkit_is_asked_once_and_everything_is_looked_at_again(host, member, policy, polkit):
    """What was free when the question was asked need not be when there is an answer."""
    with Authority(host, ANSWERS):
        lease, client = asks_for(host, member, TRUSTED)
        client.call(lease.path, LEASE, "Release")
        assert lease.wait_ended() == "released"
        client.hold(NIC, owner="mine").release()
        host.root.wait_group(NIC, "free")
        taken = host.root.hold(NIC)
        assert refusal_of(lambda: client.acquire(NIC)).name == "Busy"
        taken.release()


def test_what_polkit_says_no_to(host, member, policy, polkit, unchanged):
    with Authority(host, ANSWERS):
        lease, client = asks_for(host, member, REFUSED)
        with unchanged():
            for act in (lambda: client.call(lease.path, LEASE, "Release"), lambda: client.acquire(NIC)):
                refusal = refusal_of(act)
                assert (refusal.name, refusal.message) == ("AccessDenied", "no administrator has agreed")


def test_without_polkit_it_says_so(host, member, policy):
    lease, client = asks_for(host, member, TRUSTED)
    for act in (lambda: client.call(lease.path, LEASE, "Release"), lambda: client.acquire(NIC)):
        refusal = refusal_of(act)
        assert refusal.name == "AccessDenied" and "there is no polkit to ask" in refusal.message


def test_nobody_to_answer(host, member, policy, polkit):
    """With the flag of the call polkit looks for an agent; there is none in the session of a test."""
    with Authority(host, ANSWERS):
        lease, client = asks_for(host, member, OUTSIDER)
        for client.interactive in False, True:
            refusal = refusal_of(lambda: client.call(lease.path, LEASE, "Release"))
            assert refusal.name == "InteractiveAuthorizationRequired" and "an agent" in refusal.message


def test_who_leaves_is_not_asked_for(host, member, policy, polkit):
    with Authority(host, ANSWERS) as authority:
        authority.process.send_signal(signal.SIGSTOP)
        try:
            lease, client = asks_for(host, member, TRUSTED)
            for _ in range(4):
                client.start(lease.path, LEASE, "Release")
            refusal = refusal_of(lambda: client.call(lease.path, LEASE, "Release"))
            assert refusal.name == "QuotaExceeded" and "questions" in refusal.message
            client.close()
            again = host.client(uid=TRUSTED, groups=[member])
            host.root.wait(lambda: "QuotaExceeded" not in peek(again, lease), "the questions to be dropped")
        finally:
            authority.process.send_signal(signal.SIGCONT)


def peek(client, lease):
    """What is said at once; nothing, if it is asked."""
    try:
        client.finish(client.start(lease.path, LEASE, "Release"), timeout=0.3)
    except BusError as refusal:
        return refusal.name
    except TimeoutError:
        return ""
    return ""
