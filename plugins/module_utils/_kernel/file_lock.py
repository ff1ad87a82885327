# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Exclusive locks on files and directories by flock(2), and their holders."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._kernel import namespaces

# Seconds to wait for a lock that is about to go. is_locked() takes a lock for a moment. The kernel detaches a killed
# container's loop device in the background, shortly after the last process has ended.
PATIENCE = 1.0

_INTERVAL = 0.01  # seconds


@contextmanager
def locked(path: Path, flags: int = os.O_RDWR, patience: float = 0.0) -> Iterator[int]:
    """The descriptor of the file, locked until the context and all other holders of the descriptor have closed it.

    ``patience`` is how many seconds to wait for the lock. Raises BlockingIOError if another process has the lock.
    Raises it, too, if the file was replaced before the lock was taken: nobody else would find a lock on the old file.
    """
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        take(file, patience)
        try:
            replaced = not os.path.samestat(os.fstat(file), path.stat())
        except FileNotFoundError:
            replaced = True
        if replaced:
            raise BlockingIOError(f"{path} was replaced meanwhile")
        yield file
    finally:
        os.close(file)


def is_locked(path: Path, patience: float = 0.0) -> bool:
    """Whether a process, in whatever container, holds the lock for longer than these seconds."""
    try:
        with locked(path, os.O_RDONLY, patience):
            return False
    except BlockingIOError:
        return True


def take(file: int, patience: float = 0.0) -> None:
    """Lock the open file, waiting for at most these seconds, or raise BlockingIOError.

    The lock is polled: flock(2) has no time-out, and a signal would interrupt the whole process.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_INTERVAL)
        else:
            return


def holder(path: Path) -> int | None:
    """The process of this container (mount namespace) that holds the lock; None without such a process.

    /proc/locks shows only processes of the reader's pid namespace. A lock's file is found among the process's
    descriptors, because on btrfs and overlay the numbers in /proc/locks are not those of stat(2).
    """
    wanted = path.stat()
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and _has_open(Path("/proc", words[4]), wanted):
            return int(words[4])
    return None


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        if not namespaces.shares_mounts(process.name):
            return False
        return any(os.path.samestat(entry.stat(), wanted) for entry in os.scandir(process / "fd"))
    except FileNotFoundError:
        return False  # the process has just ended, or closed a file
