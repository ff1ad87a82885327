# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The control groups of a machine or container, and the changes made to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import Membership, Version
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import is_below
from ansible_collections.mesos.dind.plugins.module_utils._plan import Described
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# The options of every mount made here.
FLAGS = ("nosuid", "nodev", "noexec")


@dataclass(frozen=True)
class Mounted:
    """A v1 hierarchy that is mounted on an entry of the root directory.

    ``group`` is the group that the mount shows. ``is_host_root`` says whether that is the hierarchy's own root
    group, which belongs to the host.
    """

    names: tuple[str, ...]
    group: str
    options: tuple[str, ...] = ("rw", *FLAGS, "relatime")
    is_host_root: bool = False

    @property
    def is_read_only(self) -> bool:
        return "ro" in self.options


@dataclass(frozen=True)
class Unified:
    """The v2 hierarchy and our group in it.

    ``group`` is State's, ``shown`` the group that the mount shows. ``kind`` is cgroup.type, empty in the hierarchy's
    root group, which has none.
    """

    group: str
    shown: str
    kind: str = "domain"
    controllers: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()
    has_processes: bool = True
    has_leaf: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.controllers if name not in self.delegated)

    @property
    def is_delegated(self) -> bool:
        return not self.controllers or not (self.has_processes or self.missing)

    def directory(self, root: str) -> str:
        """The directory of our group below the mount on ``root``. Raises ValueError where the mount hides it."""
        if not is_below(self.group, self.shown):
            raise ValueError(f"{self.group} is not below {self.shown}")
        return str(Path(root, Path(self.group).relative_to(self.shown)))


@dataclass(frozen=True)
class State:
    """The control groups and mounts of a machine or container.

    ``group`` is the container's own group in the v2 hierarchy (not its leaf), seen from the cgroup namespace.
    ``unified_options`` are the options of that hierarchy, the same in each of its mounts. ``directories``, ``mounts``
    and ``links`` are the entries of ``root``. ``unshared`` are all mounts that do not propagate, with their
    propagation: private or slave.
    """

    root: str
    version: Version
    is_container: bool
    is_host_namespace: bool
    has_systemd: bool
    is_privileged: bool
    has_user_namespace: bool
    hierarchies: tuple[Membership, ...]
    group: str
    unified_options: tuple[str, ...]
    root_fstype: str
    root_options: tuple[str, ...]
    directories: tuple[str, ...]
    mounts: Mapping[str, Mounted]
    links: Mapping[str, str]
    unified: Unified | None
    is_cpuset_seeded: bool
    is_shared: bool
    unshared: tuple[tuple[str, str], ...]
    securityfs: Literal["mounted", "unmounted", "refused", "absent"]
    journal: tuple[Change, ...]

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers of the kernel's v1 hierarchies, and the names of its named ones."""
        return frozenset(name for hierarchy in self.hierarchies for name in hierarchy.names)


class Change(Described):
    """A change that a later run can take back, as a frozen dataclass."""

    def after(self, state: State, *, made: bool) -> State:
        """The state once the change is made or, without ``made``, taken back. Pure."""
        raise NotImplementedError

    def do(self, runner: Runner) -> None:
        raise NotImplementedError

    def undo(self, runner: Runner) -> None:
        """Take the change back. It may be only half made, or not made at all."""
        raise NotImplementedError
