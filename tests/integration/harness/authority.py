# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real polkitd on a private bus, with the project's actions and with rules of the test's. Its folders are
fixed, so it has a mount namespace of its own: for root only."""

import os
import pathlib
import subprocess
import time

from . import PATIENCE

TOP = pathlib.Path(__file__).resolve().parents[3]
POLKITD = pathlib.Path("/usr/lib/polkit-1/polkitd")
START = """mount --bind "$1" /usr/share/polkit-1/actions
mount --bind "$2" /etc/polkit-1/rules.d
mount -t tmpfs none /usr/share/polkit-1/rules.d
exec "$3" --no-debug"""


class Authority:
    """answers: what polkit says of whom, such as {"games": "YES"}; of everybody else that an administrator has to give his
    password."""

    def __init__(self, host, answers):
        self.host = host
        actions, rules = host.folder / "actions", host.folder / "rules"
        for folder in actions, rules:
            folder.mkdir()
            folder.chmod(0o755)
        (actions / "org.dmaowner1.policy").write_text((TOP / "dbus/org.dmaowner1.policy").read_text())
        lines = "".join(f'if (subject.user == "{user}") return polkit.Result.{answer};\n' for user, answer in answers.items())
        (rules / "50-test.rules").write_text(f"polkit.addRule(function(action, subject) {{\n{lines}}});\n")
        (rules / "50-test.rules").chmod(0o644)

    def __enter__(self):
        log = self.host.folder / "polkitd.log"
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", START, "sh", self.host.folder / "actions", self.host.folder / "rules", POLKITD],
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.host.address}, stdin=subprocess.DEVNULL,
            stdout=open(log, "w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while not self.host.root.call_bus("NameHasOwner", "s", "org.freedesktop.PolicyKit1")[0]:
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
