# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second daemon refuses to start, says why, and harms nothing."""

import hashlib
import pathlib

import pytest
from harness import PATIENCE
from harness.client import Lease
from harness.host import Bus
from harness.topology import NIC, NIC2


def contents(folder):
    """What is below it: name -> kind, size and text."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        text = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, text)
    return found


@pytest.fixture
def elsewhere(host, tmp_path):
    """What a second daemon may have of its own: another bus, other folders."""
    tmp_path.chmod(0o755)
    bus = Bus(tmp_path)
    own = {"RUNTIME_DIRECTORY": tmp_path / "run", "STATE_DIRECTORY": tmp_path / "var"}
    yield {"nothing": ({}, host.address),
           "its own bus": ({}, bus.address),
           "its own folders": (own, host.address),
           "its own bus and run-time folder": ({"RUNTIME_DIRECTORY": own["RUNTIME_DIRECTORY"]}, bus.address)}
    bus.close()


@pytest.mark.parametrize("what,says", [
    ("nothing", "Another dmaownerd runs on {run} already"),
    ("its own bus", "Another dmaownerd runs on {run} already"),
    ("its own folders", "Another dmaownerd serves org.dmaowner1"),
    ("its own bus and run-time folder", "Another dmaownerd uses {var} already"),
])
def test_a_second_daemon(host, root, sim, elsewhere, what, says):
    lease = root.hold(NIC, access="fd")
    sim.inject("unbind", NIC2, hang=True)
    under_way = root.acquire(NIC2)
    root.wait(lambda: sim.hanging(NIC2), "a step to be under way")
    sim.operations()
    folders = [host.daemon.runtime, host.daemon.state]
    before = [contents(folder) for folder in folders], (host.folder / "kernel.json").read_text()
    stored = host.daemon.service.names()

    second = host.daemon.spawn(*elsewhere[what])
    assert second.wait(PATIENCE) == 1
    said = says.format(run=host.daemon.runtime, var=host.daemon.state)
    assert said in host.daemon.said()

    assert before == ([contents(folder) for folder in folders], (host.folder / "kernel.json").read_text())
    assert host.daemon.service.names() == stored
    assert sim.operations() == []
    assert lease.State == "active"
    sim.clear()
    under_way.wait("active")
    lease.close()
    assert lease.wait_ended() == "holder-died"


def test_the_lock_is_no_file_that_can_be_removed(host, root):
    """Whatever is removed from the folder, it stays the first one's."""
    for path in host.daemon.runtime.iterdir():
        if path.is_file():
            path.unlink()
    second = host.daemon.spawn()
    assert second.wait(PATIENCE) == 1
    root.hold(NIC)


def test_a_step_that_is_left_behind_holds_no_lock(host, root, sim):
    sim.inject("unbind", NIC, hang=True)
    lease = root.acquire(NIC)
    root.wait(lambda: sim.hanging(NIC), "the step to hang")
    for how in ("stop", "kill"):
        host.restart(how)
    sim.clear()
    Lease(root, lease.path, []).wait("active")
