"""Tests of storage that requires a kernel with all privileges: xfs with project quotas, and growing a mounted ext4.

All files end with their agent.
"""

from __future__ import annotations

import json

import limits
import pytest
from vm_agents import Agent

pytestmark = pytest.mark.parametrize("agent", ["host, init"], indirect=True)  # the agent on xfs


def test_the_data_root_is_xfs_with_project_quotas(agent: Agent) -> None:
    kind, options = agent.run("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "/var/lib/docker").split()
    assert kind == "xfs"
    assert "prjquota" in options.split(",")
    assert ["Backing Filesystem", "xfs"] in json.loads(agent.inner("info", "--format=json"))["DriverStatus"]


def written(agent: Agent, *options: str) -> int:
    """The number of bytes, of 20 MiB, that a container can write to its own file system."""
    write = "dd if=/dev/zero of=/file bs=1M count=20 2>/dev/null; echo written $(stat -c %s /file)"
    return limits.told_by(agent, write, *options)["written"]


def test_a_container_writes_no_more_than_its_size(agent: Agent) -> None:
    assert 0 < written(agent, "--storage-opt=size=10M") <= 10 * 2**20


def test_without_a_size_it_writes_more(agent: Agent) -> None:
    assert written(agent) == 20 * 2**20


def test_a_mounted_ext4_grows(agent: Agent) -> None:
    root = "/var/lib/grown"

    def storage(size: str) -> str:
        where = f"data_root={root} image=/var/lib/grown.img fstype=ext4 strategy=loop size={size}"
        ansible = ("/opt/mesos-dind/bin/ansible", "localhost", "-m", "mesos.dind.loop_storage", "-a", where)
        return agent.run("env", "LANG=C.UTF-8", *ansible)

    def blocks() -> int:
        return int(agent.run("stat", "--file-system", "--format=%b", root))

    assert "CHANGED" in storage("400M")
    before = blocks()
    assert "CHANGED" in storage("800M")
    assert blocks() > 1.8 * before
