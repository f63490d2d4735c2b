# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the faults are met in. Each has a host, and a story that begins and ends on an untouched
host; w.way_back() is called where the way back begins."""

from harness.topology import BRIDGE, BRIDGE_A, BRIDGE_B, NIC, NIC2, nic

PF = "0000:20:00.0"
HOLDER, OTHER = 4711, 4712      # process numbers of simulated programs
SECOND = 10**6


def topology(*devices):
    return {"default_domain_type": "DMA", "devices": list(devices),
            "drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": True}]}


def one(**more):
    return topology(nic(NIC, 12)) | more


def two():
    return topology(nic(NIC, 12), nic(NIC2, 13))


def three():
    return topology({"name": BRIDGE, "vendor": "8086", "device": "244e", "class": "060401", "group": 14},
                    nic(BRIDGE_A, 14, device="100e", driver="e1000", matches=["e1000"]),
                    nic(BRIDGE_B, 14, device="100e", driver="e1000", matches=["e1000"]))


def keep(*devices):
    return {"rules": [{"match": {"device": device}, "release": "keep"} for device in devices]}


def use(w, device, pid=HOLDER, lent=False):
    """A program opens the device and maps memory."""
    w.event("open", device=device, pid=pid, comm="dpdk-testpmd", **({"lent": True} if lent else {}))
    w.event("map", pid=pid, bytes=1 << 30)


def node(w):
    lease = w.hold(NIC)
    use(w, NIC)
    w.event("close", device=NIC, pid=HOLDER)
    w.way_back()
    w.release(lease)
    w.until_free()


def module(w):
    """The first lease loads VFIO's module."""
    lease = w.hold(NIC)
    w.way_back()
    w.release(lease)
    w.until_free()


def group_of_three(w):
    lease = w.hold(BRIDGE_A)
    use(w, BRIDGE_B)
    w.event("close", device=BRIDGE_B, pid=HOLDER)
    w.way_back()
    w.release(lease)
    w.until_free()


def two_groups(w):
    lease = w.hold([NIC, NIC2])
    w.way_back()
    w.release(lease)
    w.until_free()


def files(w):
    lease = w.hold(NIC, access="fd")
    use(w, NIC, lent=True)
    w.way_back()
    w.release(lease)
    w.event("close", device=NIC, pid=HOLDER)
    w.until_free()


def type_change(w):
    lease = w.hold(NIC, "dma-api", default_domain_type="identity")
    second = w.hold(NIC, "dma-api", owner="other", default_domain_type="identity")
    w.release(lease)
    w.way_back()
    w.release(second)
    w.until_free()


def private_domain(w):
    lease = w.hold(NIC, "private-domain", driver="vp-vdpa")
    w.way_back()
    w.release(lease)
    w.until_free()


def virtual_functions(w):
    lease = w.hold(PF, vfs=2)
    w.way_back()
    w.release(lease)
    w.until_free()


def quarantine(w):
    first = w.hold(NIC, owner="first", access="fd")
    use(w, NIC, lent=True)
    w.release(first)
    w.event("close", device=NIC, pid=HOLDER)
    w.until_state(NIC, "quarantined")
    second = w.hold(NIC, owner="second", access="fd")
    w.release(second)
    w.until_state(NIC, "quarantined")
    w.way_back()
    w.give_back(NIC)
    w.until_free()


def holder_dies(w):
    """The holder dies, and a duplicate of his file keeps the group for a while."""
    lease = w.hold(NIC)
    use(w, NIC)
    w.way_back()
    w.let_go(lease)
    w.until_state(NIC, "draining", "restoring")     # without a claim an unbind waits
    w.event("close", device=NIC, pid=HOLDER)
    w.until_free()


def revoked(w):
    """Who is asked to leave and does not is evicted."""
    lease = w.hold(NIC)
    use(w, NIC)
    w.way_back()
    w.revoke(lease, 0)
    w.until(lambda: w.is_hanging(NIC), "the eviction")
    w.event("close", device=NIC, pid=HOLDER)
    w.until_free()


def expires(w):
    lease = w.hold(NIC, holder="none")
    w.way_back()
    w.expires(lease, SECOND // 10)
    w.until_free()


def queued(w):
    first = w.hold(NIC, owner="first")
    second = w.ask(NIC, owner="second", wait=2**63)
    w.release(first)
    w.until_active(second)
    w.way_back()
    w.release(second)
    w.until_free()


def restarted(w):
    """One lease is active and another begins while the daemon is started again."""
    first = w.hold(NIC)
    use(w, NIC)
    second = w.ask(NIC2)
    w.restart()
    w.until_active(second)
    w.way_back()
    w.release(first)
    w.restart()
    w.release(second)
    w.event("close", device=NIC, pid=HOLDER)
    w.until_free()


class Scenario:
    def __init__(self, name, story, host, policy=None, fresh=False):
        self.name, self.story, self.host, self.policy = name, story, host, policy
        self.fresh = fresh      # needs a new host for each case


IOMMUFD = {"kernel": {"version": "6.12", "iommufd": True}}
UNLOADED = {"drivers": [{"name": "vfio-pci", "module": "vfio_pci", "loaded": False}]}
IGB = {"driver": "igb", "matches": ["igb", "igbvf"], "device": "10c9", "total_vfs": 4, "vf_device": "10ca"}

SCENARIOS = {scenario.name: scenario for scenario in [
    Scenario("node", node, one()),
    Scenario("module", module, one(**UNLOADED), fresh=True),
    Scenario("group-of-three", group_of_three, three()),
    Scenario("two-groups", two_groups, two()),
    Scenario("fd-container", files, one()),
    Scenario("fd-iommufd", files, one(**IOMMUFD)),
    Scenario("type", type_change, one()),
    Scenario("type-6.1", type_change, one(kernel="6.1")),
    Scenario("private-domain", private_domain, one()),
    Scenario("vfs", virtual_functions, topology(nic(PF, 3, **IGB))),
    Scenario("quarantine-container", quarantine, one(), keep(NIC)),
    Scenario("quarantine-iommufd", quarantine, one(**IOMMUFD), keep(NIC)),
    Scenario("holder-dies", holder_dies, one()),
    Scenario("revoked", revoked, one()),
    Scenario("expires", expires, one()),
    Scenario("queued", queued, one()),
    Scenario("restarted", restarted, two()),
]}
