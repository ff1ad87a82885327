# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Containers without an engine: a process in mount and pid namespaces of its own, which calls functions for a test.

When it is killed, or the test dies, the kernel ends every process in it and takes its mounts and loop devices away.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import capabilities, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage import core as loop_storage
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

T = TypeVar("T")

FSTYPES = pytest.mark.parametrize("fstype", ["ext4", "xfs"])
MIB = 1 << 20

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_PR_SET_PDEATHSIG = 1
_CAPABILITY_VERSION_3 = 0x20080522
_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_FLUSH_LOG = 1
_PATIENCE = 20.0  # seconds
_DONE, _REFUSED = 0, 3
_ENOUGH = 200 << 20  # bytes; a writer stops there in any case

# Audit events (docs.python.org/3/library/audit_events.html) of calls that change something outside the process.
_CHANGES = ("os.", "fcntl.", "shutil.", "subprocess.Popen")
_READS = ("os.listdir", "os.scandir", "os.fwalk", "os.walk")


def checked(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Container:
    """Calls functions in namespaces of its own until it is killed."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        self._keeper = os.fork()
        if self._keeper == 0:
            self._requests.close()
            _keep(theirs)
        theirs.close()

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``function``, found by its name there, called there; its answer, or its exception."""
        _send(self._requests, (function, args, kwargs))
        fine, answer = _receive(self._requests)
        if not fine:
            raise answer
        return answer  # type: ignore[no-any-return]

    def kill(self) -> None:
        """SIGKILL, as ``docker kill`` gives it; returns when nothing is left of it."""
        with suppress(ProcessLookupError):
            os.kill(self._keeper, signal.SIGTERM)
            os.waitpid(self._keeper, 0)
        self._requests.close()
        self._keeper = 0

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self._keeper:
            self.kill()


def _keep(requests: socket.socket) -> None:
    """The parent of the container's process 1, since who asks for a pid namespace does not enter it itself."""
    try:
        checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        checked(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWPID))
        first = os.fork()
        if first == 0:
            checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
            checked(_LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
            checked(_LIBC.mount(b"proc", b"/proc", b"proc", 0, None))
            _serve(requests)
        requests.close()
        signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
        os.waitpid(first, 0)
    finally:
        os._exit(0)


def _serve(requests: socket.socket) -> None:
    with suppress(EOFError):
        while True:
            function, args, kwargs = _receive(requests)
            try:
                answer = True, function(*args, **kwargs)
            except Exception as error:
                answer = False, error
            _send(requests, answer)
    os._exit(0)


def _send(channel: socket.socket, message: Any) -> None:
    raw = pickle.dumps(message)
    channel.sendall(struct.pack("=Q", len(raw)) + raw)


def _receive(channel: socket.socket) -> Any:
    (length,) = struct.unpack("=Q", _read(channel, 8))
    return pickle.loads(_read(channel, length))  # noqa: S301 - our own child's


def _read(channel: socket.socket, length: int) -> bytes:
    raw = b""
    while len(raw) < length:
        part = channel.recv(length - len(raw))
        if not part:
            raise EOFError("the container is gone")
        raw += part
    return raw


@dataclass(frozen=True)
class Storage:
    """Parameters of the module for a directory of the test's, and what a container does with them."""

    home: Path
    params: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **params: Any) -> Storage:
        return Storage(self.home, {**self.params, **params})

    @property
    def data_root(self) -> Path:
        return Path(self.full_params["data_root"])

    @property
    def image(self) -> Path:
        return Path(self.full_params["image"])

    @property
    def full_params(self) -> dict[str, Any]:
        return {
            "data_root": str(self.home / "root"),
            "image": str(self.home / "volume/docker.img"),
            "size": "320M",
            "fstype": "ext4",
            "strategy": "loop",
            "preallocate": False,
            "hold": True,
            "mount_options": None,
            "state": "present",
            "purge": False,
            "force": False,
            **self.params,
        }

    def converge(self, *, check: bool = False) -> Outcome:
        return loop_storage.core(self.full_params, Runner(), check)

    def converge_counting(self) -> tuple[Outcome, list[Command]]:
        runner = Runner()
        return loop_storage.core(self.full_params, runner, False), runner.commands

    def converge_dying(self, moment: Moment) -> str:
        """Converge in a child that is to be killed at the moment: whether it ``died``, or was ``done`` or ``refused``
        before."""
        child = os.fork()
        if child == 0:
            try:
                loop_storage.core(self.full_params, moment.arm(), False)
                os._exit(_DONE)
            except DindError as error:
                sys.stderr.write(f"{error}\n")
                os._exit(_REFUSED)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return "died"
        return {_DONE: "done", _REFUSED: "refused"}[os.WEXITSTATUS(status)]


