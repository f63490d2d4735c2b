# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmaownerctl from end to end: what it prints, what it returns."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading

import pytest
from harness import PATIENCE
from harness.client import Client, Lease
from harness.host import CLIENT, copy_client
from harness.topology import BRIDGE_A, DISK_USED, IDENTITY, NIC, NIC2, NIC_USED
from jeepney import MessageType, new_error

BUSY, NOT_VIABLE, DENIED, TIMED_OUT, NO_DAEMON = 3, 4, 5, 6, 7


class Command:
    """dmaownerctl, running."""

    def __init__(self, address, arguments, client=CLIENT, **options):
        self.process = subprocess.Popen([client, f"--bus={address}", *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True, **options)

    def finish(self):
        out, err = self.process.communicate(timeout=PATIENCE)
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return self.process.returncode, out, err

    def line(self):
        """The next line; the end of the file if none comes."""
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            return self.process.stdout.readline()
        finally:
            watchdog.cancel()


@pytest.fixture
def start(host):
    running = []

    def run(*arguments, **options):
        running.append(Command(host.address, arguments, **options))
        return running[-1]
    yield run
    for command in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.process.pid, signal.SIGKILL)      # what it started too
        command.process.communicate()


@pytest.fixture
def ctl(start):
    def run(*arguments, status=0, **options):
        returned, out, err = start(*arguments, **options).finish()
        assert returned == status, f"{arguments}: {returned}\n{out}{err}"
        return out if status == 0 else err
    return run


def only_lease(root):
    return root.wait(lambda: next(iter(root.leases().values()), None), "a lease")


@pytest.mark.story
def test_list(ctl, root):
    lease = root.hold(NIC, owner="me")
    for text in (ctl("list"), ctl()):
        assert all(word in text for word in (NIC, BRIDGE_A, "vfio-pci", "e1000e", "me", lease.id))
        assert "\x1b" not in text


@pytest.mark.parametrize("style", ["--json", "--json=short"])
@pytest.mark.parametrize("verb", [["list"], ["status"], ["show", NIC], ["explain", NIC]])
def test_json(ctl, root, verb, style):
    root.hold(NIC2)
    text = ctl(*verb, style)
    assert json.loads(text)
    assert (text.count("\n") == 1) == (style == "--json=short")


def test_json_list_has_everything(ctl, root):
    lease = root.hold(NIC, owner="me")
    everything = json.loads(ctl("list", "--json"))
    assert {group["Id"] for group in everything["groups"]} == root.groups().keys()
    assert [row["Id"] for row in everything["leases"]] == [lease.id]


def test_show(ctl, root):
    lease = root.hold(NIC, label="a label")
    assert "vfio-pci" in ctl("show", NIC) and "a label" in ctl("show", lease.id)
    assert json.loads(ctl("show", lease.id, "--json"))
    assert "owned" in ctl("show", f"group:{root.device(NIC)['Group']}")
    assert NIC in ctl("show", NIC.removeprefix("0000:"))


def test_status(ctl):
    assert "simulated" in ctl("status")


def test_acquire_holds_until_it_ends(start, root):
    command = start("acquire", NIC, "--owner=me", "--label=from a terminal")
    lease = root.wait(lambda: [row for row in root.leases().values() if row["State"] == "active"], "a lease")[0]
    assert (lease["Owner"], lease["Label"]) == ((os.getuid(), "me"), "from a terminal")
    assert lease["Id"] in command.line()
    command.process.terminate()
    command.finish()
    root.wait_group(NIC, "free")
    assert root.leases() == {}


def test_acquire_dies_hard(start, root):
    command = start("acquire", NIC)
    root.wait_group(NIC, "owned")
    command.process.kill()
    root.wait_group(NIC, "free")


def test_acquire_release_renew(ctl, root):
    identity = ctl("acquire", NIC, "--holder=none", "--ttl=2h").split()[0]
    lease, = root.leases().values()
    assert lease["Id"] == identity and lease["Holder"] == "none"
    ctl("renew", identity, "--ttl=1d")
    assert root.leases()[identity]["Expires"] > lease["Expires"] + 20 * 3600 * 10**6
    ctl("release", identity)
    root.wait_group(NIC, "free")


def test_release_by_owner(ctl, root):
    for device in (NIC, NIC2):
        ctl("acquire", device, "--holder=none", "--owner=mine")
    ctl("release", "--owner=mine")
    root.wait_group(NIC, "free")
    root.wait_group(NIC2, "free")


# exec

