# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schema that editors use and the program that reads the files agree."""

import json
import subprocess

import jsonschema
import pytest
from harness.host import CLIENT, TOP

SCHEMA = json.loads((TOP / "docs/dmaownerd.schema.json").read_text())
MATCHES = {
    "device": (["0000:3b:00.0", "*:00.0", ["0000:3b:*", "*"]], ["", "3B:00.0", "nic", [], [7], None, {}]),
    "id": (["8086:10d3", "8086:*", "*:*", "80*:10d3", ["8086:10d3", "15b3:*"]],
           ["8086", "8086:", ":10d3", "808:10d3", "8086:10d", "8086:10d33", "8086:10D3", "8086:10d3:", []]),
    "class": (["02", "0200", "020000", ["01", "0200"]], ["", "2", "020", "0x02", "02*", "02000000", 2]),
    "driver": (["none", "e1000*", "vfio-pci", ["mlx5_core"]], ["", "a/b", "../x", "a b", True]),
    "pf": (["0000:3b:00.0", "*"], ["pf0", []]),
    "with": (["0000:3b:00.0", "*"], ["x", 1.5]),
    "numa": ([0, -1, 1023, [0, 1]], ["0", -2, 1024, 1.5, 2**70, [], None]),
}
KEYS = {
    "release": (["restore", "keep", "unbound"], ["free", "", None, 1, ["keep"]]),
    "reset": (["auto", "required", "none", "flr", "device_specific"], ["", "FLR", "f l r", "x" * 33, None, True]),
    "scrub": (["none", "unit", "administrator"], ["no", "", True, {}]),
    "protect": ([True, False], ["true", 0, 1, None]),
    "drivers": (["vp-vdpa", ["a", "b_c"]], ["", "none", "e1000*", "../x", [], [1], None]),
    "name": (["the console"], ["", "a\nb", "x" * 129, 1]),
    "comment": (["", "any\ntext"], [1, None]),
    "matches": ([], [{}]),
}
WHO = {
    "users": (["root", "1000", ["daemon", "a.b-c"]], ["", "a b", "a,b", "-a", "a:b", "*", [], [1], 7, None]),
    "groups": (["kvm", ["kvm", "2"]], ["", "a/b", {}]),
    "units": (["libvirtd.service", "vm-*.scope", ["a@b.service"]], ["libvirtd", "a b.service", "x.socket", "", [], 1]),
    "decision": (["allow", "deny", "ask"], [True, "yes", "", None]),
    "comment": ([""], [1]),
    "user": ([], ["root"]),
}
ACCESS = {
    **WHO,
    "kinds": (["user", ["user", "dma-api"]], ["vfio", "", [], 1]),
    "owners": (["libvirt:*", ["a", "b c"]], ["", "a\nb", 1, []]),
    "types": (["DMA", ["identity", "auto", "DMA-FQ"]], ["dma", "", []]),
    "max-ttl": ([1, 3600], [0, -1, "1h", 1.5, 2**70, None]),
    "priority": ([[-100, 100], [0, 0]], [[0], [0, 1, 2], [0, 101], 5, "high", []]),
    "force": ([True, False], ["yes", 1, None]),
    "for": (["*", "alice", ["alice", "*"]], ["", [], 1, "a b"]),
    "actions": ([], ["see"]),
}
MANAGE = {
    **WHO,
    "actions": (["see", ["release", "revoke", "renew", "open", "administer", "reload"]], ["all", "", [], 1]),
    "kinds": ([], ["user"]),
}
LIMITS = {"leases": ([0, 5, 10**6], [-1, 10**6 + 1, "5", 1.5, None]), "queued": ([0], [-1]), "lease": ([], [1])}
FILES = ([{}, {"rules": []}, {"$schema": "x", "comment": "y"}],
         [[], None, {"rules": {}}, {"rules": [{}]}, {"rules": [[]]}, {"rules": [{"match": {}}]}, {"Rules": []},
          {"rules": [{"release": "keep", "match": []}]}, {"rules": [{"release": "keep", "match": {"dev": "*"}}]},
          {"$schema": 1}, {"rules": [{"release": "keep"}, {}]}])


def samples():
    """(what is wanted, file)"""
    for right, values in zip((True, False), FILES):
        yield from ((right, value) for value in values)
    for key, cells in MATCHES.items():
        for right, values in zip((True, False), cells):
            yield from ((right, {"rules": [{"match": {key: value}, "protect": True}]}) for value in values)
    for key, cells in KEYS.items():
        for right, values in zip((True, False), cells):
            more = {"release": "keep"} if key != "release" else {}
            yield from ((right, {"rules": [{**more, key: value}]}) for value in values)
    for keys, wrap in ((ACCESS, lambda entry: {"rules": [{"access": entry}]}),
                             (MANAGE, lambda entry: {"manage": [entry, {}]}),
                             (LIMITS, lambda limits: {"limits": limits})):
        for key, cells in keys.items():
            for right, values in zip((True, False), cells):
                yield from ((right, wrap({key: value})) for value in values)
    yield False, {"rules": [{"access": {"decision": "deny", "force": True}}]}
    yield True, {"rules": [{"access": {"decision": "ask", "force": True}}]}
    yield from ((False, {name: []}) for name in ("manage", "limits"))
    yield False, {"rules": [{"access": []}]}


def is_right(path):
    done = subprocess.run([CLIENT, "policy", "check", path], capture_output=True, text=True)
    assert done.returncode in (0, 1), done
    assert done.returncode == 0 or f"{path}:1:" in done.stderr, done
    return done.returncode == 0


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_schema_and_program_agree(tmp_path):
    validator = jsonschema.Draft7Validator(SCHEMA)
    path = tmp_path / "policy.json"
    for right, sample in samples():
        path.write_text(json.dumps(sample))
        path.chmod(0o644)
        assert (validator.is_valid(sample), is_right(path)) == (right, right), sample


@pytest.mark.parametrize("where", ["docs/dmaownerd.json", "docs/dmaownerd.json.rst"])
def test_examples(tmp_path, where):
    """The file that is installed, and what the manual page shows."""
    text = (TOP / where).read_text()
    if where.endswith(".rst"):
        begin = text.index("    {\n")
        text = text[begin:text.index("\n    }\n", begin) + len("\n    }\n")]
    jsonschema.validate(json.loads(text), SCHEMA)
    path = tmp_path / "policy.json"
    path.write_text(text)
    path.chmod(0o644)
    done = subprocess.run([CLIENT, "policy", "check", path], capture_output=True, text=True)
    assert done.returncode == 0, done
