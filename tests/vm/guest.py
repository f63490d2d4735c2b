# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual machine with an IOMMU, for tests.

    with Guest("debian13", payload="/some/folder") as guest:
        guest.wait_ready()
        status, output = guest.run("lspci -D", timeout=60)
        guest.qmp("device_del", id="nic")

Everything is emulated, so it runs on any computer. The disk forgets what was written, so
every boot is clean. The machine ends with the block, or with this process.
"""

import base64
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from devices import DEVICES, SKELETON

HERE = pathlib.Path(__file__).resolve().parent
BOOT_TIMEOUTS = 150, 240    # of the first and of the last try
# What the agent may need beyond a command's own time: its grace times and a busy host.
SLACK = 30


class GuestError(Exception):
    pass


class CommandFailed(GuestError):
    def __init__(self, command, status, output):
        super().__init__(f"{command!r} in the guest: {'hangs' if status is None else status}\n{output}")
        self.status, self.output = status, output


class Command:
    """A command that runs in the guest. `output` grows while it does."""

    def __init__(self, agent, job, argv, timeout, stream):
        self.agent, self.job, self.argv, self.timeout, self.stream = agent, job, argv, timeout, stream
        self.raw = bytearray()
        self.changed = threading.Condition()
        self.ended = False
        self.status = None

    @property
    def output(self):
        return bytes(self.raw).decode(errors="replace")

    def receive(self, message):
        with self.changed:
            if "out" in message:
                chunk = base64.b64decode(message["out"])
                self.raw += chunk
                if self.stream:
                    self.stream.write(chunk.decode(errors="replace"))
                    self.stream.flush()
            else:
                self.ended, self.status = True, message["exit"]
            self.changed.notify_all()

    def wait(self, timeout=None):
        """The exit status: negative for a signal, None if not even SIGKILL ended it."""
        if not self._wait_until(lambda: self.ended, self.timeout + SLACK if timeout is None else timeout):
            raise GuestError(f"no answer from the guest to {self.argv!r}; so far:\n{self.output}")
        return self.status

    def wait_output(self, text, timeout=60):
        """Waits until the command has printed the text."""
        if not self._wait_until(lambda: self.ended or text in self.output, timeout) or text not in self.output:
            raise GuestError(f"{self.argv!r} did not print {text!r}:\n{self.output}")

    def signal(self, number):
        self.agent.send(id=self.job, signal=int(number))

    def _wait_until(self, true, timeout):
        with self.changed:
            return self.changed.wait_for(lambda: true() or self.agent.closed, timeout) and true()


class Agent:
    """The host's end of the guest's command runner."""

    def __init__(self, connection):
        self.connection = connection
        self.commands = {}
        self.lock = threading.Lock()
        self.ready = threading.Event()
        self.closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, **message):
        try:
            with self.lock:
                self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise GuestError(f"the guest has ended: {error}") from error

    def start(self, argv, timeout, user, stdin, stream):
        command = Command(self, len(self.commands) + 1, argv, timeout, stream)
        self.commands[command.job] = command
        self.send(id=command.job, argv=argv, timeout=timeout, user=user,
                  stdin=base64.b64encode(stdin).decode())
        return command

    def _read(self):
        try:
            with self.connection.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if "ready" in message:
                        self.ready.set()
                    else:
                        self.commands[message["id"]].receive(message)
        except OSError:
            pass
        self.closed = True
        self.ready.set()
        for command in list(self.commands.values()):
            with command.changed:
                command.changed.notify_all()


class Qmp:
    """QEMU's own control channel."""

    def __init__(self, connection):
        connection.settimeout(60)
        self.file = connection.makefile("rw")
        self.events = []

    def greet(self):
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        try:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.file.flush()
        except OSError as error:
            raise GuestError(f"QEMU has ended: {error}") from error
        while True:
            message = self._read()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise GuestError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name, **data):
        """Takes the first event of that name with that data out of those not taken yet."""
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return event
            self.events.append(self._read())

    def _read(self):
        try:
            line = self.file.readline()
        except ConnectionResetError:
            line = ""
        if not line:
            raise GuestError("QEMU has ended")
        return json.loads(line)


