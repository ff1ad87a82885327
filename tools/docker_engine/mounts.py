# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Mounts that an engine may leave behind."""

from __future__ import annotations

import re
from pathlib import Path

from docker_engine.terminal import Terminal


def mounts_at_or_below(mountinfo: str, folder: Path) -> list[Path]:
    """Mount points, innermost first, from the text of ``/proc/self/mountinfo``; see proc(5)."""
    points = [
        Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]))
        for line in mountinfo.splitlines()
    ]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def unmount(terminal: Terminal, *folders: Path) -> None:
    """Unmount what is mounted at or below the folders; what is busy stays."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    for folder in folders:
        for point in mounts_at_or_below(mountinfo, folder):
            terminal.answer("umount", str(point))
