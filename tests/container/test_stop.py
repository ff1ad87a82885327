"""Tests of a stop: tasks get their signal, the engine stops, the storage is unmounted, the status is the agent's."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from pathlib import Path

import docker
import pytest
from agents import Agent, Start, assert_given_back, attached_to, loop_devices

KEPT = "/var/lib/mesos-dind"


# With `docker run --init`, PID 1 is Docker's init, and tini is one more process beside the supervisor.
either_init = pytest.mark.parametrize("begun", [{}, {"init": True}], indirect=True, ids=["own", "docker-init"])


@pytest.fixture
def begun(request: pytest.FixtureRequest, start: Start, volume: str) -> Agent:
    """An agent on a loop image, in a volume of the outer engine."""
    return start(volumes={volume: KEPT}, **getattr(request, "param", {})).await_boot()


@pytest.fixture
def farewell(begun: Agent, task_archive: bytes) -> Agent:
    """An agent with two inner containers that write a farewell to the volume, each on its own stop signal only.

    One of them takes longer than the grace period of containers that the engine does not stop.
    """
    begun.load(task_archive)
    run_inner(begun, saying("said", "TERM"))
    run_inner(begun, saying("said-late", "USR1", seconds=2), "--stop-signal=USR1", "--stop-timeout=5")
    return begun


def saying(file: str, signal: str, seconds: int = 0) -> str:
    """A shell script that runs until the signal, and writes its farewell so many ``seconds`` later."""
    other = "TERM" if signal == "USR1" else "USR1"
    return (
        f"trap 'echo wrong >/kept/{file}; exit 1' {other};"
        f" trap 'sleep {seconds}; echo farewell >/kept/{file}; exit 0' {signal};"
        f" echo >/kept/{file}-ready; while :; do sleep 1 & wait $!; done"
    )


def run_inner(agent: Agent, script: str, *options: str) -> str:
    """Run the script in an inner container. Returns its id when the script runs."""
    detached = ("--detach", "--restart=always", f"--volume={KEPT}:/kept")
    made = agent.inner("run", *detached, *options, "mesos-dind-task", "sh", "-c", script)
    (file,) = re.findall(r"/kept/(\S+-ready)", script)
    await_file(agent.source(KEPT) / file)
    return made


def await_file(path: Path) -> None:
    """Wait for the file. The test's time-out is the limit."""
    while not path.exists():
        time.sleep(0.01)


def assert_stopped_in_order(agent: Agent, status: int) -> None:
    """Assert that tasks had their signal, the storage is unmounted, and the container ended with the status."""
    kept = agent.source(KEPT)
    assert agent.wait() == status
    assert said(kept) == {"said": "farewell\n", "said-late": "farewell\n"}
    assert "could not be unmounted" not in agent.logs()
    assert_given_back(kept / "docker.img")


def said(kept: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in kept.glob("said*") if not path.name.endswith("-ready")}


@either_init
def test_docker_stop_gives_inner_containers_their_signal(farewell: Agent) -> None:
    farewell.container.stop(timeout=10)
    assert_stopped_in_order(farewell, 0)  # 0 is a drained Mesos agent's; 137 would be the outer engine's SIGKILL


def test_a_crashed_agent_takes_its_tasks_along_and_gives_its_status(farewell: Agent) -> None:
    script = "kill -KILL $0; while kill -0 $0 2>/dev/null; do :; done; mesos-dind health"
    pid = farewell.read("/run/mesos-dind/agent.pid").strip()
    assert farewell.exec("sh", "-c", script, pid) == (1, b"the agent does not run\n")
    assert_stopped_in_order(farewell, 137)


