# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios of tests/scenarios on a real kernel; tests/integration runs the same ones on the simulated host."""

import json

import pytest

from conftest import TOP


@pytest.mark.parametrize("name", sorted(path.stem for path in (TOP / "tests/scenarios").glob("*.scn")))
def test_scenario(host, name):
    scenarios = "/payload/src/tests/scenarios"
    status, output = host.run(f"{scenarios}/run --guest --trace /tmp/trace {scenarios}/{name}.scn", timeout=300, check=False)
    assert status == 0, f"{output}\n{host.journal()}"
    trace = [json.loads(line) for line in host.output(f"cat /tmp/trace/{name}.jsonl").splitlines()]
    assert trace and all(line.keys() == {"op", "role", "arg", "errno", "after"} for line in trace)
