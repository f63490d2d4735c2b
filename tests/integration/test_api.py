# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the bus shows: the interface, the objects, lists, signals."""

import xml.etree.ElementTree as ElementTree

import pytest
from harness.client import DEVICE, FOR_EVER, GROUP, LEASE, MANAGER, NAME, ROOT, SIMULATION, BusError
from harness.host import TOP, Host
from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, NIC, NIC2, NO_IOMMU, flat, small

SECRETS = {"Owner", "Uid", "Label", "HeldBack"}
NOBODY = (2**32 - 1, "")
CHANGES = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def members(node):
    """An interface as a set. EmitsChangedSignal is "true" where nothing is said."""
    found = set()
    for member in node:
        arguments = tuple((argument.get("name"), argument.get("type"), argument.get("direction", "out"))
                          for argument in member.iter("arg"))
        changes = None
        if member.tag == "property":
            notes = {note.get("name"): note.get("value") for note in member.iter("annotation")}
            changes = notes.get(CHANGES, "true")
        if member.tag != "annotation":
            found.add((member.tag, member.get("name"), member.get("type"), member.get("access"), arguments, changes))
    return found


def described():
    return {node.get("name"): members(node)
            for node in ElementTree.parse(TOP / "dbus/org.dmaowner1.xml").getroot().iter("interface")}


def introspected(client, path):
    return {node.get("name"): members(node) for node in client.introspect(path).findall("interface")
            if node.get("name").startswith(NAME)}


def test_every_interface_is_as_its_file_says(root):
    lease = root.hold(NIC)
    paths = {MANAGER: ROOT, SIMULATION: ROOT, GROUP: root.group_path(NIC),
             DEVICE: root.manager("GetDevice", "s", NIC)[0], LEASE: lease.path}
    assert paths.keys() == described().keys()
    for name, path in paths.items():
        assert introspected(root, path)[name] ^ described()[name] == set(), name
        assert introspected(root, path).keys() == {other for other, where in paths.items() if where == path}


def test_children_can_be_found_by_introspection(root):
    lease = root.hold(NIC)
    nodes = [root.introspect(path).findall("node") for path in (ROOT, f"{ROOT}/lease", f"{ROOT}/group")]
    top, leases, groups = ({node.get("name") for node in found} for found in nodes)
    assert {"group", "device", "lease"} <= top
    assert lease.id in leases
    assert {str(number) for number in root.groups()} == groups


def test_constant_properties(root):
    properties = root.get_all(ROOT, MANAGER)
    assert properties["Kernel"] == "simulated"
    assert properties["Version"][0].isdigit()


def test_object_manager_has_every_object_and_nothing_else(root):
    lease = root.hold(NIC)
    objects = root.managed_objects()
    kinds = {path: {name for name in interfaces if name.startswith(NAME)} for path, interfaces in objects.items()}
    expected = {root.manager("GetGroup", "u", number)[0]: {GROUP} for number in root.groups()}
    expected |= {root.manager("GetDevice", "s", device["name"])[0]: {DEVICE} for device in small()["devices"]}
    expected |= {lease.path: {LEASE}}
    kinds.pop(ROOT, None)       # the manager itself may be listed
    assert kinds == expected
    assert objects[lease.path][LEASE] == lease.properties()


def test_device_before_and_after(root):
    before = root.device(NIC)
    assert (before["Driver"], before["HostDriver"], before["DriverOverride"]) == ("e1000e", "e1000e", "")
    assert (before["Name"], before["Bus"], before["InUse"]) == (NIC, "pci", "")
    assert before["Class"] == "020000" and before["Vendor"].startswith("8086") and before["Model"].startswith("10d3")
    root.hold(NIC)
    after = root.device(NIC)
    assert (after["Driver"], after["HostDriver"], after["DriverOverride"]) == ("vfio-pci", "e1000e", "vfio-pci")
    assert root.device(NO_IOMMU)["Group"] == -1


def test_group_free_and_owned(root):
    free = root.group_of(NIC)
    assert (free["State"], free["OwnerKind"], free["Owner"], free["Count"]) == ("free", "", NOBODY, 0)
    assert (free["Devices"], free["Leases"], free["Claimed"], free["DefaultDomainType"]) == ([NIC], [], False, "DMA")
    lease = root.hold(NIC, owner="me")
    owned = root.group_of(NIC)
    assert (owned["State"], owned["OwnerKind"], owned["Owner"], owned["Count"]) == ("owned", "user", (0, "me"), 1)
    assert owned["Leases"] == [lease.id]


def test_lease_properties(root):
    lease = root.hold([NIC2, NIC], owner="me", label="for a test", ttl=3600 * 10**6, holder="none")
    shown = lease.properties()
    assert shown["Id"] == lease.id and lease.path == f"{ROOT}/lease/{lease.id}"
    assert (shown["Owner"], shown["Kind"], shown["State"], shown["Failure"]) == ((0, "me"), "user", "active", ("", ""))
    assert shown["Devices"] == [NIC, NIC2]
    assert shown["Groups"] == sorted([root.device(NIC)["Group"], root.device(NIC2)["Group"]])
    assert (shown["Uid"], shown["Holder"], shown["HolderPid"], shown["Label"]) == (0, "none", 0, "for a test")
    assert shown["Expires"] - shown["Created"] == 3600 * 10**6
    assert root.hold(BRIDGE_A).Expires == FOR_EVER


