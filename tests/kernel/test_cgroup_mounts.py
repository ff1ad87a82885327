# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""cgroup_mounts on the running kernel: real groups, hierarchies and namespaces.

v2 is tested on the v2 hierarchy that a v1 or hybrid machine has beside the others; its one controller there is
hugetlb. A pure v2 host with an engine inside is tests/vm's.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cgroup_fixtures import (
    PREFIX,
    ROOT,
    Container,
    container,
    groups_of_tests,
    hierarchy,
    is_a_hierarchy,
    processes_started_by,
    remove_what_is_stale,
    run,
    soon,
    v1_mounts,
    v2_mount,
)

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import changes
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import core as cgroup_mounts
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import Journal
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.core import Desired
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import MountTree
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = "nosuid,nodev,noexec"


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


def mount_as_an_engine_does() -> None:
    """runc: fresh mounts in a cgroup namespace of its own, otherwise binds of the container's groups."""
    groups = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    whole = {names: mounted for names, mounted in v1_mounts().items() if names in groups}
    aside = Path("/mnt")
    run("mount", "-t", "tmpfs", "tmpfs", str(aside))
    run("mount", "-t", "tmpfs", "-o", f"{FLAGS},mode=755", "tmpfs", str(aside))
    for names, mounted in (whole or dict.fromkeys(set(groups) - {""}, Path())).items():
        target = aside / names.removeprefix("name=")
        target.mkdir()
        if groups[names] == "/":
            run("mount", "-t", "cgroup", "-o", f"{FLAGS},{options(names)}", "cgroup", str(target))
        else:
            run("mount", "--bind", f"{mounted}{groups[names]}", str(target))
    run("umount", "--recursive", str(ROOT))
    run("mount", "--move", str(aside), str(ROOT))
    run("umount", str(aside))
    run("mount", "--make-private", "/")


def options(names: str) -> str:
    return f"none,{names}" if names.startswith("name=") else names


def converge(file: Path, *, check: bool = False, runner: Runner | None = None, **wishes: Any) -> Outcome:
    wishes = {"propagation": False, **wishes}
    desired = Desired(Journal(file, cgroup_mounts.mount_namespace()), **wishes)
    return cgroup_mounts.converge(desired, str(ROOT), runner or Runner(), check=check)


def mounts(under: str = "/sys") -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...]]]:
    """What makes a mount what it is, but for its numbers."""
    found = mountinfo.parse(Path("/proc/self/mountinfo").read_text())
    return [
        (mount.mount_point, mount.root, mount.fstype, mount.options, mount.super_options)
        for mount in found
        if mount.mount_point.startswith(under)
    ]


def entries() -> dict[str, str]:
    return {entry.name: str(Path(entry).readlink()) if entry.is_symlink() else "" for entry in os.scandir(ROOT)}


# --- v1 ----------------------------------------------------------------------------------------------------------


def test_a_complete_container_needs_only_its_cpuset_seeded_and_securityfs(box: Container, tmp_path: Path) -> None:
    outcome = box.call(converge, tmp_path / "journal")
    assert set(outcome.actions) <= {
        "let the children of /sys/fs/cgroup/cpuset inherit its CPUs and memory nodes",
        "mount securityfs on /sys/kernel/security",
    }
    assert outcome.facts["version"] == "v1"
    assert {"cpu", "cpuset", "devices", "memory", "pids"} <= set(outcome.facts["controllers"])
    assert outcome.facts["cgroup_parent"] == outcome.facts["leaf"] == ""


def test_a_second_run_changes_nothing_and_starts_no_process(box: Container, tmp_path: Path) -> None:
    def once() -> Outcome:
        return converge(tmp_path / "journal", propagation=True)

    assert "subprocess.Popen" in box.call(processes_started_by, once)
    assert box.call(once).actions == []
    assert box.call(processes_started_by, once) == []


