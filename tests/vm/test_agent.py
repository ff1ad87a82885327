"""Tests of the agent image on cgroup v2 under systemd: the leaf, the delegation and the limits of inner containers.

By default, a test runs in all agents: in a private cgroup namespace and in the host's, with and without Docker's init.
"""

from __future__ import annotations

import json

import limits
import pytest
from vm_agents import MEMORY, Agent

LEAF = "mesos-dind"

# Slow tests run once in each namespace. Docker's init makes no difference: all processes are in the leaf by then.
in_both_namespaces = pytest.mark.parametrize("agent", ["private", "host, init"], indirect=True)
in_a_private_namespace = pytest.mark.parametrize("agent", ["private", "private, init"], indirect=True)


def test_the_inner_engine_answers_on_v2(agent: Agent) -> None:
    info = json.loads(agent.inner("info", "--format=json"))
    assert info["CgroupVersion"] == "2"
    assert info["Driver"] == "overlay2"
    assert info["Warnings"] in (None, [])


def test_the_processes_are_in_the_leaf_and_the_controllers_delegated(agent: Agent) -> None:
    assert agent.group_file("cgroup.procs") == []
    assert agent.group_file("cgroup.subtree_control") == agent.group_file("cgroup.controllers")
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(agent.group_file("cgroup.subtree_control"))
    init = agent.engine.run("inspect", "--format={{.State.Pid}}", agent.container).strip()
    assert init in agent.group_file(f"{LEAF}/cgroup.procs")


def test_what_is_executed_later_changes_nothing(agent: Agent) -> None:
    in_leaf = "grep -qx 0::.*/mesos-dind /proc/self/cgroup"
    agent.run("sh", "-c", in_leaf)
    assert agent.group_file("cgroup.procs") == []
    assert agent.group_file("cgroup.subtree_control") == agent.group_file("cgroup.controllers")


def test_inner_containers_are_within_the_agents_group(agent: Agent) -> None:
    with limits.running(agent, "sleep 1000") as inner:
        (group,) = agent.machine.run("find", "/sys/fs/cgroup", "-type", "d", "-name", f"*{inner}*").split()
        assert group.startswith(f"{agent.group}/")
        assert agent.machine.run("cat", f"{group}/cgroup.procs").split()


@in_a_private_namespace
def test_nobody_sees_groups_beyond_the_agents_own(agent: Agent) -> None:
    assert agent.run("sh", "-c", "cd /sys/fs/cgroup && echo */").split() == ["docker/", f"{LEAF}/"]


@in_both_namespaces
def test_a_container_over_its_memory_limit_is_killed(agent: Agent) -> None:
    told = limits.eat(agent, "32m")
    assert (told["status"], told["oom_kill"]) == (137, 1)
    assert told["peak"] <= 32 << 20


@in_both_namespaces
def test_a_container_never_gets_more_memory_than_the_agent_has(agent: Agent) -> None:
    told = limits.eat(agent, "1g")
    assert (told["status"], told["oom_kill"], told["oom"]) == (137, 1, 0), "not at its own limit"
    assert 64 << 20 < told["peak"] < MEMORY


@in_both_namespaces
def test_a_container_never_has_more_processes_than_its_limit(agent: Agent) -> None:
    told = limits.multiply(agent, 20)
    assert told["refused"] > 0
    assert told["processes"] <= 20


@in_both_namespaces
def test_two_busy_containers_divide_a_processor_by_their_shares(agent: Agent) -> None:
    # runc's formula from shares to weights has changed: 1024 to 256 is 3.9 to 1, or 2.9 to 1.
    assert 2.5 < limits.compete(agent, 1024, 256) < 5


@in_both_namespaces
def test_a_second_run_changes_nothing(agent: Agent) -> None:
    assert "changed=0" in agent.run("mesos-dind", "converge").splitlines()[-2]
