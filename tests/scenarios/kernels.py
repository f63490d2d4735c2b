# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernels that scenarios run on, and the one table of what differs between them: kernels.toml.

The reference is a kernel without any of the features. What a scenario expects and what the trace
of it says holds for that one; a Kernel turns it into what holds for itself.
"""

import fnmatch
import functools
import json
import pathlib
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
WHERE = ("scenario", "op", "role", "arg")
AFTER = ("driver", "override", "type", "owned")


@functools.cache
def table():
    return tomllib.loads((HERE / "kernels.toml").read_text())


def rows():
    return table().get("difference", [])


def names():
    return sorted(table()["kernels"])


def text(value):
    return "-" if value is None else value


def value(word):
    return None if word == "-" else word


class Kernel:
    """One of kernels.toml, or the reference."""

    def __init__(self, name=None):
        known = table()["kernels"][name] if name else {"version": "6.12", "features": []}
        self.name, self.version, self.features = name, known["version"], set(known["features"])
        self.rows = [(number, row) for number, row in enumerate(rows()) if row["feature"] in self.features]

    def topology(self):
        """The simulated host with this kernel."""
        host = json.loads((HERE.parent / "topologies/vm.json").read_text())
        features = self.features - {"vfio_built_in"}
        host["kernel"] = {"version": "6.12", **{feature: True for feature in features}}
        if "vfio_built_in" in self.features:
            host["drivers"] = [*host["drivers"], {"name": "vfio-pci", "module": ""}]
        return host

    def error(self, scenario, op, arg, error):
        """The error that a line of a scenario meets here."""
        line = {"op": op, "arg": arg, "errno": error}
        for _, row in self.rows:
            if "errno" in row and is_there(row, scenario, line) and text(line["errno"]) == row["errno"][0]:
                line["errno"] = value(row["errno"][1])
        return line["errno"]

    def trace(self, scenario, reference):
        """What the reference's trace becomes here, and the numbers of the rows that it took."""
        lines, used = [], set()
        for line in reference:
            line = {**line, "after": dict(line["after"])}
            for number, row in self.rows:
                if is_there(row, scenario, line) and change(row, line):
                    used.add(number)
            lines.append(line)
        return lines, used


def is_there(row, scenario, line):
    place = {"scenario": scenario, **line}
    return all(fnmatch.fnmatchcase(place[key], row[key]) for key in WHERE if key in row and key in place)


def change(row, line):
    """Applies a row, if all that it changes is there to be changed."""
    changes = [(line if key == "errno" else line["after"], key, *row[key]) for key in ("errno", *AFTER) if key in row]
    if any(text(place[key]) != before for place, key, before, _ in changes):
        return False
    for place, key, _, after in changes:
        place[key] = value(after)
    return True


def difference(expected, got):
    """For people; empty if there is none."""
    lines = []
    for number in range(max(len(expected), len(got))):
        then, now = (trace[number] if number < len(trace) else None for trace in (expected, got))
        if then != now:
            lines += [f"line {number + 1}: expected {json.dumps(then)}", f"{'':{len(str(number + 1))}}            found {json.dumps(now)}"]
    return "\n".join(lines)