def test_check_mode_foretells_the_run_and_changes_nothing(box: Container, tmp_path: Path) -> None:
    def foretell() -> tuple[Outcome, bool]:
        run("umount", str(ROOT / "pids"))
        before = mounts()
        return converge(tmp_path / "journal", check=True), before == mounts()

    foretold, unchanged = box.call(foretell)
    assert unchanged
    assert not (tmp_path / "journal").exists()
    done = box.call(converge, tmp_path / "journal")
    assert (foretold.actions, foretold.before, foretold.after) == (done.actions, done.before, done.after)
    assert foretold.after != foretold.before


def test_with_nothing_mounted_everything_is_and_absent_takes_it_back(
    box: Container, v1: dict[str, Path], tmp_path: Path
) -> None:
    def strip() -> list[Any]:
        run("umount", "--recursive", str(ROOT))
        return mounts()

    before = box.call(strip)
    outcome = box.call(converge, tmp_path / "journal")
    shown = {",".join(mount["controllers"]): mount["group"] for mount in outcome.facts["mounts"]}
    own = "/" if box.has_cgroup_namespace else f"/{box.groups[0].name}"
    assert shown == dict.fromkeys(v1, own), "every hierarchy, and of each only the container's own group"
    assert box.call(lambda: (ROOT / "memory/cgroup.procs").read_text().split()[0]) == "1"
    assert box.call(converge, tmp_path / "journal").actions == []
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(mounts) == before
    assert box.call(converge, tmp_path / "journal", present=False).actions == []
    assert not (tmp_path / "journal").exists()


def test_what_is_missing_or_read_only_is_put_right_and_given_back(box: Container, tmp_path: Path) -> None:
    def damage() -> tuple[Any, ...]:
        run("umount", str(ROOT / "memory"), str(ROOT / "pids"))
        (ROOT / "pids").rmdir()
        run("mount", "-o", f"remount,bind,ro,{FLAGS}", str(ROOT / "cpuset"))
        run("mount", "-o", "remount,ro", str(ROOT))
        return mounts(), entries(), (ROOT / "cpuset/cgroup.clone_children").read_text()

    before = box.call(damage)
    outcome = box.call(converge, tmp_path / "journal")
    assert outcome.facts["controllers"].count("memory") == outcome.facts["controllers"].count("pids") == 1
    assert not [mount for mount in outcome.facts["mounts"] if mount["read_only"]]
    box.call((ROOT / "cpuset/inner").mkdir)
    box.call((ROOT / "cpuset/inner").rmdir)
    assert box.call(converge, tmp_path / "journal").actions == []
    box.call(converge, tmp_path / "journal", present=False)

    def now() -> tuple[Any, ...]:
        return mounts(), entries(), (ROOT / "cpuset/cgroup.clone_children").read_text()

    assert tuple(map(sorted, box.call(now)[:2])) == tuple(map(sorted, before[:2]))
    assert box.call(now)[2] == before[2]


def test_children_of_the_cpuset_take_processes(box: Container, tmp_path: Path) -> None:
    def can_be_entered() -> bool:
        child = ROOT / "cpuset/inner"
        child.mkdir()
        try:
            (child / "cgroup.procs").write_text("1")
        except OSError:
            return False
        else:
            (ROOT / "cpuset/cgroup.procs").write_text("1")
            return True
        finally:
            child.rmdir()

    assert not box.call(can_be_entered)
    box.call(converge, tmp_path / "journal")
    assert box.call(can_be_entered)


def test_controllers_mounted_together_are_mounted_once_and_linked(v1: dict[str, Path], tmp_path: Path) -> None:
    with hierarchy("net_cls,net_prio") as together, container([*v1.values(), together]) as box:
        box.call(mount_as_an_engine_does)
        box.call(run, "umount", str(ROOT / "net_cls,net_prio"))
        box.call((ROOT / "net_cls,net_prio").rmdir)
        outcome = box.call(converge, tmp_path / "journal")
        assert "mount net_cls,net_prio on /sys/fs/cgroup/net_cls,net_prio" in outcome.actions
        twins = {name: target for name, target in box.call(entries).items() if name.startswith("net_")}
        assert twins == {"net_cls,net_prio": "", "net_cls": "net_cls,net_prio", "net_prio": "net_cls,net_prio"}
        assert box.call((ROOT / "net_prio/net_cls.classid").exists)
        before = box.call(mounts)
        assert box.call(converge, tmp_path / "journal").actions == []
        assert box.call(mounts) == before
        assert not box.call(lambda: list((ROOT / "net_cls").glob("net_cls,*"))), "no link inside the directory"
        box.call(converge, tmp_path / "journal", present=False)
        assert not [name for name in box.call(entries) if name.startswith("net_")]


