# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Control groups in which a container engine can work: every v1 hierarchy mounted, or the v2 group delegated."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    SECURITYFS,
    Change,
    Delegate,
    Journal,
    Link,
    Make,
    MountDirectory,
    Mounted,
    MountHierarchy,
    MountSecurityfs,
    MountUnified,
    Remount,
    SeedCpuset,
    ShareMounts,
    State,
    TakeBack,
    Unified,
    UnmountHierarchy,
    group_directory,
    is_host_root,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import cgroup_limits, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    ENGINE_CONTROLLERS,
    Membership,
    MountTree,
    bare_name,
    decide_version,
    hierarchy_names,
    is_below,
    parse_memberships,
)
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

JOURNAL = Path("/run/mesos-dind/cgroup_mounts.json")

# include/linux/proc_ns.h: the numbers of the first namespaces never change.
INITIAL_CGROUP_NAMESPACE = "cgroup:[4026531835]"
INITIAL_PID_NAMESPACE = "pid:[4026531836]"

CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h

# Hierarchies that runtimes learned of late: unless one has put the container into a group of its own, it is in
# the host's root group there (kind#3223). No engine needs them.
OFTEN_UNKNOWN = frozenset({"misc", "rdma"})

# The number of a hierarchy that is to be made.
NOT_YET = -1


@dataclass(frozen=True)
class Desired:
    """``named`` are v1 hierarchies without a controller to be there, such as ``systemd``."""

    journal: Journal
    present: bool = True
    named: tuple[str, ...] = ()
    delegate: Literal["auto", "always", "never"] = "auto"
    leaf: str = "mesos-dind"
    propagation: bool | None = None


def core(params: Mapping[str, Any], runner: Runner, check: bool) -> _plan.Outcome:
    """Raises DindError for a wrong parameter, for missing privileges, and for a change that fails."""
    # mountinfo knows no symbolic links.
    root, leaf = os.path.realpath(params["root"]), params["leaf"]
    if not params["root"].startswith("/") or root == "/":
        raise DindError(f"root is {params['root']!r}", cure="give an absolute path such as /sys/fs/cgroup")
    # A dot could make it one of the kernel's own files.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", leaf):
        raise DindError(f"leaf is {leaf!r}", cure="give a name of letters, digits, - and _")
    desired = Desired(
        journal=Journal(JOURNAL, mount_namespace()),
        present=params["state"] == "present",
        named=("systemd",) if params["systemd_hierarchy"] else (),
        delegate=params["delegate"],
        leaf=leaf,
        propagation=params["propagation"],
    )
    return converge(desired, root, runner, check=check)


def converge(desired: Desired, root: str, runner: Runner, *, check: bool) -> _plan.Outcome:
    converged = _plan.converge(
        lambda: inspect(root, desired.leaf, desired.journal),
        lambda state: require_privileges(plan(desired, state), state),
        runner,
        check=check,
    )
    after = converged.after
    limits = cgroup_limits.read(root)
    return _plan.Outcome(
        actions=converged.actions,
        before=view(converged.before),
        after=view(after),
        facts={
            "version": after.version,
            "mounts": _mounts(after),
            "controllers": _controllers(after),
            "leaf": _leaf(after, desired.leaf),
            "cgroup_parent": cgroup_parent(after) if desired.present else "",
            "cpus": limits.cpus,
            "memory": limits.memory,
        },
        warnings=list(warnings(desired, after)) if desired.present else [],
    )


# --- looking -----------------------------------------------------------------------------------------------------


def mount_namespace(proc: Path = Path("/proc")) -> str:
    """A name that no other mount namespace has, also after a restart of the container or the machine.

    The kernel uses a namespace's number again; the time at which its first process started tells them apart.
    """
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    # The name of the program, in parentheses, may hold blanks and parentheses: proc_pid_stat(5).
    start_time = (proc / "1/stat").read_text().rpartition(")")[2].split()[19]
    return f"{boot} {(proc / 'self/ns/mnt').readlink()} {start_time}"