def test_a_stop_in_the_middle_of_the_boot_gives_inner_containers_their_signal(farewell: Agent) -> None:
    """The engine has started the earlier containers again. Ansible, which the test holds, is still loading."""
    kept = farewell.source(KEPT)
    farewell.run("rm", "/run/mesos-dind/agent.pid")
    farewell.container.stop(timeout=10)
    for path in kept.glob("said*"):
        path.unlink()
    farewell.container.start()
    # The head start writes this file, so its process runs.
    hold = "until [ -e /run/mesos-dind/containerd.args ]; do :; done; kill -STOP $(cat $pid)"
    farewell.run("sh", "-c", f"pid=/run/mesos-dind/agent.pid; until [ -s $pid ]; do :; done; {hold}")
    for name in ("said-ready", "said-late-ready"):
        await_file(kept / name)
    assert farewell.exec("test", "-e", "/run/mesos-dind/handed-over").exit_code == 1
    assert farewell.exec("mesos-dind", "health") == (1, b"the boot is not over\n")
    code, refusal = farewell.exec("mesos-dind", "converge")
    assert code == 70
    assert refusal.startswith(b"mesos-dind: the boot is not over; ")
    farewell.container.stop(timeout=10)
    assert_stopped_in_order(farewell, 143)


@either_init
def test_what_outlives_a_crashed_agent_is_ended_before_the_storage_is_given_back(begun: Agent) -> None:
    """A process like an executor of the Mesos containerizer. It keeps the mount busy and ignores SIGTERM."""
    agent = begun
    script = "trap '' TERM; cd /var/lib/docker; echo >/tmp/there; while :; do sleep 1; done"
    agent.run("sh", "-c", f"setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 & until [ -e /tmp/there ]; do :; done")
    image = agent.source(KEPT) / "docker.img"
    assert attached_to(image)
    agent.exec("sh", "-c", "kill -KILL $(cat /run/mesos-dind/agent.pid)")
    assert agent.wait() == 137
    # The log tells: at the container's end, the kernel would unmount the storage as well.
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
    signals = ("HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM")
    traps = "".join(f"trap 'echo got-{signal}.' {signal}; " for signal in signals)
    agent = start("sh", "-c", f"{traps} echo trapped; while :; do sleep 1 & wait $!; done",
                  volumes={volume: "/var/lib/docker"}).await_boot()  # fmt: skip
    agent.await_line("trapped")
    for signal in signals:
        agent.container.kill(signal)
        agent.await_line(f"got-{signal}.")


def test_an_interrupt_is_a_stop(start: Start, volume: str) -> None:
    script = "trap 'echo terminated; exit 5' TERM; echo trapped; sleep 1000 & wait"
    agent = start("sh", "-c", script, volumes={volume: "/var/lib/docker"})
    agent.await_line("trapped")
    agent.container.kill("INT")
    assert agent.wait() == 5
    assert "terminated" in agent.logs()


@pytest.mark.parametrize("status", [0, 127, 143])
def test_the_status_of_a_command_that_was_told_to_end_is_its_own(start: Start, volume: str, status: int) -> None:
    """A shell also reports 127 for a process that it does not know."""
    script = f"trap 'exit {status}' TERM; echo trapped; sleep 1000 & wait"
    agent = start("sh", "-c", script, volumes={volume: "/var/lib/docker"})
    agent.await_line("trapped")
    agent.container.stop(timeout=10)
    assert agent.wait() == status


def test_a_stop_in_the_middle_of_the_boot_leaves_nothing(start: Start) -> None:
    """Ansible is still loading, and the modules' head start runs."""
    before = loop_devices()
    agent = start("sleep", "1000")
    while loop_devices() == before:
        pass
    agent.container.stop(timeout=20)
    assert agent.wait() == 143
    assert loop_devices() == before


def test_a_signal_that_there_is_nobody_for_yet_stops_the_boot(start: Start) -> None:
    """Ansible itself would end by the signal, without a line in the log."""
    before = loop_devices()
    agent = start("sleep", "1000")
    while loop_devices() == before:
        pass
    agent.container.kill("WINCH")
    agent.container.kill("HUP")
    assert agent.wait() == 143
    assert "mesos-dind: stopped by SIGHUP during the boot" in agent.stderr()
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
    """The command and the inner container ignore signals. The bound ends both, well before the outer SIGKILL."""
    agent = start(
        "sh", "-c", "trap '' TERM; while :; do sleep 1; done",
        env={"MESOS_DIND_STOP_TIMEOUT": "2"}, volumes={volume: "/var/lib/docker"},
    ).await_boot()  # fmt: skip
    agent.load(task_archive)
    agent.inner("run", "--detach", "mesos-dind-task", "sleep", "1000")
    started = time.monotonic()
    agent.container.stop(timeout=60)
    assert time.monotonic() - started < 15
    assert agent.wait() == 137


