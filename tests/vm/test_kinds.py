# SPDX-License-Identifier: LGPL-2.1-or-later
"""dma-api leases on real kernels: default domain types, as the kernel itself shows them."""

import json

import pytest

from devices import BRIDGE, DEVICES

NIC, NIC2 = DEVICES["nic"].address, DEVICES["nic2"].address
VIRTIO = DEVICES["virtio"].address
BRIDGE_A, BRIDGE_B = DEVICES["bridge_a"].address, DEVICES["bridge_b"].address


def write(host, path, text):
    """What the kernel answers to somebody else who writes there: the name of the errno, or ""."""
    script = ("import errno, os, sys\n"
              "fd = os.open(sys.argv[1], os.O_WRONLY)\n"
              "try: os.write(fd, sys.argv[2].encode())\n"
              "except OSError as error: print(errno.errorcode[error.errno])")
    return host.output(["python3", "-c", script, path, text])


def type_file(host, device):
    return f"/sys/kernel/iommu_groups/{host.group(device)}/type"


def strict(host):
    """Kernels before 6.4 change single devices only, and say EBUSY where newer ones say EPERM."""
    major, minor = host.output("uname -r").split(".")[:2]
    return (int(major), int(minor)) < (6, 4)


def owned(host):
    return "EBUSY" if strict(host) else "EPERM"


def explain(host, *arguments):
    status, output = host.ctl("explain", "--json", *arguments, check=False)
    return json.loads(output)


def interfaces(host, device):
    """Name and index: an interface that was made anew has another index."""
    return host.output(f"cd /sys/bus/pci/devices/{device}/net && for i in *; do echo $i $(cat $i/ifindex); done")


def ask(host, device, *options):
    host.ctl("acquire", "--holder=none", "--kind=dma-api", *options, device)
    return host.leases()[-1]["Id"]


def test_first_lease_switches_and_the_last_restores(host):
    assert host.type(NIC) == "DMA"
    first = ask(host, NIC, "--owner=first", "--default-domain-type=identity")
    assert (host.type(NIC), host.driver(NIC)) == ("identity", "e1000e")
    # the kernel does not let anybody else change it while the driver has the group
    assert write(host, type_file(host, NIC), "DMA") == owned(host)
    index = interfaces(host, NIC)
    second = ask(host, NIC, "--owner=second", "--default-domain-type=identity")
    status, output = host.ctl("acquire", "--kind=dma-api", "--default-domain-type=DMA", "--owner=third", NIC,
                              check=False)
    assert status == 3 and "first" in output and "default domain type" in output
    host.release(first)
    assert (host.type(NIC), interfaces(host, NIC)) == ("identity", index)
    host.release(second)
    host.wait_free(NIC)
    assert (host.type(NIC), host.driver(NIC)) == ("DMA", "e1000e")


def test_nothing_wished_is_no_kernel_work(host):
    index = interfaces(host, NIC)
    lease = ask(host, NIC)
    assert interfaces(host, NIC) == index
    status, output = host.ctl("acquire", "--kind=user", NIC, check=False)
    assert status == 3 and "dma-api" in output
    host.release(lease)
    host.wait_free(NIC)
    assert interfaces(host, NIC) == index


def test_several_devices_of_a_group(host):
    before = host.state(BRIDGE, BRIDGE_A, BRIDGE_B)
    arguments = ["--kind=dma-api", "--default-domain-type=identity", BRIDGE_A]
    if strict(host):
        answer = explain(host, *arguments)
        obstacle, = answer["obstacles"]
        assert obstacle["code"] == "type-needs-single-device" and "6.4" in obstacle["text"]
        status, output = host.ctl("acquire", "--holder=none", *arguments, check=False)
        assert status == 4 and "6.4" in output and BRIDGE_A in output
        # and that is what the kernel says to anybody
        assert write(host, type_file(host, BRIDGE_A), "identity") == "EINVAL"
    else:
        assert explain(host, *arguments)["obstacles"] == []
        lease = ask(host, BRIDGE_A, "--default-domain-type=identity")
        assert host.type(BRIDGE_B) == "identity"
        assert (host.driver(BRIDGE_A), host.driver(BRIDGE_B)) == ("e1000", "e1000")
        assert write(host, type_file(host, BRIDGE_A), "DMA") == "EPERM"
        host.release(lease)
        host.wait_free(BRIDGE_A)
    assert host.state(BRIDGE, BRIDGE_A, BRIDGE_B) == before