def inspect(root: str, leaf: str, journal: Journal, base: Path = Path("/")) -> State:
    """``root`` is the directory of the control groups as mountinfo names it; everything is read below ``base``.

    Raises DindError where the kernel has no control groups.
    """
    proc = base / "proc"
    try:
        memberships = parse_memberships((proc / "self/cgroup").read_text())
    except FileNotFoundError:
        raise DindError("this kernel has no control groups", cure="use one built with CONFIG_CGROUPS") from None
    mounts = mountinfo.parse((proc / "self/mountinfo").read_text())
    tree = MountTree(mounts)
    own = tree.at(root)
    directory = base / root.lstrip("/")
    hierarchies = tuple(membership for membership in memberships if not membership.is_v2)
    known = {name for hierarchy in hierarchies for name in hierarchy.names}
    on_entries = {
        PurePosixPath(mount.mount_point).name: _mounted(mount, known, base)
        for mount in tree.directly_in(root)
        if mount.fstype == "cgroup"
    }
    group = _own_group(memberships, leaf)
    changes = journal.read()
    return State(
        root=root,
        version=decide_version(memberships, tree, root),
        is_container=_link(proc / "self/ns/pid") != INITIAL_PID_NAMESPACE,
        is_host_namespace=_link(proc / "self/ns/cgroup") == INITIAL_CGROUP_NAMESPACE,
        has_systemd=_text(proc / "1/comm").strip() == "systemd",
        is_privileged=bool(_effective_capabilities(proc) >> CAP_SYS_ADMIN & 1),
        has_user_namespace=_text(proc / "self/uid_map").split() != ["0", "0", "4294967295"],
        hierarchies=hierarchies,
        group=group,
        unified_options=_unified_options(mounts),
        root_fstype=own.fstype if own else "",
        root_options=_effective_options(own) if own else (),
        directories=_directories(directory, own),
        mounts=on_entries,
        links=_links(directory, own),
        unified=_unified(group, own, leaf, base),
        is_cpuset_seeded=_is_cpuset_seeded(directory, on_entries),
        is_shared=(top := tree.at("/")) is not None and top.is_shared,
        unshared=_unshared(mounts, tree),
        securityfs=_securityfs(tree, changes, base),
        journal=changes,
    )


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _link(file: Path) -> str:
    return str(file.readlink()) if file.is_symlink() else ""


def _effective_capabilities(proc: Path) -> int:
    status = _text(proc / "self/status").splitlines()
    return next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)


def _mounted(mount: MountPoint, known: set[str], base: Path) -> Mounted:
    of_host = is_host_root(base / mount.mount_point.lstrip("/"))
    return Mounted(hierarchy_names(mount, known), mount.root, mount.options, of_host)


def _effective_options(mount: MountPoint) -> tuple[str, ...]:
    """The mount's options; a file system that is itself read-only makes the mount so."""
    if "ro" in mount.super_options:
        return tuple("ro" if option == "rw" else option for option in mount.options)
    return mount.options


def _directories(directory: Path, own: MountPoint | None) -> tuple[str, ...]:
    if own is None or own.fstype == "cgroup2" or not directory.exists():
        return ()
    return tuple(sorted(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)))


def _links(directory: Path, own: MountPoint | None) -> dict[str, str]:
    """The entries of the root directory that lead to other entries of it."""
    if own is None or own.fstype == "cgroup2" or not directory.exists():
        return {}
    links = {entry.name: Path(entry.path).readlink() for entry in os.scandir(directory) if entry.is_symlink()}
    return {name: target.name for name, target in links.items() if target.parent in (Path(), Path(own.mount_point))}


def _own_group(memberships: Sequence[Membership], leaf: str) -> str:
    group = PurePosixPath(next((membership.path for membership in memberships if membership.is_v2), "/"))
    return str(group.parent if group.name == leaf else group)


def _unified_options(mounts: Sequence[MountPoint]) -> tuple[str, ...]:
    options = next((mount.super_options for mount in mounts if mount.fstype == "cgroup2"), ())
    return tuple(option for option in options if option not in ("rw", "ro"))