class Guest:
    def __init__(self, name="debian13", payload=None, devices=tuple(DEVICES), memory=2048, append="", extra=(),
                 console=None):
        """devices: roles of devices.DEVICES; append: kernel arguments; extra: QEMU arguments;
        console: "stdio" gives the serial console to a person."""
        self.name, self.payload, self.devices, self.memory = name, payload, devices, memory
        self.append, self.extra, self.console = append, extra, console
        self.folder = self.process = self.agent = self._qmp = self.started = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="guest-"))
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def console_log(self):
        return self.folder / "console.log"

    def wait_ready(self):
        """Waits for the agent and the host drivers; returns the seconds since power-on. On a computer with
        much to do an emulated machine may lose its timer as it boots: it is started once more."""
        first, last = BOOT_TIMEOUTS
        if not self._is_up(first):
            print(f"{self.name} did not come up and is started once more:\n{self._last_words()}", file=sys.stderr)
            self.close()
            self.__enter__()
            if not self._is_up(last):
                raise GuestError(f"the guest did not come up\n{self._last_words()}")
        # Some drivers are bound a moment after udev is done with them.
        for role in self.devices:
            driver = f"/sys/bus/pci/devices/{DEVICES[role].address}/driver"
            self.run(f"until [ -e {driver} ]; do sleep 0.1; done", timeout=20)
        return time.monotonic() - self.started

    def _is_up(self, timeout):
        return self.agent.ready.wait(timeout) and not self.agent.closed

    def start(self, command, timeout=600, user="root", stdin=b"", stream=None):
        """Starts a command (a list, or a string for the shell) and returns it as a Command."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        return self.agent.start(argv, timeout, user, stdin, stream)

    def run(self, command, timeout=120, check=True, user="root", stdin=b"", stream=None):
        """Runs a command to its end; returns (exit status, output with stderr in it)."""
        running = self.start(command, timeout, user, stdin, stream)
        status = running.wait()
        if check and status != 0:
            raise CommandFailed(command, status, running.output)
        return status, running.output

    def qmp(self, command, **arguments):
        return self._qmp.execute(command, **arguments)

    def wait_event(self, name, **data):
        return self._qmp.wait_event(name, **data)

    def poweroff(self, timeout=120):
        """Shuts the guest down in good order."""
        self.start(["systemctl", "poweroff"])
        self.process.wait(timeout)

    def reboot(self):
        """Starts the system again, with its disks as it leaves them, and waits until it is up."""
        self.qmp("set-action", reboot="reset")
        self.agent.ready.clear()
        self.start(["systemctl", "reboot"])
        if not self._is_up(BOOT_TIMEOUTS[-1]):
            raise GuestError(f"the guest did not come up again\n{self._last_words()}")

    def autopsy(self):
        """Of a guest that does not answer any more: what its kernel was at, by a panic that ends it, or how it ended."""
        if self.process.poll() is not None:
            return f"QEMU has ended with {self.process.returncode}\n{self._last_words()}"
        try:
            self.qmp("inject-nmi")
            self.process.wait(60)
        except (GuestError, subprocess.TimeoutExpired) as error:
            return f"no panic: {error}\n{self._last_words()}"
        return self._last_words()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder)
            self.folder = None

    def _start(self):
        built = subprocess.run([HERE / "build-guest", self.name], stdout=subprocess.PIPE, text=True, check=True)
        image = pathlib.Path(built.stdout.strip())
        # Socket pairs: no paths to clash or to be too long, and QEMU's end closes with QEMU.
        agent, agent_qemu = socket.socketpair()
        qmp, qmp_qemu = socket.socketpair()
        with agent_qemu, qmp_qemu, open(self.folder / "qemu.log", "w") as log:
            command = self._command(image, agent_qemu.fileno(), qmp_qemu.fileno())
            # PDEATHSIG: QEMU dies with us even if we are killed. It counts the thread, so a guest
            # is started by one that lives as long.
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                pass_fds=[agent_qemu.fileno(), qmp_qemu.fileno()],
                stdin=None if self.console else subprocess.DEVNULL, stderr=log)
        self.agent, self._qmp = Agent(agent), Qmp(qmp)
        try:
            self._qmp.greet()
        except GuestError as error:
            raise GuestError(f"QEMU does not start:\n{self._last_words()}") from error

    def _command(self, image, agent_fd, qmp_fd):
        disks = ["payload"] if self.payload else []
        disks += [DEVICES[role].disk for role in self.devices if DEVICES[role].disk]
        # panic=-1 with -no-reboot: a panic ends QEMU, so nobody waits for the guest in vain.
        # The check of the timer gives up on an emulator that is not given its time; a timer that is set anew for each
        # event may lose one there, and with it all that follow, which one that ticks does not.
        kernel_arguments = ["root=/dev/vda", "rw", "console=ttyS0", "intel_iommu=on", "quiet", "panic=-1", "unknown_nmi_panic",
                            "no_timer_check", "highres=off", "nohz=off", "systemd.show_status=no",
                            f"rig.disks={','.join(disks)}", self.append]
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
            # Not thread=multi: before QEMU 8.2 a processor that writes to a device while another one moves or resets
            # one (all that a change of drivers is about) may meet a memory map that is half changed. QEMU 7.2 has ended
            # by SIGSEGV in memory_region_dispatch_write here; that this is why is the best guess.
            "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=single,tb-size=512",
            # Not "max,svm=off": with it mounts in the guest go unseen by systemd (QEMU 7.2).
            "-cpu", "max", "-smp", "2", "-m", str(self.memory),
            "-kernel", image / "vmlinuz", "-append", " ".join(kernel_arguments),
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control",
            "-chardev", f"socket,id=agent,fd={agent_fd}",
            "-device", "virtio-serial-pci,bus=pcie.0,addr=0x12",
            "-device", "virtserialport,chardev=agent,name=org.dmaowner.agent",
            *self._drive(image / "root.img", "root", "snapshot=on"),
            "-device", "virtio-blk-pci,drive=root,bus=pcie.0,addr=0x10",
        ]
        if (image / "initrd").exists():
            command += ["-initrd", image / "initrd"]
        if self.payload:
            command += [*self._drive(self._make_disk("payload", self.payload), "payload", "readonly=on"),
                        "-device", "virtio-blk-pci,drive=payload,bus=pcie.0,addr=0x11"]
        if self.console:
            command += ["-serial", f"mon:{self.console}"]
        else:
            command += ["-serial", f"file:{self.console_log}"]
        for line in SKELETON:
            command += ["-device", line]
        for role in self.devices:
            device = DEVICES[role]
            if device.disk:
                command += self._drive(self._make_disk(device.disk), role)
            for line in device.qemu:
                command += ["-device", line]
        return [str(word) for word in [*command, *self.extra]]

    @staticmethod
    def _drive(path, name, *options):
        return ["-drive", ",".join(["if=none", f"id={name}", f"file={path}", "format=raw", *options])]

    def _make_disk(self, label, content=None):
        """A disk with a file system that the guest mounts: of the folder's content, or with a marker file."""
        path = self.folder / f"{label}.img"
        if content is None:
            content = self.folder / label
            content.mkdir()
            (content / "marker").write_text(f"{label}\n")
        files = [entry for entry in pathlib.Path(content).rglob("*") if entry.is_file() and not entry.is_symlink()]
        size = 32 + sum(entry.stat().st_size // 2**20 * 5 // 4 for entry in files) + len(files) // 64
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", f"rig-{label}", "-E", "root_owner=0:0",
                        "-d", content, path, f"{size}M"], check=True, stdout=subprocess.DEVNULL)
        return path

    def _last_words(self):
        words = []
        for log in (self.folder / "qemu.log", self.console_log):
            if log.exists():
                words += log.read_text(errors="replace").splitlines()[-60:]
        return "\n".join(words)
