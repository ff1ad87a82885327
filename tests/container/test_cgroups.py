"""Tests of real agents' control groups: limits of inner containers hold, and no agent leaves its own groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import limits
import pytest
from agents import Agent, Start
from conftest import gone_afterwards

GROUPS = Path("/sys/fs/cgroup")
NAMESPACES = ("host", "private")
MEMORY = 384 << 20


@pytest.fixture(scope="module", params=NAMESPACES)
def agent(request: pytest.FixtureRequest, start_any: Start, task_archive: bytes) -> Iterator[Agent]:
    """An agent in the host's cgroup namespace, then one in a private namespace."""
    with gone_afterwards(start_any) as start:
        made = start("sleep", "infinity", cgroupns=request.param, mem_limit=MEMORY, memswap_limit=MEMORY)
        made.await_boot().load(task_archive)
        yield made


def groups_of(container: str) -> list[Path]:
    """The control groups on this machine that have a container's name."""
    return [Path(folder) for folder, _, _ in os.walk(GROUPS) if container in Path(folder).name]


def name(agent: Agent) -> str:
    return str(agent.container.id)


def is_v2() -> bool:
    return (GROUPS / "cgroup.controllers").exists()


def test_a_container_over_its_memory_limit_is_killed(agent: Agent) -> None:
    told = limits.eat(agent, "32m")
    assert (told["status"], told["oom_kill"]) == (137, 1)
    assert told["peak"] <= 32 << 20


def test_a_container_never_gets_more_memory_than_the_agent_has(agent: Agent) -> None:
    told = limits.eat(agent, "1g")
    assert (told["status"], told["oom_kill"]) == (137, 1)
    assert 64 << 20 < told["peak"] < MEMORY


def test_a_container_never_has_more_processes_than_its_limit(agent: Agent) -> None:
    told = limits.multiply(agent, 20)
    assert told["refused"] > 0
    assert told["processes"] <= 20


def test_two_busy_containers_divide_a_processor_by_their_shares(agent: Agent) -> None:
    # runc's formula from shares to v2's weights has changed: 1024 to 256 is 3.9 to 1, or 2.9 to 1.
    assert 2.5 < limits.compete(agent, 1024, 256) < 5


def test_the_groups_of_inner_containers_are_below_the_agents(agent: Agent) -> None:
    with limits.running(agent, "sleep 1000") as inner:
        found = groups_of(inner)
        controllers = {"unified"} if is_v2() else {"blkio", "cpu", "cpuset", "devices", "freezer", "memory", "pids"}
        tops = {"unified" if is_v2() else group.relative_to(GROUPS).parts[0] for group in found}
        assert controllers <= tops
        assert all(any(name(agent) in part for part in group.parts) for group in found)
        assert all((group / "cgroup.procs").read_text() for group in found)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_two_agents_never_see_each_others_groups(namespace: str, start: Start, task_archive: bytes) -> None:
    if is_v2() and namespace == "host":
        pytest.skip("on v2 the host's namespace shows all groups of the host: docs/cgroups.md")
    agents = [start("sleep", "infinity", cgroupns=namespace) for _ in range(2)]
    for agent in agents:
        agent.await_boot().load(task_archive)
    with limits.running(agents[0], "sleep 1000") as one, limits.running(agents[1], "sleep 1000") as other:
        for agent, own, foreign in ((agents[0], one, other), (agents[1], other, one)):
            (neighbour,) = [name(peer) for peer in agents if peer is not agent]
            seen = agent.run("find", "/sys/fs/cgroup", "-type", "d")
            assert own in seen
            assert foreign not in seen
            assert neighbour not in seen


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_no_group_is_left_of_an_agent_that_is_killed(namespace: str, start: Start, task_archive: bytes) -> None:
    agent = start("sleep", "infinity", cgroupns=namespace)
    agent.await_boot().load(task_archive)
    inner = agent.inner("run", "--detach", "--network=none", limits.TASK_IMAGE, "sleep", "1000")
    assert groups_of(name(agent))
    assert groups_of(inner)
    agent.container.remove(force=True, v=True)
    assert groups_of(name(agent)) == groups_of(inner) == []


def test_a_mount_made_in_an_inner_container_reaches_the_agent(agent: Agent) -> None:
    shared = ("--rm", "--privileged", "--network=none", "--volume=/srv:/srv:shared")
    agent.inner("run", *shared, limits.TASK_IMAGE, "mount", "-t", "tmpfs", "from-inside", "/srv")
    try:
        assert agent.run("findmnt", "--noheadings", "--output", "SOURCE", "/srv").strip() == "from-inside"
    finally:
        agent.run("umount", "/srv")
