# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios of tests/scenarios on real kernels: each does what the simulated host does, but for
the differences that tests/scenarios/kernels.toml has for it. tests/integration runs the same ones on
the simulated host with those kernels, and fails for a row of the table that nobody needs."""

import sys

import pytest

from conftest import TOP

sys.path[1:1] = [str(TOP / "tests/scenarios")]

import kernels      # noqa: E402
import traces       # noqa: E402


@pytest.mark.parametrize("scenario", traces.SCENARIOS)
def test_scenario(host, scenario):
    folder, kernel = "/payload/src/tests/scenarios", host.guest.name
    status, output = host.run(f"{folder}/run --guest --kernel {kernel} --trace /tmp/trace {folder}/{scenario}.scn",
                              timeout=300, check=False)
    assert status == 0, f"{output}\n{host.journal()}"
    got = traces.parse(host.output(f"cat /tmp/trace/{scenario}.jsonl"))
    expected, _ = kernels.Kernel(kernel).trace(scenario, traces.simulated(scenario))
    difference = kernels.difference(expected, got)
    assert not difference, difference


def test_the_table_has_this_kernel(host):
    kernel = kernels.Kernel(host.guest.name)
    assert host.output("uname -r").startswith(kernel.version + ".")
    assert (host.run("test -c /dev/iommu", check=False)[0] == 0) == ("iommufd" in kernel.features)
    built_in = host.run("grep -q /vfio-pci.ko /lib/modules/$(uname -r)/modules.builtin", check=False)[0] == 0
    assert built_in == ("vfio_built_in" in kernel.features)