@dataclass(frozen=True)
class Moment:
    """When to die: before the ``change``-th call of the steps' own that Python audits (system calls, starts of
    commands), or just before the ``write``-th of ``command``'s system calls that write, as strace counts them."""

    change: int = 0
    command: str = ""
    write: int = 0

    def arm(self) -> Runner:
        """This process, which is to be one of its own, dies then. Returns the runner to use."""
        if self.command:
            return _CutShort(self.command, self.write)
        left = self.change
        apply = _plan.apply

        def count(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(_CHANGES) and event not in _READS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        def apply_counting(steps: Sequence[_plan.Step[T]], runner: Runner) -> None:
            sys.addaudithook(count)
            apply(steps, runner)

        _plan.apply = apply_counting
        return Runner()


class _CutShort(Runner):
    """Has one program killed in the middle of its work, and dies with it."""

    def __init__(self, command: str, write: int) -> None:
        super().__init__()
        self._command = command
        self._write = write

    def run(self, *argv: str, **kwargs: Any) -> Command:
        if argv[0] != self._command:
            return super().run(*argv, **kwargs)
        calls = "write,pwrite64,pwritev,pwritev2,fallocate,ftruncate,fsync,unlink,ioctl"
        cut = (f"--inject={calls}:signal=KILL:when={self._write}", f"--trace={calls}")
        done = super().run("strace", "-f", "-qqq", "-o", "/dev/null", *cut, *argv, **{**kwargs, "ok": range(-64, 256)})
        if done.status in (-signal.SIGKILL, 128 + signal.SIGKILL):
            os.kill(os.getpid(), signal.SIGKILL)
        assert done.status in kwargs.get("ok", (0,)), done.stderr
        return done


def fill(directory: Path, seed: str, count: int = 20) -> dict[str, str]:
    """Files of up to some 100 kB with content that follows from the seed, safely on the disk; name to checksum."""
    made = {}
    for number in range(count):
        path = directory / f"{seed}-{number}"
        content = hashlib.shake_256(path.name.encode()).digest(5000 * number + 1)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made[path.name] = hashlib.sha256(content).hexdigest()
    return made


def checksums(directory: Path) -> dict[str, str]:
    """Name to checksum of the files in a directory."""
    files = (path for path in directory.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shut_down(mount_point: Path) -> None:
    """Stop the file system as a power cut does, with what is in its journal, but not in its place, on the disk.

    Its ioctl is the same for ext4 (EXT4_IOC_SHUTDOWN) and xfs (XFS_IOC_GOINGDOWN).
    """
    directory = os.open(mount_point, os.O_RDONLY)
    try:
        ioctl(directory, _IOC_SHUTDOWN, struct.pack("=I", _FLUSH_LOG))
    finally:
        os.close(directory)


def drop_capability(name: str) -> None:
    """From this process's effective ones, for good."""
    number = capabilities.NUMBERS[name]
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(struct.calcsize("=6I"))
    checked(_LIBC.capget(header, sets))
    low = [word & ~(1 << number) for word in struct.unpack("=6I", sets.raw)[:3]]
    checked(_LIBC.capset(header, struct.pack("=3I", *low) + sets.raw[12:]))


class Writer:
    """A child of the container's process 1 that writes to a file as fast as it can."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe

    def finish(self) -> str:
        """The checksum of all that it has written."""
        os.kill(self.pid, signal.SIGTERM)
        with os.fdopen(self.pipe) as answers:
            checksum = answers.read()
        os.waitpid(self.pid, 0)
        return checksum


def start_writing(path: Path) -> Writer:
    """Returns when something has been written."""
    receiving, sending = os.pipe()
    started, starting = os.pipe()
    pid = os.fork()
    if pid == 0:
        stopped = False

        def stop(*_: object) -> None:
            nonlocal stopped
            stopped = True

        signal.signal(signal.SIGTERM, stop)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            while not stopped and file.tell() < _ENOUGH:
                block = os.urandom(1 << 18)
                file.write(block)
                digest.update(block)
                os.write(starting, b".") if file.tell() == len(block) else None
            file.flush()
            os.fsync(file.fileno())
        os.write(sending, digest.hexdigest().encode())
        os._exit(0)
    os.close(sending)
    os.close(starting)
    os.read(started, 1)
    os.close(started)
    return Writer(pid, receiving)


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true while the kernel works in the background, of which nothing tells."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_detached(home: Path) -> bool:
    """Whether no loop device is left with a backing file below ``home``; the kernel is given time for it."""
    return eventually(lambda: not attached_to(home))


def attached_to(home: Path) -> list[str]:
    """The host's loop devices whose backing file lies below ``home``."""
    found = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # detached meanwhile
            if entry.read_text().startswith(str(home)):
                found.append(entry.parent.parent.name)
    return found


def mounts_below(home: Path) -> list[str]:
    """Mount points below ``home`` in the caller's mount namespace."""
    return [
        mount.mount_point for mount in mountinfo.of_this_process().mounts if mount.mount_point.startswith(str(home))
    ]


def check_filesystem(image: Path) -> None:
    """Raises AssertionError unless the unmounted image's file system is without any fault."""
    with image.open("rb") as file:
        xfs = file.read(4) == b"XFSB"
    argv = ("xfs_repair", "-n", "-f", str(image)) if xfs else ("e2fsck", "-f", "-n", str(image))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run(*argv: str) -> str:
    """For calls in a container."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def remove_all(directory: Path) -> None:
    for path in directory.glob("much-*"):
        path.unlink()