def test_a_named_hierarchy_is_found_under_its_bare_name(v1: dict[str, Path], tmp_path: Path) -> None:
    with hierarchy(f"none,name={PREFIX}") as named, container([*v1.values(), named]) as box:
        box.call(mount_as_an_engine_does)
        box.call(run, "umount", str(ROOT / PREFIX))
        outcome = box.call(converge, tmp_path / "journal")
        assert f"mount name={PREFIX} on /sys/fs/cgroup/{PREFIX}" in outcome.actions


def test_a_named_hierarchy_is_made_where_asked_for(v1: dict[str, Path], tmp_path: Path) -> None:
    wanted = {"named": (PREFIX,)}
    with container(list(v1.values()), cgroup_namespace=False) as box:
        box.call(mount_as_an_engine_does)
        outcome = box.call(converge, tmp_path / "journal", **wanted)
        assert f"mount name={PREFIX} on /sys/fs/cgroup/{PREFIX}" in outcome.actions
        assert f":name={PREFIX}:" in box.call(Path("/proc/self/cgroup").read_text)
        assert box.call(converge, tmp_path / "journal", **wanted).actions == []
        box.call(converge, tmp_path / "journal", present=False)
        assert PREFIX not in box.call(entries)
    assert soon(lambda: not is_a_hierarchy(f"none,name={PREFIX}"), 30)


def test_a_named_hierarchy_cannot_be_made_in_a_namespace_and_nothing_is_done(
    v1: dict[str, Path], tmp_path: Path
) -> None:
    with container(list(v1.values())) as box:
        box.call(mount_as_an_engine_does)
        before = box.call(mounts)
        with pytest.raises(DindError, match="only be made in the host's cgroup namespace; start the container with"):
            box.call(converge, tmp_path / "journal", named=(PREFIX,))
        assert box.call(mounts) == before


@pytest.mark.parametrize("cgroup_namespace", [True, False])
def test_a_hierarchy_unknown_to_the_runtime_is_unmounted(
    cgroup_namespace: bool, v1: dict[str, Path], tmp_path: Path
) -> None:
    with hierarchy(f"none,name={PREFIX}"), container(list(v1.values()), cgroup_namespace=cgroup_namespace) as box:
        box.call(mount_as_an_engine_does)
        assert box.call((ROOT / PREFIX / "release_agent").exists), "the host's root group"
        before = box.call(mounts)
        outcome = box.call(converge, tmp_path / "journal")
        assert f"unmount /sys/fs/cgroup/{PREFIX}, which shows the host's root group" in outcome.actions
        assert f"/sys/fs/cgroup/{PREFIX}" not in [mount["path"] for mount in outcome.facts["mounts"]]
        assert box.call(converge, tmp_path / "journal").actions == []
        box.call(converge, tmp_path / "journal", present=False)
        assert {mount[:3] for mount in box.call(mounts)} == {mount[:3] for mount in before}


def test_a_mount_that_shows_the_hosts_groups_is_covered(v1: dict[str, Path], tmp_path: Path) -> None:
    with container(list(v1.values())) as box:  # its /sys/fs/cgroup is still the host's
        assert box.call(box.groups[0].exists)
        outcome = box.call(converge, tmp_path / "journal")
        assert {mount["group"] for mount in outcome.facts["mounts"]} == {"/"}
        assert not box.call(box.groups[0].exists)
        assert box.call(converge, tmp_path / "journal").actions == []
        box.call(converge, tmp_path / "journal", present=False)
        assert box.call(box.groups[0].exists)


def test_a_container_without_groups_of_its_own_leaves_the_hosts_alone(v1: dict[str, Path], tmp_path: Path) -> None:
    with container([]) as box:
        box.call(run, "umount", "--recursive", str(ROOT))
        outcome = box.call(converge, tmp_path / "journal")
        assert {",".join(mount["controllers"]) for mount in outcome.facts["mounts"]} == set(v1)
        assert (v1["cpuset"] / "cgroup.clone_children").read_text() == "0\n"
        assert box.call(converge, tmp_path / "journal").actions == []


