# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Exclusive locks on files and directories by flock(2): by whom one is held, and holding one for a container's life."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")

# Seconds to wait for a lock that is about to go: whoever looks whether there is one takes it for a moment, and a killed
# container's loop device is detached in the background, shortly after the last process has ended.
PATIENCE = 1.0

_INTERVAL = 0.01


@contextmanager
def locked(path: Path, flags: int = os.O_RDWR, patience: float = 0.0) -> Iterator[int]:
    """The open file, locked for as long as the context lasts or whoever else is given the descriptor keeps it.

    ``patience`` is how many seconds to wait for it. Raises BlockingIOError when somebody else has the lock, and when
    what is at ``path`` was replaced before it could be locked: the lock then is on a file that no one will find.
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
    """Whether somebody, wherever he is, holds the lock for longer than these seconds."""
    try:
        with locked(path, os.O_RDONLY, patience):
            return False
    except BlockingIOError:
        return True


def take(file: int, patience: float = 0.0) -> None:
    """Lock the open file, waiting for at most these seconds, or raise BlockingIOError.

    By polling: flock(2) knows no time-out, and a signal would be the whole process's.
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


def holder(path: Path, proc: Path = PROC) -> int | None:
    """The process of this very container (mount namespace) that holds the lock; None where there is none.

    /proc/locks shows only processes of the reader's pid namespace. Which file a lock is on is told from the
    process's descriptors, because the numbers in /proc/locks are not stat(2)'s on btrfs and overlay.
    """
    wanted = path.stat()
    for line in (proc / "locks").read_text().splitlines():
        words = line.split()
        if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and _has_open(proc / words[4], wanted, proc):
            return int(words[4])
    return None


def _has_open(process: Path, wanted: os.stat_result, proc: Path) -> bool:
    try:
        if not os.path.samestat((process / "ns/mnt").stat(), (proc / "self/ns/mnt").stat()):
            return False
        return any(os.path.samestat(entry.stat(), wanted) for entry in os.scandir(process / "fd"))
    except FileNotFoundError:
        return False  # it has ended, or closed the file, while we looked