def test_a_group_of_three_names_them_all(root):
    assert root.group_of(BRIDGE_A)["Devices"] == [BRIDGE, BRIDGE_A, BRIDGE_B]


def test_lookups_of_what_is_not_there(root):
    for member, signature, argument, name in (("GetGroup", "u", 4711, "NoSuchGroup"),
                                              ("GetDevice", "s", "0000:ff:1f.7", "NoSuchDevice"),
                                              ("GetLease", "s", "l4711", "NoSuchLease")):
        with pytest.raises(BusError) as refusal:
            root.manager(member, signature, argument)
        assert refusal.value.name == name
    lease = root.hold(NIC)
    assert root.manager("GetLease", "s", lease.id)[0] == lease.path


def test_properties_are_read_only_and_others_do_not_exist(root):
    for arguments in (("Set", "ssv", MANAGER, "Version", ("s", "9")), ("Get", "ss", MANAGER, "Colour")):
        with pytest.raises(BusError):
            root.call(ROOT, "org.freedesktop.DBus.Properties", *arguments)
    with pytest.raises(BusError):
        root.call(f"{ROOT}/group/4711", GROUP, "Retry")


def test_signals_alone_give_the_same_picture_as_asking(host, root, sim):
    """Every property that announces its changes does."""
    watcher = host.client().watch()
    lease = root.hold([NIC, BRIDGE_A], owner="me")
    again = root.hold(NIC, owner="me")
    sim.inject("bind", NIC2, nth=1, errno="EINVAL")
    failed = root.acquire(NIC2)
    failed.wait("failed")
    root.wait_group(NIC2, "free")
    again.call("Renew", "t", 10**12)
    compare(watcher)
    lease.release()
    root.wait_group(BRIDGE_A, "free")
    compare(watcher)
    again.release()
    failed.release()
    root.wait_group(NIC, "free")
    compare(watcher)


def compare(watcher):
    asked = watcher.managed_objects()       # signals sent before the answer arrived before it
    assert watcher.objects.keys() == asked.keys()
    for path, interfaces in asked.items():
        for interface, properties in interfaces.items():
            seen = watcher.objects[path][interface]
            wrong = {name: (seen.get(name), value) for name, value in properties.items()
                     # of secrets the signals say only that they changed
                     if seen.get(name) != value and (name in seen or name not in SECRETS)}
            assert wrong == {}, path


def test_a_lease_appears_before_it_is_told_and_ends_with_a_signal(root):
    lease = root.hold(NIC)
    added = [body[0] for path, _, member, body in root.signals if member == "InterfacesAdded"]
    assert added == [lease.path]
    lease.release()
    assert lease.wait_ended() == "released"
    root.wait(lambda: lease.path in root.gone, "the lease to vanish")


def test_lists_come_in_pages(root):
    numbers = [row["Id"] for row in root.manager("ListGroups", "xu", -1, 256)[0] and root.groups().values()]
    assert numbers == sorted(numbers) and len(numbers) > 4
    paged, after = [], -1
    while page := root.manager("ListGroups", "xu", after, 2)[0]:
        assert len(page) <= 2
        paged += [row["Id"][1] for row in page]
        after = paged[-1]
    assert paged == numbers
    leases = [root.hold(device).id for device in (NIC2, NIC)]
    first, = root.manager("ListLeases", "tu", 0, 1)[0]
    second, = root.manager("ListLeases", "tu", first["Sequence"][1], 1)[0]
    assert [first["Id"][1], second["Id"][1]] == leases
    assert root.manager("ListLeases", "tu", second["Sequence"][1], 1)[0] == []


def test_lists_show_what_the_objects_show(root):
    lease = root.hold(BRIDGE_A)
    row = root.leases()[lease.id]
    assert row.pop("Path") == lease.path and row.pop("Sequence") > 0
    assert row == lease.properties()
    group = root.groups()[root.device(BRIDGE_A)["Group"]]
    devices = group.pop("DeviceList")
    assert group.pop("Path") == root.group_path(BRIDGE_A)
    assert group == root.group_of(BRIDGE_A)
    assert [{**device, "Path": None} for device in devices] == \
        [{**root.device(name), "Path": None} for name in (BRIDGE, BRIDGE_A, BRIDGE_B)]


@pytest.mark.parametrize("limit", [0, 257, 2**32 - 1])
def test_a_page_has_1_to_256_rows(root, limit):
    for member, signature in (("ListGroups", "xu"), ("ListLeases", "tu")):
        with pytest.raises(BusError) as refusal:
            root.manager(member, signature, 0, limit)
        assert refusal.value.name == "InvalidArgs"


def test_four_thousand_groups():
    with Host(flat(4096), persist=False) as host:
        assert list(host.root.groups()) == list(range(4096))
        assert len(host.root.managed_objects()) >= 2 * 4096


def test_simulation_dump_is_json_and_counts_operations(root, sim):
    root.hold(NIC)
    assert sim.operations() != []
    assert sim.operations() == []


@pytest.mark.parametrize("member", ["Inject", "Event"])
def test_simulation_refuses_what_it_does_not_understand(sim, unchanged, member):
    for text in ("", "{", "[]", '{"op":"sing"}', '{"op":"bind","device":"nobody"}', '{"event":"sing"}'):
        with unchanged(), pytest.raises(BusError) as refusal:
            sim.call(member, "s", text)
        assert refusal.value.name == "InvalidArgs"
