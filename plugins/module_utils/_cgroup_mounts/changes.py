# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The changes that ``cgroup_mounts`` can make, each with its way back, and the journal of those that were made."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    Membership,
    MountTree,
    Version,
    is_below,
)
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# The source of every mount made here, by which a mount of somebody else's is never taken down.
SOURCE = "mesos-dind"

# Seconds in which the group must have become empty. A `docker exec` in a loop adds a process every 0.1 s or so.
DELEGATION_TIMEOUT = 5.0

FLAGS = ("nosuid", "nodev", "noexec")

# Where a whole hierarchy is mounted for the moment in which its group is bound.
ASIDE = Path("/run/mesos-dind-cgroup")

SECURITYFS = "/sys/kernel/security"


@dataclass(frozen=True)
class Mounted:
    """A v1 hierarchy that is mounted on an entry of the root directory.

    ``group`` is the one that the mount shows. ``is_host_root`` is true where that is the hierarchy's own root
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


@dataclass(frozen=True)
class State:
    """What a machine or container has.

    ``group`` is the container's own group in the v2 hierarchy (not its leaf), seen from the cgroup namespace, and
    ``unified_options`` are that hierarchy's own, as any mount of it shows them.
    ``directories``, ``mounts`` and ``links`` are the entries of ``root``. ``unshared`` are all mounts that do not
    propagate, with what they are instead: private or slave.
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


class Change(_plan.Step[State]):
    """A step that can also be taken back later, in another run: ``undo`` does it, ``reverse`` foretells it.

    ``undo`` is called, too, for a change that was only half made or not at all.
    """

    def reverse(self, state: State) -> State:
        raise NotImplementedError


@dataclass(frozen=True)
class MountDirectory(Change):
    """The tmpfs in which the v1 hierarchies are mounted, one directory each."""

    root: str

    def __str__(self) -> str:
        return f"mount a tmpfs on {self.root}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(
            state, root_fstype="tmpfs", root_options=("rw",), directories=(), mounts={}, links={}
        )

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, root_fstype="", root_options=(), mounts={}, links={})

    def do(self, runner: Runner) -> None:
        runner.run("mount", "-t", "tmpfs", "-o", ",".join((*FLAGS, "mode=755")), SOURCE, self.root)

    def undo(self, runner: Runner) -> None:
        _unmount_ours(self.root, runner)


@dataclass(frozen=True)
class MountHierarchy(Change):
    """A v1 hierarchy; of it only ``group`` and what is below, so that nobody inside gets beyond."""

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

    def effect(self, state: State) -> State:
        mounts = {**state.mounts, self.entry: Mounted(self.names, self.group)}
        return dataclasses.replace(state, mounts=mounts, links=_without(state.links, self.entry))

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, mounts=_without(state.mounts, self.entry))

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
    """A hierarchy in which the container is in the host's root group, because the outer runtime does not know it.

    Groups that an engine makes there stay on the host for ever (kind#3223, kind PR 2709).
    """

    root: str
    entry: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"unmount {self.root}/{self.entry}, which shows the host's root group"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, mounts=_without(state.mounts, self.entry))

    def reverse(self, state: State) -> State:
        return dataclasses.replace(
            state, mounts={**state.mounts, self.entry: Mounted(self.names, "/", is_host_root=True)}
        )

    def do(self, runner: Runner) -> None:
        runner.run("umount", f"{self.root}/{self.entry}")

    def undo(self, runner: Runner) -> None:
        if _topmost(f"{self.root}/{self.entry}") is None:
            MountHierarchy(self.root, self.entry, self.names, "/", is_new_directory=False).do(runner)


@dataclass(frozen=True)
class Link(Change):
    """The name of one of several controllers that are mounted together."""

    root: str
    name: str
    entry: str

    def __str__(self) -> str:
        return f"link {self.root}/{self.name} to {self.entry}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, links={**state.links, self.name: self.entry})

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, links=_without(state.links, self.name))

    def do(self, runner: Runner) -> None:
        path = Path(self.root, self.name)
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            path.rmdir()  # empty, or it is not ours to remove
        path.symlink_to(self.entry)

    def undo(self, runner: Runner) -> None:
        path = Path(self.root, self.name)
        if path.is_symlink() and str(path.readlink()) == self.entry:
            path.unlink()


