# SPDX-License-Identifier: LGPL-2.1-or-later
"""State that somebody has damaged by hand: said, set aside, nobody's device is given away, and the rest goes on."""

import json
import os
import shutil
import socket
import time

import pytest
from harness import PATIENCE
from harness.client import GROUP, BusError, Lease
from harness.host import Host
from harness.topology import BRIDGE_A, NIC, NIC2, NVME, small

OPENER = 4711
NOBODY = 65534
SECOND = 10**6


# what can be done to a file: each gets its path, with its text still there

def cut(numerator, denominator=1):
    def damage(path):
        text = path.read_bytes()
        path.write_bytes(text[:len(text) * numerator // denominator])
    return damage


def cut_last(path):
    path.write_bytes(path.read_bytes()[:-1])


def text(content):
    return lambda path: path.write_bytes(content)


def member(name, value):
    def damage(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    return damage


def without(name):
    def damage(path):
        kept = json.loads(path.read_text())
        del kept[name]
        path.write_text(json.dumps(kept))
    return damage


def instead(make):
    def damage(path):
        path.unlink()
        make(path)
    return damage


def full_folder(path):
    path.mkdir()
    (path / "x").write_text("x")


def listening(path):
    here = os.open(path.parent, os.O_PATH)      # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


FILE = {
    "empty": text(b""),
    "one byte": text(b"{"),
    "an eighth": cut(1, 8),
    "half": cut(1, 2),
    "all but the last byte": cut_last,
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "garbage": text(b"\x7fELF\x02\x01\x01" + bytes(range(256))),
    "zeros": text(bytes(4096)),
    "zeros behind it": lambda path: path.write_bytes(path.read_bytes() + bytes(512)),
    "too deep": text(b"[" * 100_000),
    "too long": text(b" " * (3 << 20)),
    "no UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b'"me"', b'"\xff\xfe"')),
    "null": text(b"null"),
    "an array": text(b"[]"),
    "an empty object": text(b"{}"),
    "of a newer version": member("version", 2),
    "of no boot": without("boot-id"),
    "a folder": instead(os.mkdir),
    "a folder with something in it": instead(full_folder),
    "a FIFO": instead(os.mkfifo),
    "a dangling link": instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a link to a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to the right text": lambda path: path.symlink_to(path.rename(path.parents[2] / f"{path.name}.moved")),
    "a socket": instead(listening),
    "not to be read": lambda path: path.chmod(0),
}


class Scene:
    """NIC is leased and open, NIC2 is leased, each with a lifeline; then the daemon is killed."""

    def __init__(self, host, **options):
        self.host, self.root, self.sim = host, host.root, host.sim
        self.before = self.sim.state()
        self.lease = self.root.hold(NIC, owner="me", **options)
        self.other = self.root.hold(NIC2, owner="other")
        self.sim.open(NIC, pid=OPENER, comm="qemu", uid=0)
        runtime = host.daemon.runtime
        self.files = {"lease": runtime / "leases" / f"{self.lease.id}.json",
                      "group": runtime / "groups" / f"{NIC}.json"}
        host.daemon.kill()

    def start(self):
        self.host.daemon.start()
        self.root.watch()
        self.sim.operations()

    def said(self, *words):
        log = self.host.daemon.said()
        assert any(all(word in line for word in words) for line in log.splitlines()), f"not said: {words}\n{log}"

    def check_untouched(self):
        """Whoever has it open keeps it, and nobody else gets it."""
        for kind, options in (("user", {}), ("dma-api", {"driver": "e1000e"}), ("dma-api", {})):
            with pytest.raises(BusError) as error:
                self.root.acquire(NIC, kind, owner="another", holder="none", **options)
            assert error.value.name in ("Busy", "Lost", "InUse", "NotViable"), error.value
        assert [done for done in self.sim.operations() if done.get("device") == NIC] == []
        assert self.root.device(NIC)["Driver"] == "vfio-pci"

    def check_others(self):
        assert Lease(self.root, self.other.path, []).State == "active"
        self.root.hold(BRIDGE_A).release()
        self.root.wait_group(BRIDGE_A, "free")
        self.other.release()
        self.root.wait_group(NIC2, "free")

    def retry(self):
        self.root.call(self.root.group_path(NIC), GROUP, "Retry")

    def check_all_back(self):
        self.root.wait_group(NIC, "free")
        assert self.sim.difference(self.before) == {}
        self.root.hold(NIC, owner="next").release()
        self.root.wait_group(NIC, "free")
        assert list((self.host.daemon.runtime / "groups").iterdir()) == []
        assert list((self.host.daemon.runtime / "leases").iterdir()) == []
        assert list((self.host.daemon.runtime / "lifelines").iterdir()) == []


@pytest.fixture
def plain_host(request):
    """Modes mean nothing to root, so the daemon is another user where the test is about them."""
    user = getattr(request, "param", None)
    if user:
        request.getfixturevalue("other_users")
    with Host(small(), user=user) as host:
        host.root.watch()
        yield host


def on_hosts(table):
    return [pytest.param(NOBODY if "to be" in name else None, damage, id=name) for name, damage in table.items()]


@pytest.mark.parametrize("plain_host,damage", on_hosts(FILE), indirect=["plain_host"])
def test_file_of_a_lease(plain_host, damage):
    """Its group knows it, and its lifeline holds it."""
    scene = Scene(plain_host)
    damage(scene.files["lease"])
    scene.start()
    scene.said(f"leases/{scene.lease.id}.json", "set aside as damaged/")
    assert (plain_host.daemon.runtime / "damaged" / f"leases-{scene.lease.id}.json").is_symlink() \
        or (plain_host.daemon.runtime / "damaged" / f"leases-{scene.lease.id}.json").exists()
    scene.check_untouched()
    scene.check_others()
    known = Lease(scene.root, scene.lease.path, []).properties()
    assert (known["State"], known["Owner"], known["Devices"]) == ("active", (0, "me"), [NIC])
    scene.sim.close(NIC, pid=OPENER)
    scene.lease.close()
    scene.check_all_back()


@pytest.mark.parametrize("plain_host,damage", on_hosts(FILE), indirect=["plain_host"])
def test_file_of_a_group(plain_host, damage):
    """Its lease knows whose it is; what the host had nobody knows, so a person has to say."""
    scene = Scene(plain_host)
    damage(scene.files["group"])
    scene.start()
    scene.said(f"groups/{NIC}.json", "set aside as damaged/")
    scene.check_untouched()
    scene.check_others()
    known = Lease(scene.root, scene.lease.path, []).properties()
    assert (known["State"], known["Owner"], known["Devices"]) == ("active", (0, "me"), [NIC])
    scene.lease.release()
    scene.root.wait_group(NIC, "draining")
    scene.check_untouched()
    scene.sim.close(NIC, pid=OPENER)
    shown = scene.root.wait_group(NIC, "failed")
    assert "Retry" in shown["WaitsFor"] and "Accept" in shown["WaitsFor"]
    scene.retry()
    scene.check_all_back()


@pytest.mark.parametrize("plain_host,damage", on_hosts(FILE), indirect=["plain_host"])
def test_files_of_both(plain_host, damage):
    """Nobody knows whose it is. It is lost, whoever has it open keeps it, and a person has to say."""
    scene = Scene(plain_host)
    for path in scene.files.values():
        damage(path)
    scene.start()
    assert scene.root.group_of(NIC)["State"] == "lost"
    assert "Retry" in scene.root.group_of(NIC)["WaitsFor"]
    scene.check_untouched()
    scene.check_others()
    plain_host.restart("kill")
    assert scene.root.group_of(NIC)["State"] == "lost"
    scene.check_untouched()
    scene.retry()
    scene.root.wait_group(NIC, "draining")
    scene.root.wait(lambda: str(OPENER) in scene.root.group_of(NIC)["WaitsFor"], "who keeps it")
    scene.sim.close(NIC, pid=OPENER)
    scene.check_all_back()


def test_all_records_gone(host, root, sim):
    """Not a word is left of who has it. The kernel still shows it in use, and that counts."""
    scene = Scene(host)
    for path in scene.files.values():
        path.unlink()
    scene.start()
    scene.check_untouched()
    sim.close(NIC, pid=OPENER)
    root.hold(NIC, owner="another")


def test_an_unrecorded_group_is_accepted_as_it_is(host, root):
    scene = Scene(host)
    scene.files["group"].write_text("")
    scene.start()
    scene.sim.close(NIC, pid=OPENER)
    scene.lease.release()
    root.wait_group(NIC, "failed")
    root.call(root.group_path(NIC), GROUP, "Accept")
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == root.device(NIC)["HostDriver"] == "vfio-pci"


@pytest.mark.parametrize("when", ["owned", "draining", "failed", "retried"])
def test_an_unknown_record_is_remembered(host, root, sim, when):
    """What was salvaged once survives the next restart, at any point of the way back."""
    scene = Scene(host)
    scene.files["group"].write_text("{")
    scene.start()
    if when == "owned":
        host.restart("kill")
    scene.lease.release()
    if when == "draining":
        host.restart("kill")
    sim.close(NIC, pid=OPENER)
    root.wait_group(NIC, "failed")
    if when == "failed":
        host.restart("kill")
        assert root.group_of(NIC)["State"] == "failed"
    if when == "retried":
        sim.inject("unbind", NIC, hang=True)
    scene.retry()
    if when == "retried":
        root.wait(lambda: sim.hanging(NIC), "unbind to hang")
        host.restart("kill")
        sim.clear()
    root.wait_driver(NIC, "e1000e")
    root.wait_group(NIC, "free")


def test_an_unknown_group_of_three(host, root, sim):
    """A bridge that has no driver is not given one that it never had."""
    before = sim.state()
    lease = root.hold(BRIDGE_A)
    host.daemon.kill()
    for path in (host.daemon.runtime / "groups").iterdir():
        path.write_text("")
    host.daemon.start()
    root.watch()
    lease.release()
    root.wait_group(BRIDGE_A, "failed")
    root.call(root.group_path(BRIDGE_A), GROUP, "Retry")
    root.wait_group(BRIDGE_A, "free")
    assert sim.difference(before) == {}


@pytest.mark.parametrize("kind,options", [("dma-api", {}), ("dma-api", {"driver": "vp-vdpa"}),
                                          ("private-domain", {"driver": "vp-vdpa"})])
@pytest.mark.parametrize("which", ["lease", "group", "both"])
def test_leases_of_kernel_drivers(host, root, sim, kind, options, which):
    before = sim.state()
    lease = root.hold(NIC, kind, **options)
    driver = root.device(NIC)["Driver"]
    host.daemon.kill()
    for name, path in (("lease", host.daemon.runtime / "leases" / f"{lease.id}.json"),
                       ("group", host.daemon.runtime / "groups" / f"{NIC}.json")):
        if which in (name, "both"):
            path.write_text("")
    host.daemon.start()
    root.watch()
    with pytest.raises(BusError):
        root.acquire(NIC, owner="another")
    assert root.device(NIC)["Driver"] == driver
    if which != "both":
        assert Lease(root, lease.path, []).State == "active"
        lease.release()
    if which != "lease":
        root.wait(lambda: root.group_of(NIC)["State"] in ("failed", "lost"), "the group to ask for a person")
        root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    if which != "both":
        assert sim.difference(before) == {}


def wrong_values(value):
    return [wrong for wrong in (None, "../../x", ["../../x"], -1) if wrong != value]


def copy(source, target):
    """A FIFO with whoever has it open."""
    (shutil.copy2 if os.path.isfile(source) else os.link)(source, target)


@pytest.mark.parametrize("which", ["lease", "group"])
def test_members_of_a_wrong_type(host, root, sim, which):
    """Member by member: understood or set aside, and NIC nobody else's, each time from the same state."""
    scene = Scene(host)
    saved = host.folder / "saved"
    shutil.copytree(host.daemon.runtime, saved, copy_function=copy)
    members = json.loads(scene.files[which].read_text())
    outside = host.folder / "x.json"
    outside.write_text("outside")
    for name, value in members.items():
        for wrong in wrong_values(value):
            member(name, wrong)(scene.files[which])
            scene.start()
            assert root.group_of(NIC)["State"] in ("owned", "draining", "lost"), (name, wrong)
            assert root.leases()[scene.other.id]["State"] == "active"
            assert sim.operations() == []
            host.daemon.kill()
            shutil.rmtree(host.daemon.runtime)
            shutil.copytree(saved, host.daemon.runtime, copy_function=copy)
    assert outside.exists()


def test_of_an_earlier_boot(host, root, sim):
    scene = Scene(host)
    for path in scene.files.values():
        member("boot-id", "0" * 36)(path)
    scene.start()
    scene.said(f"leases/{scene.lease.id}.json", "earlier boot")
    scene.said(f"groups/{NIC}.json", "earlier boot")
    assert not list((host.daemon.runtime / "damaged").iterdir())
    scene.check_untouched()     # the kernel shows it in use all the same


@pytest.mark.parametrize("swapped", ["leases", "groups"])
def test_files_that_changed_places(host, root, swapped):
    """What stands in a file under another's name is not believed, and costs the other nothing."""
    scene = Scene(host)
    a, b = (scene.files["lease"], scene.files["lease"].with_name(f"{scene.other.id}.json")) if swapped == "leases" \
        else (scene.files["group"], scene.files["group"].with_name(f"{NIC2}.json"))
    shutil.copy(b, a)
    scene.start()
    scene.said(a.name, "set aside")
    scene.check_untouched()
    assert root.leases().keys() == {scene.lease.id, scene.other.id}
    scene.check_others()


LIFELINE = {name: instead(make) for name, make in {
    "gone": lambda path: None,
    "a file": lambda path: path.write_text("x"),
    "a folder": os.mkdir,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
    "a socket": listening,
}.items()}


@pytest.mark.parametrize("damage", LIFELINE.values(), ids=LIFELINE)
def test_lifeline(host, root, sim, damage):
    """Whether the holder lives cannot be told any more, so the lease lasts while its files are open."""
    scene = Scene(host)
    damage(host.daemon.runtime / "lifelines" / scene.lease.id)
    scene.start()
    scene.said("lifeline", scene.lease.id)
    lease = Lease(root, scene.lease.path, [])
    lease.wait("unconfirmed")
    scene.check_untouched()
    scene.check_others()
    sim.close(NIC, pid=OPENER)
    scene.check_all_back()


@pytest.mark.parametrize("plain_host", [NOBODY], indirect=True)
def test_lifeline_that_may_not_be_read(plain_host):
    scene = Scene(plain_host)
    (plain_host.daemon.runtime / "lifelines" / scene.lease.id).chmod(0)
    scene.start()
    assert Lease(scene.root, scene.lease.path, []).State == "active"
    scene.sim.close(NIC, pid=OPENER)
    scene.lease.close()
    scene.check_others()
    scene.check_all_back()


def test_lifelines_of_nobody_go(host):
    host.daemon.stop()
    os.mkfifo(host.daemon.runtime / "lifelines" / "l99")
    host.daemon.start()
    assert list((host.daemon.runtime / "lifelines").iterdir()) == []


SEQUENCE = {name: FILE[name] for name in ("empty", "garbage", "zeros", "a folder", "a FIFO", "a dangling link",
                                          "a link to a device", "a socket", "not to be read")} | {
    "negative": text(b"-1"),
    "too high": text(b"18446744073709551615"),
    "far too long": text(b"1" * 100),
}


@pytest.mark.parametrize("plain_host,damage", on_hosts(SEQUENCE), indirect=["plain_host"])
def test_sequence(plain_host, damage):
    """Ids are not used again, although it is not known which have been."""
    root = plain_host.root
    ended = root.hold(NIC, holder="none")
    ended.release()
    root.wait_group(NIC, "free")
    plain_host.daemon.kill()
    damage(plain_host.daemon.runtime / "sequence")
    plain_host.daemon.start()
    root.watch()
    assert "sequence" in plain_host.daemon.said() and "set aside" in plain_host.daemon.said()
    first = root.hold(NIC, holder="none")
    assert int(first.id[1:]) > int(ended.id[1:])
    plain_host.restart("kill")
    assert int(root.hold(NIC2, holder="none").id[1:]) > int(first.id[1:])


FOLDER = {
    "a file": lambda path: path.write_text("x"),
    "a FIFO": os.mkfifo,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: path.symlink_to("/tmp"),
}


@pytest.mark.parametrize("damage", FOLDER.values(), ids=FOLDER)
@pytest.mark.parametrize("name", ["leases", "groups", "lifelines", "damaged"])
def test_folder(host, root, sim, name, damage):
    scene = Scene(host)
    folder = host.daemon.runtime / name
    shutil.rmtree(folder)
    damage(folder)
    scene.start()
    scene.said(str(folder), "set aside as damaged")
    scene.check_untouched()
    third = root.hold(NVME)
    third.release()
    root.wait_group(NVME, "free")


@pytest.mark.parametrize("plain_host", [NOBODY], indirect=True)
@pytest.mark.parametrize("name", ["leases", "groups", "lifelines", "damaged"])
def test_folder_that_may_not_be_used(plain_host, name):
    scene = Scene(plain_host)
    (plain_host.daemon.runtime / name).chmod(0)
    scene.start()
    assert Lease(scene.root, scene.lease.path, []).State == "active"
    scene.check_others()


@pytest.mark.parametrize("damage", [*FOLDER.values(), os.mkdir, full_folder])
def test_reserve(host, damage):
    host.daemon.stop()
    reserve = host.daemon.runtime / "reserve"
    reserve.unlink()
    damage(reserve)
    host.daemon.start()
    host.root.hold(NIC).release()
    assert reserve.is_file() and not reserve.is_symlink() and reserve.stat().st_size == 64 << 10


def test_what_nobody_knows_is_set_aside(host):
    """Files that are none of the daemon's; and the same name again and again."""
    runtime = host.daemon.runtime
    host.daemon.stop()
    for _ in range(3):
        for folder in ("leases", "groups"):
            (runtime / folder / "README").write_text("x")
            (runtime / folder / ".hidden").write_text("x")
            (runtime / folder / "x.json").write_text("x")
            full_folder(runtime / folder / "y.json")
            full_folder(runtime / folder / "z.json.new")
            (runtime / folder / "cut.json.new").write_text("{")
        host.daemon.start()
        host.daemon.stop()
        assert not any([*(runtime / "leases").iterdir(), *(runtime / "groups").iterdir()])
    assert len(list((runtime / "damaged").iterdir())) == 3 * 2 * 5
    host.daemon.start()


# what the service manager hands back

def wait_stored(host, names):
    """What the daemon says reaches the service manager a moment later."""
    deadline = time.monotonic() + PATIENCE
    while host.daemon.service.names() != names:
        assert time.monotonic() < deadline, host.daemon.service.names()
        time.sleep(0.01)


def null():
    return os.open("/dev/null", os.O_RDWR)


def pipe_end():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def one_socket():
    return socket.socket(socket.AF_UNIX).detach()


KEY = NIC.replace(":", "_")
OTHER_KEY = NIC2.replace(":", "_")

NONSENSE = {
    "no name of ours": [("", null), ("stored", null), ("a/b/c/d/e", null), ("/" * 200, null), ("x" * 255, null)],
    "an unknown device": [("ffff_ff_1f.7/lent/container/", null)],
    "unknown words": [(f"{KEY}/kept/container/", null), (f"{KEY}/lent/node/", null), (f"{KEY}/lent/cdev/", null),
                      (f"{KEY}/lent/container/x", null), (f"{KEY}/lent", null)],
    "no group's file": [(f"{OTHER_KEY}/lent/container/", null), (f"{OTHER_KEY}/lent/group/", null)],
    "other kinds of files": [(f"{OTHER_KEY}/claim/container/", one_socket), (f"{OTHER_KEY}/claim/group/", pipe_end),
                             (f"{OTHER_KEY}/lent/iommufd/", pipe_end),
                             (f"{OTHER_KEY}/lent/cdev/{OTHER_KEY}", null)],
    "a device of another group": [(f"{OTHER_KEY}/lent/cdev/{KEY}", null)],
    "of a free group": [("0000_0c_00.0/lent/container/", null), ("0000_0c_00.0/lent/group/", null)],
    "far too many": [(f"many/{n}", null) for n in range(900)],
}


@pytest.mark.parametrize("files", NONSENSE.values(), ids=NONSENSE)
def test_stored_files_that_are_nonsense(host, root, files):
    """Closed, and out of the store; what is right stays."""
    lease = root.hold(NIC, access="fd")
    other = root.hold(NIC2)
    kept = host.daemon.service.names()
    host.daemon.kill()
    host.daemon.service.stored += [(name, opened()) for name, opened in files]
    host.daemon.start()
    root.watch()
    wait_stored(host, kept)
    assert "is nobody's" in host.daemon.said()
    for one in (lease, other):
        assert Lease(root, one.path, []).State == "active"
    assert not root.group_of(NIC2)["Claimed"]
    Lease(root, lease.path, []).release()
    root.wait_group(NIC, "free")
    wait_stored(host, [])


@pytest.mark.parametrize("interface", ["container", "iommufd"])
@pytest.mark.parametrize("which", [0, 1])
def test_stored_files_of_the_wrong_kind(interface, which):
    """One file of the two that a lease needs is another one: the lease goes on, its owner has duplicates."""
    with Host({**small(), "kernel": {"version": "6.12", "iommufd": interface == "iommufd"}}) as host:
        root = host.root.watch()
        lease = root.hold(NIC, access="fd")
        host.daemon.kill()
        name, file = host.daemon.service.stored[which]
        os.close(file)
        host.daemon.service.stored[which] = (name, pipe_end())
        host.daemon.start()
        root.watch()
        again = Lease(root, lease.path, [])
        assert again.State == "active"
        with pytest.raises(BusError) as error:
            again.call("OpenFiles", "as", [])
        assert error.value.name == "Lost"
        wait_stored(host, [])
        again.release()
        root.wait_group(NIC, "free")
        assert root.device(NIC)["Driver"] == "e1000e"


def test_stored_twice(host, root):
    """Two files of one name: one is kept, also over the next restart."""
    lease = root.hold(NIC, access="fd")
    kept = host.daemon.service.names()
    host.daemon.kill()
    host.daemon.service.stored += [(name, os.dup(file)) for name, file in host.daemon.service.stored]
    for _ in range(2):
        host.daemon.start()
        root.watch()
        wait_stored(host, kept)
        for _, _, lent in Lease(root, lease.path, []).call("OpenFiles", "as", [])[0]:
            lent.close()
        host.daemon.kill()
    host.daemon.start()
    root.watch()
    Lease(root, lease.path, []).release()
    root.wait_group(NIC, "free")
    wait_stored(host, [])


def test_stored_files_without_a_record(host, root, sim):
    """Not a word is left of the lease, but what keeps its group is not let go of: it is not free."""
    lease = root.hold(NIC, access="fd")
    host.daemon.kill()
    for folder in ("groups", "leases"):
        for path in (host.daemon.runtime / folder).iterdir():
            path.unlink()
    for _ in range(2):
        host.daemon.start()
        root.watch()
        assert root.group_of(NIC)["State"] == "lost"
        assert sim.group(NIC)["claimed"]
        with pytest.raises(BusError) as error:
            root.acquire(NIC, owner="another")
        assert error.value.name == "Lost"
        host.daemon.kill()
    host.daemon.start()
    root.watch()
    root.call(root.group_path(NIC), GROUP, "Retry")
    root.wait_group(NIC, "free")
    assert root.device(NIC)["Driver"] == "e1000e"
    lease.close()
