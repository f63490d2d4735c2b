# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/examples/dma.c: a device that the library got carries data, and after the release the same does not."""

import pytest

from devices import HOTPLUG_ADDRESS, HOTPLUG_BUS
from test_fd_lease import INTERFACES
from test_hotplug import known, unplug, wait_gone

PROGRAM = "/payload/build/docs/examples/dma"
LIMIT = 64 << 20        # of locked memory, as LimitMEMLOCK= would give it


@pytest.fixture
def edu(host):
    host.guest.qmp("device_add", driver="edu", id="plugged", bus=HOTPLUG_BUS)
    host.wait("the device to be known", lambda: known(host, HOTPLUG_ADDRESS))
    yield HOTPLUG_ADDRESS
    unplug(host)
    wait_gone(host)


@pytest.mark.parametrize("interface", INTERFACES)
def test_data_arrives_only_with_a_lease(host, edu, interface):
    status, output = host.run(f"prlimit --memlock={LIMIT} --pid $$; exec setpriv --reuid=alice --regid=alice --init-groups "
                              f"{PROGRAM} {edu} {interface}", check=False)
    assert status == 0, output
    first, last = output.splitlines()
    assert "went to the device and came back" in first and "nothing arrives" in last
    host.wait_free(edu)
