# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The changes to mounts, links and files, each with its way back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import (
    FLAGS,
    Change,
    Mounted,
    State,
    Unified,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import is_host_root
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# The source of every mount made here; mounts of another source are never taken down.
SOURCE = "mesos-dind"

# A whole hierarchy is mounted here while its group is bound to another place.
ASIDE = Path("/run/mesos-dind-cgroup")

SECURITYFS = "/sys/kernel/security"

T = TypeVar("T")


@dataclass(frozen=True)
class MountDirectory(Change):
    """Mount the tmpfs that has a directory for each v1 hierarchy."""

    says = "mount a tmpfs on {self.root}"
    root: str

    def after(self, state: State, *, made: bool) -> State:
        fstype, options = ("tmpfs", ("rw",)) if made else ("", ())
        return replace(state, root_fstype=fstype, root_options=options, directories=(), mounts={}, links={})

    def do(self, runner: Runner) -> None:
        runner.run("mount", "-t", "tmpfs", "-o", ",".join((*FLAGS, "mode=755")), SOURCE, self.root)

    def undo(self, runner: Runner) -> None:
        _unmount_ours(self.root, runner)


@dataclass(frozen=True)
class MountHierarchy(Change):
    """Mount a v1 hierarchy, but only ``group`` and what is below, so that nobody inside gets beyond."""

    root: str
    entry: str
    names: tuple[str, ...]
    group: str
    is_new_directory: bool

    @property
    def target(self) -> Path:
        return Path(self.root, self.entry)

    def __str__(self) -> str:
        whose = "" if self.group == "/" else f" (group {self.group})"
        return f"mount {','.join(self.names)}{whose} on {self.target}"

    def after(self, state: State, *, made: bool) -> State:
        mounts = _with(state.mounts, self.entry, Mounted(self.names, self.group) if made else None)
        return replace(state, mounts=mounts, links=_with(state.links, self.entry, None))

    def do(self, runner: Runner) -> None:
        self.target.mkdir(exist_ok=True)
        # "none" stands for no controller, which only a named hierarchy may have: cgroups(7).
        none = ("none",) if any(name.startswith("name=") for name in self.names) else ()
        _mount_group("cgroup", (*none, *self.names), self.group, str(self.target), runner)

    def undo(self, runner: Runner) -> None:
        _clear_aside(runner)
        _unmount_ours(str(self.target), runner)
        if self.is_new_directory and self.target.is_dir():
            self.target.rmdir()


@dataclass(frozen=True)
class UnmountHierarchy(Change):
    """Unmount a hierarchy in which the container is in the host's root group: the outer runtime does not know it.

    A group that an engine makes there stays on the host for ever (kind#3223, kind PR 2709).
    """

    says = "unmount {self.root}/{self.entry}, which shows the host's root group"
    root: str
    entry: str
    names: tuple[str, ...]

    def after(self, state: State, *, made: bool) -> State:
        mounted = None if made else Mounted(self.names, "/", is_host_root=True)
        return replace(state, mounts=_with(state.mounts, self.entry, mounted))

    def do(self, runner: Runner) -> None:
        runner.run("umount", f"{self.root}/{self.entry}")

    def undo(self, runner: Runner) -> None:
        if _topmost(f"{self.root}/{self.entry}") is None:
            MountHierarchy(self.root, self.entry, self.names, "/", is_new_directory=False).do(runner)


@dataclass(frozen=True)
class Link(Change):
    """Link the name of one of several controllers that are mounted together."""

    says = "link {self.path} to {self.entry}"
    root: str
    name: str
    entry: str

    @property
    def path(self) -> Path:
        return Path(self.root, self.name)

    def after(self, state: State, *, made: bool) -> State:
        return replace(state, links=_with(state.links, self.name, self.entry if made else None))

    def do(self, runner: Runner) -> None:
        if self.path.is_symlink():
            self.path.unlink()
        elif self.path.is_dir():
            self.path.rmdir()  # refuses a directory with entries, which is not ours to remove
        self.path.symlink_to(self.entry)

    def undo(self, runner: Runner) -> None:
        if self.path.is_symlink() and str(self.path.readlink()) == self.entry:
            self.path.unlink()


@dataclass(frozen=True)
class Remount(Change):
    """Make a read-only mount writable (moby#20162). ``options`` are its present ones, ``ro`` among them.

    ``is_whole`` says that the file system itself is read-only, not only the mount.
    """

    says = "remount {self.path} writable"
    path: str
    options: tuple[str, ...]
    is_whole: bool = False

    @property
    def writable(self) -> tuple[str, ...]:
        return tuple("rw" if option == "ro" else option for option in self.options)

    def after(self, state: State, *, made: bool) -> State:
        options = self.writable if made else self.options
        if self.path == state.root:
            return replace(state, root_options=options)
        entry = Path(self.path).name
        return replace(state, mounts={**state.mounts, entry: replace(state.mounts[entry], options=options)})

    def do(self, runner: Runner) -> None:
        self._remount(self.writable, runner)

    def undo(self, runner: Runner) -> None:
        if _topmost(self.path) is not None:
            self._remount(self.options, runner)

    def _remount(self, options: tuple[str, ...], runner: Runner) -> None:
        # Without the other options a bind remount would drop nosuid and the like.
        how = ("remount",) if self.is_whole else ("remount", "bind")
        runner.run("mount", "-o", ",".join((*how, *options)), self.path)