def test_live_change_and_the_type_that_is_owed(host):
    """DMA to DMA-FQ needs no unbind, and nobody is unbound for the way back: it waits, also in a daemon that was
    started again, until a lease leaves a free moment."""
    index = interfaces(host, NIC2)
    lease = ask(host, NIC2, "--default-domain-type=DMA-FQ")
    assert (host.type(NIC2), interfaces(host, NIC2)) == ("DMA-FQ", index)
    host.release(lease)
    host.wait_free(NIC2)
    assert (host.type(NIC2), interfaces(host, NIC2)) == ("DMA-FQ", index)
    host.run("systemctl restart dmaownerd.service")
    lease = host.acquire(NIC2)
    assert host.driver(NIC2) == "vfio-pci"
    host.release(lease)
    host.wait_free(NIC2)
    assert (host.type(NIC2), host.driver(NIC2)) == ("DMA", "e1000e")


def test_auto(host):
    host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/unbind; echo identity > {type_file(host, NIC2)}; "
             f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/bind")
    try:
        lease = ask(host, NIC2, "--default-domain-type=auto")
        assert (host.type(NIC2), host.driver(NIC2)) == ("DMA", "e1000e")
        host.release(lease)
        host.wait_free(NIC2)
        assert (host.type(NIC2), host.driver(NIC2)) == ("identity", "e1000e")
    finally:
        host.run(f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/unbind; echo DMA > {type_file(host, NIC2)}; "
                 f"echo {NIC2} > /sys/bus/pci/drivers/e1000e/bind")


@pytest.mark.parametrize("wished", ["blocked", "unmanaged", "dma", ""])
def test_a_type_that_no_kernel_knows(host, wished):
    status, output = host.ctl("acquire", "--kind=dma-api", f"--default-domain-type={wished}", NIC, check=False)
    assert status in (1, 2) and "default" in output.lower()
    assert (host.type(NIC), host.driver(NIC)) == ("DMA", "e1000e")


# one truth

@pytest.mark.parametrize("arguments", [
    ["--kind=user", NIC], ["--kind=user", BRIDGE_A], ["--kind=dma-api", "--default-domain-type=identity", NIC],
    ["--kind=dma-api", NIC], ["--kind=dma-api", "--default-domain-type=DMA", NIC2]], ids=" ".join)
def test_what_is_explained_is_what_is_done(host, arguments):
    host.run(f"echo e1000e > /sys/bus/pci/devices/{NIC}/driver_override")   # no event tells of it
    try:
        explained = [step["text"] for step in explain(host, *arguments)["steps"]]
        begin = host.output("journalctl -n 0 --show-cursor").split()[-1]
        lease = host.acquire(*arguments[-1:], options=arguments[:-1])
        host.run("journalctl --sync")
        done = host.output(f"journalctl -u dmaownerd -o cat --after-cursor='{begin}'").splitlines()
        prefix = f"Group {host.group(arguments[-1])}: "
        assert [line.removeprefix(prefix) for line in done if line.startswith(prefix)] == explained
        host.release(lease)
        host.wait_free(arguments[-1])
    finally:
        host.run(f"echo > /sys/bus/pci/devices/{NIC}/driver_override")


# private-domain

@pytest.mark.parametrize("driver, code", [("no-such-driver", "no-such-driver"), ("e1000", "driver-not-listed")])
def test_a_driver_that_is_none_for_it(host, driver, code):
    arguments = ["--kind=private-domain", f"--driver={driver}", NIC]
    obstacle, = explain(host, *arguments)["obstacles"]
    assert (obstacle["code"], obstacle["device"]) == (code, NIC)
    status, output = host.ctl("acquire", "--holder=none", *arguments, check=False)
    assert status == 4 and driver in output
    assert host.driver(NIC) == "e1000e"


