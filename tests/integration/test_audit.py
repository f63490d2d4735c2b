# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was decided stands in the journal, a real one, and dmaownerctl history reads it back."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from harness.client import GROUP, BusError, Lease
from harness.host import CLIENT, TOP, Host, copy_client
from harness.journal import SOCKET, Journal, missing
from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, DISK_USED, NIC, NIC2, SINGLES, small

ALICE, MALLORY = 1, 3    # the bus turns unknown users away
BURST = 30          # refusals of one user in a minute
CALLS_BURST = 120   # calls about what is not his own, likewise
LEASES_BURST = 120  # changes of leases that cost the kernel nothing, likewise
DENIED = 5

CATALOG = TOP / "systemd/dmaownerd.catalog"
EVENTS = dict(re.findall(r'\[AUDIT_EVENT_(\w+)\] = \{ "([0-9a-f]{32})"',
                         (TOP / "daemon/core/audit-event.c").read_text()))
NAMES = {number: name.lower().replace("_", "-") for name, number in EVENTS.items()}


@pytest.fixture
def journal():
    if why := missing():
        pytest.skip(why)
    journal = Journal()
    yield journal
    journal.close()


@pytest.fixture
def host(journal, monkeypatch):
    wrapper = shlex.split(os.environ.get("DMAOWNER_TEST_WRAPPER", ""))
    monkeypatch.setenv("DMAOWNER_TEST_WRAPPER", shlex.join([*journal.wrapper, *wrapper]))
    with Host(small()) as host:
        host.root.watch()
        yield host


@pytest.fixture
def decisions(journal):
    """The entries, as (event, entry)."""
    def read(*matches, without=("policy-read",)):
        found = [(NAMES[entry["MESSAGE_ID"]], entry) for entry in journal.entries(*matches)
                 if entry.get("MESSAGE_ID") in NAMES]
        return [(name, entry) for name, entry in found if name not in without]
    return read


@pytest.fixture
def history(journal, host):
    def run(*arguments, status=0, **options):
        journal.sync()
        done = journal.run(CLIENT, f"--bus={host.address}", "history", *arguments, check=False, **options)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr
    return run


def names(found):
    return [name for name, _ in found]


def lines(text):
    return [line.split()[2] for line in text.splitlines()[1:]]


@pytest.fixture
def mallory(host, other_users):
    return host.client(uid=MALLORY)


def test_the_life_of_a_lease(root, decisions, history):
    lease = root.hold(NIC, owner="me", label="for a test", ttl=3600 * 10**6)
    lease.release()
    root.wait_group(NIC, "free")
    found = decisions()
    assert names(found) == ["granted", "active", "ended", "group-free"]
    for _, entry in found[:3]:
        assert {name: entry[f"DMAOWNER_{name}"] for name in (
            "LEASE", "OWNER", "UID", "KIND", "ACCESS", "LABEL", "HOLDER", "DEVICES", "DEVICE", "GROUPS", "GROUP")} == {
            "LEASE": lease.id, "OWNER": "me", "UID": str(os.geteuid()), "KIND": "user", "ACCESS": "node",
            "LABEL": "for a test", "HOLDER": "lifeline", "DEVICES": NIC, "DEVICE": NIC, "GROUPS": "12",
            "GROUP": "12"}
        assert entry["PRIORITY"] == "6" and entry["_COMM"] == "dmaownerd"
        assert entry["SYSLOG_IDENTIFIER"] == "dmaownerd"
    assert found[2][1]["DMAOWNER_REASON"] == "released"
    assert found[2][1]["MESSAGE"] == f"Lease {lease.id} of me (uid {os.geteuid()}) on {NIC}: ended: released"
    assert found[3][1]["DMAOWNER_DEVICES"] == NIC

    for what in (NIC, NIC.removeprefix("0000:"), "group:12"):
        assert lines(history(what)) == names(found)
    assert lines(history(lease.id)) == ["granted", "active", "ended"]
    assert lines(history()) == ["policy-read", *names(found)]
    assert "released" in history() and "root:me" in history()
    entries = json.loads(history("--json=short", lease.id))
    assert [entry["event"] for entry in entries] == ["granted", "active", "ended"]
    assert entries[2].items() >= {"lease": lease.id, "owner": "me", "uid": os.geteuid(), "devices": [NIC],
                                  "groups": [12], "reason": "released", "label": "for a test"}.items()
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_whoever_has_a_group_has_all_its_devices(root, decisions, history):
    lease = root.hold(BRIDGE_A)
    entry = decisions()[0][1]
    assert entry["DMAOWNER_DEVICES"] == BRIDGE_A
    assert entry["DMAOWNER_DEVICE"] == [BRIDGE, BRIDGE_A, BRIDGE_B]
    assert lines(history(BRIDGE_B)) == ["granted", "active"]
    assert lines(history(NIC, BRIDGE_B)) == ["granted", "active"]
    assert lease.id in history(BRIDGE_B)
    assert names(decisions(f"DMAOWNER_DEVICE={BRIDGE_B}")) == ["granted", "active"]


