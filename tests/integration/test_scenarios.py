# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios on the simulated host, with each kernel that a guest has; tests/vm runs the same
ones in the guests."""

import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))

import kernels      # noqa: E402
import traces       # noqa: E402

# a kernel without features is the reference itself
DIFFERENT = [name for name in kernels.names() if kernels.Kernel(name).features]


@pytest.mark.usefixtures("other_users", "member")
@pytest.mark.parametrize("scenario", traces.SCENARIOS)
def test_scenario(scenario):
    assert traces.simulated(scenario)


@pytest.mark.usefixtures("other_users", "member")
@pytest.mark.parametrize("kernel", DIFFERENT)
@pytest.mark.parametrize("scenario", traces.SCENARIOS)
def test_kernel_differs_as_the_table_says(scenario, kernel):
    expected, _ = kernels.Kernel(kernel).trace(scenario, traces.simulated(scenario))
    difference = kernels.difference(expected, traces.simulated(scenario, kernel))
    assert not difference, difference


@pytest.mark.usefixtures("other_users", "member")
def test_every_row_of_the_table_is_needed():
    used = set()
    for kernel in DIFFERENT:
        for scenario in traces.SCENARIOS:
            used |= kernels.Kernel(kernel).trace(scenario, traces.simulated(scenario))[1]
    assert [row for number, row in enumerate(kernels.rows()) if number not in used] == []
