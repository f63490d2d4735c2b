# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services that get their device from dmaowner-lease@.service, under the guest's own systemd."""

import pytest

from devices import DEVICES
from test_policy import put

NIC = DEVICES["nic"].address
LEASE = f"dmaowner-lease@{NIC}.service"
UNITS = "/run/systemd/system"
SERVICE = """[Unit]
BindsTo={lease}
After={lease}
[Service]
User=alice
ExecStart=sh -c '{use}; exec sleep infinity'
"""


@pytest.fixture
def services(host):
    """Two that need the same device."""
    uid = host.output("id -u alice")
    put(host, f"{UNITS}/{LEASE}.d/options.conf", f'[Service]\nEnvironment="OPTIONS=--uid={uid}"\n')
    node = f"/dev/vfio/{host.group(NIC)}"       # which one at a time can open
    for name, use in (("one", f"exec 3<>{node}"), ("two", f"test -w {node} || exit 1")):
        put(host, f"{UNITS}/{name}.service", SERVICE.format(lease=LEASE, use=use))
    host.run("systemctl daemon-reload")
    yield "one", "two"
    host.run(f"systemctl stop one two; rm -r {UNITS}/{LEASE}.d {UNITS}/one.service {UNITS}/two.service; systemctl daemon-reload; "
             "systemctl reset-failed")
    host.wait_free(NIC)
    host.wait_driver(NIC, "e1000e")


def state(host, unit):
    return host.output(f"systemctl is-active {unit} || true")


def test_device_comes_before_and_goes_after(host, services):
    host.run("systemctl start one")
    assert host.driver(NIC) == "vfio-pci" and state(host, "one") == "active"
    lease, = host.leases()
    assert lease["Owner"] == [int(host.output("id -u alice")), f"systemd:{NIC}"]
    host.run("systemctl start two")
    host.run("systemctl stop one")
    assert state(host, "two") == "active" and host.driver(NIC) == "vfio-pci"
    host.run("systemctl stop two")
    host.wait_driver(NIC, "e1000e")
    assert state(host, LEASE) == "inactive"


def test_no_device_no_service(host, services):
    lease = host.acquire(NIC, user="bob")
    assert host.run("systemctl start one", check=False)[0] != 0
    assert state(host, "one") == "inactive"
    said = host.output(f"journalctl -b -u {LEASE}")
    assert f"lease {lease}" in said
    host.release(lease)


def test_the_service_goes_with_the_lease(host, services):
    host.run("systemctl start one")
    lease, = host.leases()
    host.ctl("revoke", lease["Id"], "--deadline=0s", "--reason=maintenance")
    host.wait("the service's end", lambda: state(host, "one") in ("inactive", "failed"))


def test_the_daemon_may_be_restarted(host, services):
    host.run("systemctl start one")
    before = host.leases()
    host.run("systemctl restart dmaownerd")
    host.wait("the daemon is back", lambda: host.leases_or_none() is not None)
    assert [lease["Id"] for lease in host.leases()] == [lease["Id"] for lease in before]
    assert state(host, "one") == "active" and host.driver(NIC) == "vfio-pci"