def test_an_agent_has_half_of_the_bound(start: Start, volume: str) -> None:
    script = (
        "trap 'echo told at $(cut -d. -f1 /proc/uptime)' TERM; while :; do sleep 0.2; cut -d. -f1 /proc/uptime; done"
    )
    env = {"MESOS_DIND_STOP_TIMEOUT": "8"}
    agent = start("sh", "-c", script, env=env, volumes={volume: "/var/lib/docker"}).await_boot()
    agent.container.stop(timeout=60)
    assert agent.wait() == 137
    *_, last = agent.container.logs(stderr=False).decode().splitlines()
    (told,) = re.findall(r"told at (\d+)", agent.logs())
    assert 3 <= int(last) - int(told) < 7


def test_ctrl_c_ends_the_agent_undrained(start: Start, volume: str) -> None:
    """The terminal signals its foreground process; the supervisor gets no signal."""
    agent = start(tty=True, stdin_open=True, volumes={volume: "/var/lib/docker"}).await_boot()
    terminal = agent.container.attach_socket(params={"stdin": 1, "stream": 1})
    assert isinstance(terminal, socket.SocketIO)
    os.write(terminal.fileno(), b"\x03")
    assert agent.wait() == 130
    terminal.close()
    with pytest.raises(docker.errors.NotFound):
        agent.container.get_archive("/run/standin/drained")
    assert "could not be unmounted" not in agent.logs()


def test_the_default_bound_is_within_the_outer_engines(begun: Agent, task_archive: bytes) -> None:
    """The inner sleep is PID 1 of its container, so SIGTERM does not end it."""
    begun.load(task_archive)
    begun.inner("run", "--detach", "mesos-dind-task", "sleep", "1000")
    begun.container.stop(timeout=10)
    assert begun.wait() == 0
    assert "the engine did not stop within" in begun.logs()
    assert_given_back(begun.source(KEPT) / "docker.img")


def test_an_engine_that_hangs_is_not_waited_for(farewell: Agent) -> None:
    """The supervisor ends the containers, and sends every one SIGTERM."""
    farewell.run("sh", "-c", "kill -STOP $(pidof dockerd)")
    started = time.monotonic()
    farewell.container.stop(timeout=20)
    assert time.monotonic() - started < 15
    kept = farewell.source(KEPT)
    assert farewell.wait() == 0
    assert said(kept) == {"said": "farewell\n", "said-late": "wrong\n"}
    assert "the engine did not stop within" in farewell.logs()
    assert_given_back(kept / "docker.img")


def test_containers_of_an_engine_that_is_down_have_the_rest_of_the_time(begun: Agent, task_archive: bytes) -> None:
    """s6 pauses before it starts an engine again that has ended three times within a minute."""
    begun.load(task_archive)
    run_inner(begun, saying("said", "TERM", seconds=3))
    for _ in range(3):
        begun.run("timeout", "60", "sh", "-c", "until mesos-dind health; do sleep 0.1; done; pkill -KILL -x dockerd")
    begun.await_line("dockerd has ended 3 times within a minute")
    begun.container.stop(timeout=20)
    kept = begun.source(KEPT)
    assert begun.wait() == 0
    assert said(kept) == {"said": "farewell\n"}
    assert_given_back(kept / "docker.img")


def test_an_engine_that_starts_is_awaited(begun: Agent, task_archive: bytes) -> None:
    """The engine has started some of the earlier containers again, others not yet, and does not answer."""
    begun.load(task_archive)
    names = [f"said-{number}" for number in range(4)]
    for name in names:
        run_inner(begun, saying(name, "USR1", seconds=2), "--stop-signal=USR1")
    begun.container.stop(timeout=20)
    kept = begun.source(KEPT)
    for path in kept.glob("said*"):
        path.unlink()
    begun.container.start()
    ready: set[str] = set()
    while not ready:
        ready = {path.name.removesuffix("-ready") for path in kept.glob("said-*-ready")}
    begun.container.stop(timeout=20)
    assert begun.wait() == 143
    told = said(kept)
    assert set(told.values()) == {"farewell\n"}
    assert ready <= set(told)
    assert_given_back(kept / "docker.img")
