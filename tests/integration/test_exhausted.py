# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing is left: room in the state folder, descriptors, the bus. Requests fail cleanly, giving back works."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
from harness import PATIENCE
from harness.client import BusError, Lease
from harness.host import Bus, Host
from harness.topology import BRIDGE_A, NIC, NIC2, NVME, SINGLES, small


@contextlib.contextmanager
def small_folder():
    """A host whose state folder is a file system of its own, of 512 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dmaowner-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0755", "none", folder], check=False)
    try:
        if mounted.returncode:
            pytest.skip("nothing can be mounted here")
        host = Host(small())
        host.daemon.runtime = folder
        with host:
            host.root.watch()
            yield host
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(folder)


def fill(folder):
    """To the last byte; returns what makes room again."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return path.unlink


DEVICES = [NIC, NIC2, BRIDGE_A, NVME, *SINGLES[:4]]


def test_a_full_folder():
    """What cannot be written down is not begun; what was is brought to its end."""
    with small_folder() as host:
        root, sim = host.root, host.sim
        before = sim.state()
        leases = [root.hold(device) for device in DEVICES]
        under_way = root.hold(SINGLES[10])
        sim.inject("unbind", SINGLES[10], hang=True)
        under_way.release()
        root.wait(lambda: sim.hanging(SINGLES[10]), "the way back to be under way")
        sim.operations()
        make_room = fill(host.daemon.runtime)
        for kind in ("user", "dma-api"):
            with pytest.raises(BusError) as error:
                root.acquire(SINGLES[20], kind, holder="none")
            assert error.value.name == "QuotaExceeded" and "No space left" in error.value.message
        assert sim.operations() == []
        assert root.group_of(SINGLES[20])["State"] == "free"
        for lease in leases[:4]:
            lease.release()
        for lease in leases[4:]:
            lease.close()
        sim.clear()
        for device in [*DEVICES, SINGLES[10]]:
            root.wait_group(device, "free")
        assert sim.difference(before) == {}
        make_room()
        root.hold(NIC).release()
        root.wait_group(NIC, "free")


@pytest.mark.parametrize("way", ["claim", "restore"])
def test_a_step_that_cannot_be_written_down_is_not_begun(host, root, sim, way):
    """Neither on the way there, which is given up, nor on the way back, which waits."""
    before = sim.state()
    in_the_way = host.daemon.runtime / "groups" / f"{NIC}.json.new"
    if way == "restore":
        lease = root.hold(NIC)
    sim.inject("set-override" if way == "claim" else "revoke-node", NIC, hang=True)
    if way == "claim":
        lease = root.acquire(NIC)
    else:
        lease.release()
    root.wait(lambda: sim.hanging(NIC), "the first step to be under way")
    sim.operations()
    in_the_way.mkdir()
    sim.clear()
    root.wait(lambda: "cannot write the journal" in root.group_of(NIC)["WaitsFor"], "the group to say why")
    assert [done["op"] for done in sim.operations()] == ["set-override" if way == "claim" else "revoke-node"]
    in_the_way.rmdir()
    root.wait_group(NIC, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_with_a_full_folder(how):
    with small_folder() as host:
        root, sim = host.root, host.sim
        before = sim.state()
        leases = [root.hold(device) for device in DEVICES]
        make_room = fill(host.daemon.runtime)
        host.restart(how)
        for device in DEVICES:
            assert root.group_of(device)["State"] == "owned"
        for lease in leases:
            Lease(root, lease.path, []).release()
        for device in DEVICES:
            root.wait_group(device, "free")
        assert sim.difference(before) == {}
        make_room()
        host.restart(how)
        root.hold(NIC)


def test_a_folder_full_of_files():
    """No names left instead of no room."""
    with small_folder() as host:
        root = host.root
        lease = root.hold(NIC)
        made = []
        with contextlib.suppress(OSError):
            while len(made) < 100_000:
                made.append(host.daemon.runtime / f"filler-{len(made)}")
                made[-1].touch()
        lease.release()
        root.wait_group(NIC, "free")
        for path in made:
            path.unlink(missing_ok=True)
        root.hold(NIC)


@pytest.fixture
def few_descriptors(monkeypatch):
    wrapper = os.environ.get("DMAOWNER_TEST_WRAPPER", "")
    monkeypatch.setenv("DMAOWNER_TEST_WRAPPER", f"prlimit --nofile=160 {wrapper}")
    with Host(small()) as host:
        host.root.watch()
        yield host


@pytest.mark.native
@pytest.mark.parametrize("holder", ["lifeline", "process"])
def test_no_descriptors_left(few_descriptors, holder):
    """Somebody takes all there are, and those who ask afterwards are told so; nobody else is hurt."""
    root = few_descriptors.root
    first = root.hold(NIC2)
    pidfd = os.pidfd_open(os.getpid())
    more = {"pidfd": pidfd} if holder == "process" else {}
    taken = []
    with pytest.raises(BusError) as error:
        while len(taken) < 400:
            taken.append(root.acquire(NIC, "dma-api", holder=holder, **more))
    assert error.value.name == "QuotaExceeded" and "Too many open files" in error.value.message
    for _ in range(100):
        with pytest.raises(BusError):
            root.acquire(SINGLES[0], holder=holder, **more)
    assert root.group_of(SINGLES[0])["State"] == "free"
    assert first.State == "active"
    root.hold(BRIDGE_A, holder="none").release()
    root.wait_group(BRIDGE_A, "free")
    first.release()
    root.wait_group(NIC2, "free")
    for lease in taken:
        lease.release()
        lease.close()
    root.wait_group(NIC, "free")
    root.hold(SINGLES[0], holder=holder, **more)
    os.close(pidfd)


def test_the_bus_goes_and_comes_back(host, root, sim):
    """Nobody can ask without it, so the daemon ends, not well, and the service manager starts it again."""
    kept = root.hold(NIC)
    restless = root.hold(NIC2, holder="connection")
    sim.inject("unbind", NVME, hang=True)
    under_way = root.acquire(NVME)
    root.wait(lambda: sim.hanging(NVME), "a step to be under way")
    host.bus.process.send_signal(signal.SIGKILL)
    host.bus.process.wait()
    assert host.daemon.process.wait(PATIENCE) == 1
    assert "The connection to the bus is lost" in host.daemon.said()
    # no bus yet: it says so and ends in the same way
    assert host.daemon.spawn().wait(PATIENCE) == 1
    assert "Cannot connect to the bus" in host.daemon.said()
    host.bus.process.stdout.close()
    (host.folder / "bus").unlink(missing_ok=True)
    host.bus = Bus(host.folder)
    host.daemon.address = host.bus.address
    host.daemon.start()
    again = host.client().watch()
    assert Lease(again, kept.path, []).State == "active"
    again.wait_group(NIC2, "free")      # its holder went with the bus
    assert restless.id not in again.leases()
    again.call("/org/dmaowner1", "org.dmaowner1.Simulation", "Clear")
    again.call("/org/dmaowner1", "org.dmaowner1.Simulation", "Event", "s", '{"event": "release-hang"}')
    Lease(again, under_way.path, []).wait("active")
    kept.close()
    again.wait_group(NIC, "free")
