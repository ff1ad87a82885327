"""One VM for the session, and agent containers in it, one at a time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import agent_disk
import machine as machines
import pytest
import system_disk
from limits import TASK_IMAGE
from vm_agents import AGENTS, Agent, booted

HERE = Path(__file__).parent
TEST_LIMIT = 1800
IMAGE = os.environ.get("MESOS_DIND_IMAGE_UNDER_TEST", "mesos-dind:latest")


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print the progress of a long task, whether or not pytest captures output."""
    plugins = request.config.pluginmanager
    reporter: Any = plugins.getplugin("terminalreporter")
    capture: Any = plugins.getplugin("capturemanager")
    started = time.monotonic()

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"vm: [{time.monotonic() - started:6.1f} s] {text}")

    return say


@pytest.fixture(scope="session")
def agent_image(say: Callable[[str], None]) -> agent_disk.AgentDisk:
    provided = agent_disk.provide(IMAGE)
    say("the agent's disk is there")
    return provided


@pytest.fixture(scope="session")
def machine(agent_image: agent_disk.AgentDisk, say: Callable[[str], None]) -> Iterator[machines.Machine]:
    """A Debian 13 VM, with the agent image as a second disk."""
    disk = system_disk.provide()
    say("the VM's disk is there")
    with machines.booted(disk, system_disk.CACHE / "console.log", [agent_image.image]) as machine:
        say("ssh answers")
        yield machine


@pytest.fixture(scope="session")
def engine(machine: machines.Machine, agent_image: agent_disk.AgentDisk, say: Callable[[str], None]) -> machines.Engine:
    """The VM's engine, which has the agent image."""
    found = machine.engine("outer")
    agent_disk.install(agent_image, machine, found, "/dev/vdb")
    say("the engine answers and has the agent image")
    return found


@pytest.fixture(scope="session")
def host(machine: machines.Machine) -> Any:
    """The VM as a testinfra host."""
    return machine.testinfra_host()


@pytest.fixture(scope="session", params=AGENTS)
def agent(
    request: pytest.FixtureRequest, machine: machines.Machine, engine: machines.Engine, say: Callable[[str], None]
) -> Iterator[Agent]:
    """An agent in a private cgroup namespace or in the host's, with or without Docker's init as PID 1.

    Its containers will ask for more memory than the agent has.
    """
    with booted(machine, engine, IMAGE, *AGENTS[request.param]) as agent:
        say(f"the agent {request.param!r} has booted")
        with subprocess.Popen(["docker", "save", TASK_IMAGE], stdout=subprocess.PIPE) as saved:
            assert saved.stdout
            agent.inner_engine.run("load", "--quiet", stdin=saved.stdout)
        yield agent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that boot something more time than in other lanes, because the VM has no acceleration.

    Sort the tests so that one VM and one agent run at a time: first tests with their own VMs, last tests with an agent.
    """
    ours = [item for item in items if item.path.parent == HERE]
    for item in ours:
        item.add_marker(pytest.mark.timeout(TEST_LIMIT))
    items[:] = [item for item in items if item not in ours] + sorted(ours, key=turn)


def turn(item: pytest.Item) -> int:
    if "machine" not in getattr(item, "fixturenames", ()):
        return 0
    callspec: Any = getattr(item, "callspec", None)
    agent = callspec.params.get("agent") if callspec else None
    return 2 + list(AGENTS).index(agent) if agent else 1