@dataclass(frozen=True)
class Remount(Change):
    """A read-only mount made writable (moby#20162). ``options`` are those it has, ``ro`` among them.

    ``is_whole`` is true for a file system that is itself read-only, and not only mounted so.
    """

    path: str
    options: tuple[str, ...]
    is_whole: bool = False

    def __str__(self) -> str:
        return f"remount {self.path} writable"

    def effect(self, state: State) -> State:
        return self._with_options(state, _swapped(self.options, "ro", "rw"))

    def reverse(self, state: State) -> State:
        return self._with_options(state, self.options)

    def _with_options(self, state: State, options: tuple[str, ...]) -> State:
        if self.path == state.root:
            return dataclasses.replace(state, root_options=options)
        entry = Path(self.path).name
        remounted = dataclasses.replace(state.mounts[entry], options=options)
        return dataclasses.replace(state, mounts={**state.mounts, entry: remounted})

    def do(self, runner: Runner) -> None:
        self._remount(_swapped(self.options, "ro", "rw"), runner)

    def undo(self, runner: Runner) -> None:
        if _topmost(self.path) is not None:
            self._remount(self.options, runner)

    def _remount(self, options: tuple[str, ...], runner: Runner) -> None:
        # Without the other options a bind remount would drop nosuid and the like.
        how = ("remount",) if self.is_whole else ("remount", "bind")
        runner.run("mount", "-o", ",".join((*how, *options)), self.path)


@dataclass(frozen=True)
class SeedCpuset(Change):
    """Children of our cpuset group get its CPUs and memory nodes; an empty one takes no process: cpuset(7)."""

    group: str

    @property
    def file(self) -> Path:
        return Path(self.group, "cgroup.clone_children")

    def __str__(self) -> str:
        return f"let the children of {self.group} inherit its CPUs and memory nodes"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, is_cpuset_seeded=True)

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, is_cpuset_seeded=False)

    def do(self, runner: Runner) -> None:
        # What has just been mounted may turn out to show the host's root group.
        if not is_host_root(self.file.parent):
            self.file.write_text("1")

    def undo(self, runner: Runner) -> None:
        if self.file.exists() and not is_host_root(self.file.parent):
            self.file.write_text("0")


@dataclass(frozen=True)
class MountUnified(Change):
    """The v2 hierarchy, where none is mounted or the mount does not show our cgroup namespace.

    A mount from the host's cgroup namespace sets the options of the whole system, and clears those that it does not
    name (kernel/cgroup/cgroup.c: apply_cgroup_root_flags): ``options`` are those that it has.
    """

    root: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"mount cgroup2 on {self.root}"

    def effect(self, state: State) -> State:
        # What is in it shows only once it is mounted.
        return dataclasses.replace(
            state, root_fstype="cgroup2", root_options=("rw",), mounts={}, links={}, unified=Unified(state.group, "/")
        )

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, root_fstype="", root_options=(), unified=None)

    def do(self, runner: Runner) -> None:
        _mount_group("cgroup2", self.options, "/", self.root, runner)

    def undo(self, runner: Runner) -> None:
        _clear_aside(runner)
        _unmount_ours(self.root, runner)


