# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Control groups in which a container engine can work: every v1 hierarchy mounted, or the v2 group delegated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Journal
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan, require_privileges
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import cgroup_limits, namespaces
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import ENGINE_CONTROLLERS
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

JOURNAL = Path("/run/mesos-dind/cgroup_mounts.json")


def core(params: Mapping[str, Any], runner: Runner, check: bool) -> _plan.Outcome:
    """Raises DindError for a wrong parameter, for missing privileges, and for a change that fails."""
    # mountinfo knows no symbolic links.
    root, leaf = os.path.realpath(params["root"]), params["leaf"]
    if not params["root"].startswith("/") or root == "/":
        raise DindError(f"root is {params['root']!r}", cure="give an absolute path such as /sys/fs/cgroup")
    # With a dot, the name could be one of the kernel's own files.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", leaf):
        raise DindError(f"leaf is {leaf!r}", cure="give a name of letters, digits, - and _")
    desired = Desired(
        journal=Journal(JOURNAL, namespaces.mount_id(Path("/proc"))),
        present=params["state"] == "present",
        named=("systemd",) if params["systemd_hierarchy"] else (),
        delegate=params["delegate"],
        leaf=leaf,
        propagation=params["propagation"],
    )
    return converge(desired, root, runner, check=check)


def converge(desired: Desired, root: str, runner: Runner, *, check: bool) -> _plan.Outcome:
    """``root`` is the directory of the control groups, without symbolic links. Raises DindError."""
    converged = _plan.converge(
        lambda: inspect(root, desired.leaf, desired.journal),
        lambda state: require_privileges(plan(desired, state), state),
        runner,
        check=check,
    )
    after, limits = converged.after, cgroup_limits.read(root)
    return _plan.Outcome(
        actions=converged.actions,
        before=view(converged.before),
        after=view(after),
        facts={
            "version": after.version,
            "mounts": _mounts(after),
            "controllers": _controllers(after),
            "leaf": str(PurePosixPath(after.group, desired.leaf)) if after.unified and after.unified.has_leaf else "",
            "cgroup_parent": cgroup_parent(after) if desired.present else "",
            "cpus": limits.cpus,
            "memory": limits.memory,
        },
        warnings=list(warnings(desired, after)) if desired.present else [],
    )


def warnings(desired: Desired, state: State) -> Iterator[str]:
    """The restrictions that an engine will have here, one line each."""
    if state.is_container and state.securityfs in ("absent", "refused"):
        yield f"securityfs is {state.securityfs} here: the engine cannot see whether the host has AppArmor"
    if desired.named and state.version == "v2":
        yield "a v1 hierarchy name=systemd is not made on a cgroup v2 host"
    if missing := _missing_controllers(state):
        yield f"the host has no v1 hierarchy with {', '.join(missing)}: the engine cannot limit that"
    if state.version == "v2" and state.is_container and state.unified and not state.unified.kind:
        yield "the container has no control group of its own, and the host's root group is left alone"


def _missing_controllers(state: State) -> list[str]:
    """The controllers without a mounted v1 hierarchy, on a host with v1."""
    mounted = {name for mount in state.mounts.values() for name in mount.names}
    return [] if state.version == "v2" else sorted(ENGINE_CONTROLLERS - mounted)


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
    """The mounted hierarchies, in the form that the module returns."""
    if state.unified is not None:
        unified = state.unified
        shown = [(state.root, "cgroup2", unified.shown, unified.controllers, "ro" in state.root_options)]
    else:
        shown = [
            (f"{state.root}/{entry}", "cgroup", mounted.group, mounted.names, mounted.is_read_only)
            for entry, mounted in sorted(state.mounts.items())
        ]
    return [
        {"path": path, "fstype": fstype, "group": group, "controllers": list(names), "read_only": read_only}
        for path, fstype, group, names, read_only in shown
    ]


def _controllers(state: State) -> list[str]:
    """The controllers that an engine can use for its containers."""
    if state.unified is not None:
        return list(state.unified.delegated)
    names = {name for mounted in state.mounts.values() for name in mounted.names}
    return sorted(name for name in names if not name.startswith("name="))


def cgroup_parent(state: State) -> str:
    """The group for inner containers, where the engine's default would lie outside the container's own group."""
    unified = state.unified
    if unified is None or not state.is_container or unified.group == unified.shown:
        return ""
    return f"/{PurePosixPath(unified.group).relative_to(unified.shown)}"
