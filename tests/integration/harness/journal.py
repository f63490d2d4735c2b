# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real journald that nobody else writes to, in a mount namespace of its own. Programs that are to write to
it, or to read it, run in there too: Journal.wrapper in front of their arguments."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

from . import PATIENCE, namespace

JOURNALD = pathlib.Path("/lib/systemd/systemd-journald")
# The host's kernel has a log and an audit of its own.
CONFIGURATION = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\nForwardToWall=no\n"
SET_UP = f"""\
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 none /run/systemd
mkdir -p /run/log /run/systemd/journal /run/systemd/journald.conf.d
mount -t tmpfs -o mode=0755 none /run/log
mkdir -p /run/log/journal
printf '%s' "$1" > /run/systemd/journald.conf.d/test.conf
exec {JOURNALD}
"""
SOCKET = "/run/systemd/journal/socket"
STDOUT = "/run/systemd/journal/stdout"


def missing():
    """What this host lacks for it; None: nothing."""
    needed = map(pathlib.Path, ("/etc/machine-id", "/run/systemd"))
    if absent := [str(path) for path in needed if not path.exists()]:
        return f"this host has no {', '.join(absent)}"
    return namespace.missing(JOURNALD, "nsenter", "journalctl")


class Journal:
    def __init__(self):
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", SET_UP, "sh", CONFIGURATION],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        self.enter = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", "--"]
        # what follows has the journal as its stderr, as a service of systemd has
        self.wrapper = [*self.enter, "env", f"PYTHONPATH={pathlib.Path(__file__).resolve().parents[1]}",
                        sys.executable, "-m", "harness.journal"]
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, f"journald ended: {self.process.stderr.read()}"
            assert time.monotonic() < deadline, "journald does not listen"
            time.sleep(0.05)

    def _answers(self):
        return self.run("test", "-S", SOCKET, check=False).returncode == 0

    def run(self, *command, **options):
        """In there, to its end."""
        return subprocess.run([*self.enter, *command], text=True, timeout=PATIENCE,
                              **{"capture_output": True, "check": True, **options})

    def sync(self):
        """All that was written so far is there to be read."""
        self.run("journalctl", "--sync")

    def entries(self, *matches):
        self.sync()
        lines = self.run("journalctl", "--directory=/run/log/journal", "--output=json", "--all", *matches).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stderr.close()


def become(command):
    """Connects stderr with the journal and tells so, as systemd does; then it is the command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(STDOUT)
        # identifier, unit, priority, level prefix, and whom it is forwarded to: syslog, kernel, console
        stream.sendall(b"dmaownerd\n\n6\n1\n0\n0\n0\n")
        os.dup2(stream.fileno(), 2)
    seen = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{seen.st_dev}:{seen.st_ino}"
    os.execvp(command[0], command)


if __name__ == "__main__":
    become(sys.argv[1:])
