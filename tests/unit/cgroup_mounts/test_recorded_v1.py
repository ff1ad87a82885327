# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The plan for recorded machines with v1 or hybrid control groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cgroup_mounts.recorded import DESIRED, ID, NOWHERE, ROOT, VERSIONS, Machine, without

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    Remount,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


@pytest.mark.parametrize("sample", ["docker-v1-private-namespace", "docker-v1-host-namespace"])
def test_a_privileged_container_has_all_its_hierarchies_and_only_needs_its_cpuset_seeded(
    sample: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, sample)
    seed = "let the children of /sys/fs/cgroup/cpuset inherit its CPUs and memory nodes"
    assert machine.plan() == [seed]
    machine.write("sys/fs/cgroup/cpuset/cgroup.clone_children", "1\n")
    assert machine.plan() == []


def test_a_machine_has_all_its_hierarchies_and_nothing_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "machine-v1-with-unused-v2")
    machine.on_the_host()
    assert machine.plan(Desired(NOWHERE)) == []


@pytest.mark.parametrize("sample", VERSIONS)
def test_under_systemd_nothing_is_moved_or_mounted(sample: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, sample)
    machine.write("proc/1/comm", "systemd\n")
    assert machine.plan(Desired(NOWHERE, named=("systemd",), propagation=True)) == []


def test_what_is_missing_is_mounted_showing_the_containers_own_group_only(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-host-namespace")
    without(machine, "/sys/fs/cgroup/memory")
    assert machine.plan()[0] == f"mount memory (group /docker/{ID}) on /sys/fs/cgroup/memory"


def test_with_no_cgroup_directory_everything_is_mounted_and_linked_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "kubernetes-v1-privileged")
    without(machine, *(mount.mount_point for mount in machine.mounts if mount.mount_point.startswith(ROOT)))
    planned = machine.plan()
    group = f"(group /kubepods/burstable/pod8d1f/{ID})"
    assert planned[0] == "mount a tmpfs on /sys/fs/cgroup"
    assert f"mount cpu,cpuacct {group} on /sys/fs/cgroup/cpu,cpuacct" in planned
    assert f"mount name=systemd {group} on /sys/fs/cgroup/systemd" in planned
    assert [action for action in planned if action.startswith("link")] == [
        "link /sys/fs/cgroup/cpu to cpu,cpuacct",
        "link /sys/fs/cgroup/cpuacct to cpu,cpuacct",
        "link /sys/fs/cgroup/net_cls to net_cls,net_prio",
        "link /sys/fs/cgroup/net_prio to net_cls,net_prio",
    ]
    assert not [action for action in planned if "rdma" in action], "old runtimes leave it to the host's root group"


def test_links_are_recognised_absolute_or_relative(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-desktop-v1-unprivileged")
    links = {
        "cpu": "cpu,cpuacct",
        "cpuacct": f"{ROOT}/cpu,cpuacct",
        "net_cls": "net_cls,net_prio",
        "net_prio": "elsewhere",
    }
    for name, target in links.items():
        (tmp_path / "sys/fs/cgroup" / name).symlink_to(target)
    assert [action for action in machine.plan() if action.startswith("link")] == [
        "link /sys/fs/cgroup/net_prio to net_cls,net_prio"
    ]


def test_read_only_hierarchies_are_remounted_with_their_other_options(tmp_path: Path) -> None:
    state = Machine(tmp_path, "docker-desktop-v1-unprivileged").inspect()
    remounts = [step.change for step in plan(DESIRED, state) if isinstance(step.change, Remount)]
    assert len(remounts) == len(state.mounts)
    assert Remount("/sys/fs/cgroup/memory", ("ro", "nosuid", "nodev", "noexec", "relatime")) in remounts


def test_a_read_only_directory_is_remounted_only_for_something_to_be_made_in_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    text = (tmp_path / "proc/self/mountinfo").read_text()
    machine.write("proc/self/mountinfo", text.replace("tmpfs tmpfs rw,mode=755", "tmpfs tmpfs ro,mode=755"))
    assert not [action for action in machine.plan() if "remount" in action]
    without(machine, "/sys/fs/cgroup/pids")
    assert machine.plan()[:2] == ["remount /sys/fs/cgroup writable", "mount pids on /sys/fs/cgroup/pids"]


def test_hierarchies_that_the_runtime_does_not_know_are_unmounted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-host-namespace-misc")
    machine.in_namespaces(cgroup="cgroup:[4026531835]")
    for name in ("misc", "rdma"):
        machine.write(f"sys/fs/cgroup/{name}/release_agent", "\n")
    unmounts = [action for action in machine.plan() if action.startswith("unmount")]
    assert unmounts == [
        "unmount /sys/fs/cgroup/rdma, which shows the host's root group",
        "unmount /sys/fs/cgroup/misc, which shows the host's root group",
    ]
    without(machine, "/sys/fs/cgroup/misc", "/sys/fs/cgroup/rdma")
    assert not [action for action in machine.plan() if "mount" in action]


def test_a_container_that_is_in_root_groups_everywhere_keeps_its_mounts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    for mounted in machine.inspect().mounts:
        machine.write(f"sys/fs/cgroup/{mounted}/release_agent", "\n")
    assert machine.plan() == []


def test_a_mount_that_shows_more_than_the_namespace_is_covered(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    text = (tmp_path / "proc/self/mountinfo").read_text()
    machine.write("proc/self/mountinfo", text.replace(" / /sys/fs/cgroup/memory ", " /../.. /sys/fs/cgroup/memory "))
    assert machine.plan()[0] == "mount memory on /sys/fs/cgroup/memory"


def test_a_mount_of_the_whole_host_is_covered_in_a_container(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-host-namespace")
    machine.in_namespaces(cgroup="cgroup:[4026531835]")
    text = (tmp_path / "proc/self/mountinfo").read_text()
    machine.write("proc/self/mountinfo", text.replace(f"/docker/{ID} /sys/fs/cgroup/pids ", "/ /sys/fs/cgroup/pids "))
    assert machine.plan()[0] == f"mount pids (group /docker/{ID}) on /sys/fs/cgroup/pids"


def test_lxc_groups_deep_inside_get_a_mount_where_engines_look(tmp_path: Path) -> None:
    planned = Machine(tmp_path, "lxc-v1-mixed").plan()
    assert "mount memory (group /lxc.payload/c1) on /sys/fs/cgroup/memory" in planned
    assert "mount cpuacct,cpu (group /lxc.payload/c1) on /sys/fs/cgroup/cpu,cpuacct" in planned
    assert "link /sys/fs/cgroup/cpu to cpu,cpuacct" in planned


def test_a_missing_devices_controller_is_reported_before_anything_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    machine.write("proc/self/cgroup", "2:memory:/\n1:cpu:/\n0::/\n")
    with pytest.raises(DindError, match=r"no v1 hierarchy with the controller devices.*; mount it on the host: mkdir"):
        machine.plan()


def test_a_systemd_hierarchy_is_made_where_asked_for_and_not_there_yet(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "wsl2-v1")
    wanted = dataclasses.replace(DESIRED, named=("systemd",))
    with pytest.raises(DindError, match="name=systemd can only be made in the host's cgroup namespace"):
        machine.plan(wanted)
    machine.in_namespaces(cgroup="cgroup:[4026531835]")
    assert "mount name=systemd on /sys/fs/cgroup/systemd" in machine.plan(wanted)
    assert not [action for action in machine.plan() if "systemd" in action]
    recorded = Machine(tmp_path / "other", "docker-v1-private-namespace")
    assert not [action for action in recorded.plan(wanted) if "systemd" in action]
