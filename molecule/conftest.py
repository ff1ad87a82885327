"""Fixtures of all scenarios: inner containers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host

TASK_IMAGE = "mesos-dind-task:latest"


class Inner:
    """A container of an agent's inner engine."""

    def __init__(self, agent: Host) -> None:
        self.agent = agent
        self.id: str = agent.check_output("docker run --detach %s sleep 3600", TASK_IMAGE)
        # Engines from 29 on have no {{.NetworkSettings.IPAddress}}.
        address = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
        self.address: str = agent.check_output("docker inspect --format %s %s", address, self.id)

    def run(self, command: str) -> str:
        output: str = self.agent.check_output(f"docker exec {self.id} {command}")
        return output

    def ping(self, address: str) -> bool:
        done = self.agent.run("docker exec %s ping -c 1 -W 10 %s", self.id, address)
        return bool(done.succeeded)

    def remove(self) -> None:
        self.agent.check_output("docker rm --force %s", self.id)


@pytest.fixture
def start_inner() -> Iterator[Callable[[Host], Inner]]:
    """A function that starts an inner container in an agent. The fixture removes the container after the test."""
    started = []

    def start(agent: Host) -> Inner:
        if agent.run("docker image inspect %s", TASK_IMAGE).failed:
            load_task_image(agent.backend.name)
        started.append(Inner(agent))
        return started[-1]

    yield start
    for inner in started:
        inner.remove()


def load_task_image(agent: str) -> None:
    with subprocess.Popen(["docker", "save", TASK_IMAGE], stdout=subprocess.PIPE) as save:
        subprocess.run(["docker", "exec", "-i", agent, "docker", "load", "--quiet"], stdin=save.stdout, check=True)
    assert save.returncode == 0, f"docker save {TASK_IMAGE} ended with {save.returncode}"
