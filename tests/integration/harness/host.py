# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private bus and the daemon on a simulated host, both as child processes.

    DMAOWNER_BUILD          the build folder (default: build)
    DMAOWNER_TEST_WRAPPER   runs the daemon under something: "valgrind --error-exitcode=99 ..."
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

from . import PATIENCE
from .client import ROOT, SIMULATION, Client
from .service import ServiceManager

TOP = pathlib.Path(__file__).resolve().parents[3]
BUILD = TOP / os.environ.get("DMAOWNER_BUILD", "build")
DAEMON = BUILD / "daemon/dmaownerd"
CLIENT = BUILD / "client/dmaownerctl"
LIBRARY = "libdmaowner/libdmaowner.so.0"        # where the client has it, in the build

BUS_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""

# What a sanitizer, valgrind or assert() leaves on stderr.
TROUBLE = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehavior|runtime error:|Assertion .* failed"
                     r"|^==\d+== (?:Invalid|Conditional|Use of|Syscall param|Mismatched)"
                     r"|definitely lost: [1-9]", re.MULTILINE)


def copy_client(folder):
    """A copy in a folder of its own, with its library: for users whom nobody lets into that of this checkout."""
    library = pathlib.Path(folder) / LIBRARY
    library.parent.mkdir()
    shutil.copy(CLIENT.parent / LIBRARY, library)
    return shutil.copy(CLIENT, folder)


