# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What is planned for recorded machines and for any other; tests/unit/cgroup_mounts/data says where they come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import changes as cgroup_changes
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import core as cgroup_mounts
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    CHANGES,
    Change,
    Delegate,
    Journal,
    Link,
    Mounted,
    MountHierarchy,
    MountSecurityfs,
    MountUnified,
    Remount,
    ShareMounts,
    State,
    Unified,
    UnmountHierarchy,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.core import Desired, inspect, plan, warnings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    Membership,
    MountTree,
    decide_version,
    hierarchy_names,
    parse_memberships,
)
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

SAMPLES = Path(__file__).parent / "data"
ROOT = "/sys/fs/cgroup"
ID = "3f1c9a5e7b20"
NOWHERE = Journal(Path("/nonexistent/cgroup_mounts.json"), "nobody")
# What has nothing to do with the hierarchies is tested by itself.
DESIRED = Desired(NOWHERE, propagation=False)


class Machine:
    """A file system tree with a recorded machine's files, to inspect in place of ``/``."""

    def __init__(self, base: Path, sample: str) -> None:
        self.base = base
        self.write("proc/self/mountinfo", (SAMPLES / f"{sample}.mountinfo").read_text())
        self.write("proc/self/cgroup", (SAMPLES / f"{sample}.cgroup").read_text())
        self.write("proc/self/status", "Name:\tpython3\nCapEff:\t000001ffffffffff\n")
        self.write("proc/self/uid_map", "         0          0 4294967295\n")
        self.write("proc/1/comm", "tini\n")
        self.in_namespaces(pid="pid:[4026532258]", cgroup="cgroup:[4026532328]")
        for mount in MountTree(self.mounts).directly_in(ROOT):
            (base / mount.mount_point.lstrip("/")).mkdir(parents=True, exist_ok=True)

    @property
    def mounts(self) -> tuple[mountinfo.MountPoint, ...]:
        return mountinfo.parse((self.base / "proc/self/mountinfo").read_text())

    def write(self, file: str, text: str) -> None:
        path = self.base / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def in_namespaces(self, **names: str) -> None:
        for kind, name in names.items():
            link = self.base / "proc/self/ns" / kind
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(name)

    def on_the_host(self) -> None:
        self.in_namespaces(pid="pid:[4026531836]", cgroup="cgroup:[4026531835]")

    def group(
        self, path: str, *, controllers: str = "", delegated: str = "", procs: str = "", kind: str = "domain"
    ) -> None:
        self.write(f"{path}/cgroup.type", f"{kind}\n")
        self.write(f"{path}/cgroup.controllers", f"{controllers}\n")
        self.write(f"{path}/cgroup.subtree_control", f"{delegated}\n")
        self.write(f"{path}/cgroup.procs", procs)

    def inspect(self, journal: Journal = NOWHERE) -> State:
        return inspect(ROOT, "mesos-dind", journal, self.base)

    def plan(self, desired: Desired = DESIRED) -> list[str]:
        return [str(step) for step in plan(desired, self.inspect(desired.journal))]


# --- reading -----------------------------------------------------------------------------------------------------


def test_memberships_are_parsed_with_colons_in_their_paths() -> None:
    parsed = parse_memberships("4:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/x\n")
    assert parsed == (
        Membership(4, ("cpu", "cpuacct"), "/a:b"),
        Membership(1, ("name=systemd",), "/init.scope"),
        Membership(0, (), "/x"),
    )
    assert [membership.is_v2 for membership in parsed] == [False, False, True]


@pytest.mark.parametrize("line", ["", "x", "1:cpu", "one:cpu:/"])
def test_a_line_that_is_no_membership_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of"):
        parse_memberships(f"0::/\n{line} \n")


def mount(line: str) -> mountinfo.MountPoint:
    return mountinfo.parse(line)[0]


def test_names_of_a_hierarchy_are_told_from_its_other_options() -> None:
    line = "1 0 0:1 / /a rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd"
    assert hierarchy_names(mount(line), {"cpu"}) == ("name=systemd",)
    line = "1 0 0:1 / /a rw - cgroup cgroup rw,clone_children,cpuacct,cpu"
    assert set(hierarchy_names(mount(line), {"cpu", "cpuacct"})) == {"cpu", "cpuacct"}