def _unified(group: str, own: MountPoint | None, leaf: str, base: Path) -> Unified | None:
    if own is None or own.fstype != "cgroup2" or not is_below(group, own.root):
        return None
    bare = Unified(group, own.root)
    directory = base / group_directory(own.mount_point, bare).lstrip("/")
    kind = _text(directory / "cgroup.type").strip()
    return Unified(
        group=group,
        shown=own.root,
        kind=kind,
        controllers=tuple(_text(directory / "cgroup.controllers").split()),
        delegated=tuple(_text(directory / "cgroup.subtree_control").split()),
        # The kernel refuses to list the processes of a threaded group.
        has_processes=kind != "threaded" and bool(_text(directory / "cgroup.procs")),
        has_leaf=(directory / leaf).is_dir(),
    )


def _is_cpuset_seeded(directory: Path, mounts: Mapping[str, Mounted]) -> bool:
    entry = next((entry for entry, mounted in mounts.items() if "cpuset" in mounted.names), None)
    return entry is not None and _text(directory / entry / "cgroup.clone_children").strip() == "1"


def _unshared(mounts: Sequence[MountPoint], tree: MountTree) -> tuple[tuple[str, str], ...]:
    points = dict.fromkeys(mount.mount_point for mount in mounts)
    tops = [top for point in points if (top := tree.at(point)) is not None and not top.is_shared]
    return tuple(
        (top.mount_point, "slave" if any(field.startswith("master:") for field in top.fields) else "private")
        for top in tops
    )


def _securityfs(
    tree: MountTree, changes: Sequence[Change], base: Path
) -> Literal["mounted", "unmounted", "refused", "absent"]:
    mount = tree.at(SECURITYFS)
    if mount is not None and mount.fstype == "securityfs":
        return "mounted"
    known = "securityfs" in _text(base / "proc/filesystems").split()
    if not known or not (base / SECURITYFS.lstrip("/")).is_dir():
        return "absent"
    return "refused" if MountSecurityfs() in changes else "unmounted"


# --- planning ----------------------------------------------------------------------------------------------------


def plan(desired: Desired, state: State) -> list[_plan.Step[State]]:
    """What makes the state the desired one. Raises DindError where that cannot be."""
    if not desired.present:
        return [TakeBack(change, desired.journal) for change in reversed(state.journal)]
    if state.has_systemd and desired.delegate != "always":
        return []
    parts: Sequence[Callable[[Desired, State], Iterator[Change]]] = (
        (_plan_unified,)
        if state.version == "v2"
        else (_plan_directory, _plan_hierarchies, _plan_links, _plan_unmounts, _plan_cpuset)
    )
    steps: list[_plan.Step[State]] = []
    for part in (*parts, _plan_securityfs, _plan_propagation):
        made = [Make(change, desired.journal) for change in part(desired, state)]
        steps += made
        state = _plan.expected(state, made)
    return steps


def require_privileges(steps: list[_plan.Step[State]], state: State) -> list[_plan.Step[State]]:
    if steps and not state.is_privileged:
        raise DindError(
            f"CAP_SYS_ADMIN is missing, and there is to do: {', '.join(map(str, steps))}",
            cure="start the container with `docker run --privileged`, or become root",
        )
    return steps


def _plan_directory(desired: Desired, state: State) -> Iterator[Change]:
    """A writable directory for the hierarchies' mount points, where one will be missing."""
    if state.root_fstype not in ("tmpfs", "ramfs"):
        yield MountDirectory(state.root)
        return
    missing = any(_mount_of(hierarchy, state) is None for hierarchy in _wanted(desired, state))
    if "ro" in state.root_options and (missing or any(_missing_links(desired, state))):
        yield Remount(state.root, state.root_options, is_whole=True)


def _plan_hierarchies(desired: Desired, state: State) -> Iterator[Change]:
    held = {name for hierarchy in state.hierarchies for name in hierarchy.names}
    if "devices" not in held and not state.has_user_namespace:
        raise DindError(
            "the host has no v1 hierarchy with the controller devices, without which no engine starts",
            cure="mount it on the host: mkdir -p /sys/fs/cgroup/devices && "
            "mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices",
        )
    for hierarchy in _wanted(desired, state):
        entry = _mount_of(hierarchy, state)
        if entry is None and hierarchy.number == NOT_YET and not state.is_host_namespace:
            raise DindError(  # kernel/cgroup/cgroup-v1.c: cgroup1_root_to_use
                f"the v1 hierarchy {hierarchy.names[0]} can only be made in the host's cgroup namespace",
                cure="start the container with --cgroupns=host, or mount the hierarchy on the host before",
            )
        if entry is None:
            target = _entry_for(hierarchy, state)
            group = hierarchy.path if state.is_container else "/"
            is_new = target not in state.directories
            yield MountHierarchy(state.root, target, hierarchy.names, group, is_new_directory=is_new)
        elif state.mounts[entry].is_read_only:
            yield Remount(f"{state.root}/{entry}", state.mounts[entry].options)


