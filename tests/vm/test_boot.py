# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host is started anew: who has a device then without having to ask for it."""

import pytest

from conftest import ONE, Host
from devices import DEVICES
from guest import Guest
from test_policy import put

pytestmark = pytest.mark.long
NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
SERVICE = f"""[Unit]
BindsTo=dmaowner-lease@{NIC}.service
After=dmaowner-lease@{NIC}.service
[Service]
ExecStart=sh -c 'readlink /sys/bus/pci/devices/{NIC}/driver > /root/found; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def own_host(request, payload):
    """A guest that no other test has."""
    name = (request.config.getoption("guest") or [ONE])[0]
    with Guest(name, payload=payload) as guest:
        guest.wait_ready()
        guest.run("/payload/src/tests/vm/guest-setup --start")
        yield Host(guest)
        guest.poweroff()


def test_services_and_reservations(own_host):
    host = own_host
    put(host, "/etc/systemd/system/needs-it.service", SERVICE)
    host.run(f"systemctl enable dmaownerd needs-it dmaowner-lease@{NIC2}")
    host.guest.reboot()
    host.wait("the reservation", lambda: host.output(f"systemctl is-active dmaowner-lease@{NIC2} || true") == "active")
    host.wait("the service", lambda: host.output("systemctl is-active needs-it || true") == "active")
    assert sorted(lease["Devices"] for lease in host.leases()) == [[NIC], [NIC2]]
    assert host.driver(NIC) == host.driver(NIC2) == "vfio-pci"
    assert host.output("basename $(cat /root/found)") == "vfio-pci"     # it was there before the service
    host.run("systemctl disable --now needs-it")
    host.wait_driver(NIC, "e1000e")
    assert host.driver(NIC2) == "vfio-pci"
