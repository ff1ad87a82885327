# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Control groups as ``/proc/self/cgroup`` and the mounts show them: cgroups(7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import PROC, MountPoint, MountTree

Version = Literal["v1", "v2", "hybrid"]

# The controllers that a container engine uses. A v2 host may have a v1 hierarchy for another purpose beside it,
# such as net_cls for a VPN or name=systemd for old containers.
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


def of_this_process(proc: Path = PROC) -> tuple[Membership, ...]:
    """The groups of this process. Raises FileNotFoundError on a kernel without control groups."""
    return parse_memberships((proc / "self/cgroup").read_text())


def parse_memberships(text: str) -> tuple[Membership, ...]:
    """Raises ValueError for a line of another format."""
    return tuple(_parse_membership(line) for line in text.split("\n") if line)


def _parse_membership(line: str) -> Membership:
    try:
        number, names, path = line.split(":", 2)
        return Membership(int(number), tuple(names.split(",")) if names else (), path)
    except ValueError:
        raise ValueError(f"not a line of /proc/<pid>/cgroup: {line!r}") from None


def unified_path(memberships: Sequence[Membership]) -> str:
    """The group in the v2 hierarchy; its root on a kernel without v2."""
    return next((membership.path for membership in memberships if membership.is_v2), "/")


def bare_name(name: str) -> str:
    """The name of a controller or of a named hierarchy as a directory: ``systemd`` for ``name=systemd``."""
    return name.removeprefix("name=")


def hierarchy_names(mount: MountPoint, known: Collection[str]) -> tuple[str, ...]:
    """The controllers or the name of a v1 mount, which stand among its other options."""
    return tuple(option for option in mount.super_options if option in known or option.startswith("name="))


def is_host_root(group: Path) -> bool:
    """Whether a v1 group is its hierarchy's root, which alone has this file (Documentation/cgroup-v1)."""
    return (group / "release_agent").exists()


def read(file: Path) -> str:
    """The text of a group's file; empty where the group has no such file."""
    return file.read_text() if file.exists() else ""


def decide_version(memberships: Sequence[Membership], tree: MountTree, root: str) -> Version:
    """The version that an engine finds at ``root``.

    A ``0::`` line alone makes no v2: every kernel with cgroup v2 writes it. A v2 hierarchy mounted beside v1
    hierarchies makes a hybrid only while a process uses it, as in systemd's hybrid mode.
    """
    own = tree.at(root)
    if own is not None and own.fstype == "cgroup2":
        return "v2"
    in_use = _is_used_beside_v1(memberships, tree, root)
    if any(ENGINE_CONTROLLERS.intersection(membership.names) for membership in memberships):
        return "hybrid" if in_use else "v1"
    return "hybrid" if in_use and any(not membership.is_v2 for membership in memberships) else "v2"


def _is_used_beside_v1(memberships: Sequence[Membership], tree: MountTree, root: str) -> bool:
    beside = (mount for mount in tree.directly_in(root) if mount.fstype == "cgroup2")
    return any(unified_path(memberships) != "/" or mount.root != "/" for mount in beside)
