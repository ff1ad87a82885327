# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The changes that bring the control groups to the desired state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import changes
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.delegation import Delegate
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Journal, Make, TakeBack
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Change, State, Unified
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    ENGINE_CONTROLLERS,
    Membership,
    bare_name,
)
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import is_below

# Hierarchies that runtimes learned of late. An older runtime leaves the container in the host's root group there
# (kind#3223). No engine needs them.
OFTEN_UNKNOWN = frozenset({"misc", "rdma"})

# The number of a hierarchy that does not exist yet.
NOT_YET = -1


@dataclass(frozen=True)
class Desired:
    """``named`` are v1 hierarchies without a controller that must exist, such as ``systemd``."""

    journal: Journal
    present: bool = True
    named: tuple[str, ...] = ()
    delegate: Literal["auto", "always", "never"] = "auto"
    leaf: str = "mesos-dind"
    propagation: bool | None = None


def plan(desired: Desired, state: State) -> list[Make | TakeBack]:
    """The steps from the state to the desired one. Raises DindError where none lead there."""
    if not desired.present:
        return [TakeBack(change, desired.journal) for change in reversed(state.journal)]
    if state.has_systemd and desired.delegate != "always":
        return []
    parts: Sequence[Callable[[Desired, State], Iterator[Change]]] = (
        (_unified,) if state.version == "v2" else (_directory, _hierarchies, _missing_links, _unmounts, _cpuset)
    )
    steps: list[Make | TakeBack] = []
    for part in (*parts, _securityfs, _propagation):
        made = [Make(change, desired.journal) for change in part(desired, state)]
        steps += made
        state = _plan.expected(state, made)
    return steps


def require_privileges(steps: list[Make | TakeBack], state: State) -> list[Make | TakeBack]:
    """The same steps. Raises DindError if there are any and this process may not mount."""
    if steps and not state.is_privileged:
        raise DindError(
            f"CAP_SYS_ADMIN is missing, and there is to do: {', '.join(map(str, steps))}",
            cure="start the container with `docker run --privileged`, or become root",
        )
    return steps


def _directory(desired: Desired, state: State) -> Iterator[Change]:
    """Give the hierarchies' mount points a writable directory, if one will be missing."""
    if state.root_fstype not in ("tmpfs", "ramfs"):
        yield changes.MountDirectory(state.root)
        return
    missing = any(_mount_of(hierarchy, state) is None for hierarchy in _wanted(desired, state))
    if "ro" in state.root_options and (missing or any(_missing_links(desired, state))):
        yield changes.Remount(state.root, state.root_options, is_whole=True)


def _hierarchies(desired: Desired, state: State) -> Iterator[Change]:
    if "devices" not in state.controllers and not state.has_user_namespace:
        raise DindError(
            "the host has no v1 hierarchy with the controller devices, without which no engine starts",
            cure="mount it on the host: mkdir -p /sys/fs/cgroup/devices && "
            "mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices",
        )
    for hierarchy in _wanted(desired, state):
        entry = _mount_of(hierarchy, state)
        if entry is None:
            yield _mount(hierarchy, state)
        elif state.mounts[entry].is_read_only:
            yield changes.Remount(f"{state.root}/{entry}", state.mounts[entry].options)


def _mount(hierarchy: Membership, state: State) -> Change:
    if hierarchy.number == NOT_YET and not state.is_host_namespace:
        raise DindError(  # kernel/cgroup/cgroup-v1.c: cgroup1_root_to_use
            f"the v1 hierarchy {hierarchy.names[0]} can only be made in the host's cgroup namespace",
            cure="start the container with --cgroupns=host, or mount the hierarchy on the host first",
        )
    entry = _entry_for(hierarchy, state)
    group = hierarchy.path if state.is_container else "/"
    is_new = entry not in state.directories
    return changes.MountHierarchy(state.root, entry, hierarchy.names, group, is_new_directory=is_new)


def _missing_links(desired: Desired, state: State) -> Iterator[Change]:
    for hierarchy in _wanted(desired, state):
        entry = _mount_of(hierarchy, state) or _entry_for(hierarchy, state)
        mounted = {other for other, mount in state.mounts.items() if set(mount.names) == set(hierarchy.names)}
        for name in map(bare_name, hierarchy.names):
            if name != entry and name not in mounted and state.links.get(name) != entry:
                yield changes.Link(state.root, name, entry)