def _plan_links(desired: Desired, state: State) -> Iterator[Change]:
    yield from _missing_links(desired, state)


def _plan_unmounts(desired: Desired, state: State) -> Iterator[Change]:
    for entry, mounted in state.mounts.items():
        if _is_exposed(entry, desired, state):
            yield UnmountHierarchy(state.root, entry, mounted.names)


def _plan_cpuset(desired: Desired, state: State) -> Iterator[Change]:
    for entry, mounted in state.mounts.items():
        in_own_group = state.is_container and not mounted.is_host_root
        if "cpuset" in mounted.names and in_own_group and not state.is_cpuset_seeded:
            yield SeedCpuset(f"{state.root}/{entry}")


def _plan_unified(desired: Desired, state: State) -> Iterator[Change]:
    unified = state.unified
    if unified is None:
        yield MountUnified(state.root, state.unified_options)
        unified = Unified(state.group, "/")
    elif "ro" in state.root_options:
        yield Remount(state.root, state.root_options)
    if not _delegates(desired, state) or not unified.kind:
        return
    if unified.kind != "domain":
        raise DindError(
            f"the control group {unified.group} is of type {unified.kind!r}, and an engine needs a domain",
            cure="start the container in a group of its own",
        )
    if state.unified is None or (unified.controllers and (unified.has_processes or unified.missing)):
        yield Delegate(group_directory(state.root, unified), desired.leaf, unified.missing)


def _plan_securityfs(desired: Desired, state: State) -> Iterator[Change]:
    if state.is_container and state.securityfs == "unmounted":
        yield MountSecurityfs()


def _plan_propagation(desired: Desired, state: State) -> Iterator[Change]:
    wanted = state.is_container if desired.propagation is None else desired.propagation
    if wanted and not state.is_shared:
        yield ShareMounts(state.unshared)


def _delegates(desired: Desired, state: State) -> bool:
    return desired.delegate == "always" or (desired.delegate == "auto" and state.is_container)


def _wanted(desired: Desired, state: State) -> Iterator[Membership]:
    """The v1 hierarchies to be mounted: all but those in which the container is among the host's own groups."""
    for hierarchy in state.hierarchies:
        entry = _mount_of(hierarchy, state)
        exposed = _would_be_exposed(hierarchy, state) if entry is None else _is_exposed(entry, desired, state)
        if not exposed:
            yield hierarchy
    existing = {name for hierarchy in state.hierarchies for name in hierarchy.names}
    for name in desired.named:
        if f"name={name}" not in existing:
            yield Membership(NOT_YET, (f"name={name}",), "/")


def _mount_of(hierarchy: Membership, state: State) -> str | None:
    """The entry on which it is mounted so that its group is in sight and nothing of the host is."""
    for entry, mounted in state.mounts.items():
        of_host = state.is_host_namespace and mounted.group == "/" and hierarchy.path != "/"
        in_sight = is_below(hierarchy.path, mounted.group) and not of_host
        if set(mounted.names) == set(hierarchy.names) and (in_sight or not state.is_container):
            return entry
    return None


def _entry_for(hierarchy: Membership, state: State) -> str:
    """Where to mount it: on a directory that has its controllers' names in any order, if there is one."""
    names = [bare_name(name) for name in hierarchy.names]
    fitting = (entry for entry in state.directories if sorted(entry.split(",")) == sorted(names))
    return next(fitting, ",".join(names))


def _missing_links(desired: Desired, state: State) -> Iterator[Link]:
    for hierarchy in _wanted(desired, state):
        entry = _mount_of(hierarchy, state) or _entry_for(hierarchy, state)
        mounted = {other for other, mount in state.mounts.items() if set(mount.names) == set(hierarchy.names)}
        for name in map(bare_name, hierarchy.names):
            if name != entry and name not in mounted and state.links.get(name) != entry:
                yield Link(state.root, name, entry)


