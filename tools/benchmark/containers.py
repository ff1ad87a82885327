# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Containers of the benchmark, under a label of its own, and when they say that they are up."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LINE = "mesos-dind-bench-up"
# `docker stop` ends it at once, with or without an init above it.
COMMAND = ("sh", "-c", f"trap 'exit 0' TERM; echo {LINE}; sleep infinity & wait")
LIMIT = 180.0  # seconds until a container that says nothing is given up


class BenchError(Exception):
    """The benchmark can't go on; its text says why."""


@dataclass(frozen=True)
class Memory:
    """Of all processes of a container, in MiB. A page that n processes share counts 1/n in each."""

    proportional: float
    anonymous: float


class Attached:
    """A docker command that has a container's stdout, from the moment when it is started."""

    def __init__(self, name: str, *argv: str) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.began = boot_clock()
        # In a session of its own: an interrupt at the terminal is for the benchmark, which cleans up.
        self._client = subprocess.Popen(
            ["docker", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )

    def await_line(self) -> float:
        """Wait for the command's line; the seconds since the start. Raises BenchError where it does not come."""
        assert self._client.stdout
        alarm = threading.Timer(LIMIT, self._client.kill)
        alarm.start()
        try:
            for line in self._client.stdout:
                if line.strip() == LINE.encode():
                    return boot_clock() - self.began
        finally:
            alarm.cancel()
        self._said.seek(0)
        raise BenchError(f"{self.name} never came up: {last_words(self._said.read())}")

    def ends_within(self, seconds: float) -> bool:
        """Whether the client has ended by then, as it does when its container ends."""
        try:
            self._client.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End the client, whose container has ended or does not matter any more."""
        self._client.kill()
        self._client.wait()
        assert self._client.stdout
        self._client.stdout.close()
        self._said.close()


class Session:
    """All that one run of the benchmark makes in the engine; gone when the session ends, however it ends."""

    def __init__(self) -> None:
        self._tag = uuid.uuid4().hex[:12]
        self._label = f"mesos.dind.bench={self._tag}"
        self._made = 0
        self._attached: list[Attached] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.clear()

    def clear(self) -> None:
        """Remove everything."""
        # A client that was asked for a container a moment ago ends only when that has been made and removed.
        waiting = self._attached
        while waiting:
            self._remove_containers()
            waiting = [attached for attached in waiting if not attached.ends_within(0.2)]
        self._remove_containers()
        for attached in self._attached:
            attached.close()
        self._attached.clear()
        if volumes := docker("volume", "ls", "--quiet", "--filter", f"label={self._label}").split():
            docker("volume", "rm", *volumes)

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> Attached:
        """`docker run`, attached; the container stays until it is removed."""
        name = self._name()
        argv = ("run", "--pull", "never", "--name", name, "--label", self._label, *options, image, *command)
        return self._attach(name, *argv)

    def start_again(self, name: str) -> Attached:
        """`docker start` of a stopped container, attached."""
        return self._attach(name, "start", "--attach", name)

    def execute(self, container: Attached, *command: str) -> Attached:
        """`docker exec`, attached."""
        return self._attach(container.name, "exec", container.name, *command)

    def volume(self) -> str:
        return docker("volume", "create", "--label", self._label, self._name())

    def remove(self, *gone: Attached) -> None:
        docker("rm", "--force", "--volumes", *dict.fromkeys(attached.name for attached in gone))
        for attached in gone:
            self.detach(attached)

    def detach(self, attached: Attached) -> None:
        self._attached.remove(attached)
        attached.close()

    def _remove_containers(self) -> None:
        deadline = time.monotonic() + LIMIT
        while left := docker("ps", "--all", "--quiet", "--filter", f"label={self._label}").split():
            try:
                docker("rm", "--force", "--volumes", *left)
            except BenchError:
                # The engine refuses what it is removing already, for a client that a signal has ended.
                if time.monotonic() > deadline:
                    raise

    def _attach(self, name: str, *argv: str) -> Attached:
        attached = Attached(name, *argv)
        self._attached.append(attached)
        return attached

    def _name(self) -> str:
        self._made += 1
        return f"mesos-dind-bench-{self._tag}-{self._made}"


def boot_clock() -> float:
    """Seconds of CLOCK_BOOTTIME: what the kernel stamps the start of a process with."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def docker(*argv: str, stdin: bytes | None = None) -> str:
    """The output of a docker command as text. Raises BenchError with what it said when it fails."""
    return docker_bytes(*argv, stdin=stdin).decode(errors="replace").strip()


def docker_bytes(*argv: str, stdin: bytes | None = None) -> bytes:
    """The same as it comes."""
    try:
        done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, check=False, start_new_session=True)
    except FileNotFoundError:
        raise BenchError("there is no docker; run this by `make bench` or inside `tools/engine.py run`") from None
    if done.returncode:
        raise BenchError(f"docker {' '.join(argv[:3])} …: {last_words(done.stderr)}")
    return done.stdout


def last_words(said: bytes) -> str:
    """The end of a program's stderr, on one line."""
    return " | ".join(said.decode(errors="replace").strip().splitlines()[-3:]) or "it said nothing"


def memory(container: str) -> Memory:
    """Resident memory of all processes of a container of an engine on this machine. Raises BenchError."""
    first = docker("inspect", "--format", "{{.State.Pid}}", container)
    try:
        namespace = Path(f"/proc/{first}/ns/pid").readlink()
    except FileNotFoundError:
        raise BenchError("the engine does not run on this machine: memory can't be read") from None
    except PermissionError:
        raise BenchError("reading a container's memory takes root") from None
    found = [rollup(process) for process in processes_in(namespace)]
    return Memory(
        sum(fields["Pss"] for fields in found) / 1024, sum(fields.get("Pss_Anon", 0) for fields in found) / 1024
    )


def processes_in(namespace: Path) -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        # One may have ended meanwhile, and another may be guarded even against root.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if (process / "ns/pid").readlink() == namespace:
                yield process


def rollup(process: Path) -> dict[str, int]:
    """The kilobytes of /proc/PID/smaps_rollup by name; nothing of a process that has ended."""
    fields = {"Pss": 0}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in (process / "smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            fields[name] = int(value.split()[0])
    return fields
