# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results as JUnit writes them."""

import re
import xml.etree.ElementTree as ElementTree


class Report:
    def __init__(self, suite):
        self.suite = suite
        self.root = ElementTree.Element("testsuite", name=suite)

    def note(self, name, seconds, problem=None):
        """problem: what is wrong, and the last line says it shortly."""
        entry = ElementTree.SubElement(self.root, "testcase", classname=self.suite, name=name, time=f"{seconds:.3f}")
        if problem:
            text = re.sub(r"[^\t\n\x20-\x7e]", "?", problem)    # what XML may have in it
            ElementTree.SubElement(entry, "failure", message=text.splitlines()[-1]).text = text

    def write(self, path):
        if path:
            ElementTree.ElementTree(self.root).write(path)
