# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""``/proc/<pid>/mountinfo``, parsed as proc_pid_mountinfo(5) describes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

PROC = Path("/proc")

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountPoint:
    """One line: a mount. ``device`` is major and minor number of the mounted file system.

    ``fields`` are the optional fields, which name the mount's propagation, such as ``shared:1`` or ``master:2``.
    A private mount has none. ``options`` belong to the mount, ``super_options`` to the file system.
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


class MountTree:
    """The mounts that paths lead to. The kernel also lists mounts that another mount covers.

    Every path is absolute and without symbolic links.
    """

    def __init__(self, mounts: Sequence[MountPoint]) -> None:
        self.mounts = tuple(mounts)
        listed = {mount.mount_id for mount in mounts}
        # The kernel's first mount, where it is listed, is its own parent.
        self._outermost = [
            mount for mount in mounts if mount.parent_id not in listed or mount.parent_id == mount.mount_id
        ]
        self._children = {
            (mount.parent_id, mount.mount_point): mount for mount in mounts if mount.parent_id != mount.mount_id
        }

    @cached_property
    def visible(self) -> tuple[MountPoint, ...]:
        """The topmost mount on each mount point, unless the mount point itself is covered."""
        points = dict.fromkeys(mount.mount_point for mount in self.mounts)
        return tuple(mount for point in points if (mount := self.at(point)) is not None)

    def at(self, path: str) -> MountPoint | None:
        """The topmost mount on exactly this path."""
        mount = self.containing(path)
        return mount if mount is not None and mount.mount_point == path else None

    def containing(self, path: str) -> MountPoint | None:
        """The mount that the path lies on."""
        current = next((mount for mount in self._outermost if is_below(path, mount.mount_point)), None)
        if current is None:
            return None
        # As the kernel walks: component by component, each time to the top of the stack.
        for point in accumulate(path.split("/")[1:], "{}/{}".format, initial=""):
            while (above := self._children.get((current.mount_id, point or "/"))) is not None:
                current = above
        return current

    def directly_in(self, path: str) -> tuple[MountPoint, ...]:
        """The topmost mounts on the entries of a directory."""
        return tuple(mount for mount in self.visible if mount.mount_point.rpartition("/")[0] == path)


def of_this_process(proc: Path = PROC) -> MountTree:
    return MountTree(parse((proc / "self/mountinfo").read_text(errors="surrogateescape")))


def parse(text: str) -> tuple[MountPoint, ...]:
    """The mounts in the kernel's order: of two on one mount point the later one is on top.

    Raises ValueError for any other line.
    """
    return tuple(_parse_line(line) for line in text.split("\n") if line)


def is_below(path: str, ancestor: str) -> bool:
    """Whether an absolute path lies in a directory, or is the directory."""
    return path == ancestor or path.startswith(ancestor.rstrip("/") + "/")


def _parse_line(line: str) -> MountPoint:
    # The separator is the first field after the sixth that is "-"; no optional field is called so.
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
