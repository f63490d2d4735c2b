# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library of programs that ask, in one that has an event loop of its own (lease-watcher.c)."""

import errno
import queue
import re
import signal
import subprocess
import threading

import pytest
from harness import PATIENCE
from harness.client import LEASE, PROPERTIES
from harness.host import BUILD, TROUBLE, Host
from harness.topology import BRIDGE_A, BRIDGE_B, NIC, NIC_USED, small
from jeepney import DBusAddress, HeaderFields, new_signal

WATCHER = BUILD / "tests/integration/lease-watcher"
MALLORY = 3     # the bus has to know the user
HOUR = 3600 * 10**6


class Watcher:
    """lease-watcher, running."""

    def __init__(self, address):
        self.process = subprocess.Popen([WATCHER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.seen = []          # what callbacks printed
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def take(self):
        line = self.lines.get(timeout=PATIENCE)
        if line.startswith("- "):
            self.seen.append(line)
        return line

    def do(self, line):
        """The number that its function has returned."""
        self.process.stdin.write(line + "\n")
        while (answer := self.take()).startswith("- "):
            pass
        return int(answer)

    def until(self, pattern):
        """Waits for a callback after which it looks like that; what callbacks printed before counts."""
        while not self.seen or not re.search(pattern, self.seen[-1]):
            self.take()
        return self.seen[-1]

    def acquire(self, *words, settled="held=1.*settled=1"):
        assert self.do(" ".join(("acquire user", *words))) == 0
        return self.until(settled)

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.reader.join()
        self.process.stdout.close()
        said = self.process.stderr.read()
        self.process.stderr.close()
        assert status == 0 and not TROUBLE.search(said), said


@pytest.fixture
def start(request):
    running = []

    def run(host):
        running.append(Watcher(host.address))
        return running[-1]
    yield run
    for watcher in running:
        watcher.close()


@pytest.fixture
def watcher(start, host):
    return start(host)


@pytest.mark.story
def test_a_lease_is_held_and_given_back(watcher, root):
    line = watcher.acquire(NIC, "label=s:hello", f"ttl=t:{HOUR}")
    row, = root.leases().values()
    assert (row["State"], row["Label"], row["Holder"]) == ("active", "hello", "lifeline")
    assert line.split()[1] == row["Id"]
    assert watcher.do("release") == 0
    assert "end=released" in watcher.until("settled=1.*end=.")
    root.wait_group(NIC, "free")


def test_the_last_reference_is_the_lifeline(watcher, root):
    watcher.acquire(NIC)
    assert watcher.do("drop") == 0
    root.wait_group(NIC, "free")


def test_dropped_before_the_answer(watcher, root, sim):
    """The daemon's answer brings a lifeline that nobody wants any more."""
    sim.inject("inspect", NIC, hang=True)
    assert watcher.do(f"acquire user {NIC}") == 0
    assert watcher.do("drop") == 0
    sim.clear()
    root.wait(lambda: not root.leases(), "the lease to end")
    root.wait_group(NIC, "free")


def test_released_before_the_answer(watcher, root, sim):
    sim.inject("inspect", NIC, hang=True)
    assert watcher.do(f"acquire user {NIC} holder=s:none") == 0
    assert watcher.do("release") == 0
    sim.clear()
    watcher.until("over=1.*settled=1")
    root.wait_group(NIC, "free")
    assert not root.leases()


def test_refused(watcher, root):
    line = watcher.acquire(NIC_USED, settled="settled=1")
    assert "held=0" in line and f"error=-{errno.EBUSY} org.dmaowner1.Error.InUse" in line
    assert watcher.do("wait 0") == -errno.EBUSY
    assert watcher.do("release") == -errno.ENOTCONN
    assert watcher.do("files") == -errno.ENOTCONN


def test_what_nobody_knows(watcher):
    assert watcher.do("find l999") == 0
    assert f"error=-{errno.ENOENT} org.dmaowner1.Error.NoSuchLease" in watcher.until("settled=1")


def test_waiting(watcher, root):
    held = root.hold(NIC)
    assert watcher.do(f"acquire user {NIC} owner=s:other wait=t:{HOUR}") == 0
    assert watcher.do("wait 200") == -errno.ETIMEDOUT
    assert " queued held=0 over=0 settled=0" in watcher.seen[-1]
    held.release()
    assert watcher.do("wait 60000") == 0
    assert "held=1" in watcher.seen[-1]


def test_a_step_fails(watcher, sim):
    sim.inject("bind", NIC, errno="ENODEV")
    line = watcher.acquire(NIC, settled="over=1.*settled=1")
    assert " failed " in line and f"error=-{errno.EIO} org.dmaowner1.Error.KernelRefused" in line


def test_is_asked_to_leave(watcher, root):
    watcher.acquire(NIC)
    path = next(iter(root.leases().values()))["Path"]
    root.call(path, LEASE, "Revoke", "st", "maintenance", HOUR)
    line = watcher.until("reason=maintenance")
    assert " revoking held=1 over=0 settled=1" in line and "revoke_at=0 " not in line
    assert watcher.do("release") == 0
    watcher.until("over=1.*end=released")


def test_its_time_is_over(watcher, root):
    watcher.acquire(NIC, f"ttl=t:{HOUR}")
    former, = root.leases().values()
    assert watcher.do(f"renew {2 * HOUR}") == 0
    root.wait(lambda: next(iter(root.leases().values()))["Expires"] > former["Expires"] + HOUR // 2, "the new time")
    root.wait(lambda: watcher.do("renew 100000") == 0, "the answer to the first")
    assert "end=expired" in watcher.until("over=1.*end=.")


@pytest.mark.native
def test_a_process_becomes_its_holder(watcher, root):
    watcher.acquire(NIC)
    child = subprocess.Popen(["sleep", "infinity"])
    assert watcher.do(f"confirm {child.pid}") == 0
    watcher.until("settled=1")
    root.wait(lambda: next(iter(root.leases().values()))["HolderPid"] == child.pid, "the new holder")
    child.kill()
    child.wait()
    watcher.until("over=1.*end=.")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_daemon_goes_and_comes(host, root, watcher, how):
    watcher.acquire(NIC)
    getattr(host.daemon, how)()
    watcher.until("held=1.*there=0")
    host.daemon.start()
    watcher.until("held=1.*settled=1 there=1")
    assert watcher.do("release") == 0
    watcher.until("over=1.*end=released")


def test_it_ends_while_the_daemon_is_away(host, start):
    watcher = start(host)
    watcher.acquire(NIC, "ttl=t:1500000", "holder=s:none")
    host.daemon.kill()
    watcher.until("there=0")
    threading.Event().wait(1.6)
    host.daemon.start()
    watcher.until("settled=1 there=1")
    assert watcher.do("wait 10000") not in (0, -errno.ETIMEDOUT)


def test_the_bus_goes(start):
    with Host(small()) as host:
        watcher = start(host)
        watcher.acquire(NIC)
        host.bus.process.terminate()
        line = watcher.until("connected=0")
        assert f"error=-{errno.ENOTCONN}" in line
        host.daemon.process.wait(PATIENCE)      # there is no daemon without a bus
        host.daemon.process = None


@pytest.mark.parametrize("iommufd", [True, False])
def test_lent_files(start, iommufd):
    with Host({**small(), "kernel": {"version": "6.12", "iommufd": iommufd}}) as host:
        watcher = start(host)
        # two groups; one of them with two devices that share its file
        watcher.acquire(NIC, BRIDGE_A, BRIDGE_B, "access=s:fd")
        assert watcher.do("files") == 0
        assert "error=0" in watcher.until(f"settled=1.*files={5 if iommufd else 4}")
        # once more is all of them again
        assert watcher.do("files") == 0
        assert "error=0" in watcher.until("settled=1")


def test_two_at_once_is_one_too_many(watcher, host):
    watcher.acquire(NIC)
    host.daemon.process.send_signal(signal.SIGSTOP)     # it answers nothing
    answers = [watcher.do(f"renew {HOUR}"), watcher.do(f"renew {HOUR}")]
    host.daemon.process.send_signal(signal.SIGCONT)
    assert answers == [0, -errno.EBUSY]
    assert "error=0" in watcher.until("settled=1")


def test_files_that_are_not_lent(watcher):
    watcher.acquire(NIC)
    assert watcher.do("files") == 0
    assert f"error=-{errno.EINVAL}" in watcher.until("error=-.*settled=1|settled=1.*error=-")


def test_others_cannot_tell_it_stories(host, root, watcher, other_users):
    line = watcher.acquire(NIC)
    row, = root.leases().values()
    mallory = host.client(uid=MALLORY)
    names = [name for name in root.call_bus("ListNames")[0] if name.startswith(":")]
    name, = [name for name in names if root.call_bus("GetConnectionUnixProcessID", "s", name)[0] == watcher.process.pid]

    def forge(path, interface, member, signature, *body):
        message = new_signal(DBusAddress(path, interface=interface), member, signature, body)
        message.header.fields[HeaderFields.destination] = name
        mallory.connection.send(message)
    forge(row["Path"], LEASE, "Ended", "s", "forged")
    forge(row["Path"], PROPERTIES, "PropertiesChanged", "sa{sv}as", LEASE, {"State": ("s", "lost")}, [])
    forge("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss", "org.dmaowner1", ":1.0", "")
    mallory.manager("GetLease", "s", row["Id"])         # the bus has passed these on
    assert watcher.do(f"renew {HOUR}") == 0
    assert watcher.until("settled=1") and all("held=1 over=0" in seen and "there=1" in seen
                                              for seen in watcher.seen[watcher.seen.index(line):])
