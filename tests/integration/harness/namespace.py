# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mount namespaces, for programs whose folders are fixed."""

import os
import shutil
import subprocess


def missing(*programs):
    """What this host lacks for one, and for these programs in it; None: nothing."""
    if os.geteuid() != 0:
        return "only root can make a mount namespace"
    if absent := [str(program) for program in ("unshare", *programs) if not shutil.which(program)]:
        return f"this host has no {', '.join(absent)}"
    # in a chroot, for one, mounts cannot be kept from the host
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return probe.stderr.strip() or None