@dataclass(frozen=True)
class Delegate(Change):
    """All processes of a v2 group go to a leaf of it, then its controllers are open to other children.

    A group with processes cannot have children with controllers (cgroup-v2.rst, "No Internal Process Constraint").
    ``controllers`` are those to enable; none means all that there are.
    """

    directory: str
    leaf: str
    controllers: tuple[str, ...]

    def __str__(self) -> str:
        which = " ".join(self.controllers) or "every controller"
        return f"move the processes of {self.directory} to its leaf {self.leaf} and delegate {which}"

    def effect(self, state: State) -> State:
        return self._with_unified(state, has_processes=False, has_leaf=True, add=self.controllers)

    def reverse(self, state: State) -> State:
        return self._with_unified(state, has_processes=True, has_leaf=False, remove=self.controllers)

    def _with_unified(
        self,
        state: State,
        *,
        has_processes: bool,
        has_leaf: bool,
        add: tuple[str, ...] = (),
        remove: tuple[str, ...] = (),
    ) -> State:
        if state.unified is None:
            return state
        kept = tuple(name for name in state.unified.delegated if name not in remove)
        unified = dataclasses.replace(
            state.unified, delegated=kept + add, has_processes=has_processes, has_leaf=has_leaf
        )
        return dataclasses.replace(state, unified=unified)

    def do(self, runner: Runner) -> None:
        group, leaf = Path(self.directory), Path(self.directory, self.leaf)
        leaf.mkdir(exist_ok=True)
        deadline = time.monotonic() + DELEGATION_TIMEOUT
        # Whatever enters the container meanwhile starts in the group and makes the kernel refuse: once more then.
        while not self._try(group, leaf):
            if time.monotonic() > deadline:
                left = (group / "cgroup.procs").read_text().split()
                raise DindError(
                    f"processes keep appearing in {group} (now there are {', '.join(left) or 'none'}; "
                    f"0 is one of another pid namespace), and its controllers cannot be delegated",
                    cure="stop what starts them, such as a health check or `docker exec` in a loop",
                )

    def _try(self, group: Path, leaf: Path) -> bool:
        move_processes(group, leaf)
        for name in self.controllers or _words(group / "cgroup.controllers"):
            try:
                (group / "cgroup.subtree_control").write_text(f"+{name}")
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                raise DindError(f"the controller {name} cannot be delegated in {group}: {error.strerror}") from None
        # Without any controller nothing above has noticed a process that has just appeared.
        return not _has_processes(group)

    def undo(self, runner: Runner) -> None:
        group, leaf = Path(self.directory), Path(self.directory, self.leaf)
        enabled = _words(group / "cgroup.subtree_control")
        for name in self.controllers or enabled:
            if name in enabled:
                _disable(name, group)
        if leaf.exists():
            move_processes(leaf, group)
            leaf.rmdir()


@dataclass(frozen=True)
class ShareMounts(Change):
    """Mounts made in ``/`` and below reach the mount namespaces made from it, as systemd has it on a machine."""

    unshared: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "make / and all mounts below shared"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, is_shared=True, unshared=())

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, is_shared=False, unshared=self.unshared)

    def do(self, runner: Runner) -> None:
        runner.run("mount", "--make-rshared", "/")

    def undo(self, runner: Runner) -> None:
        for mount_point, propagation in self.unshared:
            mount = _topmost(mount_point)
            if mount is not None and mount.is_shared:
                runner.run("mount", f"--make-{propagation}", mount_point)


@dataclass(frozen=True)
class MountSecurityfs(Change):
    """What an engine looks at to see whether there is AppArmor. Refused, it stays in the journal as tried."""

    def __str__(self) -> str:
        return f"mount securityfs on {SECURITYFS}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, securityfs="mounted")

    def reverse(self, state: State) -> State:
        return dataclasses.replace(state, securityfs="unmounted")

    def do(self, runner: Runner) -> None:
        with contextlib.suppress(DindError):
            runner.run("mount", "-t", "securityfs", "-o", ",".join(FLAGS), SOURCE, SECURITYFS)

    def undo(self, runner: Runner) -> None:
        _unmount_ours(SECURITYFS, runner)


CHANGES: Mapping[str, type[Change]] = {
    kind.__name__: kind
    for kind in (
        MountDirectory,
        MountHierarchy,
        UnmountHierarchy,
        Link,
        Remount,
        SeedCpuset,
        MountUnified,
        Delegate,
        ShareMounts,
        MountSecurityfs,
    )
}


