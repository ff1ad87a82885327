"""The end: tasks get their signal, the engine stops, the storage is given back, the status is the agent's."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from agents import Agent, Start, assert_given_back, attached_to, loop_devices

KEPT = "/var/lib/mesos-dind"


@pytest.fixture
def farewell(start: Start, volume: str, task_archive: bytes) -> Agent:
    """An agent on a loop image, with an inner container that says farewell, on SIGTERM only, in a volume of the outer
    engine, where the image is as well."""
    agent = start(volumes={volume: KEPT}).await_boot()
    agent.load(task_archive)
    script = "trap 'echo farewell >/kept/said; exit 0' TERM; echo >/kept/ready; while :; do sleep 1 & wait $!; done"
    options = ("--detach", "--restart=always", "--name=task", f"--volume={KEPT}:/kept")
    agent.inner("run", *options, "mesos-dind-task", "sh", "-c", script)
    await_file(agent.source(KEPT) / "ready")
    return agent


def await_file(path: Path) -> None:
    """The test's own time-out ends a wait that lasts too long."""
    while not path.exists():
        time.sleep(0.01)


def assert_stopped_in_order(agent: Agent, status: int) -> None:
    """The task had its signal, the storage is given back, and the container ends with this status."""
    kept = agent.source(KEPT)
    assert agent.wait() == status
    assert (kept / "said").read_text() == "farewell\n"
    assert "could not be unmounted" not in agent.logs()
    assert_given_back(kept / "docker.img")


def test_docker_stop_gives_inner_containers_their_signal(farewell: Agent) -> None:
    farewell.container.stop(timeout=10)
    assert_stopped_in_order(farewell, 0)  # of a drained Mesos agent; 137 would be the outer engine's SIGKILL


def test_a_crashed_agent_takes_its_tasks_along_and_gives_its_status(farewell: Agent) -> None:
    farewell.exec("sh", "-c", "kill -KILL $(cat /run/mesos-dind/agent.pid)")
    assert_stopped_in_order(farewell, 137)


def test_a_stop_in_the_middle_of_the_boot_gives_inner_containers_their_signal(farewell: Agent) -> None:
    """Of an earlier life: the engine has started it again, and Ansible, held here, is still being loaded."""
    kept = farewell.source(KEPT)
    farewell.run("rm", "/run/mesos-dind/agent.pid")
    farewell.container.stop(timeout=10)
    for name in ("ready", "said"):
        (kept / name).unlink()
    farewell.container.start()
    # The file is of the work that is done ahead: it has begun, in a process of its own.
    hold = "until [ -e /run/mesos-dind/containerd.args ]; do :; done; kill -STOP $(cat $pid)"
    farewell.run("sh", "-c", f"pid=/run/mesos-dind/agent.pid; until [ -s $pid ]; do :; done; {hold}")
    await_file(kept / "ready")
    assert farewell.exec("test", "-e", "/run/mesos-dind/handed-over").exit_code == 1
    farewell.container.stop(timeout=10)
    assert_stopped_in_order(farewell, 143)


def test_what_outlives_a_crashed_agent_is_ended_before_the_storage_is_given_back(start: Start, volume: str) -> None:
    """As an executor of the Mesos containerizer does; this one is on the mount and does not listen."""
    agent = start(volumes={volume: KEPT}).await_boot()
    script = "trap '' TERM; cd /var/lib/docker; echo >/tmp/there; while :; do sleep 1; done"
    agent.run("sh", "-c", f"setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 & until [ -e /tmp/there ]; do :; done")
    image = agent.source(KEPT) / "docker.img"
    assert attached_to(image)
    agent.exec("sh", "-c", "kill -KILL $(cat /run/mesos-dind/agent.pid)")
    assert agent.wait() == 137
    # Left to the end of the container, the kernel would unmount as well.
    assert "could not be unmounted" not in agent.logs()
    assert_given_back(image)


def test_tasks_of_the_agent_are_drained(start: Start, volume: str, task_archive: bytes) -> None:
    agent = start(volumes={volume: "/var/lib/docker"}).await_boot()
    agent.load(task_archive)
    agent.launch("bridge", "mesos-dind-task", "sleep 1000")
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