def test_history_of_what_never_was(journal, host):
    done = journal.run(CLIENT, f"--bus={host.address}", "history", NIC2)
    assert done.stdout == "" and "no such decision" in done.stderr
    assert json.loads(journal.run(CLIENT, f"--bus={host.address}", "history", "--json", NIC2).stdout) == []


def test_since(root, history):
    root.hold(NIC)
    assert lines(history("--since=1h", NIC)) == ["granted", "active"]
    assert lines(history("--since=yesterday", NIC)) == ["granted", "active"]
    assert history("--since=0s", NIC) == ""
    assert "not understood" in history("--since=whenever", status=2)


def test_the_queue(root, decisions):
    first = root.hold(NIC, owner="first")
    second = root.acquire(NIC, owner="second", wait=2**64 - 1)
    first.release()
    second.wait("active")
    assert [(name, entry["DMAOWNER_OWNER"]) for name, entry in decisions(without=("policy-read", "group-free"))] == [
        ("granted", "first"), ("active", "first"), ("queued", "second"), ("ended", "first"), ("granted", "second"),
        ("active", "second")]


def test_a_shared_group(root, decisions):
    root.hold(NIC, owner="me")
    root.acquire(NIC, owner="me")
    assert decisions()[-1][1]["MESSAGE"].endswith("granted, active")
    assert names(decisions()) == ["granted", "active", "granted"]


def test_who_died(root, decisions):
    lease = root.hold(NIC)
    lease.close()
    assert lease.wait_ended() == "holder-died"
    root.wait_group(NIC, "free")
    assert ("ended", "holder-died") in [(name, entry.get("DMAOWNER_REASON")) for name, entry in decisions()]


def test_a_failure(root, sim, decisions):
    sim.inject("bind", NIC, errno="EINVAL")
    lease = root.acquire(NIC)
    lease.client.wait(lambda: lease.seen_state() == "failed", "the failure")
    root.wait_group(NIC, "failed")
    sim.clear()
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    found = dict(decisions())
    assert names(decisions()) == ["granted", "failed", "group-failed", "asked", "group-free"]
    assert found["failed"]["DMAOWNER_ERROR"] == "org.dmaowner1.Error.KernelRefused"
    assert "bind" in found["failed"]["DMAOWNER_REASON"] and found["failed"]["PRIORITY"] == "4"
    assert "e1000e" in found["group-failed"]["DMAOWNER_REASON"] and found["group-failed"]["PRIORITY"] == "3"


def test_meddling_and_what_a_person_says(root, sim, decisions, history):
    lease = root.hold(NIC)
    sim.rebind(NIC, "e1000e")
    lease.client.wait(lambda: lease.seen_state() == "lost", "the loss")
    root.wait_group(NIC, "lost")
    root.call(root.group_path(NIC), GROUP, "Accept")
    root.wait_group(NIC, "free")
    found = decisions()
    assert names(found)[:2] == ["granted", "active"]
    assert sorted(names(found)[2:4]) == ["group-lost", "lost"]
    assert names(found)[4:] == ["asked", "group-free"]
    assert all(f"the driver of {NIC} was vfio-pci" in entry["DMAOWNER_REASON"] for _, entry in found[2:4])
    asked = dict(found)["asked"]
    assert asked["DMAOWNER_METHOD"] == "Accept" and asked["DMAOWNER_CALLER_UID"] == str(os.geteuid())
    assert asked["DMAOWNER_GROUP"] == "12" and asked["DMAOWNER_DEVICE"] == NIC
    assert "Accept" in history("group:12")


