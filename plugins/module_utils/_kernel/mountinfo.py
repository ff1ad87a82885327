# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""``/proc/<pid>/mountinfo``, parsed as proc_pid_mountinfo(5) describes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountPoint:
    """One line: a mount. ``device`` is major and minor of the mounted file system.

    ``fields`` are the optional fields, the mount's propagation, such as ``shared:1`` or ``master:2``;
    a private mount has none. ``options`` are the mount's own, ``super_options`` the file system's.
    """

    mount_id: int
    parent_id: int
    device: tuple[int, int]
    root: str
    mount_point: str
    options: tuple[str, ...]
    fields: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        return any(field.startswith("shared:") for field in self.fields)


def parse(text: str) -> tuple[MountPoint, ...]:
    """The mounts in the kernel's order: of two on one mount point the later one is on top.

    Raises ValueError for a line that is not one of mountinfo's.
    """
    return tuple(_parse_line(line) for line in text.split("\n") if line)


def of_this_process(proc: Path = PROC) -> tuple[MountPoint, ...]:
    return parse((proc / "self/mountinfo").read_text(errors="surrogateescape"))


def mounted_at(mounts: tuple[MountPoint, ...], path: str) -> MountPoint | None:
    """The topmost mount on exactly this absolute path, which must hold no symbolic links."""
    return next((mount for mount in reversed(mounts) if mount.mount_point == path), None)


def containing(mounts: tuple[MountPoint, ...], path: str) -> MountPoint | None:
    """The mount that this absolute path, which must hold no symbolic links, lies on."""
    while (mount := mounted_at(mounts, path)) is None and path != "/":
        path = path.rpartition("/")[0] or "/"
    return mount


def _parse_line(line: str) -> MountPoint:
    # The separator is the first field after the sixth that is "-": no optional field is called so.
    words = line.split(" ")
    try:
        dash = words.index("-", 6)
        mount_id, parent_id, device, root, mount_point, options = words[:6]
        fstype, source, super_options = words[dash + 1 : dash + 4]
        major, minor = device.split(":")
        return MountPoint(
            mount_id=int(mount_id),
            parent_id=int(parent_id),
            device=(int(major), int(minor)),
            root=_unescape(root),
            mount_point=_unescape(mount_point),
            options=tuple(options.split(",")),
            fields=tuple(words[6:dash]),
            fstype=_unescape(fstype),
            source=_unescape(source),
            super_options=tuple(super_options.split(",")),
        )
    except ValueError:
        raise ValueError(f"not a line of mountinfo: {line!r}") from None


def _unescape(text: str) -> str:
    r"""The kernel writes space, tab, newline, backslash and ``#`` as three octal digits."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
