"""A VM: one qemu process, which never outlives the test run."""

from __future__ import annotations

import contextlib
import re
import select
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import testinfra
from system_disk import SystemDisk

# Seconds until a boot counts as failed. ssh answers after 50 to 120 s, depending on the host's load.
BOOT_LIMIT = 600
COMMAND_LIMIT = 900
LAST_LINES = 40


@dataclass(frozen=True)
class Engine:
    """A Docker engine in the machine. The client runs on the host: in the machine, it takes a second to start."""

    socket: Path

    def command(self, *argv: str) -> list[str]:
        return ["docker", "--host", f"unix://{self.socket}", *argv]

    def run(self, *argv: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
        """The output of a docker command, which must succeed."""
        return output_of(self.command(*argv), stdin)


@dataclass(frozen=True)
class Machine:
    """A running VM. ssh reaches it with ``ssh_config``."""

    ssh_config: Path

    def testinfra_host(self) -> Any:
        return testinfra.get_host("ssh://vm", ssh_config=str(self.ssh_config), timeout=60)

    def run(self, *argv: str) -> str:
        """The output of a command on the machine, which must succeed."""
        return output_of(["ssh", "-F", str(self.ssh_config), "vm", shlex.join(argv)])

    def engine(self, name: str, path: str = "/run/docker.sock") -> Engine:
        """The engine that listens on ``path``. ``name`` is a part of the socket's name on the host."""
        here = self.ssh_config.with_name(f"{name}.sock")
        output_of(["ssh", "-F", str(self.ssh_config), "-O", "forward", "-L", f"{here}:{path}", "vm"])
        return Engine(here)


def output_of(command: Sequence[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
    """The output of a command, in a limited time because a hung guest does not answer."""
    done = subprocess.run(command, stdin=stdin, capture_output=True, check=False, timeout=COMMAND_LIMIT)
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {output}{done.stderr.decode()}"
    return output


@contextlib.contextmanager
def booted(
    disk: SystemDisk, log: Path, read_only_disks: Sequence[Path] = (), *, reboots: bool = False
) -> Iterator[Machine]:
    """A machine that answers to ssh. ``log`` gets its serial console. The read-only disks are /dev/vdb and following.

    With ``reboots``, the machine keeps its disk until it ends. Otherwise, a reboot or a panic ends it.
    """
    with tempfile.TemporaryDirectory(prefix="mesos-dind-vm-") as made:
        folder = Path(made)  # short: a unix socket's path is limited
        command = qemu(disk, log, folder / "monitor", read_only_disks)
        if not reboots:
            # With -no-reboot, a kernel panic ends qemu.
            command.append("-no-reboot")
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                await_ready(process, log)
                machine = Machine(write_ssh_config(folder, disk.key, forwarded_port(folder / "monitor")))
                machine.run("true")  # opens the connection that all commands share
                yield machine
                subprocess.run(["ssh", "-F", machine.ssh_config, "-O", "exit", "vm"], capture_output=True, check=False)
            finally:
                # The disk is a snapshot, so the machine needs no orderly shutdown.
                process.kill()


def qemu(disk: SystemDisk, log: Path, monitor: Path, read_only_disks: Sequence[Path]) -> list[str]:
    drives = [f"file={disk.image},format=raw,if=virtio,snapshot=on,cache=unsafe"]
    drives += [f"file={image},format=raw,if=virtio,readonly=on" for image in read_only_disks]
    return [
        # The kernel kills qemu when the thread that started it ends, in any way.
        "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
        # Multi-threaded TCG panics in some nested kernels. Their /dev/kvm boots no guest.
        "-accel", "tcg,thread=single", "-smp", "1", "-cpu", "max", "-m", "3072",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-kernel", str(disk.kernel), "-initrd", str(disk.initrd),
        # The guest runs no hostile code.
        "-append", "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off systemd.show_status=true",
        *(part for drive in drives for part in ("-drive", drive)),
        "-device", "virtio-rng-pci",
        # No outgoing connections. Incoming ones come through a port that the kernel chooses.
        "-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-serial", f"file:{log}", "-serial", "stdio",
        "-monitor", f"unix:{monitor},server=on,wait=off",
    ]  # fmt: skip


def await_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the machine reports on its second serial line that ssh answers. Fail as soon as qemu ends."""
    assert process.stdout
    if not select.select([process.stdout], [], [], BOOT_LIMIT)[0]:
        give_up(f"the VM is not ready after {BOOT_LIMIT} s", log)
    if process.stdout.readline().strip() != b"ready":
        process.kill()
        give_up(f"qemu ended with status {process.wait()}", log)


def give_up(cause: str, log: Path) -> NoReturn:
    console = log.read_text(errors="replace").splitlines() if log.exists() else ["there is none"]
    raise RuntimeError("\n".join([f"{cause}; the end of its console ({log}):", *console[-LAST_LINES:]]))


def forwarded_port(monitor: Path) -> int:
    """The forwarded port on the host's loopback address, from qemu's monitor."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
        connection.settimeout(30)
        connection.connect(str(monitor))
        connection.sendall(b"info usernet\n")
        for line in answers:
            if found := re.search(rb"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", line):
                return int(found[1])
    raise RuntimeError("qemu forwards no port")


def write_ssh_config(folder: Path, key: Path, port: int) -> Path:
    """The ssh configuration. All commands share one connection, because the key exchange is slow."""
    settings = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": "root",
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ConnectTimeout": 60,
        "ControlMaster": "auto",
        "ControlPath": folder / "control",
        "ControlPersist": "yes",
    }
    config = folder / "ssh_config"
    config.write_text("Host vm\n" + "".join(f"    {name} {value}\n" for name, value in settings.items()))
    return config
