# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traces of scenarios on the simulated host, for those who compare."""

import functools
import json
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = sorted(path.stem for path in HERE.glob("*.scn"))


class Failed(Exception):
    pass


def parse(text):
    trace = [json.loads(line) for line in text.splitlines()]
    assert trace and all(line.keys() == {"op", "role", "arg", "errno", "after"} for line in trace)
    return trace


@functools.cache
def simulated(scenario, kernel=None):
    """kernel: a name of kernels.toml, or the reference."""
    with tempfile.TemporaryDirectory() as folder:
        command = [HERE / "run", "--trace", folder, HERE / f"{scenario}.scn"]
        done = subprocess.run(command + (["--kernel", kernel] if kernel else []), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stdout)
        return parse((pathlib.Path(folder) / f"{scenario}.jsonl").read_text())
