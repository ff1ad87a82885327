# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The plan for recorded machines with v2 control groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cgroup_mounts.recorded import CONTROLLERS, DESIRED, NOWHERE, ROOT, VERSIONS, Machine

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import delegation
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    Link,
    MountHierarchy,
    MountUnified,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.core import cgroup_parent, warnings
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.delegation import Delegate
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Unified
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    parse_memberships,
)


def test_processes_leave_the_containers_group_and_everything_is_delegated(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, procs="1\n7\n")
    delegate = "move the processes of /sys/fs/cgroup to its leaf mesos-dind and delegate cpuset cpu io memory pids"
    assert machine.plan() == [delegate]
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, delegated=CONTROLLERS)
    machine.group("sys/fs/cgroup/mesos-dind", controllers=CONTROLLERS, procs="1\n7\n")
    machine.write("proc/self/cgroup", "0::/mesos-dind\n")
    assert machine.plan() == []
    assert machine.inspect().unified == Unified(
        "/", "/", "domain", tuple(CONTROLLERS.split()), tuple(CONTROLLERS.split()), has_processes=False, has_leaf=True
    )


def test_a_process_of_another_pid_namespace_is_not_taken_for_ourselves(tmp_path: Path) -> None:
    """It is listed as 0, and a 0 that is written means the writer: cgroup-v2.rst."""
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("group", procs="0\n7\n0\n")
    machine.group("leaf")
    delegation.move_processes(tmp_path / "group", tmp_path / "leaf")
    assert (tmp_path / "leaf/cgroup.procs").read_text() == "7"


def test_only_what_is_missing_is_delegated(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, delegated="cpu pids")
    [step] = plan(DESIRED, machine.inspect())
    assert step.change == Delegate(ROOT, "mesos-dind", ("cpuset", "io", "memory"))


def test_in_the_hosts_namespace_only_the_containers_own_group_is_touched(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "kubernetes-v2-host-namespace")
    machine.in_namespaces(cgroup="cgroup:[4026531835]")
    group = parse_memberships((tmp_path / "proc/self/cgroup").read_text())[0].path
    machine.group(f"sys/fs/cgroup{group}", controllers=CONTROLLERS, procs="1\n")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, delegated="", procs="1\n", kind="")
    [step] = plan(DESIRED, machine.inspect())
    assert step.change == Delegate(f"{ROOT}{group}", "mesos-dind", tuple(CONTROLLERS.split()))
    assert cgroup_parent(machine.inspect()) == group
    machine.write("proc/self/cgroup", f"0::{group}/mesos-dind\n")
    assert cgroup_parent(machine.inspect()) == group


def test_the_hosts_own_root_group_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, procs="1\n")
    (tmp_path / "sys/fs/cgroup/cgroup.type").unlink()
    assert machine.plan() == []
    assert "the container has no control group of its own" in "".join(warnings(DESIRED, machine.inspect()))


def test_a_mount_that_shows_another_namespace_is_covered_by_one_of_ours(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-mount-of-outer-namespace")
    assert machine.plan() == [
        "mount cgroup2 on /sys/fs/cgroup",
        "move the processes of /sys/fs/cgroup to its leaf mesos-dind and delegate every controller",
    ]


def test_the_options_of_the_whole_v2_hierarchy_are_kept(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-mount-of-outer-namespace")
    text = (tmp_path / "proc/self/mountinfo").read_text()
    machine.write(
        "proc/self/mountinfo", text.replace("cgroup2 cgroup2 rw", "cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot")
    )
    [mounting, _] = plan(DESIRED, machine.inspect())
    assert mounting.change == MountUnified(ROOT, ("nsdelegate", "memory_recursiveprot"))


def test_a_read_only_v2_is_made_writable(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-desktop-v2-unprivileged")
    machine.group("sys/fs/cgroup", controllers="cpu", procs="1\n")
    assert machine.plan()[0] == "remount /sys/fs/cgroup writable"


@pytest.mark.parametrize("kind", ["threaded", "domain threaded", "domain invalid"])
def test_a_group_that_is_no_domain_is_named(kind: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, procs="1\n", kind=kind)
    with pytest.raises(DindError, match=f"the control group / is of type '{kind}'"):
        machine.plan()


@pytest.mark.parametrize(
    ("delegate", "container", "delegates"),
    [("auto", True, True), ("auto", False, False), ("always", False, True), ("never", True, False)],
)
def test_who_delegates(delegate: str, container: bool, delegates: bool, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "podman-v2-privileged")
    machine.group("sys/fs/cgroup", controllers=CONTROLLERS, procs="1\n")
    if not container:
        machine.on_the_host()
    desired = Desired(NOWHERE, delegate=delegate, propagation=False)  # type: ignore[arg-type]
    assert bool(machine.plan(desired)) == delegates


@pytest.mark.parametrize("sample", [sample for sample, version in VERSIONS.items() if version == "v2"])
def test_on_v2_nothing_is_ever_made_in_the_root_but_the_leaf(sample: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, sample)
    steps = plan(dataclasses.replace(DESIRED, named=("systemd",)), machine.inspect())
    assert not [step for step in steps if isinstance(step.change, MountHierarchy | Link)]
    assert "not made on a cgroup v2 host" in "".join(warnings(Desired(NOWHERE, named=("systemd",)), machine.inspect()))