class Dying(Runner):
    """Ends the process, as SIGKILL does, in place of its n-th command or right after it."""

    def __init__(self, number: int, *, after: bool) -> None:
        super().__init__()
        self.number, self.after = number, after

    def run(self, *argv: str, **how: Any) -> Command:
        if len(self.commands) == self.number:
            if self.after:
                super().run(*argv, **how)
            os._exit(9)
        return super().run(*argv, **how)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 9])
def test_killed_anywhere_the_next_run_completes_and_absent_still_knows_everything(
    number: int, after: bool, box: Container, tmp_path: Path
) -> None:
    def strip() -> list[Any]:
        run("umount", "--recursive", str(ROOT))
        return mounts()

    before = box.call(strip)
    with pytest.raises(ChildProcessError, match="died without an answer"):
        box.call(converge, tmp_path / "journal", runner=Dying(number, after=after))
    box.call(converge, tmp_path / "journal")
    assert box.call(converge, tmp_path / "journal").actions == []
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(mounts) == before
    assert not box.call(mounts, "/run/mesos-dind-cgroup"), "nor is a hierarchy left aside"


def test_a_failure_half_way_leaves_everything_as_it_was(box: Container, tmp_path: Path) -> None:
    def fail() -> tuple[str, bool]:
        run("umount", str(ROOT / "memory"), str(ROOT / "pids"), str(ROOT / "cpu"))
        (ROOT / "cpu").rmdir()
        (ROOT / "cpu").write_text("in the way")
        before = mounts(), entries()
        try:
            converge(tmp_path / "journal")
        except DindError as error:
            return str(error), (mounts(), entries()) == before
        return "it did not fail", False

    error, unchanged = box.call(fail)
    assert error.startswith("mount cpu")
    assert "File exists" in error
    assert unchanged
    assert not (tmp_path / "journal").exists()


def test_without_cap_sys_admin_there_is_one_error_and_nothing_mounted(box: Container, tmp_path: Path) -> None:
    def drop_and_try() -> tuple[str, bool]:
        run("umount", str(ROOT / "memory"))
        before = mounts()
        drop_capabilities()
        try:
            converge(tmp_path / "journal")
        except DindError as error:
            return str(error), mounts() == before
        return "it did not fail", False

    error, unchanged = box.call(drop_and_try)
    assert error.startswith("CAP_SYS_ADMIN is missing, and there is to do: mount memory")
    assert "docker run --privileged" in error
    assert unchanged
    assert not (tmp_path / "journal").exists()


