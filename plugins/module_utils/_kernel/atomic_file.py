# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Files written as a whole or not at all, even if the writer is killed."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write the text in one step, and make the folders above. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.replace(path)


def write_lasting(
    path: Path, text: str, *, mode: int = 0o644, owner: tuple[int, int] = (-1, -1), unfinished: Path | None = None
) -> None:
    """The same, with the text on the disk before the file has its name, for a reader at the next boot.

    ``owner`` is a user's and a group's number, -1 for ours. The text is first written to ``unfinished``, on the same
    file system: give one where a program reads every file of the folder. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished or path.with_name(path.name + ".new")
    with unfinished.open("w") as file:
        file.write(text)
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def remove(path: Path) -> None:
    """Remove ``path``, if it exists, and its folder, if that is empty then. Raises OSError."""
    path.unlink(missing_ok=True)
    if path.parent.exists() and not any(path.parent.iterdir()):
        path.parent.rmdir()