def test_a_mount_covered_by_another_above_it_or_at_the_same_place_is_not_seen() -> None:
    tree = MountTree(
        mountinfo.parse(
            "1 1 0:1 / / rw - rootfs rootfs rw\n"
            "2 1 0:2 / / rw - ext4 /dev/vda rw\n"
            "3 2 0:3 / /sys rw - sysfs sysfs rw\n"
            "4 3 0:4 / /sys/fs/cgroup rw - tmpfs lower rw\n"
            "5 4 0:5 / /sys/fs/cgroup/cpu rw - cgroup hidden rw,cpu\n"
            "6 4 0:6 / /sys/fs/cgroup rw - tmpfs upper rw\n"
            "7 6 0:7 / /sys/fs/cgroup/memory rw - cgroup lower rw,memory\n"
            "8 7 0:8 / /sys/fs/cgroup/memory rw - cgroup upper rw,memory\n"
            "9 8 0:9 / /sys/fs/cgroup/memory/deep rw - tmpfs tmpfs rw\n"
        )
    )
    assert [entry.mount_point for entry in tree.directly_in(ROOT)] == ["/sys/fs/cgroup/memory"]
    tops = {path: tree.at(path) for path in ("/", ROOT, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs")}
    assert {path: top and top.mount_id for path, top in tops.items()} == {
        "/": 2,
        ROOT: 6,
        "/sys/fs/cgroup/memory": 8,
        "/sys/fs/cgroup/cpu": None,
        "/sys/fs": None,
    }


# --- deciding ----------------------------------------------------------------------------------------------------

VERSIONS = {
    "machine-v1-with-unused-v2": "v1",
    "docker-v1-private-namespace": "v1",
    "docker-v1-host-namespace": "v1",
    "docker-v1-host-namespace-misc": "v1",
    "systemd-hybrid": "hybrid",
    "runit-v1-with-unused-v2": "v1",
    "docker-desktop-v1-unprivileged": "v1",
    "docker-desktop-v2-unprivileged": "v2",
    "kubernetes-v1-privileged": "v1",
    "kubernetes-v2-host-namespace": "v2",
    "podman-v2-privileged": "v2",
    "podman-v2-mount-of-outer-namespace": "v2",
    "podman-v1-systemd-inside": "v1",
    "wsl2-v1": "v1",
    "wsl2-v2": "v2",
    "lxc-v1-mixed": "v1",
    "v2-with-net_cls": "v2",
    "v2-mounted-twice": "v2",
}


@pytest.mark.parametrize(("sample", "version"), VERSIONS.items())
def test_the_version_of_recorded_hosts(sample: str, version: str, tmp_path: Path) -> None:
    assert Machine(tmp_path, sample).inspect().version == version


def test_every_sample_is_described_and_used() -> None:
    samples = {file.stem for file in SAMPLES.glob("*.mountinfo")}
    assert samples == set(VERSIONS) == {file.stem for file in SAMPLES.glob("*.cgroup")}
    described = {line.split(" | ")[0].removeprefix("| ") for line in (SAMPLES / "README.md").read_text().splitlines()}
    assert samples <= described


def test_nothing_mounted_is_what_proc_says() -> None:
    nothing = MountTree(())
    assert decide_version(parse_memberships("0::/\n"), nothing, ROOT) == "v2"
    assert decide_version(parse_memberships("1:name=systemd:/\n0::/\n"), nothing, ROOT) == "v2"
    assert decide_version(parse_memberships("1:memory:/\n0::/\n"), nothing, ROOT) == "v1"


def test_all_controllers_on_the_v2_side_of_a_hybrid() -> None:
    lines = (SAMPLES / "systemd-hybrid.mountinfo").read_text().splitlines()
    tree = MountTree(mountinfo.parse("\n".join(line for line in lines if "cgroup cgroup rw," not in line)))
    assert decide_version(parse_memberships("1:name=systemd:/x\n0::/x\n"), tree, ROOT) == "hybrid"


# --- v1 ----------------------------------------------------------------------------------------------------------


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


def without(machine: Machine, *points: str) -> None:
    lines = (machine.base / "proc/self/mountinfo").read_text().splitlines()
    kept = [line for line in lines if line.split()[4] not in points]
    machine.write("proc/self/mountinfo", "\n".join(kept) + "\n")


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


# --- v2 ----------------------------------------------------------------------------------------------------------

CONTROLLERS = "cpuset cpu io memory pids"


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
    cgroup_changes.move_processes(tmp_path / "group", tmp_path / "leaf")
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
    assert cgroup_mounts.cgroup_parent(machine.inspect()) == group
    machine.write("proc/self/cgroup", f"0::{group}/mesos-dind\n")
    assert cgroup_mounts.cgroup_parent(machine.inspect()) == group


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


# --- everywhere --------------------------------------------------------------------------------------------------


def test_a_private_root_becomes_shared_in_a_container_only(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    assert "make / and all mounts below shared" in machine.plan(Desired(NOWHERE))
    state = machine.inspect()
    assert ("/", "slave") in state.unshared
    assert ("/sys", "private") in state.unshared
    machine.on_the_host()
    assert machine.plan(Desired(NOWHERE)) == []
    assert machine.plan(Desired(NOWHERE, propagation=True)) == ["make / and all mounts below shared"]


def test_securityfs_is_mounted_or_warned_about(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    assert list(warnings(DESIRED, machine.inspect())) == [
        "securityfs is absent here: the engine cannot see whether the host has AppArmor"
    ]
    machine.write("proc/filesystems", "nodev\tsecurityfs\n")
    (tmp_path / "sys/kernel/security").mkdir(parents=True)
    assert machine.plan()[-1] == "mount securityfs on /sys/kernel/security"
    tried = Journal(tmp_path / "journal.json", "us")
    tried.append(MountSecurityfs())
    refused = machine.inspect(tried)
    assert refused.securityfs == "refused"
    assert "securityfs is refused" in "".join(warnings(DESIRED, refused))
    assert not [step for step in plan(DESIRED, refused) if isinstance(step.change, MountSecurityfs)]


def test_controllers_that_the_host_does_not_have_are_warned_about(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    without(machine, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids")
    assert "the host has no v1 hierarchy with memory, pids" in "".join(warnings(DESIRED, machine.inspect()))


def test_without_privileges_there_is_one_error_that_says_what_would_be_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-desktop-v1-unprivileged")
    machine.write("proc/self/status", "CapEff:\t00000000a80425fb\n")
    state = machine.inspect()
    with pytest.raises(DindError, match=r"^CAP_SYS_ADMIN is missing.*remount.*; start the container with"):
        cgroup_mounts.require_privileges(plan(DESIRED, state), state)
    assert cgroup_mounts.require_privileges([], state) == []


def test_a_kernel_without_control_groups_is_named(tmp_path: Path) -> None:
    with pytest.raises(DindError, match="this kernel has no control groups"):
        inspect(ROOT, "mesos-dind", NOWHERE, tmp_path)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("root", "cgroup"),
        ("root", "/"),
        ("root", "//"),
        ("leaf", ""),
        ("leaf", "a/b"),
        ("leaf", ".."),
        ("leaf", "cpu.max"),
    ],
)
def test_bad_parameters_are_refused(parameter: str, value: str) -> None:
    good = {
        "state": "present",
        "root": ROOT,
        "systemd_hierarchy": False,
        "delegate": "auto",
        "leaf": "l",
        "propagation": None,
    }
    with pytest.raises(DindError, match=f"^{parameter} is '{value}'; give"):
        cgroup_mounts.core({**good, parameter: value}, Runner(), check=True)


# --- the journal -------------------------------------------------------------------------------------------------


def test_the_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run/journal.json", "us")
    changes = (
        MountHierarchy(ROOT, "cpu,cpuacct", ("cpu", "cpuacct"), "/docker/x", is_new_directory=True),
        ShareMounts((("/", "slave"), ("/sys", "private"))),
        UnmountHierarchy(ROOT, "misc", ("misc",)),
        MountSecurityfs(),
    )
    for change in changes:
        journal.append(change)
    assert journal.read() == changes
    journal.append(changes[0])
    assert journal.read() == (*changes[1:], changes[0]), "made again, it is the last to be made"
    journal.remove(changes[1])
    assert journal.read() == (*changes[2:], changes[0])
    assert Journal(journal.file, "somebody else").read() == ()
    for change in changes:
        journal.remove(change)
    assert not journal.file.exists()


@pytest.mark.parametrize("text", ["", "{", '{"owner": '])
def test_a_half_written_journal_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text(text)
    assert Journal(tmp_path / "journal.json", "us").read() == ()


def test_a_restarted_container_is_another_mount_namespace(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "docker-v1-private-namespace")
    machine.in_namespaces(mnt="mnt:[4026532255]")
    machine.write("proc/sys/kernel/random/boot_id", "b0\n")
    machine.write("proc/1/stat", "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 234085 9 9\n")
    first = cgroup_mounts.mount_namespace(tmp_path / "proc")
    assert first == "b0 mnt:[4026532255] 234085"
    machine.write("proc/1/stat", "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 299999 9 9\n")
    assert cgroup_mounts.mount_namespace(tmp_path / "proc") != first


# --- the law -----------------------------------------------------------------------------------------------------

HIERARCHIES = (("cpu", "cpuacct"), ("memory",), ("devices",), ("cpuset",), ("misc",), ("name=systemd",), ("name=x",))
groups = st.sampled_from(["/", "/docker/x", "/../.."])


@st.composite
def v1_states(draw: st.DrawFn) -> State:
    hierarchies = tuple(
        Membership(number, names, draw(st.sampled_from(["/", "/docker/x"])))
        for number, names in enumerate(HIERARCHIES, 1)
        if names == ("devices",) or draw(st.booleans())
    )
    entries = {",".join(names).replace("name=", ""): names for names in HIERARCHIES}
    mounts = {
        entry: Mounted(names, draw(groups), (draw(st.sampled_from(["rw", "ro"])), "nosuid"), draw(st.booleans()))
        for entry, names in entries.items()
        if draw(st.booleans()) and names in {hierarchy.names for hierarchy in hierarchies}
    }
    is_shared = draw(st.booleans())
    has_directory = bool(mounts) or draw(st.booleans())
    return State(
        root=ROOT,
        version=draw(st.sampled_from(["v1", "hybrid"])),
        is_container=draw(st.booleans()),
        is_host_namespace=draw(st.booleans()),
        has_systemd=draw(st.booleans()),
        is_privileged=True,
        has_user_namespace=draw(st.booleans()),
        hierarchies=hierarchies,
        group="/",
        unified_options=(),
        root_fstype="tmpfs" if has_directory else "",
        root_options=(draw(st.sampled_from(["rw", "ro"])),) if has_directory else (),
        directories=tuple(mounts),
        mounts=mounts,
        links=draw(st.dictionaries(st.sampled_from(["cpu", "cpuacct"]), st.just("cpu,cpuacct"))) if mounts else {},
        unified=None,
        is_cpuset_seeded="cpuset" in mounts and draw(st.booleans()),
        is_shared=is_shared,
        unshared=() if is_shared else (("/", "slave"), ("/sys", "private")),
        securityfs=draw(st.sampled_from(["mounted", "unmounted", "refused", "absent"])),
        journal=(),
    )


@st.composite
def v2_states(draw: st.DrawFn) -> State:
    names = ("cpu", "io", "memory")
    delegated = draw(st.lists(st.sampled_from(names), unique=True))
    unified = Unified(
        group=draw(st.sampled_from(["/", "/docker/x"])),
        shown="/",
        kind=draw(st.sampled_from(["domain", ""])),
        controllers=names,
        delegated=tuple(delegated),
        has_processes=draw(st.booleans()),
        has_leaf=draw(st.booleans()),
    )
    is_mounted = draw(st.booleans())
    return dataclasses.replace(
        draw(v1_states()),
        version="v2",
        group=unified.group,
        root_fstype="cgroup2" if is_mounted else "",
        root_options=(draw(st.sampled_from(["rw", "ro"])),) if is_mounted else (),
        directories=(),
        mounts={},
        links={},
        unified=unified if is_mounted else None,
    )


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    return Desired(
        NOWHERE,
        named=draw(st.sampled_from([(), ("systemd",)])),
        delegate=draw(st.sampled_from(["auto", "always", "never"])),
        propagation=draw(st.sampled_from([None, True, False])),
    )


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_a_plan_reaches_its_goal(desired: Desired, state: State) -> None:
    after = _plan.expected(state, possible_plan(desired, state))
    assert plan(desired, after) == []


def possible_plan(desired: Desired, state: State) -> list[_plan.Step[State]]:
    try:
        return plan(desired, state)
    except DindError as impossible:
        assume("can only be made in the host's cgroup namespace" not in str(impossible))
        raise


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_absent_takes_back_everything_last_first(desired: Desired, state: State) -> None:
    made = possible_plan(desired, state)
    after = _plan.expected(state, made)
    absent = dataclasses.replace(desired, present=False)
    back = plan(absent, after)
    assert [step.change for step in back] == [step.change for step in reversed(made)]
    gone = _plan.expected(after, back)
    assert gone.journal == ()
    assert plan(absent, gone) == []
    assert (gone.is_shared, gone.unshared, gone.root_options) == (state.is_shared, state.unshared, state.root_options)
    assert (gone.is_cpuset_seeded, gone.securityfs) == (state.is_cpuset_seeded, state.securityfs)


@given(wishes(), st.one_of(v1_states(), v2_states()))
def test_a_container_never_gets_to_see_the_hosts_groups(desired: Desired, state: State) -> None:
    paths = {hierarchy.names: hierarchy.path for hierarchy in state.hierarchies}
    for step in possible_plan(desired, state):
        if state.is_container and isinstance(step.change, MountHierarchy) and step.change.names in paths:
            assert step.change.group == paths[step.change.names]


def test_every_change_can_be_written_down() -> None:
    assert set(CHANGES.values()) == set(Change.__subclasses__())
