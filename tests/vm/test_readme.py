# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's busctl examples do and print what the README says."""

import re

import pytest

from conftest import TOP

pytestmark = pytest.mark.one_kernel
EXAMPLE = re.compile(r"^    \$ (busctl .*)\n((?:    (?!\$).*\n)*)", re.MULTILINE)


def columns(text):
    """Without the padding, which differs from version to version."""
    return [line.split() for line in text.strip().splitlines()]


def test_busctl_examples(host):
    examples = EXAMPLE.findall((TOP / "README.md").read_text())
    assert len(examples) >= 4
    lease = None
    for command, expected in examples:
        if lease:
            command = command.replace("/lease/l1 ", f"/lease/{lease} ")
        if "get-property" in command:
            host.wait("active", lambda: host.lease_state(lease) == "active")
        output = host.output(command)
        if " Acquire " in command:
            lease = re.search(r"/lease/(l\d+)", output)[1]
            expected = expected.replace("/lease/l1", f"/lease/{lease}")
        assert columns(output) == columns(expected), command
    assert host.leases() == []
