# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Files that are there as a whole or not at all, whenever whoever writes them is killed."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str) -> None:
    """Give ``path`` this text in one step; its folders are made. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.replace(path)
