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


# Programs that get them, as a user who may open nothing of VFIO

# what an administrator would give with LimitMEMLOCK=
EXEC = ("prlimit --memlock=536870912 --pid $$; exec setpriv --reuid=alice --regid=alice --init-groups "
        "dmaownerctl exec {options} {device} -- {command}")
QEMU = ("qemu-system-x86_64 -machine q35 -m 64 -nodefaults -display none -monitor stdio -S "
        "-device vfio-pci,host={device},rombar=0")


def run_as_alice(host, options, command, stdin=b""):
    return host.run(EXEC.format(options=options, device=NIC, command=command), check=False, timeout=120, stdin=stdin)


@pytest.mark.guests("iommufd")
def test_qemu_gets_a_device_by_descriptor(host):
    assert "Permission denied" in host.run("exec 3<>/dev/iommu", user="alice", check=False)[1]
    status, output = run_as_alice(host, "--qemu", QEMU.format(device=NIC), b"info pci\nquit\n")
    assert status == 0 and "PCI device 8086:10d3" in output, f"{output}\n{host.journal()}"
    assert f'id "dmaowner-{NIC.replace(":", "-")}"' in output
    host.wait_free(NIC)
    host.wait_driver(NIC, "e1000e")


@pytest.mark.guests("iommufd")
def test_command_gets_the_files(host):
    status, output = run_as_alice(host, "--access=fd", "sh -c 'echo $DMAOWNER_FDS; ls -l /proc/$$/fd'")
    assert status == 0, f"{output}\n{host.journal()}"
    assert "iommufd=" in output and f",{NIC}=" in output
    assert "/dev/iommu" in output and "/dev/vfio/devices/vfio" in output
    host.wait_free(NIC)
    host.wait_driver(NIC, "e1000e")
