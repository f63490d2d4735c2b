# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of VFIO that are lent and taken back, on real kernels."""

import pytest

from devices import DEVICES

NIC = DEVICES["nic"].address
PAIR = [DEVICES["bridge_a"].address, DEVICES["bridge_b"].address]
STEPS = "/payload/src/tests/vm/lend-steps"


@pytest.fixture
def executor(host):
    """The executor without the daemon."""
    host.run("systemctl stop dmaownerd.service")
    yield
    # a scenario that failed left them where they were
    for device in [NIC, *PAIR]:
        if host.driver(device) not in ("e1000", "e1000e"):
            host.run(f"cd /sys/bus/pci && echo > devices/{device}/driver_override && "
                     f"{{ echo {device} > devices/{device}/driver/unbind; echo {device} > drivers_probe; }}")
    host.run("systemctl start dmaownerd.service")


def run_steps(host, scenario, *devices):
    status, output = host.run([STEPS, scenario, *devices], check=False, timeout=300)
    assert status == 0, f"{output}\n{host.journal()}"
    assert "as it should be" in output


@pytest.mark.parametrize("devices", [[NIC], PAIR], ids=["one", "two"])
def test_steps_container(host, executor, devices):
    run_steps(host, "container", *devices)


def test_steps_container_holders(host, executor):
    run_steps(host, "container-holders", NIC)


def test_steps_container_refusals(host, executor):
    run_steps(host, "container-refusals", NIC)


@pytest.mark.guests("iommufd")
@pytest.mark.parametrize("devices", [[NIC], PAIR], ids=["one", "two"])
def test_steps_iommufd(host, executor, devices):
    run_steps(host, "iommufd", *devices)


@pytest.mark.guests("iommufd")
def test_steps_iommufd_holders(host, executor):
    run_steps(host, "iommufd-holders", NIC)


@pytest.mark.guests("iommufd")
def test_steps_iommufd_refusals(host, executor):
    run_steps(host, "iommufd-refusals", NIC)
