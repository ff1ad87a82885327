# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The benchmark's containers: start, wait until up, read their memory, remove."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

LINE = "mesos-dind-bench-up"
# The trap ends the command at `docker stop`, with or without an init above the shell.
COMMAND = ("sh", "-c", f"trap 'exit 0' TERM; echo {LINE}; sleep infinity & wait")
LIMIT = 180.0  # seconds until the benchmark gives a silent container up


class BenchError(Exception):
    """The reason why a row can't be measured, in one line."""


class Attached:
    """A docker command with a container's stdout attached, from its start on."""

    def __init__(self, name: str, *argv: str) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
        self.began = time.clock_gettime(time.CLOCK_BOOTTIME)  # the clock of the kernel's process start times
        # Ctrl-C must not end the client: the benchmark cleans up by itself. So the client gets its own session.
        self._client = subprocess.Popen(
            ["docker", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )

    def await_line(self) -> float:
        """Wait for LINE; seconds since the start. Raises BenchError if the command ends without LINE."""
        assert self._client.stdout
        alarm = threading.Timer(LIMIT, self._client.kill)
        alarm.start()
        try:
            for line in self._client.stdout:
                if line.strip() == LINE.encode():
                    return time.clock_gettime(time.CLOCK_BOOTTIME) - self.began
        finally:
            alarm.cancel()
        self._stderr.seek(0)
        raise BenchError(f"{self.name} never came up: {last_words(self._stderr.read())}")

    def ends_within(self, seconds: float) -> bool:
        """Whether the client ends in time, as it does when its container ends."""
        with suppress(subprocess.TimeoutExpired):
            self._client.wait(seconds)
        return self._client.returncode is not None

    def close(self) -> None:
        """End the client, but not the container."""
        self._client.kill()
        self._client.communicate()
        self._stderr.close()


class Session(AbstractContextManager["Session"]):
    """Everything that one run of the benchmark makes in the engine. The end of the session removes it."""

    def __init__(self) -> None:
        self.label = f"mesos.dind.bench={uuid.uuid4().hex[:12]}"
        self._attached: list[Attached] = []

    def __exit__(self, *_error: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.clear()

    def clear(self) -> None:
        """Remove every container, and its anonymous volumes."""
        deadline = time.monotonic() + LIMIT
        left, ended = [""], False
        while left or not ended:
            # A `docker run` that has just begun ends only after the engine made its container and this loop removed it.
            ended = all(attached.ends_within(0.2) for attached in self._attached)
            left = docker("ps", "--all", "--quiet", "--filter", f"label={self.label}").split()
            try:
                if left:
                    docker("rm", "--force", "--volumes", *left)
            except BenchError:
                # The engine refuses to remove a container that another client's removal is still at.
                if time.monotonic() > deadline:
                    raise
        while self._attached:
            self._attached.pop().close()

    def attach(self, name: str, *argv: str) -> Attached:
        """Start a docker command that attaches to the container ``name``."""
        self._attached.append(Attached(name, *argv))
        return self._attached[-1]

    def run(self, image: str, *command: str, options: Sequence[str] = (), engine: Sequence[str] = ()) -> Attached:
        """`docker run`, attached; the container stays until it is removed. ``engine`` leads to an inner engine."""
        name = f"mesos-dind-bench-{uuid.uuid4().hex[:12]}"
        made = ("run", "--pull", "never", "--name", name, "--label", self.label)
        return self.attach(name, *engine, *made, *options, image, *command)

    def remove(self, *gone: Attached) -> None:
        docker("rm", "--force", "--volumes", *(attached.name for attached in gone))
        for attached in gone:
            self.detach(attached)

    def detach(self, attached: Attached) -> None:
        self._attached.remove(attached)
        attached.close()


def docker(*argv: str, stdin: bytes | None = None) -> str:
    """The stdout of a docker command as stripped text. Raises BenchError with the end of its stderr if it fails."""
    return docker_bytes(*argv, stdin=stdin).decode(errors="replace").strip()


def docker_bytes(*argv: str, stdin: bytes | None = None) -> bytes:
    """The stdout of a docker command. Raises BenchError as ``docker`` does."""
    try:
        done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, check=False, start_new_session=True)
    except FileNotFoundError:
        raise BenchError(
            "no docker command in PATH: run `make bench`, or bench.py by `tools/engine.py run --`"
        ) from None
    if done.returncode:
        raise BenchError(f"docker {' '.join(argv[:3])} …: {last_words(done.stderr)}")
    return done.stdout


def last_words(stderr: bytes) -> str:
    """The last three lines of a program's stderr, on one line."""
    return " | ".join(stderr.decode(errors="replace").strip().splitlines()[-3:]) or "it said nothing"


def memory(container: str) -> tuple[float, float]:
    """The PSS of all processes of a container, and its anonymous part, in MiB.

    A page that n processes share counts 1/n in each. Raises BenchError if this process can't read the memory.
    """
    first = docker("inspect", "--format", "{{.State.Pid}}", container)
    try:
        namespace = Path(f"/proc/{first}/ns/pid").readlink()
    except FileNotFoundError:
        raise BenchError("the engine is on another machine: run the row `memory` on the engine's machine") from None
    except PermissionError:
        raise BenchError("no permission to read a container's memory: run as root") from None
    kibibytes: Counter[str] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        # A process may have ended meanwhile. Another container's process may be closed even to root.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if (process / "ns/pid").readlink() == namespace:
                sizes = re.findall(r"\b(Pss|Pss_Anon): +(\d+)", (process / "smaps_rollup").read_text())
                kibibytes.update({name: int(size) for name, size in sizes})
    return kibibytes["Pss"] / 1024, kibibytes["Pss_Anon"] / 1024
