# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was decided, and what was done, is found again: in the journal of a host whose daemon has a user and a unit
of its own, and in the audit log of its kernel."""

import json
import re

import pytest

from devices import DEVICES

pytestmark = pytest.mark.one_kernel
NIC = DEVICES["nic"].address
ALICE, MALLORY = "1001", "1003"
DENIED, BUSY = 5, 3
ENDED = "317ff9cc16a044da9799742e6b964f81"
ALLOC, DEALLOC = "2307", "2308"

# Switches the audit of the kernel on, and prints the records of devices as everybody gets them who listens.
LISTEN = """\
import os, re, socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
s.bind((0, 1))
s.send(struct.pack("=IHHII10I", 56, 1001, 1, 1, 0, 1, int(sys.argv[1]), *[0] * 8))
print("listening", os.getpid(), flush=True)
while int(sys.argv[1]):
    packet = s.recv(65536)
    if (kind := struct.unpack("=IH", packet[:6])[1]) in (2307, 2308):
        print(kind, packet[16:].decode(errors="replace").strip(chr(0)), flush=True)
"""

# One step for the executor from somebody whom it takes for the daemon.
ASK = """\
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("/run/dmaowner-executor.socket")
s.send(json.dumps({"seq": 1, **json.loads(sys.argv[1])}).encode())
print(s.recv(65536).decode())
"""


def entries(host, *matches):
    host.run("journalctl --sync")
    text = host.output(["journalctl", "-b", "--all", "-o", "json", *matches])
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def events(host, *what, **options):
    host.run("journalctl --sync")
    return [entry["event"] for entry in json.loads(host.output(["dmaownerctl", "--json=short", "history", *what],
                                                               **options))]


@pytest.fixture
def lease(host):
    """One that has come and gone, and between that somebody who was refused."""
    lease = host.acquire(NIC, user="alice")
    assert host.ctl("acquire", NIC, user="mallory", check=False)[0] == DENIED
    assert host.ctl("acquire", NIC, user="bob", check=False)[0] == BUSY
    host.release(lease)
    host.wait_free(NIC)
    return lease


def test_what_journald_says_of_the_sender(host, lease):
    found = entries(host, f"DMAOWNER_LEASE={lease}")
    assert len(found) >= 4
    user = host.output("id -u dmaownerd")
    for entry in found:
        assert entry["_UID"] == user and entry["_SYSTEMD_UNIT"] == "dmaownerd.service"
        assert entry["DMAOWNER_OWNER"] and entry["DMAOWNER_UID"] == ALICE and NIC in entry["DMAOWNER_DEVICES"]
    # root gave back what was alice's
    asked, = (entry for entry in found if entry.get("DMAOWNER_METHOD") == "Release")
    assert asked["DMAOWNER_CALLER_UID"] == "0"


def test_history(host, lease):
    assert events(host, lease) == ["granted", "active", "asked", "ended"]
    assert events(host, NIC)[-7:] == ["granted", "active", "refused", "refused", "asked", "ended", "group-free"]
    text = host.output(["dmaownerctl", "history", NIC, "--since=1h"])
    ended = [line for line in text.splitlines() if " ended " in line][-1]
    assert lease in ended and "alice:" in ended and ended.endswith("released")
    refused = [line for line in text.splitlines() if " refused " in line]
    assert "mallory" in refused[-2] and "bob" in refused[-1]


def test_nobody_forges_it(host, lease):
    before = events(host, NIC)
    host.run(["sh", "-c", 'printf "MESSAGE=Lease\\nMESSAGE_ID=%s\\nDMAOWNER_DEVICE=%s\\nDMAOWNER_DEVICES=%s\\n'
              '_UID=0\\n_SYSTEMD_UNIT=dmaownerd.service\\n" "$@" | logger --journald', "sh", ENDED, NIC, NIC],
             user="mallory")
    assert entries(host, f"MESSAGE_ID={ENDED}")[-1]["_UID"] == MALLORY
    assert events(host, NIC) == before


def test_who_may_read_it(host, lease):
    status, text = host.ctl("history", user="mallory", check=False)
    assert status == DENIED and "systemd-journal" in text
    assert lease in host.output("setpriv --reuid=bob --regid=bob --groups=systemd-journal dmaownerctl history")


def test_the_catalog_explains_it(host, lease):
    host.run("journalctl --update-catalog")
    text = host.output(["journalctl", "-x", "-n1", f"MESSAGE_ID={ENDED}"])
    assert "has ended" in text and "(uid 1001)" in text and "The reason is: released." in text


@pytest.fixture
def audited(host):
    """The records of the kernel, as (type, text)."""
    listener = host.start(["python3", "-c", LISTEN, "1"])
    listener.wait_output("listening")
    yield lambda: re.findall(r"^(230[78]) (.*)$", listener.output, re.MULTILINE)
    host.run(["python3", "-c", LISTEN, "0"])
    host.run(f"kill {re.search(r'listening ([0-9]+)', listener.output)[1]}")
    listener.wait()


def operations(records):
    return [(kind, *re.search(r"op=(\S+)", text).groups()) for kind, text in records]


@pytest.mark.guests("debian12", "debian13")     # the other kernel has no audit
def test_the_kernel_is_told_what_was_done(host, audited):
    host.release(host.acquire(NIC, user="alice"))
    host.wait_free(NIC)
    group = host.group(NIC)
    host.wait("the last record", lambda: any("e1000e" in text and "op=bind" in text for _, text in audited()))
    records = audited()
    assert operations(records) == [(ALLOC, "unbind"), (ALLOC, "bind"), (ALLOC, "grant-node"), (DEALLOC, "revoke-node"),
                                   (DEALLOC, "claim"), (DEALLOC, "unbind"), (DEALLOC, "bind")]
    for _, text in records:
        assert f"iommu-group={group} " in text and "res=success" in text and " uid=0 " in text
        assert 'exe="/usr/libexec/dmaownerd/dmaowner-executor"' in text
    assert f'device="{NIC}" driver="vfio-pci"' in records[1][1] and f" id={ALICE} " in records[2][1]


@pytest.mark.guests("debian12", "debian13")     # the other kernel has no audit
def test_the_kernel_is_told_what_was_tried(host, audited):
    """Whoever has taken the daemon over leaves a trace too."""
    step = {"step": "bind", "device": NIC, "group": host.group(NIC), "value": "pci-stub"}
    host.run("systemctl stop dmaownerd")    # it would take its connection back at once
    try:
        assert json.loads(host.output(["python3", "-c", ASK, json.dumps(step)]))["errno"] != 0
    finally:
        host.run("systemctl start dmaownerd")
    host.wait("the record", audited)
    assert operations(audited()) == [(DEALLOC, "bind")]
    assert 'driver="pci-stub"' in audited()[0][1] and "res=failed" in audited()[0][1]