def test_who_releases_and_revokes_for_others(host, root, decisions, other_users, member):
    alice = host.client(uid=ALICE, groups=[member]).watch()
    lease = alice.hold(NIC, owner="hers")
    Lease(root, lease.path, []).call("Revoke", "st", "it is needed", 10**9)
    Lease(root, lease.path, []).release()
    root.wait_group(NIC, "free")
    found = decisions()
    assert names(found) == ["granted", "active", "asked", "revoking", "asked", "ended", "group-free"]
    assert [entry["DMAOWNER_METHOD"] for name, entry in found if name == "asked"] == ["Revoke", "Release"]
    assert all(entry["DMAOWNER_CALLER_UID"] == "0" and entry["DMAOWNER_UID"] == str(ALICE)
               for name, entry in found if name == "asked")
    assert dict(found)["revoking"]["DMAOWNER_REASON"] == "it is needed"
    # what is one's own needs no second entry
    lease = alice.hold(NIC, owner="hers")
    lease.release()
    assert names(decisions()).count("asked") == 2


def test_who_asks_for_others(root, decisions, other_users):
    root.hold(NIC, uid=ALICE)
    found = decisions()
    assert names(found) == ["granted", "active"]
    assert found[0][1]["DMAOWNER_CALLER_UID"] == "0" and found[0][1]["DMAOWNER_UID"] == str(ALICE)
    assert found[0][1]["MESSAGE"].endswith("granted: asked for by uid 0")


def test_which_rule_allowed_it(host, root, decisions, history, other_users):
    path = host.daemon.configuration / "dmaownerd.json"
    path.write_text('{"rules": [\n{"match": {"device": "%s"},\n "access": [\n{"users": "%d"}]}]}' % (NIC, MALLORY))
    root.manager("Reload")
    mallory = host.client(uid=MALLORY).watch()
    mallory.hold(NIC)
    root.hold(NIC2)
    granted = [entry for name, entry in decisions() if name == "granted"]
    assert granted[0]["DMAOWNER_RULE"] == f"{path}:4" and granted[0]["DMAOWNER_CALLER_UID"] == str(MALLORY)
    assert "DMAOWNER_RULE" not in granted[1] and "DMAOWNER_AUTHORISED" not in granted[0]
    assert json.loads(history("--json", NIC))[0]["rules"] == [f"{path}:4"]


def test_force(root, decisions):
    root.wait(lambda: root.device(DISK_USED)["InUse"], "the use of the disk")
    with pytest.raises(BusError):
        root.acquire(DISK_USED)
    root.hold(DISK_USED, force=True)
    found = decisions()
    assert names(found) == ["refused", "granted", "forced", "active"]
    assert "/srv" in found[0][1]["DMAOWNER_REASON"] and found[0][1]["DMAOWNER_ERROR"] == "org.dmaowner1.Error.InUse"
    assert "/srv" in found[2][1]["DMAOWNER_REASON"] and found[2][1]["PRIORITY"] == "4"


def test_refusals(mallory, root, decisions, history):
    lease = root.hold(NIC)
    for ask in (lambda: mallory.acquire([NIC, NIC2]), lambda: Lease(mallory, lease.path, []).release(),
                lambda: mallory.call(root.group_path(NIC), GROUP, "Retry"), lambda: mallory.manager("Reload"),
                lambda: mallory.manager("MarkClean", "as", [NIC2])):
        with pytest.raises(BusError):
            ask()
    with pytest.raises(BusError):
        mallory.explain(NIC)        # no decision: it would change nothing
    found = [entry for name, entry in decisions() if name == "refused"]
    assert [entry["DMAOWNER_METHOD"] for entry in found] == ["Acquire", "Release", "Retry", "Reload", "MarkClean"]
    assert all(entry["DMAOWNER_CALLER_UID"] == str(MALLORY) for entry in found)
    assert all(entry["DMAOWNER_ERROR"] == "org.freedesktop.DBus.Error.AccessDenied" for entry in found)
    assert found[0]["DMAOWNER_DEVICE"] == [NIC, NIC2] and found[1]["DMAOWNER_LEASE"] == lease.id
    assert found[2]["DMAOWNER_GROUP"] == "12" and found[4]["DMAOWNER_DEVICES"] == NIC2
    text = history(NIC2)
    assert lines(text) == ["refused", "refused"] and str(MALLORY) in text and "MarkClean" in text