def _unmounts(desired: Desired, state: State) -> Iterator[Change]:
    for entry, mounted in state.mounts.items():
        if _is_exposed(entry, desired, state):
            yield changes.UnmountHierarchy(state.root, entry, mounted.names)


def _cpuset(desired: Desired, state: State) -> Iterator[Change]:
    for entry, mounted in state.mounts.items():
        in_own_group = state.is_container and not mounted.is_host_root
        if "cpuset" in mounted.names and in_own_group and not state.is_cpuset_seeded:
            yield changes.SeedCpuset(f"{state.root}/{entry}")


def _unified(desired: Desired, state: State) -> Iterator[Change]:
    unified = state.unified or Unified(state.group, "/")
    if state.unified is None:
        yield changes.MountUnified(state.root, state.unified_options)
    elif "ro" in state.root_options:
        yield changes.Remount(state.root, state.root_options)
    delegates = desired.delegate == "always" or (desired.delegate == "auto" and state.is_container)
    if delegates and _can_delegate(unified) and not (state.unified and unified.is_delegated):
        yield Delegate(unified.directory(state.root), desired.leaf, unified.missing)


def _can_delegate(unified: Unified) -> bool:
    """False for the hierarchy's root group. Raises DindError for a threaded group."""
    if unified.kind not in ("domain", ""):
        raise DindError(
            f"the control group {unified.group} is of type {unified.kind!r}, and an engine needs a domain",
            cure="start the container in a group of its own",
        )
    return bool(unified.kind)


def _securityfs(desired: Desired, state: State) -> Iterator[Change]:
    if state.is_container and state.securityfs == "unmounted":
        yield changes.MountSecurityfs()


def _propagation(desired: Desired, state: State) -> Iterator[Change]:
    wanted = state.is_container if desired.propagation is None else desired.propagation
    if wanted and not state.is_shared:
        yield changes.ShareMounts(state.unshared)


def _wanted(desired: Desired, state: State) -> Iterator[Membership]:
    """The v1 hierarchies to mount: all except those in which the container is in one of the host's own groups."""
    for hierarchy in state.hierarchies:
        entry = _mount_of(hierarchy, state)
        exposed = _would_be_exposed(hierarchy, state) if entry is None else _is_exposed(entry, desired, state)
        if not exposed:
            yield hierarchy
    for name in desired.named:
        if f"name={name}" not in state.controllers:
            yield Membership(NOT_YET, (f"name={name}",), "/")


def _mount_of(hierarchy: Membership, state: State) -> str | None:
    """The entry on which the hierarchy is mounted so that its group is in sight and no group of the host is."""
    for entry, mounted in state.mounts.items():
        of_host = state.is_host_namespace and mounted.group == "/" and hierarchy.path != "/"
        in_sight = is_below(hierarchy.path, mounted.group) and not of_host
        if set(mounted.names) == set(hierarchy.names) and (in_sight or not state.is_container):
            return entry
    return None


def _entry_for(hierarchy: Membership, state: State) -> str:
    """The entry to mount the hierarchy on: a directory named after its controllers in any order, if there is one."""
    names = [bare_name(name) for name in hierarchy.names]
    fitting = (entry for entry in state.directories if sorted(entry.split(",")) == sorted(names))
    return next(fitting, ",".join(names))


def _is_exposed(entry: str, desired: Desired, state: State) -> bool:
    """Whether a container with groups of its own elsewhere has a host's root group here, which no engine needs."""
    mounted = state.mounts[entry]
    elsewhere = any(not other.is_host_root for other in state.mounts.values())
    kept = {
        *ENGINE_CONTROLLERS,
        *(f"name={name}" for name in desired.named),
        *(name for change in state.journal if isinstance(change, changes.MountHierarchy) for name in change.names),
    }
    return state.is_container and mounted.is_host_root and elsewhere and kept.isdisjoint(mounted.names)


def _would_be_exposed(hierarchy: Membership, state: State) -> bool:
    """The same for a hierarchy that is not mounted, as far as that can be known."""
    given_up = [set(change.names) for change in state.journal if isinstance(change, changes.UnmountHierarchy)]
    in_groups = any(other.path != "/" for other in state.hierarchies)
    alien = (
        set(hierarchy.names) in given_up
        or OFTEN_UNKNOWN.issuperset(hierarchy.names)
        or (in_groups and hierarchy.path == "/")
    )
    return state.is_container and alien and ENGINE_CONTROLLERS.isdisjoint(hierarchy.names)