class Bus:
    def __init__(self, folder):
        configuration = folder / "bus.conf"
        configuration.write_text(BUS_CONFIGURATION.format(socket=folder / "bus"))
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile", "--nosyslog",
             "--print-address=1"], stdout=subprocess.PIPE, stderr=open(folder / "bus.log", "w"), text=True)
        self.address = self.process.stdout.readline().strip()

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Daemon:
    """dmaownerd as a child: started, ready, stopped, killed, with what it said."""

    def __init__(self, folder, address, topology, user=None):
        self.folder, self.address, self.topology, self.user = folder, address, topology, user
        self.runtime = folder / "run"
        self.configuration = folder / "etc"
        self.state = folder / "var"
        for one in (self.runtime, self.configuration, self.state):
            one.mkdir(exist_ok=True)
        self.log = folder / "daemon.log"
        self.process = None
        self.environment = {}           # more of it, of the daemon alone
        self.service = ServiceManager(folder / "notify")
        self.program = DAEMON
        if user:
            for one in (folder, self.runtime, self.state, folder / "notify"):
                os.chown(one, user, user)
            # it may be below a folder that others cannot enter
            self.program = pathlib.Path(shutil.copy(DAEMON, folder))

    def become(self):
        if self.user:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)

    def spawn(self, environment=None, address=None):
        """Starts the program and does not wait for it. What is given is not as for the usual one."""
        wrapper = shlex.split(os.environ.get("DMAOWNER_TEST_WRAPPER", ""))
        special = environment or {}
        environment, hand_over = self.service.launch()
        environment = {**os.environ, **environment, "RUNTIME_DIRECTORY": str(self.runtime),
                       "CONFIGURATION_DIRECTORY": str(self.configuration),
                       "STATE_DIRECTORY": str(self.state), **self.environment, **special}
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")

        def prepare():
            hand_over()
            self.become()
        with open(self.log, "a") as log:
            return subprocess.Popen(
                ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh",
                 *wrapper, self.program, "--simulate", self.topology, f"--bus={address or self.address}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                close_fds=False, preexec_fn=prepare)

    def start(self):
        self.process = self.spawn()
        deadline = time.monotonic() + PATIENCE
        while not self.service.ready.wait(0.01):
            assert self.process.poll() is None, \
                f"the daemon ended with status {self.process.returncode}\n{self.said()}"
            assert time.monotonic() < deadline, f"the daemon is not ready after {PATIENCE} s\n{self.said()}"

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """Asks it to end, and insists on a good end."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.process = None
        assert status == 0, f"the daemon ended with status {status}\n{self.said()}"

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.service.close()


class Host:
    """The whole of it: bus, simulated host, daemon, clients. A context manager: at its end the
    daemon must still be alive, must end well when asked, and must not have left a report.
    user: whom the daemon runs as, instead of as whoever runs the tests."""

    def __init__(self, topology, persist=True, user=None):
        # Not below a folder that other users cannot enter: some clients are other users.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dmaowner-"))
        self.folder.chmod(0o755)
        self.topology = self.folder / "topology.json"
        self.bus = Bus(self.folder)
        self.daemon = Daemon(self.folder, self.bus.address, self.topology, user)
        self.clients = []
        # A simulated kernel that has a file survives the daemon, as the real one does.
        remembered = {"persist": str(self.folder / "kernel.json")} if persist else {}
        self.topology.write_text(json.dumps({**topology, **remembered}))

    @property
    def address(self):
        return self.bus.address

    def start(self):
        self.daemon.start()
        self.root = self.client()
        self.sim = Simulation(self.root)
        return self

    def client(self, **who):
        client = Client(self.address, **who)
        self.clients.append(client)
        return client

    def edit_kernel(self, edit):
        """Changes the simulated kernel while the daemon is down: edit(kernel) gets it as JSON."""
        path = self.folder / "kernel.json"
        kernel = json.loads(path.read_text())
        edit(kernel)
        path.write_text(json.dumps(kernel))

    def restart(self, how):
        """how: "stop" or "kill"."""
        getattr(self.daemon, how)()
        self.daemon.start()
        self.root.watch()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, error, *_):
        try:
            if error is None:
                self.check()
        finally:
            self.close()

    def check(self):
        if self.daemon.process:
            assert self.daemon.process.poll() is None, \
                f"the daemon ended by itself with status {self.daemon.process.returncode}\n{self.daemon.said()}"
            self.daemon.stop()
        trouble = TROUBLE.search(self.daemon.said())
        assert not trouble, f"the daemon's report:\n{self.daemon.said()}"

    def close(self):
        for client in self.clients:
            client.close()
        self.daemon.close()
        self.bus.close()
        shutil.rmtree(self.folder)


class Simulation:
    """The host's side of the story: org.dmaowner1.Simulation, as docs/simulation.md has it."""

    def __init__(self, client):
        self.client = client

    def call(self, member, signature="", *arguments):
        return self.client.call(ROOT, SIMULATION, member, signature, *arguments)

    # what it is like

    def dump(self):
        return json.loads(self.call("Dump")[0])

    def state(self):
        """The host without its history and without the faults that wait for it."""
        return canonical(self.dump())

    def difference(self, before):
        """What is not as it was: path -> (then, now)."""
        return difference(before, self.state())

    def operations(self):
        """What was done to the host since the last call; looking is not doing."""
        return [done for done in self.dump()["operations"] if done["op"] != "inspect"]

    def device(self, name):
        return next(device for device in self.dump()["devices"] if device["name"] == name)

    def group(self, device):
        dump = self.dump()
        number = next(one["group"] for one in dump["devices"] if one["name"] == device)
        return next(group for group in dump["groups"] if group["group"] == number)

    def hanging(self, device):
        """Is a process stuck in the kernel with this device or its group?"""
        dump = self.dump()
        number = next(one["group"] for one in dump["devices"] if one["name"] == device)
        return any(step.get("device") == device or step["group"] == number for step in dump["left_behind"])

    # what happens to it

    def inject(self, op, device=None, **what):
        self.call("Inject", "s", json.dumps({"op": op, **({"device": device} if device else {}), **what}))

    def clear(self):
        """No more faults, and what hangs goes on."""
        self.call("Clear")
        self.event("release-hang")

    def event(self, event, **what):
        self.call("Event", "s", json.dumps({"event": event, **what}))

    def open(self, device, pid, comm, uid=0):
        self.event("open", device=device, pid=pid, comm=comm, uid=uid)

    def close(self, device, pid):
        self.event("close", device=device, pid=pid)

    def override(self, device, driver):
        self.event("override", device=device, driver=driver)

    def rebind(self, device, driver):
        """What a person with a shell does."""
        self.event("unbind", device=device)
        self.override(device, driver)
        self.event("bind", device=device, driver=driver)

    def unplug(self, device):
        """Returns what plug() wants."""
        was = self.device(device)
        self.event("unplug", device=device)
        return {name: value for name, value in was.items() if name != "driver_override"}

    def plug(self, device):
        self.event("hotplug", device=device)

    def use(self, device, code=None, text=None):
        self.event("in-use", device=device, obstacles=[{"code": code, "text": text}] if code else [])


def canonical(dump):
    for name in ("operations", "operations_dropped", "faults"):
        dump.pop(name)
    for device in dump["devices"]:
        device.pop("remembered", None)      # the executor's memory, no part of the host
        device.pop("vf_remembered", None)   # likewise
    for name, key in (("devices", "name"), ("groups", "group"), ("drivers", "name")):
        dump[name] = {str(item[key]): item for item in dump[name]}
    return dump


def difference(then, now, path=""):
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return {} if then == now else {path: (then, now)}
    found = {}
    for key in then.keys() | now.keys():
        found |= difference(then.get(key), now.get(key), f"{path}/{key}")
    return found