def test_nobody_floods_the_journal(host, mallory, root, decisions, history):
    waiting = [mallory.start_acquire(NIC) for _ in range(BURST + 70)]
    for serial in waiting:
        with pytest.raises(BusError):
            mallory.finish(serial)
    # others are not left out with him
    with pytest.raises(BusError):
        root.acquire("0000:ff:1f.7")
    assert names(decisions()) == ["refused"] * (BURST + 1)
    # the rest at the latest now
    host.restart("stop")
    left_out = dict(decisions())["left-out"]
    assert left_out["MESSAGE"] == f"70 more refusals of uid {MALLORY}"
    assert left_out["DMAOWNER_CALLER_UID"] == str(MALLORY)
    assert "70 more refusals" in history()


def test_nor_does_whoever_may_manage(host, root, decisions, other_users, member):
    lease = host.client(uid=ALICE, groups=[member]).watch().hold(NIC, ttl=10**9)
    for n in range(CALLS_BURST + 10):
        Lease(root, lease.path, []).call("Renew", "t", 10**9 + n)
    assert names(decisions()).count("asked") == CALLS_BURST
    host.restart("stop")
    assert dict(decisions())["left-out"]["MESSAGE"] == "10 more calls of uid 0"


def test_what_keeps_the_kernel_busy_is_never_left_out(host, root, decisions):
    """Nobody hides what he takes behind leases that cost nothing."""
    root.hold(NIC, owner="me")
    for _ in range(LEASES_BURST + 20):
        root.acquire(NIC, owner="me").release()
    lease = root.hold(NIC2, owner="me")
    lease.release()
    root.wait_group(NIC2, "free")
    found = decisions()
    assert names(found).count("granted") == 1 + LEASES_BURST + 1
    assert [name for name, entry in found if entry.get("DMAOWNER_LEASE") == lease.id] == ["granted", "active", "ended"]
    host.restart("stop")
    assert dict(decisions())["left-out"]["MESSAGE"] == f"20 more changes of leases of uid {os.geteuid()}"


def test_texts_of_clients_are_one_line(root, decisions):
    with pytest.raises(BusError):
        root.acquire(NIC, raw={"holder": ("s", "x\n<0>Lease l9 of root\x1b[2J")})
    with pytest.raises(BusError):
        root.acquire([f"{n:03}\nDMAOWNER_LEASE=l9" + "b" * 100 for n in range(100)])
    found = [entry for _, entry in decisions()]
    assert "x?<0>Lease l9 of root?[2J" in found[0]["DMAOWNER_REASON"] and "\n" not in found[0]["MESSAGE"]
    assert len(found[1]["DMAOWNER_DEVICE"]) == 32 and "DMAOWNER_LEASE" not in found[1]
    assert found[1]["DMAOWNER_DEVICE"][0] == "000?DMAOWNER_LEASE=l9" + "b" * 39 + "..."


def test_a_restart_is_no_news(host, root, decisions):
    kept, gone = root.hold(NIC, holder="none"), root.hold(NIC2, holder="none")

    def taken(kernel):
        device = next(one for one in kernel["devices"] if one["name"] == NIC2)
        device.update(driver="e1000e", driver_override="")
        group = next(one for one in kernel["groups"] if one["group"] == device["group"])
        for name in ("node", "node_former"):
            group.pop(name, None)
    host.daemon.stop()
    host.edit_kernel(taken)
    host.daemon.start()
    root.watch()
    root.wait_group(NIC2, "lost")
    found = decisions()
    assert names(found)[:4] == ["granted", "active", "granted", "active"]
    assert sorted(names(found)[4:]) == ["group-lost", "lost"]
    assert all(entry["DMAOWNER_DEVICES"] == NIC2 for _, entry in found[4:])
    before = len(found)
    host.restart("stop")
    assert len(decisions()) == before
    Lease(root, kept.path, []).release()
    root.wait_group(NIC, "free")
    assert names(decisions())[before:] == ["ended", "group-free"]
    assert gone.id != kept.id


