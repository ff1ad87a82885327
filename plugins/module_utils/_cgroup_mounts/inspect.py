# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of a machine's or container's control groups, read without a change."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import SECURITYFS, MountSecurityfs
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Journal
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Change, Mounted, State, Unified
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import capabilities, cgroups, filesystem, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import Membership
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint, MountTree, is_below

# include/linux/proc_ns.h: the numbers of the first namespaces never change.
INITIAL_CGROUP_NAMESPACE = "cgroup:[4026531835]"
INITIAL_PID_NAMESPACE = "pid:[4026531836]"


def inspect(root: str, leaf: str, journal: Journal, base: Path = Path("/")) -> State:
    """``root`` is the directory of the control groups as mountinfo names it; every file is read below ``base``.

    Raises DindError on a kernel without control groups.
    """
    proc = base / "proc"
    try:
        memberships = cgroups.of_this_process(proc)
    except FileNotFoundError:
        raise DindError("this kernel has no control groups", cure="use one built with CONFIG_CGROUPS") from None
    tree = mountinfo.of_this_process(proc)
    own = tree.at(root)
    mounts = _mounts(memberships, tree, root, base)
    group = _own_group(memberships, leaf)
    entries = _entries(_below(base, root), own)
    changes = journal.read()
    return State(
        root=root,
        version=cgroups.decide_version(memberships, tree, root),
        is_container=_link(proc / "self/ns/pid") != INITIAL_PID_NAMESPACE,
        is_host_namespace=_link(proc / "self/ns/cgroup") == INITIAL_CGROUP_NAMESPACE,
        has_systemd=cgroups.read(proc / "1/comm").strip() == "systemd",
        is_privileged=not capabilities.missing(["CAP_SYS_ADMIN"], proc),
        has_user_namespace=cgroups.read(proc / "self/uid_map").split() != ["0", "0", "4294967295"],
        hierarchies=tuple(membership for membership in memberships if not membership.is_v2),
        group=group,
        unified_options=_unified_options(tree.mounts),
        root_fstype=own.fstype if own else "",
        root_options=_effective_options(own),
        directories=tuple(sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))),
        mounts=mounts,
        links=_links(entries, root),
        unified=_unified(group, own, leaf, base),
        is_cpuset_seeded=_is_cpuset_seeded(_below(base, root), mounts),
        is_shared=any(mount.mount_point == "/" and mount.is_shared for mount in tree.visible),
        unshared=_unshared(tree),
        securityfs=_securityfs(tree, changes, base),
        journal=changes,
    )


def _below(base: Path, path: str) -> Path:
    return base / path.lstrip("/")


def _link(file: Path) -> str:
    return str(file.readlink()) if file.is_symlink() else ""


def _mounts(memberships: Sequence[Membership], tree: MountTree, root: str, base: Path) -> dict[str, Mounted]:
    known = {name for membership in memberships for name in membership.names}
    return {
        PurePosixPath(mount.mount_point).name: Mounted(
            names=cgroups.hierarchy_names(mount, known),
            group=mount.root,
            options=mount.options,
            is_host_root=cgroups.is_host_root(_below(base, mount.mount_point)),
        )
        for mount in tree.directly_in(root)
        if mount.fstype == "cgroup"
    }


def _own_group(memberships: Sequence[Membership], leaf: str) -> str:
    group = PurePosixPath(cgroups.unified_path(memberships))
    return str(group.parent if group.name == leaf else group)


def _is_cpuset_seeded(directory: Path, mounts: Mapping[str, Mounted]) -> bool:
    groups = (directory / entry for entry, mounted in mounts.items() if "cpuset" in mounted.names)
    return any(cgroups.read(group / "cgroup.clone_children").strip() == "1" for group in groups)


def _effective_options(mount: MountPoint | None) -> tuple[str, ...]:
    """The mount's options; a read-only file system makes the mount read-only."""
    if mount is None:
        return ()
    if "ro" in mount.super_options:
        return tuple("ro" if option == "rw" else option for option in mount.options)
    return mount.options


def _entries(directory: Path, own: MountPoint | None) -> Sequence[os.DirEntry[str]]:
    """The entries of a root directory that holds v1 hierarchies."""
    if own is None or own.fstype == "cgroup2" or not directory.exists():
        return ()
    return tuple(os.scandir(directory))


def _links(entries: Sequence[os.DirEntry[str]], root: str) -> dict[str, str]:
    """The entries of the root directory that lead to other entries of it."""
    links = {entry.name: Path(entry.path).readlink() for entry in entries if entry.is_symlink()}
    return {name: target.name for name, target in links.items() if target.parent in (Path(), Path(root))}


def _unified_options(mounts: Sequence[MountPoint]) -> tuple[str, ...]:
    options = next((mount.super_options for mount in mounts if mount.fstype == "cgroup2"), ())
    return tuple(option for option in options if option not in ("rw", "ro"))


def _unified(group: str, own: MountPoint | None, leaf: str, base: Path) -> Unified | None:
    if own is None or own.fstype != "cgroup2" or not is_below(group, own.root):
        return None
    directory = _below(base, Unified(group, own.root).directory(own.mount_point))
    kind = cgroups.read(directory / "cgroup.type").strip()
    return Unified(
        group=group,
        shown=own.root,
        kind=kind,
        controllers=tuple(cgroups.read(directory / "cgroup.controllers").split()),
        delegated=tuple(cgroups.read(directory / "cgroup.subtree_control").split()),
        # The kernel refuses to list the processes of a threaded group.
        has_processes=kind != "threaded" and bool(cgroups.read(directory / "cgroup.procs")),
        has_leaf=(directory / leaf).is_dir(),
    )


def _unshared(tree: MountTree) -> tuple[tuple[str, str], ...]:
    unshared = [mount for mount in tree.visible if not mount.is_shared]
    return tuple(
        (mount.mount_point, "slave" if any(field.startswith("master:") for field in mount.fields) else "private")
        for mount in unshared
    )


def _securityfs(
    tree: MountTree, changes: Sequence[Change], base: Path
) -> Literal["mounted", "unmounted", "refused", "absent"]:
    mount = tree.at(SECURITYFS)
    if mount is not None and mount.fstype == "securityfs":
        return "mounted"
    if not filesystem.is_known("securityfs", base / "proc") or not _below(base, SECURITYFS).is_dir():
        return "absent"
    return "refused" if MountSecurityfs() in changes else "unmounted"