def _is_exposed(entry: str, desired: Desired, state: State) -> bool:
    """True for a host's root group in a container that elsewhere is in groups of its own, if no engine needs it."""
    mounted = state.mounts[entry]
    elsewhere = any(not other.is_host_root for other in state.mounts.values())
    kept = {
        *ENGINE_CONTROLLERS,
        *(f"name={name}" for name in desired.named),
        *(name for change in state.journal if isinstance(change, MountHierarchy) for name in change.names),
    }
    return state.is_container and mounted.is_host_root and elsewhere and kept.isdisjoint(mounted.names)


def _would_be_exposed(hierarchy: Membership, state: State) -> bool:
    """The same for one that is not mounted, as far as that can be known."""
    given_up = [set(change.names) for change in state.journal if isinstance(change, UnmountHierarchy)]
    in_groups = any(other.path != "/" for other in state.hierarchies)
    alien = (
        set(hierarchy.names) in given_up
        or OFTEN_UNKNOWN.issuperset(hierarchy.names)
        or (in_groups and hierarchy.path == "/")
    )
    return state.is_container and alien and ENGINE_CONTROLLERS.isdisjoint(hierarchy.names)


# --- reporting ---------------------------------------------------------------------------------------------------


def warnings(desired: Desired, state: State) -> Iterator[str]:
    """What works less well than it could, one line each."""
    if state.is_container and state.securityfs in ("absent", "refused"):
        yield f"securityfs is {state.securityfs} here: the engine cannot see whether the host has AppArmor"
    if desired.named and state.version == "v2":
        yield "a v1 hierarchy name=systemd is not made on a cgroup v2 host"
    if state.version != "v2":
        mounted = {name for mount in state.mounts.values() for name in mount.names}
        missing = sorted(ENGINE_CONTROLLERS - mounted)
        if missing:
            yield f"the host has no v1 hierarchy with {', '.join(missing)}: the engine cannot limit that"
    elif state.is_container and state.unified is not None and not state.unified.kind:
        yield "the container has no control group of its own, and the host's root group is left alone"


def view(state: State) -> dict[str, Any]:
    """The state as a diff shows it."""
    return {
        "version": state.version,
        "mounts": [f"{mount['path']} {mount['fstype']} {','.join(mount['controllers'])}" for mount in _mounts(state)],
        "read_only": [mount["path"] for mount in _mounts(state) if mount["read_only"]],
        "links": dict(state.links),
        "delegated": list(state.unified.delegated) if state.unified else [],
        "has_leaf": state.unified is not None and state.unified.has_leaf,
        "cpuset_children_inherit": state.is_cpuset_seeded,
        "root_is_shared": state.is_shared,
        "securityfs": state.securityfs,
    }


def _mounts(state: State) -> list[dict[str, Any]]:
    if state.unified is not None:
        unified = state.unified
        own = {"path": state.root, "fstype": "cgroup2", "group": unified.shown, "controllers": unified.controllers}
        return [{**own, "controllers": list(unified.controllers), "read_only": "ro" in state.root_options}]
    return [
        {
            "path": f"{state.root}/{entry}",
            "fstype": "cgroup",
            "group": mounted.group,
            "controllers": list(mounted.names),
            "read_only": mounted.is_read_only,
        }
        for entry, mounted in sorted(state.mounts.items())
    ]


def _controllers(state: State) -> list[str]:
    """Those that an engine can use for its containers."""
    if state.unified is not None:
        return list(state.unified.delegated)
    names = {name for mounted in state.mounts.values() for name in mounted.names}
    return sorted(name for name in names if not name.startswith("name="))


def _leaf(state: State, leaf: str) -> str:
    if state.unified is None or not state.unified.has_leaf:
        return ""
    return str(PurePosixPath(state.unified.group, leaf))


def cgroup_parent(state: State) -> str:
    """The group for inner containers, where the engine's own default would lie outside of the container's group."""
    unified = state.unified
    if unified is None or not state.is_container or unified.group == unified.shown:
        return ""
    return f"/{PurePosixPath(unified.group).relative_to(unified.shown)}"