def test_the_policy(host, root, decisions):
    path = host.daemon.configuration / "dmaownerd.json"
    path.write_text('{"rules": [{}, ')
    with pytest.raises(BusError):
        root.manager("Reload")
    path.write_text('{"rules": []}')
    root.manager("Reload")
    found = decisions(without=())
    assert names(found) == ["policy-read", "asked", "policy-refused", "refused", "asked", "policy-read"]
    assert str(path) in found[2][1]["DMAOWNER_REASON"] and found[2][1]["PRIORITY"] == "3"


def test_more_devices_than_an_entry_has_fields(root, decisions, history):
    lease = root.hold(SINGLES)
    entry = decisions()[0][1]
    assert entry["DMAOWNER_DEVICES"].split() == entry["DMAOWNER_DEVICE"] == SINGLES
    assert lease.id in history(SINGLES[-1])


FORGER = """\
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(sys.argv[1])
    s.send(sys.argv[2].encode())
"""


def test_nobody_forges_it(journal, host, root, history, other_users):
    root.hold(NIC)
    forged = f"MESSAGE=Lease l1: ended\nMESSAGE_ID={EVENTS['ENDED']}\nPRIORITY=6\nDMAOWNER_DEVICE={NIC}\n" \
        f"DMAOWNER_DEVICES={NIC}\n_UID=0\n_SYSTEMD_UNIT=dmaownerd.service\n"
    journal.run("setpriv", f"--reuid={MALLORY}", f"--regid={MALLORY}", "--clear-groups", shutil.which("python3", path="/usr/bin") or
                sys.executable, "-c", FORGER, SOCKET, forged)
    assert [entry["_UID"] for entry in journal.entries(f"MESSAGE_ID={EVENTS['ENDED']}")] == [str(MALLORY)]
    assert lines(history(NIC)) == ["granted", "active"]


def test_who_may_not_read_it_is_told_so(journal, host, other_users):
    program = copy_client(host.folder)
    done = journal.run("setpriv", f"--reuid={MALLORY}", f"--regid={MALLORY}", "--clear-groups", program, "history", check=False)
    assert done.returncode == DENIED
    assert "cannot be read" in done.stderr and "systemd-journal" in done.stderr


def test_without_a_journal_there_are_plain_lines(monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")     # somebody else's
    with Host(small()) as host:
        lease = host.root.watch().hold(NIC, owner="me")
        lease.release()
        host.root.wait_group(NIC, "free")
        said = host.daemon.said()
    uid = os.geteuid()
    for line in (f"<6>Lease {lease.id} of me (uid {uid}) on {NIC}: granted\n",
                 f"<6>Lease {lease.id} of me (uid {uid}) on {NIC}: active\n",
                 f"<6>Lease {lease.id} of me (uid {uid}) on {NIC}: ended: released\n",
                 f"<6>Group 12 ({NIC}): free\n"):
        assert line in said


def test_the_catalog_explains_all(tmp_path):
    explained = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(EVENTS.values())
    known = set(re.findall(r'"(DMAOWNER_\w+)"', (TOP / "daemon/manager/audit.c").read_text()))
    assert set(re.findall(r"@(\w+)@", CATALOG.read_text())) <= known
    documented = set(re.findall(r"`(DMAOWNER_\w+)`", (TOP / "docs/audit.md").read_text()))
    assert known <= documented
    if not shutil.which("journalctl"):
        pytest.skip("this host has no journalctl")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True)
    listed = subprocess.run(["journalctl", f"--root={tmp_path}", "--list-catalog"], check=True, capture_output=True,
                            text=True).stdout
    assert all(number in listed for number in EVENTS.values())
