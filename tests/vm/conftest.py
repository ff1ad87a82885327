"""One VM for the session, and agent containers in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agent_disk
import machine as machines
import pytest
import system_disk
from vm_agents import TASK_IMAGE, Agent, running

HERE = Path(__file__).parent
TEST_LIMIT = 1800
IMAGE = os.environ.get("MESOS_DIND_IMAGE_UNDER_TEST", "mesos-dind:latest")


@pytest.fixture(scope="session")
def machine() -> Iterator[machines.Machine]:
    """A Debian 13 VM with the agent image and the small task image in its engine."""
    agent = agent_disk.provide(IMAGE)
    log = system_disk.CACHE / "console.log"
    with machines.booted(system_disk.provide(), log, [agent.image]) as machine:
        agent_disk.install(agent, machine, "/dev/vdb")
        with subprocess.Popen(["docker", "save", TASK_IMAGE], stdout=subprocess.PIPE) as saved:
            assert saved.stdout
            # Also a file, from which the inner engines load it.
            machine.run("sh", "-c", "tee /root/task.tar | docker load", stdin=saved.stdout)
        yield machine


@pytest.fixture(scope="session")
def host(machine: machines.Machine) -> Any:
    """The same as a testinfra host."""
    return machine.testinfra_host()


# Two agents share what is to be tried: without acceleration, each takes some minutes to boot.
@pytest.fixture(scope="session")
def private_agent(machine: machines.Machine) -> Iterator[Agent]:
    """As most people start one. Until its processes were in the leaf, more were put into the container."""
    with running(machine, IMAGE) as agent:
        agent.await_line("mesos-dind: cgroups ", meanwhile=f"docker exec {agent.container} true")
        yield agent.await_boot()


@pytest.fixture(scope="session")
def host_agent(machine: machines.Machine) -> Iterator[Agent]:
    """In the host's cgroup namespace, with Docker's init as PID 1, and with its data root on xfs."""
    settings = ("--env=MESOS_DIND_FILESYSTEM=xfs", "--env=VAR_LIB_DOCKER_SIZE=1")
    with running(machine, IMAGE, "--cgroupns=host", "--init", *settings) as agent:
        yield agent.await_boot()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that boots something may take longer than those of other lanes: the VM has no acceleration."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(TEST_LIMIT))
