# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How much of the machine the control groups let this process have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import MountTree, is_below, parse_memberships
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint


@dataclass(frozen=True)
class Limits:
    """``cpus`` is in processors, ``memory`` in bytes; None where nothing less than the whole machine is set."""

    cpus: float | None
    memory: int | None


def read(root: str, base: Path = Path("/")) -> Limits:
    """The least of what this process's groups and those above them allow, as far up as they can be seen.

    ``root`` is the directory of the control groups; everything is read below ``base``.
    """
    proc = base / "proc"
    cpus = [quota for group in _groups("cpu", root, base) if (quota := _cpus(group)) is not None]
    allowed, online = _processors(proc / "self/status"), _count(base / "sys/devices/system/cpu/online")
    if allowed is not None and online is not None and allowed < online:
        cpus.append(float(allowed))
    memory = [limit for group in _groups("memory", root, base) if (limit := _memory(group)) is not None]
    least = min(memory, default=None)
    total = _total_memory(proc / "meminfo")
    return Limits(
        cpus=min(cpus, default=None),
        # v1 says "no limit" by a number that is near the largest there is.
        memory=least if least is not None and least < total else None,
    )


def _groups(controller: str, root: str, base: Path) -> Iterator[Path]:
    """The directories of this process's group and those above it, of v1 with the controller or of v2."""
    memberships = parse_memberships((base / "proc/self/cgroup").read_text())
    tree = MountTree(mountinfo.parse((base / "proc/self/mountinfo").read_text()))
    v1 = [mount for mount in tree.directly_in(root) if controller in mount.super_options and mount.fstype == "cgroup"]
    own = tree.at(root)
    for mount in [*v1, *([own] if own and own.fstype == "cgroup2" else [])]:
        path = next(
            (member.path for member in memberships if (controller in member.names if v1 else member.is_v2)), mount.root
        )
        yield from _upwards(mount, path, base)


def _upwards(mount: MountPoint, path: str, base: Path) -> Iterator[Path]:
    within = PurePosixPath(path).relative_to(mount.root) if is_below(path, mount.root) else PurePosixPath()
    top = base / mount.mount_point.lstrip("/")
    yield top
    for depth in range(1, len(within.parts) + 1):
        yield top.joinpath(*within.parts[:depth])


def _cpus(group: Path) -> float | None:
    """cpu.max of v2 ("max 100000"), cpu.cfs_quota_us of v1 (-1): Documentation/admin-guide/cgroup-v2.rst and
    Documentation/scheduler/sched-bwc.rst."""
    quota, period = [*_text(group / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _memory(group: Path) -> int | None:
    limit = (_text(group / "memory.max") or _text(group / "memory.limit_in_bytes")).strip()
    return int(limit) if limit.isdecimal() else None


def _processors(status: Path) -> int | None:
    lines = _text(status).splitlines()
    return next((_ranges(line.split()[1]) for line in lines if line.startswith("Cpus_allowed_list:")), None)


def _count(file: Path) -> int | None:
    text = _text(file).strip()
    return _ranges(text) if text else None


def _ranges(text: str) -> int:
    """How many numbers are in a list such as 0-3,8."""
    bounds = [part.partition("-") for part in text.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _dash, last in bounds)


def _total_memory(meminfo: Path) -> int:
    line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