@pytest.mark.story
def test_exec_holds_for_the_life_of_the_command(start, root):
    shown = "^DMAOWNER_(LEASE|DEVICES|GROUPS|EAL_ARGS)="
    command = start("exec", NIC, NIC2, "--", "sh", "-c", f"env | grep -E '{shown}'; exec sleep infinity")
    told = dict(command.line().strip().split("=", 1) for _ in range(4))
    lease, = root.leases().values()
    assert (told["DMAOWNER_LEASE"], told["DMAOWNER_DEVICES"].split()) == (lease["Id"], [NIC, NIC2])
    assert told["DMAOWNER_GROUPS"].split() == [str(group) for group in lease["Groups"]]
    assert told["DMAOWNER_EAL_ARGS"].split() == ["-a", NIC, "-a", NIC2]
    assert root.device(NIC)["Driver"] == "vfio-pci"
    command.process.send_signal(signal.SIGTERM)
    assert command.finish()[0] == 128 + signal.SIGTERM
    root.wait_group(NIC, "free")


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exec_returns_the_commands_status(ctl, root, status):
    ctl("exec", NIC, "--", "sh", "-c", f"exit {status}", status=status)
    root.wait_group(NIC, "free")


def test_exec_says_which_signal_killed_the_command(ctl, root):
    ctl("exec", NIC, "--", "sh", "-c", "kill -SEGV $$", status=128 + signal.SIGSEGV)
    root.wait_group(NIC, "free")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_exec_passes_signals_on(start, root, number):
    name = signal.Signals(number).name.removeprefix("SIG")
    command = start("exec", NIC, "--", "sh", "-c", f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done")
    assert command.line() == "ready\n"
    command.process.send_signal(number)
    assert command.finish()[0] == 7
    root.wait_group(NIC, "free")


def test_exec_killed_leaves_the_lease_to_its_command(start, root):
    """The lease ends when both are gone."""
    command = start("exec", NIC, "--", "sh", "-c", "echo $$; exec sleep infinity")
    child = int(command.line())
    command.process.kill()
    command.process.wait()
    lease = only_lease(root)
    assert lease["State"] == "active"
    os.kill(child, signal.SIGKILL)
    root.wait_group(NIC, "free")


def test_exec_of_what_does_not_exist(ctl, root):
    assert "no-such-command" in ctl("exec", NIC, "--", "no-such-command", status=127)
    root.wait_group(NIC, "free")


def test_exec_runs_nothing_without_the_lease(ctl, root, host):
    root.hold(NIC, owner="first")
    ctl("exec", NIC, "--", "touch", str(host.folder / "ran"), status=BUSY)
    assert not (host.folder / "ran").exists()


# errors

def test_waits_for_its_turn(start, root):
    held = root.hold(NIC, owner="first")
    command = start("exec", NIC, "--wait", "--owner=second", "--", "sh", "-c", "echo $DMAOWNER_LEASE")
    root.wait(lambda: root.group_of(NIC)["Queue"], "the queue")
    assert "queue:" in start("list").finish()[1]
    assert f"is held (user) by lease {held.id}" in start("status").finish()[1]
    held.release()
    status, out, err = command.finish()
    assert (status, out.startswith("l")) == (0, True)
    assert f"is queued: IOMMU group 12 ({NIC}) is held (user) by lease {held.id}" in err


def test_waits_in_vain(ctl, root):
    held = root.hold(NIC)
    said = ctl("acquire", NIC, "--owner=second", "--wait=100ms", status=TIMED_OUT)
    assert f"the wait is over: IOMMU group 12 ({NIC}) is held (user) by lease {held.id}" in said


def test_interrupted_while_it_waits(start, root):
    root.hold(NIC)
    command = start("acquire", NIC, "--owner=second", "--wait")
    root.wait(lambda: root.group_of(NIC)["Queue"], "the queue")
    command.process.send_signal(signal.SIGINT)
    assert command.finish()[0] == 128 + signal.SIGINT
    assert root.group_of(NIC)["Queue"] == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_waits_though_the_daemon_goes(start, root, host, how):
    held = root.hold(NIC, holder="none")
    command = start("acquire", NIC, "--owner=second", "--wait")
    assert "is queued" in command.process.stderr.readline()     # and it knows that
    host.restart(how)
    Lease(root, held.path, []).release()
    assert "active" in command.line(), command.finish()


def test_revoke(start, ctl, root):
    command = start("acquire", NIC)
    identity = command.line().split()[0]
    assert json.loads(ctl("revoke", identity, "--deadline=1h", "--reason=please", "--json")) == {"revoked": identity}
    assert root.leases()[identity]["State"] == "revoking"
    ctl("revoke", identity, "--deadline=0s", "--reason=enough")
    status, _, err = command.finish()
    assert status == 1
    assert "is asked to leave: please" in err and "revoked: enough" in err


def test_priority(ctl, start, root):
    low = start("acquire", NIC, "--owner=low", "--priority=-5")
    low.line()
    high = start("acquire", NIC, "--owner=high", "--wait", "--priority=5")
    root.wait(lambda: any(lease["State"] == "revoking" for lease in root.leases().values()), "the revocation")
    low.process.terminate()
    assert "active" in high.line()
    assert "priority" in ctl("acquire", NIC2, "--priority=101", status=2)


def test_busy(ctl, root):
    lease = root.hold(NIC, owner="first")
    assert lease.id in ctl("acquire", NIC, "--owner=second", status=BUSY)


def test_in_use_and_not_viable(ctl):
    assert "192.0.2.7" in ctl("acquire", NIC_USED, status=NOT_VIABLE)
    assert "/srv" in ctl("acquire", NIC, DISK_USED, status=NOT_VIABLE)


def test_a_switch_that_fails(ctl, sim):
    sim.inject("bind", NIC, nth=1, errno="EIO")
    assert NIC in ctl("acquire", NIC, status=1)


def test_no_daemon(ctl, host):
    host.daemon.stop()
    ctl("list", status=NO_DAEMON)
    ctl("exec", NIC, "--", "true", status=NO_DAEMON)


@pytest.mark.parametrize("arguments", [["dance"], ["--colour"], ["acquire"], ["exec", NIC], ["renew"],
                                       ["acquire", NIC, "--ttl=soon"], ["release"]])
def test_usage(ctl, arguments):
    assert ctl(*arguments, status=2)


def test_help_names_every_verb(ctl):
    text = ctl("--help")
    for verb in ("list", "status", "show", "acquire", "release", "renew", "exec", "explain", "monitor"):
        assert verb in text
        assert ctl(verb, "--help")


@pytest.fixture
def public_client():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield copy_client(folder)


@pytest.mark.usefixtures("other_users")
def test_denied(start, public_client):
    command = start("acquire", NIC, client=public_client, user=3, group=3, extra_groups=[])
    status, _, err = command.finish()
    assert status == DENIED
    assert "dmaowner" in err        # what to do


class Stub(threading.Thread):
    """Has the daemon's name and one answer."""

    def __init__(self, host, error):
        super().__init__(daemon=True)
        self.client, self.error = Client(host.address), error
        self.client.call_bus("RequestName", "su", "org.dmaowner1", 4)
        self.start()

    def run(self):
        with contextlib.suppress(ConnectionResetError):     # until the bus ends
            while True:
                message = self.client.connection.receive()
                if message.header.message_type is MessageType.method_call:
                    self.client.connection.send(new_error(message, self.error, "s", ("as the stub says",)))


@pytest.mark.parametrize("error, status", [
    ("org.dmaowner1.Error.Busy", BUSY), ("org.dmaowner1.Error.Quarantined", BUSY),
    ("org.dmaowner1.Error.NotViable", NOT_VIABLE), ("org.dmaowner1.Error.InUse", NOT_VIABLE),
    ("org.freedesktop.DBus.Error.AccessDenied", DENIED), ("org.dmaowner1.Error.TimedOut", TIMED_OUT),
    ("org.freedesktop.DBus.Error.NoReply", NO_DAEMON), ("org.dmaowner1.Error.KernelRefused", 1),
    ("org.freedesktop.DBus.Error.InvalidArgs", 2)])
def test_every_error_has_its_status(ctl, host, error, status):
    host.daemon.stop()
    Stub(host, error)
    assert "as the stub says" in ctl("acquire", NIC, status=status)


# explain and monitor

def test_explain(ctl, start, root):
    text = ctl("explain", NIC)
    assert "vfio-pci" in text and "unbind" in text
    assert root.device(NIC)["Driver"] == "e1000e"
    status, out, _ = start("explain", DISK_USED).finish()
    assert status == NOT_VIABLE and "/srv" in out


@pytest.mark.parametrize("style", [[], ["--json=short"]])
def test_monitor(start, root, style):
    command = start("monitor", *style)
    # It cannot say that it listens, so give it something to hear until it does.
    seen, stop = [], threading.Event()

    def read():
        for line in command.process.stdout:
            seen.append(line)
            stop.set()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while not stop.is_set():
        lease = root.hold(NIC)
        lease.release()
        root.wait_group(NIC, "free")
    command.process.terminate()
    command.process.wait(PATIENCE)
    reader.join(PATIENCE)
    if style:
        assert all(json.loads(line) for line in seen)


def test_selectors_and_alternatives(ctl, root):
    out = ctl("explain", "class=02,numa=1")
    assert f"Devices: {NIC2}\n" in out and f"unbind {NIC2}" in out
    assert json.loads(ctl("explain", "--json", "numa=1"))["chosen"] == [NIC2]
    assert "Devices:" not in ctl("explain", NIC2)
    line = ctl("acquire", "vendor=dead", "--or=04:00.0 class=010802", "--or=numa=1", "--holder=none")
    lease = only_lease(root)
    assert lease["Id"] in line and len(lease["Devices"]) == 2 and NIC2 in lease["Devices"]
    assert "numa=x" in ctl("acquire", "numa=x", status=2)
    assert ctl("exec", "class=02*2", "--", "sh", "-c", "echo $DMAOWNER_DEVICES").split() == [NIC, IDENTITY]
    ctl("explain", "numa=1", status=NOT_VIABLE)
