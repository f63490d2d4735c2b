# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells what dmaownerd does, with the commands and their real output. Ends with status 1
if the story does not go as it should."""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

DEADLINE = 120
NIC, DISK = "0000:00:03.0", "0000:00:07.0"


def say(text):
    print(f"\n# {text}", flush=True)


def show(who, command, output):
    print("\n".join(filter(None, (f"{who}$ {command}", output.rstrip()))), flush=True)


def expect(condition, what):
    if not condition:
        sys.exit(f"This is not as it should be: {what}")


def build(folder):
    """The build folder of ./check."""
    quiet = {"stdout": subprocess.DEVNULL, "check": True, "cwd": TOP}
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", "--werror", folder], **quiet)
    subprocess.run(["ninja", "-C", folder], **quiet)
    return folder


class Machine:
    """A guest with an emulated IOMMU, a real kernel, systemd, D-Bus, DPDK."""

    command = "dpdk-testpmd --no-huge -m 128 $DMAOWNER_EAL_ARGS -- -i --total-num-mbufs=2048"

    def __init__(self, folder, stack):
        from guest import Guest
        payload = stack.enter_context(tempfile.TemporaryDirectory())
        subprocess.run([TOP / "tests/vm/stage", folder, payload], check=True)
        subprocess.run([TOP / "tests/vm/build-guest", "debian13"], check=True)
        say("A virtual machine boots: Debian 13 with its own kernel and an emulated IOMMU, no KVM needed.")
        self.guest = stack.enter_context(Guest("debian13", payload=payload))
        print(f"up after {self.guest.wait_ready():.0f} s", flush=True)
        self.guest.run("/payload/src/tests/vm/guest-setup --start && mkfifo -m 666 /tmp/silence")
        self.run("root", "uname -r; systemctl is-active dmaownerd.service")

    def run(self, who, command):
        status, output = self.guest.run(command, user=who, check=False)
        show(who, command, output)
        return status, output

    def begin(self):
        show("alice", f"dmaownerctl exec --owner=dpdk {NIC} -- {self.command}", "")
        # testpmd wants to lock 128 MiB: what LimitMEMLOCK= would allow; nobody answers its prompt
        program = self.guest.start(
            "prlimit --memlock=536870912 --pid $$; exec runuser -u alice -- env XDG_RUNTIME_DIR=/tmp "
            f"dmaownerctl exec --owner=dpdk {NIC} -- sh -c 'exec {self.command} <>/tmp/silence'", timeout=600)
        program.wait_output("testpmd>", timeout=DEADLINE)
        print(program.output, flush=True)
        expect("52:54:00" in program.output, "testpmd has no port")
        return program

    def end(self, program):
        self.run("root", "pkill -KILL dpdk-testpmd; pkill -KILL dmaownerctl")

    def driver(self, device):
        return self.guest.run(f"basename $(readlink /sys/bus/pci/devices/{device}/driver)", check=False)[1].strip()


class Simulation:
    """The daemon on a host that is only described, on a bus of its own."""

    command = "sleep infinity"

    def __init__(self, folder, stack):
        self.folder = folder
        runtime = stack.enter_context(tempfile.TemporaryDirectory())
        config = pathlib.Path(runtime, "bus.conf")
        config.write_text('<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
                          '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig>'
                          f"<listen>unix:path={runtime}/bus</listen><auth>EXTERNAL</auth><policy context='default'>"
                          "<allow send_destination='*'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>")
        bus = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.callback(self.stop, bus)
        self.address = bus.stdout.readline().strip()
        say("dmaownerd serves a simulated host on a bus of its own: the one of the virtual machine, described.")
        topology = pathlib.Path(runtime, "host.json")
        host = json.loads((TOP / "tests/topologies/vm.json").read_text())
        host["devices"] = [device for device in host["devices"] if "physfn" not in device]     # 80 lines of VFs
        topology.write_text(json.dumps(host))
        daemon = subprocess.Popen(
            [folder / "daemon/dmaownerd", f"--simulate={topology}", f"--bus={self.address}", "--log-level=3"],
            env={**os.environ, "RUNTIME_DIRECTORY": runtime, "CONFIGURATION_DIRECTORY": runtime})
        stack.callback(self.stop, daemon)
        begin = time.monotonic()
        while self.ctl("status").returncode == 7 and time.monotonic() - begin < DEADLINE:
            time.sleep(0.05)

    @staticmethod
    def stop(process):
        process.terminate()
        process.wait()

    def ctl(self, *arguments):
        return subprocess.run([self.folder / "client/dmaownerctl", f"--bus={self.address}", *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, who, command):
        arguments = command.split()[1:]
        if who != "root" and arguments[0] == "acquire":
            arguments.insert(1, f"--owner={who}")       # one user plays all parts
        result = self.ctl(*arguments)
        show(who, command, result.stdout)
        return result.returncode, result.stdout

    def begin(self):
        show("alice", f"dmaownerctl exec {NIC} -- {self.command}", "")
        program = subprocess.Popen(
            [self.folder / "client/dmaownerctl", f"--bus={self.address}", "exec", "--owner=alice", NIC, "--",
             "sh", "-c", f"echo up with $DMAOWNER_EAL_ARGS; exec {self.command}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        print(program.stdout.readline(), end="", flush=True)
        return program

    def end(self, program):
        show("root", "pkill -KILL sleep; pkill -KILL dmaownerctl", "")
        os.killpg(program.pid, 9)
        program.wait()

    def driver(self, device):
        lines = [line for line in self.ctl("show", device).stdout.splitlines() if line.startswith("Driver ")]
        return lines[0].split()[1] if lines else ""


def tell(host):
    say("The host as dmaownerd sees it. The NIC is on its kernel driver, and a disk is in use.")
    host.run("root", "dmaownerctl list")

    say("alice, an unprivileged user, takes the NIC for the life of a program.")
    expect(host.driver(NIC) == "e1000e", f"{NIC} is not on e1000e")
    program = host.begin()
    expect(host.driver(NIC) == "vfio-pci", f"{NIC} is not on vfio-pci")

    say("Now it is hers, on VFIO; nobody else gets it.")
    host.run("root", f"dmaownerctl show {NIC}")
    status, output = host.run("bob", f"dmaownerctl acquire {NIC}")
    expect(status == 3, "bob is not told that it is busy")

    say("What the host needs is not taken from it.")
    status, output = host.run("bob", f"dmaownerctl acquire {DISK}")
    expect(status == 4 and "mounted" in output, "the disk is not refused")

    say("Her program and the client are killed. The NIC goes back to the kernel.")
    host.end(program)
    begin = time.monotonic()
    while host.driver(NIC) != "e1000e" and time.monotonic() - begin < DEADLINE:
        time.sleep(0.05)
    expect(host.driver(NIC) == "e1000e", f"{NIC} has not come back")
    print(f"back on e1000e after {time.monotonic() - begin:.1f} s")
    host.run("root", "dmaownerctl list")


def main():
    parser = argparse.ArgumentParser(prog="./try", description="Shows what dmaownerd does.")
    parser.add_argument("--simulated", action="store_true", help="on a simulated host, without root, in seconds")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        tell((Simulation if arguments.simulated else Machine)(build(TOP / "build"), stack))
    print("\nThat was it.")


main()
