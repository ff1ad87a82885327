"""Tests of the assumptions that the other tests of this folder make about the VM."""

from __future__ import annotations

import json
from typing import Any


def test_control_groups_are_pure_v2(host: Any) -> None:
    assert host.check_output("stat --file-system --format %T /sys/fs/cgroup") == "cgroup2fs"
    assert host.check_output("findmnt --noheadings --output FSTYPE --types cgroup,cgroup2") == "cgroup2"


def test_systemd_is_process_1_and_all_its_units_started(host: Any) -> None:
    assert host.process.get(pid=1).comm == "systemd"
    assert host.check_output("systemctl is-system-running --wait") == "running"


def test_docker_answers_on_v2(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format json"))
    assert info["CgroupVersion"] == "2"
    assert info["CgroupDriver"] == "systemd"
    assert info["Driver"] == "overlay2"


def test_there_is_no_way_out(host: Any) -> None:
    """The VM has no way out: a test that needs more than the disk has fails here, too."""
    assert host.run("timeout 5 bash -c '</dev/tcp/10.0.2.2/22'").failed
