# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody has taken the daemon over: as its user, in its place, he asks the executor for what it must not do."""

import errno
import json

import pytest

from devices import DEVICES

pytestmark = pytest.mark.one_kernel
NIC, NIC2, USED, VIRTIO = (DEVICES[role].address for role in ("nic", "nic2", "nvme_used", "virtio"))
ROOT = "0000:00:10.0"       # the guest's own disk
POLICY = "/etc/dmaownerd/dmaownerd.json"

ASK = """\
import json, socket, sys
answers = []
for n, step in enumerate(json.loads(sys.argv[1])):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect("/run/dmaowner-executor.socket")
        s.send(json.dumps({"seq": n + 1, **step}).encode())
        answers.append(json.loads(s.recv(65536)))
print(json.dumps(answers))
"""


@pytest.fixture
def ask(host):
    """As the daemon's user, while there is no daemon."""
    host.run(["sh", "-c", f'mkdir -p $(dirname {POLICY}) && printf %s "$1" > {POLICY}', "sh",
              json.dumps({"rules": [{"name": "never", "match": {"device": NIC2}, "protect": True}]})])
    host.run("systemctl stop dmaownerd && systemctl start dmaowner-executor.socket")
    yield lambda steps: json.loads(host.output(["python3", "-c", ASK, json.dumps(steps)], user="dmaownerd"))
    host.run(f"rm {POLICY}; systemctl start dmaownerd")
    host.wait("daemon is back", lambda: host.leases_or_none() is not None)


def attempts(host):
    """(what the executor says, the step)"""
    nic, nic2, used, root, virtio = ({"device": device, "group": host.group(device)} for device in (NIC, NIC2, USED, ROOT, VIRTIO))
    protected = "protected"
    yield from ((protected, {**nic2, **more}) for more in (
        {"step": "unbind", "value": "e1000e"}, {"step": "unbind", "value": "e1000e", "force": True},
        {"step": "set-override", "value": "vfio-pci"}, {"step": "bind", "value": "vfio-pci"}))
    yield protected, {"step": "set-type", "group": nic2["group"], "value": "identity"}
    yield protected, {"step": "grant-node", "group": nic2["group"], "uid": 1001}
    # what the host uses
    yield "is in use", {**used, "step": "unbind", "value": "nvme"}
    yield "is in use", {**root, "step": "unbind", "value": "virtio-pci"}
    # a device is not what it is said to be
    yield "is in IOMMU group", {**nic, "group": nic2["group"], "step": "unbind", "value": "e1000e"}
    yield "bound to e1000e", {**nic, "step": "unbind", "value": "e1000"}
    yield "no device", {**nic, "device": "0000:77:00.0", "step": "unbind", "value": "e1000e"}
    yield "no IOMMU group", {"step": "set-type", "group": 4711, "value": "identity"}
    # paths
    for path in ("../../../../../tmp/x", f"{NIC}/../{NIC2}", "/etc/passwd", ".", ""):
        yield None, {**nic, "device": path, "step": "unbind", "value": "e1000e"}
        yield None, {**nic, "device": path, "step": "set-override", "value": "vfio-pci"}
        yield None, {**nic, "step": "bind", "value": path or "x/y"}
        yield None, {**nic, "step": "set-override", "value": f"{path}/x"}
        yield None, {**nic, "step": "reset", "value": path or "x/y"}
        yield None, {"step": "load-module", "value": path}
    # drivers and modules that are not for it
    for driver in ("pci-stub", "nvme", "virtio-pci", "uio_pci_generic", "e1000"):
        yield None, {**nic, "step": "set-override", "value": driver}
        yield None, {**nic, "step": "bind", "value": driver}
    for module in ("pcspkr", "dummy", "nvme", "loop"):
        yield None, {"step": "load-module", "value": module}
        yield None, {**nic, "step": "load-module", "value": module}
    # values
    yield None, {**nic, "step": "set-type", "value": "identity\nDMA"}
    yield None, {**nic, "step": "set-override", "value": "vfio-pci\nx"}
    yield None, {**virtio, "step": "set-num-vfs", "value": "1"}
    yield None, {**nic, "step": "set-vf", "value": "mac=52:54:00:00:00:01"}
    yield None, {**nic, "step": "reset", "value": "bus"}                # a driver of the host's has it
    yield None, {**nic, "step": "scrub"}
    yield None, {**nic, "step": "evict", "value": "e1000e"}
    yield None, {"step": "grant-node", "group": nic["group"], "uid": 1001}      # it has none
    yield None, {"step": "lend", "group": nic["group"], "value": "auto"}
    yield None, {"step": "run", "value": "/bin/sh"}


def test_it_may_do_nothing_else(host, ask):
    steps = list(attempts(host))
    before = host.output("cat /proc/modules | cut -d' ' -f1 | sort; ls -l /dev/vfio; cat /proc/mounts")
    for (text, step), answer in zip(steps, ask([step for _, step in steps]), strict=True):
        assert answer["event"] == "done" and answer["errno"] != 0, (step, answer)
        assert answer["errno"] not in (errno.EIO, errno.ENOMEM), (step, answer)
        if text:
            assert text in answer.get("text", ""), (step, answer)
    assert host.output("cat /proc/modules | cut -d' ' -f1 | sort; ls -l /dev/vfio; cat /proc/mounts") == before


def test_nobody_else_may_ask(host, ask):
    for user in "alice", "bob", "nobody":
        status, output = host.run(["python3", "-c", ASK, "[{}]"], user=user, check=False)
        assert status != 0 and "PermissionError" in output, output


def test_it_reaches_nothing_past_the_executor(host, ask):
    """The daemon's user has no right on anything by itself."""
    for path in (f"/sys/bus/pci/devices/{NIC}/driver_override", "/sys/bus/pci/drivers/e1000e/unbind", "/dev/vda",
                 "/etc/dmaownerd/dmaownerd.json", "/run/dmaowner-executor/locks"):
        assert host.run(["test", "-w", path], user="dmaownerd", check=False)[0] != 0, path
