# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The v2 hierarchy that a v1 or hybrid machine has beside the others; its one controller there is hugetlb.

A pure v2 host with an engine inside is tests/vm's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cgroup_fixtures import (
    FLAGS,
    ROOT,
    Container,
    bind_v2,
    container,
    converge,
    mount_v2,
    mounts,
    processes_started_by,
    run,
    v2_mount,
)

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import delegation
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


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
        delegation.TIMEOUT = 0.1
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