def test_a_driver_that_is_part_of_the_kernel(host):
    """Where the kernel's own drivers have a table, that tells; else the kernel does, and what was done is undone."""
    before = host.state(NIC)
    arguments = ["--kind=private-domain", "--driver=pcieport", NIC]
    obstacles = [one["code"] for one in explain(host, *arguments)["obstacles"]]
    status, output = host.ctl("acquire", "--holder=none", *arguments, check=False)
    if host.run("grep -q alias=pci: /lib/modules/$(uname -r)/modules.builtin.modinfo", check=False)[0] == 0:
        assert obstacles == ["driver-not-listed"] and status == 4
    else:
        assert obstacles == [] and status != 0 and "pcieport does not take" in output
    host.wait_free(NIC)
    host.wait_driver(NIC, "e1000e")
    assert host.state(NIC) == before


def test_a_private_domain_without_a_driver(host):
    status, output = host.ctl("acquire", "--kind=private-domain", NIC, check=False)
    assert status != 0 and "driver" in output


def test_a_private_domain_in_a_group_of_several(host):
    obstacle, = explain(host, "--kind=private-domain", "--driver=e1000", BRIDGE_A)["obstacles"]
    assert obstacle["code"] == "private-domain-needs-single-device"


POLICY = "/etc/dmaownerd/dmaownerd.json"
LISTED = {"rules": [{"match": {"id": "1af4:*", "driver": "virtio-pci"}, "drivers": "vp-vdpa"}]}


@pytest.fixture
def vdpa(host):
    """vp-vdpa lists no device at all: the administrator has to."""
    host.run("modprobe vp_vdpa")
    obstacle, = explain(host, "--kind=private-domain", "--driver=vp-vdpa", VIRTIO)["obstacles"]
    assert obstacle["code"] == "driver-not-listed"
    host.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1" && chmod 644 "$1"', "sh", POLICY,
              json.dumps(LISTED)])
    host.ctl("reload")
    yield ["--kind=private-domain", "--driver=vp-vdpa", VIRTIO]
    host.run(f"rm -f {POLICY}")
    host.ctl("reload")


# VHOST_SET_OWNER attaches the domain of the driver's own
OWN_VDPA = ("import fcntl, os, time\n"
            "fd = os.open('/dev/vhost-vdpa-0', os.O_RDWR)\n"
            "fcntl.ioctl(fd, 0xaf01)\n"
            "print('owned', flush=True)\n"
            "time.sleep(1000)\n")


@pytest.mark.guests("iommufd")
def test_vp_vdpa(host, vdpa):
    """It has a domain of its own from the moment that a program owns its vDPA device, and the host driver is back
    after that."""
    before = host.state(VIRTIO)
    assert [step["step"] for step in explain(host, *vdpa)["steps"]] == ["set-override", "unbind", "bind"]
    host.ctl("acquire", "--holder=none", "--owner=first", *vdpa)
    lease = host.leases()[-1]["Id"]
    assert host.driver(VIRTIO) == "vp-vdpa"
    for arguments in ["--kind=dma-api", VIRTIO], ["--kind=user", VIRTIO], vdpa:
        status, output = host.ctl("acquire", "--owner=second", *arguments, check=False)
        assert status == 3 and "first" in output
    # the kernel's own word: the type of a group that a driver has does not change
    assert write(host, type_file(host, VIRTIO), "identity") == "EPERM"

    host.run(f"vdpa dev add name vdpa0 mgmtdev pci/{VIRTIO}")
    host.wait("the vDPA device", lambda: host.run("[ -e /dev/vhost-vdpa-0 ]", check=False)[0] == 0)
    program = host.start(["python3", "-c", OWN_VDPA])
    program.wait_output("owned")
    host.release(lease)
    # an unbind would wait for the program: it is shown, and not begun
    host.wait("who is in the way", lambda: "/dev/vhost-vdpa-0 is open in python3" in
              host.property("group", host.group(VIRTIO), "Group", "WaitsFor"))
    assert host.driver(VIRTIO) == "vp-vdpa"
    program.signal(9)
    program.wait()
    host.wait_free(VIRTIO)
    assert host.state(VIRTIO) == before


@pytest.mark.guests("iommufd")
def test_vp_vdpa_that_nobody_opens(host, vdpa):
    before = host.state(VIRTIO)
    host.ctl("acquire", "--holder=none", *vdpa)
    host.run("systemctl restart dmaownerd.service")
    lease, = host.leases()
    assert lease["State"] == "active" and host.driver(VIRTIO) == "vp-vdpa"
    host.release(lease["Id"])
    host.wait_free(VIRTIO)
    assert host.state(VIRTIO) == before
