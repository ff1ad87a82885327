"""The agent image on cgroup v2 under systemd, with a private cgroup namespace and with the host's."""

from __future__ import annotations

import pytest
from vm_agents import TASK_IMAGE, Agent

LEAF = "mesos-dind"


@pytest.fixture(scope="module", params=["private_agent", "host_agent"])
def agent(request: pytest.FixtureRequest) -> Agent:
    booted: Agent = request.getfixturevalue(request.param)
    return booted


def test_the_inner_engine_answers_on_v2(agent: Agent) -> None:
    info = agent.info()
    assert info["CgroupVersion"] == "2"
    assert info["Driver"] == "overlay2"
    assert info["Warnings"] in (None, [])


def test_the_processes_are_in_the_leaf_and_the_controllers_delegated(agent: Agent) -> None:
    assert agent.group_file("cgroup.procs") == []
    assert agent.group_file("cgroup.subtree_control") == agent.group_file("cgroup.controllers")
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(agent.group_file("cgroup.subtree_control"))
    init = agent.machine.run("docker", "inspect", "--format", "{{.State.Pid}}", agent.container).strip()
    assert init in agent.group_file(f"{LEAF}/cgroup.procs")


def test_what_is_executed_later_changes_nothing(agent: Agent) -> None:
    for _ in range(5):
        agent.run("true")
    assert agent.group_file("cgroup.procs") == []
    assert agent.group_file("cgroup.subtree_control") == agent.group_file("cgroup.controllers")


def test_an_inner_container_is_within_the_group_of_the_outer_one(agent: Agent) -> None:
    inner = agent.run("docker", "run", "--detach", TASK_IMAGE, "sleep", "1000").strip()
    try:
        groups = agent.machine.run("find", agent.group(), "-type", "d", "-name", f"*{inner}*").split()
        assert len(groups) == 1
        assert agent.machine.run("cat", f"{groups[0]}/cgroup.procs").split()
    finally:
        agent.run("docker", "rm", "--force", inner)


def test_a_container_over_its_memory_limit_is_killed(agent: Agent) -> None:
    # What has no end of line, tail has to keep.
    hog = "head -c 100m /dev/zero | tail; exit 0"
    limits = ("--memory=32m", "--memory-swap=32m")
    container = agent.run("docker", "create", *limits, TASK_IMAGE, "sh", "-c", f"exec sh -c '{hog}'").strip()
    try:
        agent.status("docker", "start", "--attach", container)
        assert agent.run("docker", "inspect", "--format", "{{.State.OOMKilled}}", container).strip() == "true"
    finally:
        agent.run("docker", "rm", "--force", container)


def test_a_fork_bomb_ends_at_its_limit(agent: Agent) -> None:
    bomb = (
        "(for i in $(seq 100); do sleep 1000 & done) 2>/dev/null; read -r line </sys/fs/cgroup/pids.events; echo $line"
    )
    name, times = agent.run("docker", "run", "--rm", "--pids-limit=20", TASK_IMAGE, "sh", "-c", bomb).split()
    assert name == "max"
    assert int(times) > 0


def test_a_second_run_changes_nothing(agent: Agent) -> None:
    assert "changed=0" in agent.run("mesos-dind", "converge").splitlines()[-2]
