# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Parameters, privileges, warnings, and the changes that every version needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroup_mounts.recorded import DESIRED, NOWHERE, ROOT, Machine, without

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import core
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.changes import (
    MountSecurityfs,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.core import warnings
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import (
    Journal,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan, require_privileges
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


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
        require_privileges(plan(DESIRED, state), state)
    assert require_privileges([], state) == []


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
        core.core({**good, parameter: value}, Runner(), check=True)