@dataclass(frozen=True)
class SeedCpuset(Change):
    """Give children of our cpuset group its CPUs and memory nodes; without any they take no process: cpuset(7)."""

    says = "let the children of {self.group} inherit its CPUs and memory nodes"
    group: str

    @property
    def file(self) -> Path:
        return Path(self.group, "cgroup.clone_children")

    def after(self, state: State, *, made: bool) -> State:
        return replace(state, is_cpuset_seeded=made)

    def do(self, runner: Runner) -> None:
        # A fresh mount may turn out to show the host's root group.
        if not is_host_root(self.file.parent):
            self.file.write_text("1")

    def undo(self, runner: Runner) -> None:
        if self.file.exists() and not is_host_root(self.file.parent):
            self.file.write_text("0")


@dataclass(frozen=True)
class MountUnified(Change):
    """Mount the v2 hierarchy, where none is mounted or the mount does not show our cgroup namespace.

    A mount from the host's cgroup namespace sets the options of the whole system. It clears every option that it does
    not name (kernel/cgroup/cgroup.c: apply_cgroup_root_flags), hence ``options``: the hierarchy's present ones.
    """

    says = "mount cgroup2 on {self.root}"
    root: str
    options: tuple[str, ...]

    def after(self, state: State, *, made: bool) -> State:
        if not made:
            return replace(state, root_fstype="", root_options=(), unified=None)
        # The groups in it show only once it is mounted.
        unified = Unified(state.group, "/")
        return replace(state, root_fstype="cgroup2", root_options=("rw",), mounts={}, links={}, unified=unified)

    def do(self, runner: Runner) -> None:
        _mount_group("cgroup2", self.options, "/", self.root, runner)

    def undo(self, runner: Runner) -> None:
        _clear_aside(runner)
        _unmount_ours(self.root, runner)


@dataclass(frozen=True)
class ShareMounts(Change):
    """Let mounts made in ``/`` and below reach the mount namespaces made from it, as systemd does on a machine."""

    unshared: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "make / and all mounts below shared"

    def after(self, state: State, *, made: bool) -> State:
        return replace(state, is_shared=made, unshared=() if made else self.unshared)

    def do(self, runner: Runner) -> None:
        runner.run("mount", "--make-rshared", "/")

    def undo(self, runner: Runner) -> None:
        for mount_point, propagation in self.unshared:
            mount = _topmost(mount_point)
            if mount is not None and mount.is_shared:
                runner.run("mount", f"--make-{propagation}", mount_point)


@dataclass(frozen=True)
class MountSecurityfs(Change):
    """Mount securityfs, in which an engine looks for AppArmor. If the kernel refuses, the journal keeps the attempt."""

    says = f"mount securityfs on {SECURITYFS}"

    def after(self, state: State, *, made: bool) -> State:
        return replace(state, securityfs="mounted" if made else "unmounted")

    def do(self, runner: Runner) -> None:
        with contextlib.suppress(DindError):
            runner.run("mount", "-t", "securityfs", "-o", ",".join(FLAGS), SOURCE, SECURITYFS)

    def undo(self, runner: Runner) -> None:
        _unmount_ours(SECURITYFS, runner)


def _with(entries: Mapping[str, T], name: str, entry: T | None) -> dict[str, T]:
    """The entries with another one of this name, or without it."""
    others = {other: kept for other, kept in entries.items() if other != name}
    return others if entry is None else {**others, name: entry}


def _topmost(path: str) -> MountPoint | None:
    return mountinfo.of_this_process().at(path)


def _mount_group(fstype: str, options: tuple[str, ...], group: str, target: str, runner: Runner) -> None:
    """Mount a group of a hierarchy, with all below it.

    A hierarchy's own mount shows its root group (or the namespace's), and the kernel refuses it on top of another
    mount of the same hierarchy. A bind mount may show any group, on any place.
    """
    mount = ("mount", "-t", fstype, "-o", ",".join((*FLAGS, *options)), SOURCE)
    if group == "/" and _topmost(target) is None:
        runner.run(*mount, target)
        return
    _clear_aside(runner)
    ASIDE.mkdir()
    runner.run(*mount, str(ASIDE))
    try:
        runner.run("mount", "--bind", f"{ASIDE}{group}", target)
    finally:
        _clear_aside(runner)


def _clear_aside(runner: Runner) -> None:
    """Remove the mount aside, also after a run that was killed."""
    _unmount_ours(str(ASIDE), runner)
    if ASIDE.exists():
        ASIDE.rmdir()


def _unmount_ours(path: str, runner: Runner) -> None:
    mount = _topmost(path)
    if mount is not None and mount.source == SOURCE:
        runner.run("umount", path)
