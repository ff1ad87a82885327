# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""v1 hierarchies: mounted, linked, seeded, and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cgroup_fixtures import (
    FLAGS,
    PREFIX,
    ROOT,
    Container,
    container,
    converge,
    entries,
    hierarchy,
    is_a_hierarchy,
    mount_as_an_engine_does,
    mounts,
    processes_started_by,
    run,
    soon,
)

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome


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