def drop_capabilities() -> None:
    """capset(2) with empty sets, for this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0


def test_root_becomes_shared_and_every_mount_gets_its_propagation_back(box: Container, tmp_path: Path) -> None:
    def propagation() -> list[tuple[str, bool]]:
        found = mountinfo.parse(Path("/proc/self/mountinfo").read_text())
        tree = MountTree(found)
        # An engine's own mounts, in the copy of the host's table, come and go.
        points = [mount.mount_point for mount in found if mount.mount_point.startswith(("/sys", "/proc", "/dev"))]
        tops = [top for point in ("/", *points) if (top := tree.at(point)) is not None]
        return [(mount.mount_point, mount.is_shared) for mount in tops]

    before = box.call(propagation)
    assert not any(shared for _, shared in before)
    outcome = box.call(converge, tmp_path / "journal", propagation=None)
    assert outcome.actions[-1] == "make / and all mounts below shared"
    assert all(shared for _, shared in box.call(propagation))
    assert box.call(converge, tmp_path / "journal", propagation=None).actions == []
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(propagation) == before


def test_a_stale_journal_of_a_container_before_its_restart_is_ignored(box: Container, tmp_path: Path) -> None:
    stale = Journal(tmp_path / "journal", "another boot")
    stale.append(changes.MountDirectory(str(ROOT)))
    assert box.call(converge, tmp_path / "journal", present=False).actions == []
    box.call(converge, tmp_path / "journal")
    box.call(converge, tmp_path / "journal", present=False)
    assert "memory" in box.call(entries)


def test_a_mount_of_somebody_else_is_not_taken_down(box: Container, tmp_path: Path) -> None:
    """Killed after the journal was written and before the mount was made, which somebody else then made."""

    def journal_only() -> None:
        journal = Journal(tmp_path / "journal", cgroup_mounts.mount_namespace())
        journal.append(changes.MountHierarchy(str(ROOT), "memory", ("memory",), "/", is_new_directory=False))
        journal.append(changes.MountDirectory(str(ROOT)))

    box.call(journal_only)
    before = box.call(mounts)
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(mounts) == before


def test_inner_groups_limit_and_stay_within_the_containers_limit(box: Container, tmp_path: Path) -> None:
    box.call(converge, tmp_path / "journal")
    [outer] = [group for group in box.groups if (group / "memory.limit_in_bytes").exists()]

    def status_of_eating(megabytes: int, limit: int) -> int:
        inner = ROOT / "memory/inner"
        inner.mkdir()
        (inner / "memory.limit_in_bytes").write_text(str(limit << 20))
        eat = f"open('{inner}/cgroup.procs', 'w').write('0'); bytearray({megabytes} << 20)"
        status = subprocess.run([sys.executable, "-S", "-c", eat], check=False).returncode
        inner.rmdir()
        return status

    assert box.call(status_of_eating, 32, 64) == 0
    assert box.call(status_of_eating, 96, 64) == -9, "killed at the inner limit"
    (outer / "memory.limit_in_bytes").write_text(str(64 << 20))
    assert box.call(status_of_eating, 96, 256) == -9, "killed at the container's limit"


def test_inner_groups_limit_the_number_of_processes(box: Container, tmp_path: Path) -> None:
    box.call(converge, tmp_path / "journal")

    def number_of_forks() -> int:
        inner = ROOT / "pids/inner"
        inner.mkdir()
        (inner / "pids.max").write_text("5")
        bomb = (
            f"import os; open('{inner}/cgroup.procs', 'w').write('0'); made = []\n"
            "try:\n"
            "    while len(made) < 50:\n"
            "        reader, writer = os.pipe()\n"
            "        if os.fork() == 0: os.close(writer); os.read(reader, 1); os._exit(0)\n"
            "        os.close(reader); made.append(writer)\n"
            "except BlockingIOError: pass\n"
            "for writer in made: os.close(writer)\n"
            "for _ in made: os.wait()\n"
            "print(len(made))\n"
        )
        made = int(run(sys.executable, "-S", "-c", bomb))
        inner.rmdir()
        return made

    assert box.call(number_of_forks) == 4, "the process itself and four more"


# --- v2 ----------------------------------------------------------------------------------------------------------


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


def mount_v2() -> None:
    run("umount", "--recursive", str(ROOT))
    run("mount", "-t", "cgroup2", "-o", FLAGS, "cgroup2", str(ROOT))


def bind_v2() -> None:
    """The host's whole hierarchy: mounted again from the host's cgroup namespace it would lose its options."""
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", str(v2_mount()), "/mnt")
    run("umount", "--recursive", str(ROOT))
    run("mount", "--move", "/mnt", str(ROOT))


def groups_and_processes() -> dict[str, list[str]]:
    found = [Path(folder) for folder, _, _ in os.walk(ROOT)]
    return {str(group.relative_to(ROOT)): (group / "cgroup.procs").read_text().split() for group in found}


def test_v2_processes_leave_for_the_leaf_and_all_controllers_are_delegated(private: Container, tmp_path: Path) -> None:
    outcome = private.call(converge, tmp_path / "journal")
    assert outcome.facts["version"] == "v2"
    assert outcome.facts["leaf"] == "/mesos-dind"
    assert outcome.facts["cgroup_parent"] == ""
    assert outcome.facts["controllers"] == ["hugetlb"]
    group = private.groups[0]
    assert (group / "cgroup.procs").read_text() == ""
    assert (group / "cgroup.subtree_control").read_text() == (group / "cgroup.controllers").read_text()
    assert not (group / "cpu").exists()
    assert private.call(Path("/proc/1/cgroup").read_text).splitlines()[-1] == "0::/mesos-dind"


def test_v2_a_process_that_enters_later_finds_its_way_and_a_second_run_changes_nothing(
    private: Container, tmp_path: Path
) -> None:
    private.call(converge, tmp_path / "journal")
    assert private.call(Path("/proc/self/cgroup").read_text).splitlines()[-1] == "0::/mesos-dind"
    assert private.call(converge, tmp_path / "journal").actions == []
    assert private.call(processes_started_by, lambda: converge(tmp_path / "journal")) == []


def test_v2_children_have_the_controllers(private: Container, tmp_path: Path) -> None:
    private.call(converge, tmp_path / "journal")

    def inner() -> list[str]:
        child = ROOT / "docker"
        child.mkdir()
        files = [file.name for file in child.glob("hugetlb.*.max")]
        child.rmdir()
        return files

    assert private.call(inner)


def test_v2_absent_gives_the_group_back(private: Container, tmp_path: Path) -> None:
    before = private.call(mounts)
    private.call(converge, tmp_path / "journal")
    private.call(converge, tmp_path / "journal", present=False)
    group = private.groups[0]
    assert str(private.init) in (group / "cgroup.procs").read_text().split()
    assert (group / "cgroup.subtree_control").read_text().split() == []
    assert not (group / "mesos-dind").exists()
    assert private.call(mounts) == before
    assert private.call(converge, tmp_path / "journal", present=False).actions == []


def test_v2_absent_names_who_still_uses_a_controller(private: Container, tmp_path: Path) -> None:
    private.call(converge, tmp_path / "journal")

    def use() -> None:
        (ROOT / "docker").mkdir()
        (ROOT / "docker/cgroup.subtree_control").write_text("+hugetlb")

    private.call(use)
    with pytest.raises(DindError, match=r"hugetlb is still in use below .*, by /sys/fs/cgroup/docker; stop the engine"):
        private.call(converge, tmp_path / "journal", present=False)
    assert (private.groups[0] / "mesos-dind").exists()


def test_v2_in_the_hosts_namespace_only_the_containers_own_group_is_touched(v2: Path, tmp_path: Path) -> None:
    with container([v2], cgroup_namespace=False) as box:
        box.call(bind_v2)
        root_processes = (v2 / "cgroup.procs").read_text().split()
        assert str(os.getpid()) in root_processes
        outcome = box.call(converge, tmp_path / "journal")
        assert outcome.facts["cgroup_parent"] == f"/{box.groups[0].name}"
        assert outcome.facts["leaf"] == f"/{box.groups[0].name}/mesos-dind"
        assert str(os.getpid()) in (v2 / "cgroup.procs").read_text().split()
        assert not (v2 / "mesos-dind").exists()
        assert box.call(converge, tmp_path / "journal").actions == []
        assert box.call(converge, tmp_path / "journal").facts["cgroup_parent"] == f"/{box.groups[0].name}"


def test_v2_processes_that_keep_appearing_do_not_stop_it(private: Container, tmp_path: Path) -> None:
    """Four loops of processes that enter the group, as `docker exec` in a loop does."""
    storm = (
        "import os, sys\n"
        f"group = '{private.groups[0]}/cgroup.procs'\n"
        "print('ready', flush=True)\n"
        "while os.getppid() == int(sys.argv[1]):\n"
        "    if os.fork() == 0:\n"
        "        try: open(group, 'w').write('0')\n"
        "        except OSError: pass\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )

    def start() -> list[subprocess.Popen[bytes]]:
        argv = [sys.executable, "-S", "-c", storm, str(os.getpid())]
        started = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(4)]
        for process in started:
            assert process.stdout
            process.stdout.readline()
        return started

    processes = start()
    try:
        outcome = private.call(converge, tmp_path / "journal")
        assert outcome.facts["controllers"] == ["hugetlb"]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_v2_a_process_that_cannot_be_moved_is_an_error_in_bounded_time_and_undone(
    private: Container, tmp_path: Path
) -> None:
    """One of another pid namespace: here it has the number 0."""
    outsider = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    (private.groups[0] / "cgroup.procs").write_text(str(outsider.pid))

    def bounded() -> str:
        changes.DELEGATION_TIMEOUT = 0.1
        try:
            converge(tmp_path / "journal")
        except DindError as error:
            return str(error)
        return "it did not fail"

    try:
        error = private.call(bounded)
        assert "processes keep appearing in /sys/fs/cgroup (now there are 0;" in error
        assert not (private.groups[0] / "mesos-dind").exists()
        assert str(private.init) in (private.groups[0] / "cgroup.procs").read_text().split()
        assert not (tmp_path / "journal").exists()
    finally:
        outsider.communicate()


def test_v2_a_threaded_group_is_named(tmp_path: Path) -> None:
    mounted = v2_mount()
    if mounted is None:
        pytest.skip("this machine has no cgroup v2")
    with container([mounted], threaded=True) as box:
        box.call(mount_v2)
        with pytest.raises(DindError, match="the control group / is of type 'threaded'"):
            box.call(converge, tmp_path / "journal")


def test_v2_read_only_is_made_writable_and_given_back(private: Container, tmp_path: Path) -> None:
    private.call(run, "mount", "-o", f"remount,bind,ro,{FLAGS}", str(ROOT))
    before = private.call(mounts)
    outcome = private.call(converge, tmp_path / "journal")
    assert outcome.actions[0] == "remount /sys/fs/cgroup writable"
    private.call(converge, tmp_path / "journal", present=False)
    assert private.call(mounts) == before


def test_v2_a_mount_that_shows_the_host_is_covered_by_one_of_the_namespace(v2: Path, tmp_path: Path) -> None:
    with container([v2]) as box:
        box.call(bind_v2)
        outcome = box.call(converge, tmp_path / "journal")
        assert outcome.actions[0] == "mount cgroup2 on /sys/fs/cgroup"
        assert outcome.facts["mounts"][0]["group"] == "/"
        assert not (v2 / "mesos-dind").exists()
        assert (box.groups[0] / "mesos-dind").exists()
        assert box.call(converge, tmp_path / "journal").actions == []


def test_v2_killed_between_journal_and_deed_is_completed(private: Container, tmp_path: Path) -> None:
    """The leaf is there, and nothing else has been done."""
    private.call((ROOT / "mesos-dind").mkdir)
    outcome = private.call(converge, tmp_path / "journal")
    assert outcome.facts["leaf"] == "/mesos-dind"
    assert (private.groups[0] / "cgroup.procs").read_text() == ""


# --- the module --------------------------------------------------------------------------------------------------


def module(*arguments: str) -> dict[str, Any]:
    """What the module answers, run by Ansible as a user does."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline",
        "ANSIBLE_VERBOSITY": "3",  # shows the diff
        "ANSIBLE_LOCAL_TEMP": "/run/ansible",
        "ANSIBLE_REMOTE_TEMP": "/run/ansible",
    }
    ansible = Path(sys.executable).parent / "ansible"
    argv = [str(ansible), "localhost", "-m", "mesos.dind.cgroup_mounts", *arguments]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("localhost | ")]
    return dict(json.loads(answer.partition("=> ")[2]))


def test_the_module_in_check_mode_then_for_real_then_again_then_absent(box: Container) -> None:
    def drive() -> list[dict[str, Any]]:
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("umount", str(ROOT / "memory"))
        return [
            module("--check", "--diff"),
            module("--diff"),
            module(),
            module("-a", "state=absent"),
            module("-a", "state=absent"),
            module("-a", "leaf=a/b"),
        ]

    foretold, done, again, absent, gone, wrong = box.call(drive)
    assert foretold["changed"]
    assert foretold["actions"] == done["actions"]
    assert foretold["diff"] == done["diff"]
    assert foretold["diff"]["before"]["mounts"] != foretold["diff"]["after"]["mounts"]
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["version"] == "v1"
    assert absent["changed"]
    assert not gone["changed"]
    assert wrong["msg"] == "leaf is 'a/b'; give a name of letters, digits, - and _"
