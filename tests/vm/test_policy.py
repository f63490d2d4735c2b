# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy's files on a real kernel: what root's files say is what happens, also where the daemon
would say otherwise."""

import json

import pytest

from devices import DEVICES

pytestmark = pytest.mark.one_kernel
NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
FILE = "/etc/dmaownerd/dmaownerd.json"
SCRUB = "/run/systemd/system/dmaowner-scrub@.service"
UNIT = f"dmaowner-scrub@{NIC}.service"

# One step for the executor from somebody whom it takes for the daemon.
ASK = """\
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("/run/dmaowner-executor.socket")
s.send(json.dumps({"seq": 1, **json.loads(sys.argv[1])}).encode())
print(s.recv(65536).decode())
"""


@pytest.fixture
def policy(host):
    def write(*rules, text=None, check=True):
        put(host, FILE, text or json.dumps({"rules": rules}))
        return host.ctl("reload", check=check)
    yield write
    host.run(f"rm -f {FILE}")
    host.ctl("reload")
    host.ctl("clean", NIC, NIC2)


def put(host, path, text):
    host.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1" && chmod 644 "$1"', "sh", path, text])


def scrub_unit(host, command, more=""):
    put(host, SCRUB, f"[Service]\nType=oneshot\nExecStart=sh -c '{command}'\n{more}")
    host.run("systemctl daemon-reload")


@pytest.fixture
def scrubbed(host):
    """The unit's own witness."""
    yield lambda: host.output("cat /run/scrubbed 2>/dev/null || true").split()
    host.run(f"rm -f {SCRUB} /run/scrubbed && systemctl daemon-reload")


def use(host, device, user, **options):
    """One owner comes and goes."""
    host.release(host.acquire(device, user=user, **options))
    host.wait_free(device)


def held_back(host, device=NIC):
    name = "".join(c if c.isalnum() and not (c.isdigit() and i == 0) else f"_{ord(c):02x}" for i, c in enumerate(device))
    return host.property("device", name, "Device", "HeldBack")


def refused(host, device, user="bob"):
    status, output = host.ctl("acquire", "--holder=none", device, user=user, check=False)
    assert status != 0, output
    return status, output


def test_protected(host, policy):
    policy({"name": "never", "match": {"device": NIC}, "protect": True})
    status, output = refused(host, NIC, "root")
    assert status == 5 and f"{NIC} is protected" in output and f"{FILE}:1" in output
    use(host, NIC2, "alice")


def test_the_executor_protects_by_itself(host, policy):
    """Whatever the daemon says, and though it had the device before: here somebody else is in its place."""
    use(host, NIC, "alice")
    policy({"match": {"device": NIC}, "protect": True})
    step = {"device": NIC, "group": host.group(NIC)}
    # it would take its place back
    host.run("systemctl stop dmaownerd")
    for more in ({"step": "unbind", "value": "e1000e"}, {"step": "set-override", "value": "vfio-pci"},
                 {"step": "bind", "value": "vfio-pci"}, {"step": "set-type", "value": "identity"},
                 {"step": "scrub"}):
        answer = json.loads(host.output(["python3", "-c", ASK, json.dumps({**step, **more})]))
        assert answer["event"] == "done" and answer["errno"] == 1, answer
        assert "rule" in answer.get("text", ""), answer
    host.run("systemctl start dmaownerd")
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)


def test_a_broken_file(host, policy):
    policy({"match": {"device": NIC}, "protect": True})
    status, output = policy(text='{"rules": [\n {"protekt": true}]}', check=False)
    assert status == 1 and f'{FILE}:2:3: there is no key "protekt"' in output
    assert host.run(f"dmaownerctl policy check {FILE}", check=False)[0] == 1
    assert host.run("systemctl reload dmaownerd", check=False)[0] != 0
    assert refused(host, NIC, "root")[0] == 5           # the old policy is in force
    # without an old one nothing is granted
    host.run("systemctl restart dmaownerd")
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)
    assert f"{FILE}:2:3" in refused(host, NIC2, "root")[1]
    put(host, FILE, "{}")
    host.run("systemctl reload dmaownerd")
    use(host, NIC, "alice")


def test_a_method_of_the_policy(host, policy):
    methods = host.output(f"cat /sys/bus/pci/devices/{NIC}/reset_method").split()
    policy({"match": {"device": NIC}, "reset": methods[-1]})
    use(host, NIC, "alice")
    assert host.output(f"cat /sys/bus/pci/devices/{NIC}/reset_method").split() == methods


def test_a_method_that_it_does_not_have(host):
    status, output = host.ctl("acquire", "--holder=none", "--reset=cxl_bus", NIC, check=False)
    assert status == 4 and "has no reset method cxl_bus" in output


