# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Processes of this machine, found in /proc and held by pidfds."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path


class Process:
    """A process that is or is not our child, held by a pidfd, so that its number is never another's."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        if self._descriptor is None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def command_lines() -> Iterator[tuple[int, list[bytes]]]:
    """The number and the arguments of every process that lives; a zombie has none."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(process.name), (process / "cmdline").read_bytes().split(b"\0")


def holders(path: Path) -> list[int]:
    """The processes that have a file open. (/proc/locks names who took a lock, who may be dead.)"""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # or close this one, and yet have the file open by another
                    if link.readlink() == path.resolve():
                        found.add(int(process.name))
    return sorted(found - {os.getpid()})
