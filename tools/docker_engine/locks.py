# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Locks between the runs of this tool: one changes the engine at a time, and its users are counted by the kernel."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from docker_engine.layout import Layout
from docker_engine.terminal import Terminal


class Lock:
    """A flock(2) on a file that stays. The kernel drops it with the last process that has it, however that ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, kind: int) -> bool:
        """Take the lock, or change its kind, without waiting; False if somebody else's is in the way."""
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, kind: int) -> None:
        """Take the lock, or change its kind, however long that takes."""
        fcntl.flock(self.descriptor, kind)

    def close(self) -> None:
        """Let go of the lock and the file."""
        # Unlocked by name: a process that COMMAND has left behind may have the descriptor still.
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


@contextlib.contextmanager
def exclusive(terminal: Terminal, layout: Layout, name: str, what: str) -> Iterator[None]:
    """Be the only one of us that does ``what``; waits for another one."""
    lock = Lock(layout.lock(name))
    try:
        if not lock.take(fcntl.LOCK_EX):
            terminal.say(f"waiting for another run that {what}")
            lock.wait(fcntl.LOCK_EX)
        yield
    finally:
        lock.close()


def changing(terminal: Terminal, layout: Layout) -> contextlib.AbstractContextManager[None]:
    """Be the only one of us that starts or stops an engine, or fetches its programs."""
    return exclusive(terminal, layout, "change", "starts or stops the engine")