def test_what_was_not_reset_is_for_no_other_owner(host, policy):
    methods = f"/sys/bus/pci/devices/{NIC}/reset_method"
    policy({"match": {"device": NIC}, "reset": "required"})
    use(host, NIC, "alice")
    assert held_back(host) == ""                        # it was
    host.run(f"echo > {methods}")                       # now it has none
    try:
        use(host, NIC, "bob")                           # the driver that comes back is an event: it is read anew
        for restart in (False, True):
            if restart:
                host.run("systemctl restart dmaownerd")
                host.wait("daemon is back", lambda: host.leases_or_none() is not None)
            status, output = refused(host, NIC, "alice")
            assert status == 3 and "not reset" in output and "uid 1002" in output
        use(host, NIC, "bob")
        host.ctl("clean", NIC)
        use(host, NIC, "alice")
    finally:
        host.run(f"echo default > {methods}")


def test_a_unit_scrubs_between_owners(host, policy, scrubbed):
    scrub_unit(host, "sleep 3; echo %i >> /run/scrubbed")
    policy({"match": {"device": NIC}, "scrub": "unit"})
    lease = host.acquire(NIC, user="alice")
    assert scrubbed() == []                             # the first owner needs none
    host.release(lease)
    host.wait("the host's driver", lambda: host.driver(NIC) == "e1000e")
    host.wait("the unit", lambda: "being cleaned" in held_back(host))
    status, output = refused(host, NIC)
    assert status == 3 and UNIT in output
    host.wait("the unit's end", lambda: held_back(host) == "")
    assert scrubbed() == [NIC]
    use(host, NIC, "bob")
    host.wait("the unit's end", lambda: held_back(host) == "")
    assert scrubbed() == [NIC, NIC]


def test_a_unit_outlives_the_daemon_and_the_executor(host, policy, scrubbed):
    scrub_unit(host, "sleep 8; echo %i >> /run/scrubbed")
    policy({"match": {"device": NIC}, "scrub": "unit"})
    use(host, NIC, "alice")
    host.wait("the unit", lambda: "being cleaned" in held_back(host))
    host.run("systemctl kill --signal=KILL dmaownerd; systemctl restart dmaowner-executor")
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)
    assert UNIT in refused(host, NIC)[1]
    host.wait("the unit's end", lambda: held_back(host) == "")
    assert scrubbed() == [NIC]                          # joined, not run twice


def test_only_the_service_manager_says_that_a_unit_has_ended(host, policy, scrubbed):
    scrub_unit(host, "sleep 8; echo %i >> /run/scrubbed")
    policy({"match": {"device": NIC}, "scrub": "unit"})
    use(host, NIC, "alice")
    host.wait("the unit", lambda: "being cleaned" in held_back(host))
    job = host.output("systemctl list-jobs --no-legend | awk '/dmaowner-scrub/ { print $1 }'").strip()
    # anybody may send a signal to anybody
    host.run("for name in $(busctl list --unique --no-legend | awk '{ print $1 }'); do "
             "dbus-send --system --type=signal --dest=$name /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager.JobRemoved "
             f"uint32:{job} objpath:/org/freedesktop/systemd1/job/{job} string:{UNIT} string:done; done", user="bob")
    host.run("sleep 1")
    assert "being cleaned" in held_back(host) and scrubbed() == []
    host.wait("the unit's end", lambda: held_back(host) == "")
    assert scrubbed() == [NIC]


def test_a_unit_that_fails(host, policy, scrubbed):
    scrub_unit(host, "exit 7")
    policy({"match": {"device": NIC}, "scrub": "unit"})
    use(host, NIC, "alice")
    host.wait("the failure", lambda: "has failed" in held_back(host))
    assert "Retry" in refused(host, NIC)[1]
    scrub_unit(host, "echo %i >> /run/scrubbed", "RemainAfterExit=yes\n")
    host.retry(host.group(NIC))
    host.wait("the refusal", lambda: "Type=oneshot" in held_back(host))
    scrub_unit(host, "echo %i >> /run/scrubbed")
    host.retry(host.group(NIC))
    host.wait("the unit's end", lambda: held_back(host) == "")
    assert scrubbed() == [NIC]


def test_without_a_unit_an_administrator_helps(host, policy):
    policy({"match": {"device": NIC}, "scrub": "unit"})
    use(host, NIC, "alice")
    host.wait("the refusal", lambda: "no usable unit" in held_back(host))
    assert host.ctl("clean", NIC, user="bob", check=False)[0] == 5
    host.ctl("clean", NIC)
    use(host, NIC, "bob")