@dataclass(frozen=True)
class Journal:
    """The changes made so far, in a file. It counts only in the mount namespace that ``owner`` names: a file
    outlives a container's restart, the mounts do not."""

    file: Path
    owner: str

    def read(self) -> tuple[Change, ...]:
        try:
            found = json.loads(self.file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return ()
        if found["owner"] != self.owner:
            return ()
        return tuple(CHANGES[entry.pop("kind")](**_tupled(entry)) for entry in found["changes"])

    def append(self, change: Change) -> None:
        self._write(journaled(self.read(), change))

    def remove(self, change: Change) -> None:
        self._write(tuple(other for other in self.read() if other != change))

    def _write(self, changes: tuple[Change, ...]) -> None:
        if not changes:
            self.file.unlink(missing_ok=True)
            return
        entries = [{"kind": type(change).__name__, **vars(change)} for change in changes]
        atomic_file.write(self.file, json.dumps({"owner": self.owner, "changes": entries}, indent=2) + "\n")


def journaled(changes: tuple[Change, ...], change: Change) -> tuple[Change, ...]:
    """With a change made (again, if somebody else has undone it) after all others."""
    return (*(other for other in changes if other != change), change)


@dataclass(frozen=True)
class Make(_plan.Step[State]):
    """A change, written down before it is made: a journal that knew less than was done could not undo it."""

    change: Change
    journal: Journal

    def __str__(self) -> str:
        return str(self.change)

    def effect(self, state: State) -> State:
        return dataclasses.replace(self.change.effect(state), journal=journaled(state.journal, self.change))

    def do(self, runner: Runner) -> None:
        self.journal.append(self.change)
        self.change.do(runner)

    def undo(self, runner: Runner) -> None:
        self.change.undo(runner)
        self.journal.remove(self.change)


@dataclass(frozen=True)
class TakeBack(_plan.Step[State]):
    change: Change
    journal: Journal

    def __str__(self) -> str:
        return f"take back: {self.change}"

    def effect(self, state: State) -> State:
        left = tuple(other for other in state.journal if other != self.change)
        return dataclasses.replace(self.change.reverse(state), journal=left)

    def do(self, runner: Runner) -> None:
        self.change.undo(runner)
        self.journal.remove(self.change)


def _tupled(value: Any) -> Any:
    """JSON has lists for tuples."""
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _without(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: entry for other, entry in entries.items() if other != name}


def _swapped(options: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return tuple(new if option == old else option for option in options)


def is_host_root(group: Path) -> bool:
    """Whether a group of v1 is its hierarchy's root, which alone has this file (Documentation/cgroup-v1)."""
    return (group / "release_agent").exists()


def _topmost(path: str) -> MountPoint | None:
    return MountTree(mountinfo.parse(Path("/proc/self/mountinfo").read_text())).at(path)


def _mount_group(fstype: str, options: tuple[str, ...], group: str, target: str, runner: Runner) -> None:
    """Mount a group of a hierarchy, with all below it.

    Mounted by itself, a hierarchy shows its root group (or the namespace's), and the kernel refuses it on top of
    another mount of the same hierarchy; both are different for a bind mount.
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
    """Also of a run that was killed."""
    _unmount_ours(str(ASIDE), runner)
    if ASIDE.exists():
        ASIDE.rmdir()


def _unmount_ours(path: str, runner: Runner) -> None:
    mount = _topmost(path)
    if mount is not None and mount.source == SOURCE:
        runner.run("umount", path)


def _words(file: Path) -> tuple[str, ...]:
    return tuple(file.read_text().split())


def _has_processes(group: Path) -> bool:
    return bool((group / "cgroup.procs").read_text())


def move_processes(source: Path, target: Path) -> None:
    """Move every process that is there, but for those of other pid namespaces, which are listed as 0."""
    for pid in _words(source / "cgroup.procs"):
        if pid != "0":
            # Gone already, or about to exec into a container of its own.
            with contextlib.suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(pid)


def _disable(name: str, group: Path) -> None:
    try:
        (group / "cgroup.subtree_control").write_text(f"-{name}")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        users = ", ".join(_using(name, group))
        raise DindError(
            f"the controller {name} is still in use below {group}, by {users}", cure="stop the engine first"
        ) from None


def _using(name: str, group: Path) -> Iterator[str]:
    for child in sorted(group.iterdir()):
        if child.is_dir() and name in _words(child / "cgroup.subtree_control"):
            yield str(child)


def group_directory(root: str, unified: Unified) -> str:
    """The directory of our v2 group, given the group that the mount shows."""
    if not is_below(unified.group, unified.shown):
        raise ValueError(f"{unified.group} is not below {unified.shown}")
    return str(Path(root, Path(unified.group).relative_to(unified.shown)))
