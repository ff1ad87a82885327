# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Runs that are killed, fail half-way, lack a privilege, or find another run's traces."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest
from cgroup_fixtures import (
    ROOT,
    Container,
    converge,
    entries,
    mounts,
    run,
)

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import changes
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Journal
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import namespaces
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner


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
        journal = Journal(tmp_path / "journal", namespaces.mount_id(Path("/proc")))
        journal.append(changes.MountHierarchy(str(ROOT), "memory", ("memory",), "/", is_new_directory=False))
        journal.append(changes.MountDirectory(str(ROOT)))

    box.call(journal_only)
    before = box.call(mounts)
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(mounts) == before
