# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Containers on each version of control groups, of which no group and no mount is left."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroup_fixtures import (
    PREFIX,
    ROOT,
    Container,
    container,
    groups_of_tests,
    mount_as_an_engine_does,
    mount_v2,
    remove_what_is_stale,
    v1_mounts,
    v2_mount,
)


@pytest.fixture(autouse=True, scope="module")
def one_run_at_a_time() -> Iterator[None]:
    """Hierarchies are the whole machine's."""
    with Path("/run/lock/mesos-dind-cgroup-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def nothing_left_on_the_host() -> Iterator[None]:
    remove_what_is_stale()
    before = host()
    yield
    assert host() == before


def host() -> tuple[set[Path], list[str], list[str], list[str]]:
    switches = [mounted / "cgroup.clone_children" for mounted in v1_mounts().values()]
    switches += [mounted / "cgroup.subtree_control" for mounted in [v2_mount()] if mounted]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    hierarchies = Path("/proc/self/cgroup").read_text().splitlines()
    return (
        groups_of_tests(),
        [line for line in mounts if str(ROOT) in line or PREFIX in line],
        hierarchies,
        [switch.read_text() for switch in switches],
    )


@pytest.fixture
def v1() -> dict[str, Path]:
    mounts = v1_mounts()
    if "memory" not in mounts or "devices" not in mounts:
        pytest.skip("this machine has no cgroup v1")
    return mounts


@pytest.fixture(params=[True, False], ids=["private namespace", "host's namespace"])
def box(request: pytest.FixtureRequest, v1: dict[str, Path]) -> Iterator[Container]:
    """A container on v1, whose /sys/fs/cgroup is as an engine makes it."""
    with container(list(v1.values()), cgroup_namespace=request.param) as made:
        made.call(mount_as_an_engine_does)
        yield made


@pytest.fixture
def v2() -> Iterator[Path]:
    """The host's v2 hierarchy, with hugetlb delegated to the groups of its root."""
    mounted = v2_mount()
    if mounted is None or "hugetlb" not in (mounted / "cgroup.controllers").read_text().split():
        pytest.skip("this machine has no cgroup v2 with the controller hugetlb")
    switch = mounted / "cgroup.subtree_control"
    before = switch.read_text().split()
    switch.write_text("+hugetlb")
    yield mounted
    if "hugetlb" not in before:
        switch.write_text("-hugetlb")


@pytest.fixture
def private(v2: Path) -> Iterator[Container]:
    with container([v2]) as box:
        box.call(mount_v2)
        yield box
