"""Tests of the loop image in real containers: kept, grown, never shared, never leaked."""

from __future__ import annotations

import os
from pathlib import Path

import docker
import pytest
from agents import Agent, Start, loop_devices

# `make soak` sets 200.
CYCLES = int(os.environ.get("MESOS_DIND_CYCLES", "20"))
AT_ONCE = 20


def device(agent: Agent) -> str:
    return agent.run("findmnt", "--noheadings", "--output", "SOURCE", "/var/lib/docker").strip()


def test_agents_started_at_once_have_devices_of_their_own(start: Start) -> None:
    agents = [start("sleep", "1000") for _ in range(AT_ONCE)]
    devices = {device(agent.await_boot()) for agent in agents}
    assert len(devices) == AT_ONCE
    for agent in agents:
        assert "answers" in agent.run("mesos-dind", "health")


def test_lives_ended_by_sigkill_leave_nothing(engine: docker.DockerClient, start: Start) -> None:
    before = left(engine)
    for _ in range(CYCLES):
        agent = start("sleep", "1000")
        agent.await_line("storage  ")
        agent.container.kill()
        agent.wait()
        agent.container.remove(v=True)
    assert left(engine) == before


def left(engine: docker.DockerClient) -> dict[str, set[str]]:
    """The resources of the outer engine's machine that an agent may leak: loop devices, mounts, layers and volumes."""
    root = Path(engine.info()["DockerRootDir"])
    return {
        "loop devices": loop_devices(),
        "mount points": {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "layers": {entry.name for entry in (root / "overlay2").iterdir()},
        "volumes": {entry.name for entry in (root / "volumes").iterdir()},
    }


def test_an_image_is_refused_while_it_is_used_and_taken_over_after_a_death(start: Start, volume: str) -> None:
    volumes = {volume: "/var/lib/mesos-dind"}
    first = start("sleep", "1000", volumes=volumes).await_boot()
    first.inner("volume", "create", "precious")
    second = start("true", volumes=volumes)
    assert second.wait() == 70
    assert any("storage" in line and "in use" in line for line in second.stderr())
    first.container.kill()
    first.wait()
    third = start("sleep", "1000", volumes=volumes).await_boot()
    assert third.inner("volume", "ls", "--quiet") == "precious"


def test_a_larger_size_grows_what_is_there_and_a_smaller_one_is_refused(start: Start, volume: str) -> None:
    volumes = {volume: "/var/lib/mesos-dind"}
    first = start("docker", "volume", "create", "precious", env={"VAR_LIB_DOCKER_SIZE": "500M"}, volumes=volumes)
    assert first.wait() == 0
    grown = start("sleep", "1000", env={"VAR_LIB_DOCKER_SIZE": "1"}, volumes=volumes).await_boot()
    assert grown.inner("volume", "ls", "--quiet") == "precious"
    size = grown.run("findmnt", "--noheadings", "--bytes", "--output", "SIZE", "/var/lib/docker")
    assert int(size) > 800 * 1024 * 1024
    grown.container.stop()
    smaller = start("true", env={"VAR_LIB_DOCKER_SIZE": "500M"}, volumes=volumes)
    assert smaller.wait() == 70
    assert any("storage" in line and "not shrunk" in line for line in smaller.stderr()), smaller.logs()


def test_xfs_where_asked_for(start: Start) -> None:
    agent = start("sleep", "1000", env={"MESOS_DIND_FILESYSTEM": "xfs", "VAR_LIB_DOCKER_SIZE": "500M"}).await_boot()
    assert agent.run("findmnt", "--noheadings", "--output", "FSTYPE", "/var/lib/docker").strip() == "xfs"
    assert agent.inner("info", "--format", "{{.Driver}}") == "overlay2"


@pytest.mark.parametrize("strategy", ["loop", "vfs"])
def test_a_strategy_that_is_asked_for(start: Start, volume: str, strategy: str) -> None:
    """The user asks for a loop image although overlay works on the volume."""
    volumes = {volume: "/var/lib/docker"}
    agent = start("sleep", "1000", env={"MESOS_DIND_STORAGE": strategy}, volumes=volumes).await_boot()
    assert agent.inner("info", "--format", "{{.Driver}}") == {"loop": "overlay2", "vfs": "vfs"}[strategy]
    assert ("loop" in device(agent)) is (strategy == "loop")
