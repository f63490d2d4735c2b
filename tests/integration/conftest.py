# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures. A host checks the daemon's end and its stderr when the test is over."""

import contextlib
import grp
import os
import signal

import pytest

from harness.host import Host, difference
from harness.topology import DISK_USED, NIC_USED, SPOILER, small

SAID = 8000     # as much of a daemon's log as one wants to read


def pytest_configure(config):
    config.addinivalue_line("markers", "story: one of the few that valgrind sees in every ./check")
    config.addinivalue_line("markers", "native: uses what valgrind 3.19 does not know (pidfd_open)")


# A job in the background of a script is started with SIGINT ignored, one of nohup with SIGHUP, and so would be
# what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Of a test that fails, what its daemon has said stands in the report."""
    report = (yield).get_result()
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and call.when == "call" and host:
        report.sections.append(("dmaownerd", host.daemon.said()[-SAID:]))


@pytest.fixture
def host():
    with Host(small()) as host:
        root = host.root.watch()
        # It looks at its own pace; only then does nothing change by itself.
        root.wait(lambda: all(root.device(name)["InUse"] for name in (NIC_USED, DISK_USED, SPOILER)),
                  "the use of the devices")
        yield host


@pytest.fixture
def root(host):
    return host.root


@pytest.fixture
def sim(host):
    return host.sim


@pytest.fixture
def unchanged(host):
    """with unchanged(): nothing that anybody could see is different afterwards."""
    def everything():
        return host.sim.state(), host.root.groups(), host.root.leases(), host.root.managed_objects()

    @contextlib.contextmanager
    def watch():
        before = everything()
        host.sim.operations()
        yield
        assert [difference(then, now) for then, now in zip(before, everything())] == [{}, {}, {}, {}]
        assert host.sim.operations() == []
    return watch


@pytest.fixture
def other_users():
    if os.geteuid() != 0:
        pytest.skip("only root can be other users")


@pytest.fixture
def member():
    """The number of the group dmaowner, which ./check makes if there is none."""
    try:
        return grp.getgrnam("dmaowner").gr_gid
    except KeyError:
        pytest.skip("this host has no group dmaowner: groupadd --system dmaowner")
