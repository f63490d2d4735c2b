# SPDX-License-Identifier: LGPL-2.1-or-later
"""Anybody may send a signal to anybody on a bus; whoever waits for one has to know from whom it is."""

import subprocess

from harness import PATIENCE
from harness.client import LEASE, PROPERTIES
from harness.host import CLIENT
from harness.topology import NIC
from jeepney import DBusAddress, HeaderFields, new_signal

MALLORY = 3     # the bus has to know the user


def forge(client, to, path, interface, member, signature, *body):
    message = new_signal(DBusAddress(path, interface=interface), member, signature, body)
    message.header.fields[HeaderFields.destination] = to
    client.connection.send(message)


def connections(client):
    """Unique names on the bus, by pid."""
    names = [name for name in client.call_bus("ListNames")[0] if name.startswith(":")]
    return {client.call_bus("GetConnectionUnixProcessID", "s", name)[0]: name for name in names}


def test_a_connection_that_is_said_to_be_gone_holds_on(host, root, other_users):
    alive = host.client()
    lease = alive.hold(NIC, holder="connection")
    mallory = host.client(uid=MALLORY)
    forge(mallory, "org.dmaowner1", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss",
          alive.name, alive.name, "")
    mallory.manager("GetLease", "s", lease.id)          # the daemon has seen it
    assert lease.State == "active"
    alive.close()
    root.wait(lambda: lease.id not in root.leases(), "the lease to end with its holder")


def test_dmaownerctl_believes_the_daemon_only(host, root, other_users):
    command = subprocess.Popen([CLIENT, f"--bus={host.address}", "exec", NIC, "--", "sh", "-c", "echo ready; exec sleep infinity"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stdout.readline() == "ready\n"
    row, = root.leases().values()
    mallory, name = host.client(uid=MALLORY), connections(root)[command.pid]
    forge(mallory, name, row["Path"], LEASE, "RevokeRequested", "st", "forged", 1)
    forge(mallory, name, row["Path"], PROPERTIES, "PropertiesChanged", "sa{sv}as", LEASE, {"State": ("s", "lost")}, [])
    forge(mallory, name, row["Path"], LEASE, "Ended", "s", "forged")
    forge(mallory, name, "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss", "org.dmaowner1", ":1.0", "")
    mallory.manager("GetLease", "s", row["Id"])         # the bus has passed these on
    root.call(row["Path"], LEASE, "Release")
    assert "has ended: released" in command.stderr.readline()
    command.terminate()
    assert command.communicate(timeout=PATIENCE)[1] == ""
