# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Control groups as ``/proc/self/cgroup`` and ``/proc/self/mountinfo`` show them: cgroups(7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint

Version = Literal["v1", "v2", "hybrid"]

# What a container engine works with. A v2 host may well have a v1 hierarchy for something else beside it,
# such as net_cls for a VPN or name=systemd for the sake of old containers.
ENGINE_CONTROLLERS = frozenset({"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"})


@dataclass(frozen=True)
class Membership:
    """One line of ``/proc/<pid>/cgroup``: the group of a process in one hierarchy.

    ``names`` are the hierarchy's controllers, or ``("name=systemd",)`` for a named one; the v2 hierarchy has
    none. ``path`` is seen from the process's cgroup namespace.
    """

    number: int
    names: tuple[str, ...]
    path: str

    @property
    def is_v2(self) -> bool:
        return self.number == 0


def parse_memberships(text: str) -> tuple[Membership, ...]:
    """Raises ValueError for a line that is not one of ``/proc/<pid>/cgroup``."""
    return tuple(_parse_membership(line) for line in text.split("\n") if line)


def _parse_membership(line: str) -> Membership:
    try:
        number, names, path = line.split(":", 2)
        return Membership(int(number), tuple(names.split(",")) if names else (), path)
    except ValueError:
        raise ValueError(f"not a line of /proc/<pid>/cgroup: {line!r}") from None


def bare_name(name: str) -> str:
    """The name of a controller or of a named hierarchy as a directory: ``systemd`` for ``name=systemd``."""
    return name.removeprefix("name=")


def hierarchy_names(mount: MountPoint, known: Collection[str]) -> tuple[str, ...]:
    """The controllers or the name of a v1 mount, which stand among its other options."""
    return tuple(option for option in mount.super_options if option in known or option.startswith("name="))


def is_below(path: str, ancestor: str) -> bool:
    """True for the ancestor itself, too."""
    return path == ancestor or path.startswith(ancestor.rstrip("/") + "/")


class MountTree:
    """The mounts that paths really lead to: the kernel also lists those that another one covers."""

    def __init__(self, mounts: Sequence[MountPoint]) -> None:
        listed = {mount.mount_id for mount in mounts}
        # The kernel's first mount, where it is listed, is its own parent.
        self._outermost = [
            mount for mount in mounts if mount.parent_id not in listed or mount.parent_id == mount.mount_id
        ]
        self._children = {
            (mount.parent_id, mount.mount_point): mount for mount in mounts if mount.parent_id != mount.mount_id
        }
        self._points = dict.fromkeys(mount.mount_point for mount in mounts)

    def at(self, path: str) -> MountPoint | None:
        """The topmost mount on exactly this path, which is absolute and without symbolic links."""
        current = next((mount for mount in self._outermost if is_below(path, mount.mount_point)), None)
        if current is None:
            return None
        # As the kernel walks: component by component, each time to the top of the stack.
        for point in accumulate(path.split("/")[1:], "{}/{}".format, initial=""):
            while (above := self._children.get((current.mount_id, point or "/"))) is not None:
                current = above
        return current if current.mount_point == path else None

    def directly_in(self, path: str) -> tuple[MountPoint, ...]:
        """The topmost mounts on the entries of a directory."""
        inside = (point for point in self._points if point.rpartition("/")[0] == path)
        return tuple(mount for point in inside if (mount := self.at(point)) is not None)


def decide_version(memberships: Sequence[Membership], tree: MountTree, root: str) -> Version:
    """Which version an engine finds at ``root``.

    A ``0::`` line alone is no v2: every kernel with cgroup v2 writes it. Nor is a v2 hierarchy that is mounted
    beside v1 ones a hybrid as long as nobody uses it; systemd's hybrid mode does.
    """
    own = tree.at(root)
    if own is not None and own.fstype == "cgroup2":
        return "v2"
    beside = next((mount for mount in tree.directly_in(root) if mount.fstype == "cgroup2"), None)
    unified_path = next((membership.path for membership in memberships if membership.is_v2), "/")
    in_use = beside is not None and (unified_path != "/" or beside.root != "/")
    if any(ENGINE_CONTROLLERS.intersection(membership.names) for membership in memberships):
        return "hybrid" if in_use else "v1"
    return "hybrid" if in_use and any(not membership.is_v2 for membership in memberships) else "v2"
