"""How much of the machine a container may have, read from trees as the kernel shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._kernel import cgroup_limits
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroup_limits import Limits

GIB = 1 << 30
UNLIMITED = 9223372036854771712  # v1, Linux 6.18: the largest multiple of a page

V1 = """\
20 1 0:20 / / rw - overlay overlay rw
21 20 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw
22 21 0:22 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
23 21 0:23 /docker/a /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
"""
V2 = """\
20 1 0:20 / / rw - overlay overlay rw
21 20 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup rw
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:       8388608 kB\n",
            "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-3\n",
            "sys/devices/system/cpu/online": "0-3\n",
        },
    )
    return tmp_path


def write(base: Path, files: Mapping[str, object]) -> None:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(f"{text}\n")


def v1(base: Path, memory: int, quota: int, group: str = "/docker/a") -> None:
    write(
        base,
        {
            "proc/self/mountinfo": V1.rstrip("\n"),
            "proc/self/cgroup": f"2:memory:{group}\n1:cpu:{group}\n0::/",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": memory,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
        },
    )


def v2(base: Path, group: str = "/") -> None:
    write(base, {"proc/self/mountinfo": V2.rstrip("\n"), "proc/self/cgroup": f"0::{group}"})


def read(base: Path) -> Limits:
    return cgroup_limits.read("/sys/fs/cgroup", base)


def test_v1(machine: Path) -> None:
    v1(machine, 2 * GIB, 150000)
    assert read(machine) == Limits(1.5, 2 * GIB)


def test_v1_without_a_limit(machine: Path) -> None:
    v1(machine, UNLIMITED, -1)
    assert read(machine) == Limits(None, None)


def test_the_least_of_all_groups_above_counts(machine: Path) -> None:
    v1(machine, 2 * GIB, 150000, "/docker/a/b/c")
    write(
        machine,
        {
            "sys/fs/cgroup/memory/b/memory.limit_in_bytes": UNLIMITED,
            "sys/fs/cgroup/memory/b/c/memory.limit_in_bytes": GIB,
            "sys/fs/cgroup/cpu/b/cpu.cfs_quota_us": 400000,
            "sys/fs/cgroup/cpu/b/cpu.cfs_period_us": 100000,
        },
    )
    assert read(machine) == Limits(1.5, GIB)


def test_v2_with_the_limits_above_the_leaf(machine: Path) -> None:
    v2(machine, "/mesos-dind")
    write(
        machine,
        {
            "sys/fs/cgroup/memory.max": 3 * GIB,
            "sys/fs/cgroup/cpu.max": "200000 100000",
            "sys/fs/cgroup/mesos-dind/memory.max": "max",
            "sys/fs/cgroup/mesos-dind/cpu.max": "max 100000",
        },
    )
    assert read(machine) == Limits(2.0, 3 * GIB)


def test_v2_at_the_root_which_has_no_such_files(machine: Path) -> None:
    v2(machine)
    assert read(machine) == Limits(None, None)


def test_fewer_processors_than_the_machine_has(machine: Path) -> None:
    v1(machine, UNLIMITED, 250000)
    write(machine, {"proc/self/status": "Cpus_allowed_list:\t0,2"})
    assert read(machine) == Limits(2, None)


def test_more_than_the_machine_has_is_no_limit(machine: Path) -> None:
    v1(machine, 9 * GIB, -1)
    assert read(machine) == Limits(None, None)
