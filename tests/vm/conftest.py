# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests for all suites that need the daemon on a real kernel: installed by `meson install`,
started by systemd, asked over the system bus.

One boot of each guest is for all tests; --guest=NAME (more than once, too) chooses. A test that makes
sense only in some says so: @pytest.mark.guests("iommufd"). What no kernel does in its own way
(@pytest.mark.one_kernel) is shown in one guest, and in all of them with --everywhere.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from devices import DEVICES     # noqa: E402
from guest import Guest, GuestError     # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
GUESTS = sorted(path.stem for path in (TOP / "tests/vm/guests").glob("*.toml") if path.stem != "common")
ONE = "debian13"    # the guest that shows what all kernels do alike
DEADLINE = 180   # for what takes a moment in an emulated machine; never a measurement


class Host:
    """The guest as an operator sees it: everything here looks past the daemon, at the kernel."""

    def __init__(self, guest):
        self.guest = guest
        self.run = guest.run
        self.start = guest.start

    def output(self, command, **options):
        return self.run(command, **options)[1].strip()

    def driver(self, device):
        link = f"/sys/bus/pci/devices/{device}/driver"
        return self.output(f"[ -e {link} ] && basename $(readlink {link}) || true")

    def override(self, device):
        return self.output(f"cat /sys/bus/pci/devices/{device}/driver_override").replace("(null)", "")

    def group(self, device):
        return int(self.output(f"basename $(readlink /sys/bus/pci/devices/{device}/iommu_group)"))

    def type(self, device):
        return self.output(f"cat /sys/bus/pci/devices/{device}/iommu_group/type")

    def state(self, *devices):
        """All that a lease may change and has to put back: driver, override, type of each."""
        script = ("for d; do cd /sys/bus/pci/devices/$d; echo $d $(basename $(readlink driver || echo none)) "
                  "$(cat driver_override iommu_group/type); done")
        lines = self.output(["sh", "-c", script, "sh", *devices]).splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    def wait(self, what, condition):
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < DEADLINE, f"in vain: {what}\n{self.journal()}"
            time.sleep(0.1)

    def wait_driver(self, device, driver):
        self.wait(f"{device} on {driver or 'no driver'}", lambda: self.driver(device) == driver)

    def wait_free(self, *devices):
        def all_free():
            return all(group["State"] == "free" for group in self.groups() if set(group["Devices"]) & set(devices))
        self.wait(f"{devices} free", all_free)

    def journal(self):
        """The end of it; and of what it says of leases, and of what went wrong, as steps of many groups push that out."""
        journalctl = "journalctl -b --no-pager -o short-monotonic -u dmaownerd -u dmaowner-executor"
        return self.output(f"{{ {journalctl} --grep='Lease ' | tail -20; {journalctl} -p warning | tail -20; {journalctl} | tail -40; }}")

    # the daemon's own view

    def property(self, kind, name, interface, property_name):
        text = self.output(["busctl", "--json=short", "get-property", "org.dmaowner1", f"/org/dmaowner1/{kind}/{name}",
                            f"org.dmaowner1.{interface}", property_name], check=False)
        return json.loads(text)["data"] if text.startswith("{") else None

    def groups(self):
        text = self.output(["busctl", "--json=short", "call", "org.dmaowner1", "/org/dmaowner1",
                            "org.dmaowner1.Manager", "ListGroups", "xu", "--", "-1", "256"])
        return [{key: value["data"] for key, value in group.items()} for group in json.loads(text)["data"][0]]

    def retry(self, group):
        self.run(["busctl", "call", "org.dmaowner1", f"/org/dmaowner1/group/{group}", "org.dmaowner1.Group", "Retry"])

    def lease_state(self, lease):
        return self.property("lease", lease, "Lease", "State")

    def ctl(self, *arguments, user="root", check=True):
        return self.run(["dmaownerctl", *arguments], user=user, check=check)

    def acquire(self, *devices, user="root", holder="none", options=()):
        """A lease that nobody has to hold; its id."""
        self.ctl("acquire", f"--holder={holder}", *options, *devices, user=user)
        return self.leases()[-1]["Id"]

    def leases(self):
        leases = self.leases_or_none()
        assert leases is not None, self.journal()
        return leases

    def leases_or_none(self):
        """None while nobody answers."""
        text = self.output("busctl --json=short call org.dmaowner1 /org/dmaowner1 org.dmaowner1.Manager "
                           "ListLeases tu 0 256", check=False)
        if not text.startswith("{"):
            return None
        return [{key: value["data"] for key, value in lease.items()} for lease in json.loads(text)["data"][0]]

    def release(self, lease):
        self.ctl("release", lease)


def stage(folder):
    build = TOP / os.environ.get("DMAOWNER_BUILD", "build")
    subprocess.run([TOP / "tests/vm/stage", build, folder, "tests/faults/step-points.so", "docs/examples/dma"], check=True)
    return folder


def pytest_addoption(parser):
    parser.addoption("--guest", action="append", choices=GUESTS, help="only in this guest")
    parser.addoption("--everywhere", action="store_true", help="in all guests also what one of them shows, and what takes long")


def pytest_configure(config):
    config.addinivalue_line("markers", "guests(*names): the test makes sense only in these")
    config.addinivalue_line("markers", "long: only with --everywhere")
    config.addinivalue_line("markers", f"one_kernel: no kernel does this in its own way; in {ONE} alone, unless --everywhere")


def pytest_generate_tests(metafunc):
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", metafunc.config.getoption("guest") or GUESTS, indirect=True, scope="session")


def runs_in_its_guest(item):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if item.get_closest_marker("long") and not item.config.getoption("everywhere"):
        return False
    if "machine" not in parameters:
        return True
    if item.get_closest_marker("one_kernel") and not item.config.getoption("everywhere") and parameters["machine"] != ONE:
        return False
    return all(parameters["machine"] in mark.args for mark in item.iter_markers("guests"))


def pytest_collection_modifyitems(config, items):
    deselected = [item for item in items if not runs_in_its_guest(item)]
    items[:] = [item for item in items if runs_in_its_guest(item)]
    config.hook.pytest_deselected(items=deselected)


@pytest.fixture(scope="session")
def payload(tmp_path_factory):
    return stage(tmp_path_factory.mktemp("payload"))


@pytest.fixture(scope="session")
def machine(request, payload):
    with Guest(request.param, payload=payload) as guest:
        print(f"{guest.name}: ready after {guest.wait_ready():.1f} s", file=sys.stderr)
        guest.run("/payload/src/tests/vm/guest-setup --start")
        yield guest
        # whatever the tests did, it still ends in good order
        guest.poweroff()
        assert guest.process.returncode == 0


@pytest.fixture
def host(machine):
    """Each test finds, and has to leave, a host without leases and everything in its place."""
    host = Host(machine)
    roles = [device.address for device in DEVICES.values()]
    try:
        before = host.state(*roles)
    except GuestError as error:
        # each of the tests left would wait for minutes
        pytest.exit(f"{machine.name} does not answer any more: {error}\n{machine.autopsy()}", returncode=1)
    yield host
    for lease in host.leases():
        host.ctl("release", lease["Id"], check=False)
    left = [group["Id"] for group in host.groups() if group["State"] in ("lost", "failed")]
    for group in left:
        # a fault of this test only, not of those after it
        host.retry(group)
    host.wait_free(*roles)
    assert not left, f"groups left lost or failed: {left}"
    assert host.state(*roles) == before
