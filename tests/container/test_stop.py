"""The end: tasks get their signal, the engine stops, the storage is given back, the status is the agent's."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from agents import Agent, Start, loop_devices


@pytest.fixture
def farewell(start: Start, volume: str, task_archive: bytes) -> Agent:
    """An agent with an inner container that says farewell, on SIGTERM only, in a volume of the outer engine."""
    agent = start(volumes={volume: "/farewell"}).await_boot()
    agent.load(task_archive)
    script = "trap 'echo farewell >/farewell/said; exit 0' TERM; echo ready; while :; do sleep 1 & wait $!; done"
    agent.inner("run", "--detach", "--name", "task", "-v", "/farewell:/farewell", "mesos-dind-task", "sh", "-c", script)
    return agent


def said(agent: Agent) -> str:
    """What is in the volume, seen from the host."""
    (mount,) = (mount for mount in agent.container.attrs["Mounts"] if mount["Destination"] == "/farewell")
    return (Path(mount["Source"]) / "said").read_text().strip()


def test_docker_stop_gives_inner_containers_their_signal(farewell: Agent) -> None:
    before = loop_devices()
    farewell.container.reload()
    farewell.container.stop(timeout=10)
    assert farewell.wait() == 0, "a drained Mesos agent ends with 0"
    assert said(farewell) == "farewell"
    assert len(loop_devices()) == len(before) - 1


def test_a_crashed_agent_takes_its_tasks_along_and_gives_its_status(farewell: Agent) -> None:
    before = loop_devices()
    farewell.container.reload()
    farewell.exec("sh", "-c", "kill -KILL $(cat /run/mesos-dind/agent.pid)")
    assert farewell.wait() == 137
    assert said(farewell) == "farewell"
    assert len(loop_devices()) == len(before) - 1


def test_tasks_of_the_agent_are_drained(start: Start, volume: str, task_archive: bytes) -> None:
    agent = start(volumes={volume: "/var/lib/docker"}).await_boot()
    agent.load(task_archive)
    agent.run("sh", "-c", "echo bridge mesos-dind-task sleep 1000 >/run/standin/launch")
    while not agent.inner("ps", "--quiet", "--filter", "name=mesos-"):
        pass
    agent.container.stop(timeout=20)
    assert agent.wait() == 0
    stream, _ = agent.container.get_archive("/run/standin/drained")
    assert b"drained" in b"".join(stream)


def test_another_command_gets_sigterm_and_its_status_is_kept(start: Start, volume: str) -> None:
    script = "trap 'exit 5' TERM; echo trapped; sleep 1000 & wait"
    agent = start("sh", "-c", script, volumes={volume: "/var/lib/docker"})
    agent.await_line("trapped")
    agent.container.stop(timeout=10)
    assert agent.wait() == 5


def test_other_signals_are_forwarded(start: Start, volume: str) -> None:
    agent = start("sh", "-c", "trap 'echo got-hup' HUP; echo trapped; while :; do sleep 1 & wait $!; done",
                  volumes={volume: "/var/lib/docker"}).await_boot()  # fmt: skip
    agent.await_line("trapped")
    agent.container.kill("HUP")
    agent.await_line("got-hup")


def test_a_stop_in_the_middle_of_the_boot_leaves_nothing(start: Start) -> None:
    """While Ansible is still being loaded, and its modules have their head start."""
    before = loop_devices()
    agent = start("sleep", "1000")
    while loop_devices() == before:
        pass
    agent.container.stop(timeout=20)
    assert agent.wait() == 143
    assert loop_devices() == before


def test_a_stop_at_once_leaves_nothing(start: Start) -> None:
    before = loop_devices()
    agent = start("sleep", "1000")
    agent.container.stop(timeout=20)
    assert agent.wait() == 143
    assert loop_devices() == before


def test_a_killed_container_leaves_nothing_and_boots_again(start: Start) -> None:
    before = loop_devices()
    agent = start("sleep", "1000").await_boot()
    agent.inner("volume", "create", "kept")
    agent.container.kill()
    assert agent.wait() == 137
    assert loop_devices() == before
    agent.container.start()
    agent.await_boot()
    assert agent.inner("volume", "ls", "--quiet") == "kept"
    assert "changed=0" in agent.run("mesos-dind", "converge")


def test_the_file_system_of_the_image_is_clean_after_a_stop(start: Start, volume: str, task_archive: bytes) -> None:
    agent = start("sleep", "1000", volumes={volume: "/var/lib/mesos-dind"}).await_boot()
    agent.load(task_archive)
    agent.container.reload()
    agent.container.stop(timeout=10)
    (mount,) = (entry for entry in agent.container.attrs["Mounts"] if entry["Destination"] == "/var/lib/mesos-dind")
    image = Path(mount["Source"]) / "docker.img"
    checked = subprocess.run(["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_stop_is_bounded_when_nothing_complies(start: Start, volume: str, task_archive: bytes) -> None:
    """Neither the command nor the inner container listens; the bound ends both, well before SIGKILL from outside."""
    agent = start(
        "sh", "-c", "trap '' TERM; while :; do sleep 1; done",
        env={"MESOS_DIND_STOP_TIMEOUT": "2"}, volumes={volume: "/var/lib/docker"},
    ).await_boot()  # fmt: skip
    agent.load(task_archive)
    agent.inner("run", "--detach", "mesos-dind-task", "sleep", "1000")
    started = time.monotonic()
    agent.container.stop(timeout=60)
    assert time.monotonic() - started < 50
    assert agent.wait() == 137
