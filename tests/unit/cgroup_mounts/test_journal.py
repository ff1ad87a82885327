# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The record of the changes made."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroup_mounts.recorded import ROOT, Machine

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    MountHierarchy,
    MountSecurityfs,
    ShareMounts,
    UnmountHierarchy,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import (
    CHANGES,
    Journal,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Change
from ansible_collections.mesos.dind.plugins.module_utils._kernel import namespaces


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
    first = namespaces.mount_id(tmp_path / "proc")
    assert first == "b0 mnt:[4026532255] 234085"
    machine.write("proc/1/stat", "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 299999 9 9\n")
    assert namespaces.mount_id(tmp_path / "proc") != first


def test_every_change_can_be_written_down() -> None:
    assert set(CHANGES.values()) == set(Change.__subclasses__())
