# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How much of the machine the control groups let this process have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.mesos.dind.plugins.module_utils._kernel import cgroups, mountinfo


@dataclass(frozen=True)
class Limits:
    """``cpus`` is in processors, ``memory`` in bytes; None stands for the whole machine."""

    cpus: float | None
    memory: int | None


def read(root: str, base: Path = Path("/")) -> Limits:
    """The least that this process's groups and the groups above them allow, as far up as they are mounted.

    ``root`` is the directory of the control groups; every file is read below ``base``.
    """
    memberships, tree = cgroups.of_this_process(base / "proc"), mountinfo.of_this_process(base / "proc")
    cpus = [_cpus(group) for group in _groups("cpu", memberships, tree, root, base)]
    memory = [_memory(group) for group in _groups("memory", memberships, tree, root, base)]
    least = min((limit for limit in memory if limit is not None), default=None)
    # v1 writes "no limit" as a number near the largest possible one.
    if least is not None and least >= int(_field(base / "proc/meminfo", "MemTotal").split()[0]) * 1024:
        least = None
    return Limits(min((limit for limit in (*cpus, _processors(base)) if limit is not None), default=None), least)


def _groups(
    controller: str, memberships: Sequence[cgroups.Membership], tree: mountinfo.MountTree, root: str, base: Path
) -> Iterator[Path]:
    """The directories of this process's group and the groups above it, in v1 with the controller or in v2."""
    v1 = [mount for mount in tree.directly_in(root) if controller in mount.super_options and mount.fstype == "cgroup"]
    own = tree.at(root)
    for mount in [*v1, *([own] if own and own.fstype == "cgroup2" else [])]:
        path = next(
            (member.path for member in memberships if (controller in member.names if v1 else member.is_v2)), mount.root
        )
        yield from _upwards(mount, path, base)


def _upwards(mount: mountinfo.MountPoint, path: str, base: Path) -> Iterator[Path]:
    below = PurePosixPath(path).relative_to(mount.root) if mountinfo.is_below(path, mount.root) else PurePosixPath()
    group = base / mount.mount_point.lstrip("/") / below
    yield from (group, *group.parents[: len(below.parts)])


def _cpus(group: Path) -> float | None:
    """From cpu.max of v2 ("max 100000") or cpu.cfs_quota_us of v1 (-1).

    Documentation/admin-guide/cgroup-v2.rst and Documentation/scheduler/sched-bwc.rst.
    """
    quota, period = [*cgroups.read(group / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = (cgroups.read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _memory(group: Path) -> int | None:
    limit = (cgroups.read(group / "memory.max") or cgroups.read(group / "memory.limit_in_bytes")).strip()
    return int(limit) if limit.isdecimal() else None


def _processors(base: Path) -> float | None:
    """How many processors this process may use; None for all of them."""
    allowed = _count(_field(base / "proc/self/status", "Cpus_allowed_list"))
    return float(allowed) if 0 < allowed < _count(cgroups.read(base / "sys/devices/system/cpu/online")) else None


def _field(file: Path, name: str) -> str:
    """The value of a line such as ``MemTotal:  8388608 kB``; empty without the line."""
    lines = (line.partition(":") for line in cgroups.read(file).splitlines())
    return next((value.strip() for key, _colon, value in lines if key == name), "")


def _count(text: str) -> int:
    """How many numbers a list such as 0-3,8 has."""
    bounds = [part.partition("-") for part in text.split(",") if part]
    return sum(int(last or first) - int(first) + 1 for first, _dash, last in bounds)
