# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios on the simulated host; tests/vm runs the same ones on a real kernel."""

import json
import pathlib
import subprocess

import pytest

SCENARIOS = pathlib.Path(__file__).resolve().parents[1] / "scenarios"


@pytest.mark.usefixtures("other_users", "member")
@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.scn")), ids=lambda path: path.stem)
def test_scenario(path, tmp_path):
    done = subprocess.run([SCENARIOS / "run", "--trace", tmp_path, path], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    trace = [json.loads(line) for line in (tmp_path / f"{path.stem}.jsonl").read_text().splitlines()]
    assert trace and all(line.keys() == {"op", "role", "arg", "errno", "after"} for line in trace)
