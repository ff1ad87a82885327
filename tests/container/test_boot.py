"""Tests of a plain boot: the engine answers, and Ansible's process has become the agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import docker
import handed_over
import jmespath
import netaddr
import pytest
from agents import Agent, Start


@pytest.fixture(scope="module")
def agent(start_for_all: Start) -> Agent:
    """A stand-in agent in default mode on a loop image, with settings that a user makes."""
    return start_for_all(
        env={
            "MESOS_MASTER": "zk://10.0.0.1:2181/mesos",
            "MESOS_RESOURCES": "cpus:4;mem:1280;disk:25600;ports:[21000-21099]",
            "MESOS_ATTRIBUTES": "note:spaces and $dollars 'quotes' \"too\" %s {{ braces }} ü",
            "LOG": "file",
        },
        working_dir="/var/tmp",
    ).await_boot()


@pytest.fixture(scope="module")
def environ(agent: Agent) -> dict[str, str]:
    return handed_over.environ(agent)


def test_the_engine_answers_on_overlay2_over_a_loop_image(agent: Agent) -> None:
    info = json.loads(agent.inner("info", "--format", "json"))
    assert info["Driver"] == "overlay2"
    assert info["DockerRootDir"] == "/var/lib/docker"
    assert info["Warnings"] in (None, [])
    device, kind = agent.run("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "/var/lib/docker").split()
    assert device.startswith("/dev/loop")
    assert kind == "ext4"


def test_the_agent_is_the_process_that_was_ansible(agent: Agent) -> None:
    handed_over.assert_is_the_process_that_was_ansible(agent)


# The worker of the last task stops itself after it has sent its result, when multiprocessing cleans up.
ENDLESS_WORKER = """
import multiprocessing.process, multiprocessing.util, os, signal

def clean_up(orderly=multiprocessing.util._exit_function):
    task = getattr(multiprocessing.process.current_process(), "_task", None)
    if task and task.action == "mesos.dind.hand_over":
        os.kill(os.getpid(), signal.SIGSTOP)
    orderly()

multiprocessing.util._exit_function = clean_up
"""


def test_the_agent_has_no_child_of_ansible(start: Start) -> None:
    """Not even if Ansible's last worker does not end: an agent reaps no child that it has not started."""
    plant = 'cd /opt/mesos-dind/lib/python3*/site-packages; echo "$0" >endless.py; echo "import endless" >endless.pth'
    boot = 'exec tini -s -- mesos-dind boot -- "$@"'
    agent = start("sleep", "1000", entrypoint=["sh", "-c", f"{plant}; {boot}", ENDLESS_WORKER]).await_boot()
    find = "pid=$(cat /run/mesos-dind/agent.pid); until [ $(ps -o comm= -p $pid) = sleep ]; do :; done"
    assert agent.run("sh", "-c", f"{find}; ps -o stat=,args= --ppid $pid || :") == ""


def test_what_the_user_set_reaches_the_agent_byte_for_byte(agent: Agent, environ: dict[str, str]) -> None:
    assert environ["MESOS_MASTER"] == "zk://10.0.0.1:2181/mesos"
    assert environ["MESOS_RESOURCES"] == "cpus:4;mem:1280;disk:25600;ports:[21000-21099]"
    assert environ["MESOS_ATTRIBUTES"] == "note:spaces and $dollars 'quotes' \"too\" %s {{ braces }} ü"


def test_nothing_but_the_documented_defaults_is_added(agent: Agent, environ: dict[str, str]) -> None:
    names = set(handed_over.given(agent))
    assert names == {"PATH", "HOSTNAME", "HOME", "LOG", "MESOS_MASTER", "MESOS_RESOURCES", "MESOS_ATTRIBUTES"}
    added = set(environ) - names
    assert added == {
        "MESOS_CONTAINERIZERS", "MESOS_ISOLATION", "MESOS_RECONFIGURATION_POLICY", "MESOS_SYSTEMD_ENABLE_SUPPORT",
        "MESOS_WORK_DIR", "DOCKER_API_VERSION",
    }  # fmt: skip
    assert environ["MESOS_CONTAINERIZERS"] == "docker,mesos"
    assert environ["DOCKER_API_VERSION"] == "1.44"


def test_the_agent_starts_as_from_a_shell(agent: Agent) -> None:
    handed_over.assert_starts_as_from_a_shell(agent, "/var/tmp")


def test_the_agents_own_output_blocks(start: Start, volume: str) -> None:
    """The engine logs to the same pipe through s6-log, which makes its output non-blocking (skalibs: bufalloc)."""
    script = "docker run nothing-of-this-name; grep flags: /proc/self/fdinfo/2 && exec sleep 1000"
    volumes = {volume: "/var/lib/docker"}
    agent = start("sh", "-c", script, env={"DOCKER_DAEMON_ARGS": "-D"}, volumes=volumes)
    agent.await_line("flags:")
    (line,) = [line for line in agent.logs().splitlines() if line.startswith("flags:")]
    assert not int(line.split()[1], 8) & os.O_NONBLOCK
    assert "level=debug" in agent.logs(), "the engine has logged there by then"


def test_a_second_run_changes_nothing(agent: Agent) -> None:
    before = (agent.run("cat", "/proc/self/mountinfo").count("\n"), agent.run("ip", "-o", "address"))
    recap = agent.run("mesos-dind", "converge").splitlines()[-2]
    assert "changed=0" in recap
    assert "failed=0" in recap
    after = (agent.run("cat", "/proc/self/mountinfo").count("\n"), agent.run("ip", "-o", "address"))
    assert before == after


def test_check_mode_predicts_what_a_run_does(agent: Agent) -> None:
    agent.run("sed", "-i", "s/warn/error/", "/run/mesos-dind/daemon.json")
    predicted = agent.run("mesos-dind", "converge", "--check", "--diff")
    assert "changed=1" in predicted
    assert '-         "log-level": "error"' in predicted.replace("\\", "") or "log-level" in predicted
    assert "error" in agent.read("/run/mesos-dind/daemon.json")
    assert "changed=1" in agent.run("mesos-dind", "converge")
    assert "changed=0" in agent.run("mesos-dind", "converge")


def test_status_says_for_a_machine_what_was_found_and_would_change(agent: Agent) -> None:
    found = json.loads(agent.run("mesos-dind", "status"))
    assert found["converged"]
    assert list(found["roles"]) == ["cgroups", "engine", "network", "storage"]
    assert jmespath.search("roles.storage.found.[strategy, fstype]", found) == ["loop", "ext4"]
    assert jmespath.search("roles.engine.found.version", found) in agent.run("docker", "version")
    agent.run("sed", "-i", "s/warn/error/", "/run/mesos-dind/daemon.json")
    found = json.loads(agent.run("mesos-dind", "status"))
    assert not found["converged"]
    assert "write /run/mesos-dind/daemon.json" in jmespath.search("roles.engine.changes", found)
    agent.run("sed", "-i", 's/"5"/"4"/', "/run/mesos-dind/settings.json")
    code, output = agent.exec("mesos-dind", "status")
    agent.run("sed", "-i", 's/"4"/"5"/', "/run/mesos-dind/settings.json")
    assert code == 2
    found = json.loads(output)
    assert "not shrunk" in jmespath.search("roles.storage.error", found)
    assert "changed=1" in agent.run("mesos-dind", "converge")


BY_HAND = """
    export ANSIBLE_CONFIG=/etc/mesos-dind/ansible.cfg ANSIBLE_STDOUT_CALLBACK=mesos.dind.status LANG=C.UTF-8
    /opt/mesos-dind/bin/ansible-playbook -i localhost, -e @/run/mesos-dind/settings.json mesos.dind.status
"""


def test_status_by_hand_says_the_same(agent: Agent) -> None:
    page = Path(__file__).parents[2] / "docs/boot.md"
    assert textwrap.dedent(BY_HAND) in page.read_text()
    assert json.loads(agent.run("sh", "-c", BY_HAND)) == json.loads(agent.run("mesos-dind", "status"))


def test_the_log_is_a_dozen_lines_with_the_time_of_each_step(agent: Agent) -> None:
    lines = [line for line in agent.stderr() if line.startswith("mesos-dind: ")]
    assert 6 <= len(lines) <= 12
    timed = [line for line in lines if re.match(r"mesos-dind: \w+ +\d+\.\d\d s  \w", line)]
    assert [line.split()[1] for line in timed] == ["ansible", "cgroups", "storage", "network", "engine", "agent"]
    steps = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
    assert [step["step"] for step in steps] == ["ansible", "cgroups", "storage", "network", "engine", "agent"]
    assert all(step["seconds"] > 0 for step in steps)


def test_the_engine_logs_to_a_file_where_told(agent: Agent) -> None:
    assert agent.read("/run/mesos-dind/log").strip() == "file"
    assert "level=" not in agent.logs()
    agent.run("test", "-e", "/var/log/mesos-dind/dockerd/current")


def test_the_debug_log_goes_to_a_file_where_told(start: Start, volume: str) -> None:
    env = {"LOG": "file", "DOCKER_DAEMON_ARGS": "-D"}
    agent = start("sleep", "1000", env=env, volumes={volume: "/var/lib/docker"}).await_boot()
    assert "level=debug" in agent.read("/var/log/mesos-dind/dockerd/current")
    assert "level=" not in agent.logs()


OWN = {
    "MESOS_CONTAINERIZERS": "mesos,docker",
    "MESOS_ISOLATION": "posix/cpu",
    "MESOS_RECONFIGURATION_POLICY": "equal",
    "MESOS_RESOURCES": "",
    "MESOS_SYSTEMD_ENABLE_SUPPORT": "true",
    "MESOS_WORK_DIR": "/tmp/work",
    "DOCKER_API_VERSION": "1.43",
}


def test_no_default_replaces_what_the_user_says(start: Start) -> None:
    """An empty value counts as a value, too."""
    agent = start(env=OWN).await_boot()
    assert handed_over.environ(agent) == handed_over.given(agent)
    assert OWN.items() <= handed_over.environ(agent).items()
    agent.run("test", "-e", "/tmp/work/mesos-dind-hostname")


def test_healthy_means_engine_and_agent(agent: Agent) -> None:
    assert "answers" in agent.run("mesos-dind", "health")
    agent.run("s6-svc", "-wd", "-d", "/etc/mesos-dind/services/dockerd")
    try:
        assert agent.exec("mesos-dind", "health").exit_code == 1
    finally:
        agent.run("s6-svc", "-u", "/etc/mesos-dind/services/dockerd")
        agent.run("timeout", "60", "sh", "-c", "until mesos-dind health; do sleep 0.1; done")


@pytest.mark.parametrize(
    "hurt", ["s6-svc -wd -d /etc/mesos-dind/services/dockerd", "kill -STOP $(pidof dockerd)"], ids=["down", "hung"]
)
def test_the_healthcheck_turns_green_and_then_red(
    engine: docker.DockerClient, start: Start, volume: str, hurt: str
) -> None:
    agent = start(
        "sleep", "1000", healthcheck={"interval": 10**9}, volumes={volume: "/var/lib/docker"}
    ).await_boot()  # fmt: skip
    filters = {"container": agent.container.id, "event": "health_status"}
    events = engine.events(since=int(agent.started), filters=filters, decode=True)
    assert next(events)["Action"] == "health_status: healthy"
    agent.run("sh", "-c", hurt)
    assert next(events)["Action"] == "health_status: unhealthy"
    events.close()
    declared = engine.images.get(agent.container.attrs["Image"]).attrs["Config"]["Healthcheck"]
    latest = declared["Retries"] * (declared["Interval"] + declared["Timeout"])
    assert latest <= 30 * 10**9, "by then it is red, in nanoseconds"


def test_a_second_boot_in_the_same_container_is_refused(agent: Agent) -> None:
    code, output = agent.exec("mesos-dind", "boot", "--", "true")
    assert code == 64
    assert b"mesos-dind converge" in output


def test_a_second_boot_from_a_shell_in_the_container_is_refused(agent: Agent) -> None:
    """The shell may come from `docker exec -it C bash`, or be the container's command."""
    code, output = agent.exec("sh", "-c", "mesos-dind boot -- true; exit $?")
    assert code == 64
    assert b"mesos-dind converge" in output
    assert "answers" in agent.run("mesos-dind", "health")


@pytest.mark.parametrize("argv", [[], ["start"], ["boot", "true"], ["converge", "--fast"]])
def test_a_wrong_command_line_is_one_line_and_64(agent: Agent, argv: list[str]) -> None:
    code, output = agent.exec("mesos-dind", *argv)
    assert code == 64
    (line,) = output.decode().splitlines()
    assert line.startswith("mesos-dind: ")


def test_the_version_is_three_lines_with_and_without_an_engine(agent: Agent) -> None:
    engine = agent.inner("version", "--format", "{{.Server.Version}}")
    collection, mesos = "mesos.dind \\d+\\.\\d+\\.\\d+\\S*", "agent mesos 0.0.0 \\(stand-in\\)"
    assert re.fullmatch(f"{collection}\nengine {re.escape(engine)}\n{mesos}\n", agent.run("mesos-dind", "version"))
    agent.run("s6-svc", "-wd", "-d", "/etc/mesos-dind/services/dockerd")
    try:
        assert re.fullmatch(f"{collection}\nengine not running\n{mesos}\n", agent.run("mesos-dind", "version"))
        assert agent.exec("mesos-dind", "health") == (1, b"the engine does not answer\n")
    finally:
        agent.run("s6-svc", "-u", "/etc/mesos-dind/services/dockerd")
        agent.run("timeout", "60", "sh", "-c", "until mesos-dind health; do sleep 0.1; done")


def test_what_a_user_says_to_docker_clients_is_not_for_the_supervisor(start: Start, volume: str) -> None:
    env = {
        "DOCKER_HOST": "tcp://nowhere.invalid:1",
        "DOCKER_CONTEXT": "nowhere",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/nowhere",
        "DOCKER_API_VERSION": "9.99",
    }
    agent = start("sleep", "1000", env=env, volumes={volume: "/var/lib/docker"}).await_boot()
    assert "answers" in agent.run("mesos-dind", "health")
    assert "engine not running" not in agent.run("mesos-dind", "version")
    agent.container.stop(timeout=30)
    assert agent.wait() == 143
    assert "the engine did not stop" not in agent.logs()


def test_the_inner_network_meets_no_outer_route(agent: Agent, outer_network: netaddr.IPNetwork) -> None:
    (subnet,) = jmespath.search("[].IPAM.Config[].Subnet", json.loads(agent.inner("network", "inspect", "bridge")))
    assert not netaddr.IPSet([subnet]) & netaddr.IPSet([outer_network])


def test_any_command_can_take_the_agents_place(start: Start, volume: str) -> None:
    agent = start("sh", "-c", "docker info --format {{.Driver}}; exit 7", volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 7
    assert agent.container.logs(stderr=False).decode().split() == ["overlay2"]


def test_another_command_is_given_nothing(start: Start, volume: str) -> None:
    agent = start("cat", "/proc/self/environ", env={"MESOS_MASTER": "x"}, volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 0
    given = agent.container.logs(stderr=False).decode().split("\0")
    assert {entry.partition("=")[0] for entry in given if entry} == {"PATH", "HOSTNAME", "HOME", "MESOS_MASTER"}


def test_the_image_declares_no_volume(engine: docker.DockerClient, agent: Agent) -> None:
    assert not engine.images.get(agent.container.attrs["Image"]).attrs["Config"].get("Volumes")
    assert {mount["Type"] for mount in agent.container.attrs["Mounts"]} == {"bind"}, "the stand-in's"


def test_overlay_is_used_where_it_works(start: Start, volume: str) -> None:
    agent = start("sleep", "1000", volumes={volume: "/var/lib/docker"}).await_boot()
    assert agent.inner("info", "--format", "{{.Driver}}") == "overlay2"
    sources = agent.run("findmnt", "--noheadings", "--output", "SOURCE", "/var/lib/docker")
    assert "loop" not in sources
    assert "changed=0" in agent.run("mesos-dind", "converge")


def test_standard_input_reaches_the_command(start: Start, volume: str) -> None:
    agent = start("cat", stdin_open=True, volumes={volume: "/var/lib/docker"})
    with subprocess.Popen(["docker", "attach", str(agent.container.id)], stdin=subprocess.PIPE) as attached:
        agent.await_boot()
        assert attached.stdin
        attached.stdin.write(b"through the whole boot\n")
        attached.stdin.flush()
        agent.await_line("through the whole boot")
        attached.terminate()


def test_a_terminal_works(start: Start, volume: str) -> None:
    """The terminal controls the command, which is in the foreground."""
    agent = start("sh", "-c", "stty size && echo into-tty >/dev/tty && ps -o stat= -p $$", tty=True,
                  volumes={volume: "/var/lib/docker"})  # fmt: skip
    assert agent.wait() == 0
    *_, tty, state = agent.logs().split()
    assert tty == "into-tty"
    assert "+" in state


def test_daemon_args_are_words_and_never_shell(start: Start, volume: str) -> None:
    agent = start(
        "sleep", "1000",
        env={"DOCKER_DAEMON_ARGS": "--label 'note=$(touch /pwned); a b' --insecure-registry=example.com:5000 -D"},
        volumes={volume: "/var/lib/docker"},
    ).await_boot()  # fmt: skip
    info = json.loads(agent.inner("info", "--format", "json"))
    assert info["Labels"] == ["note=$(touch /pwned); a b"]
    assert "example.com:5000" in info["RegistryConfig"]["IndexConfigs"]
    assert info["Debug"]
    assert agent.exec("test", "-e", "/pwned").exit_code == 1


def test_a_users_daemon_json_is_merged(start: Start, volume: str) -> None:
    write = """mkdir -p /etc/docker && echo '{"labels": ["a=b"]}' >/etc/docker/daemon.json"""
    script = f"{write} && exec mesos-dind boot -- sleep 1000"
    agent = start("-c", script, entrypoint="sh", volumes={volume: "/var/lib/docker"}).await_boot()
    assert json.loads(agent.inner("info", "--format", "json"))["Labels"] == ["a=b"]


def test_nothing_that_a_user_gives_is_a_template(start: Start, volume: str) -> None:
    evil = "{{ lookup('ansible.builtin.pipe', 'touch /pwned') }}"
    agent = start(
        "echo", evil, env={"DOCKER_DAEMON_ARGS": f'--label "note={evil}"'}, volumes={volume: "/var/lib/docker"}
    )
    assert agent.wait() == 0
    assert agent.container.logs(stderr=False).decode().strip() == evil
    assert "/pwned" not in {change["Path"] for change in agent.container.diff()}


def test_debug_output_never_has_a_secret(start: Start, volume: str) -> None:
    agent = start(
        env={"MESOS_DIND_DEBUG": "1", "MESOS_CREDENTIAL": "hunter2-secret"}, volumes={volume: "/var/lib/docker"}
    )
    agent.await_line("stand-in agent: running")
    assert "TASK [" in agent.container.logs(stderr=False).decode()
    assert "level=debug" in agent.logs()
    assert "hunter2-secret" not in agent.logs()
    assert "MESOS_CREDENTIAL" in agent.read("/run/mesos-dind/settings.json")
    assert "hunter2-secret" not in agent.run("sh", "-c", "cat /run/mesos-dind/*.json /var/log/mesos-dind/*/*")
    steps = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
    assert [step["step"] for step in steps] == ["ansible", "cgroups", "storage", "network", "engine", "agent"]


@pytest.mark.parametrize(("service", "attached_ends"), [("dockerd", True), ("containerd", False)])
def test_a_killed_engine_comes_back_and_a_task_survives(
    start: Start, volume: str, task_archive: bytes, service: str, attached_ends: bool
) -> None:
    """A Mesos executor uses an attached `docker run`. The client ends with dockerd, so Mesos sees a failed task."""
    agent = start(volumes={volume: "/var/lib/docker"}).await_boot()
    agent.load(task_archive)
    script = "trap 'exit 5' TERM; trap 'echo heard' USR1; while :; do sleep 1 & wait $!; done"
    task = agent.launch("bridge", "mesos-dind-task", script)
    state = "{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}"
    before = agent.inner("inspect", "--format", state, task)
    assert seconds_until_started_again(agent, service) < 1, "s6 pauses for a second before all that was not ready"
    agent.run("timeout", "60", "sh", "-c", f"until docker exec {task} true 2>/dev/null; do sleep 0.1; done")
    assert agent.inner("inspect", "--format", state, task) == before
    assert before.endswith("true")
    status = f"/run/standin/tasks/{task}.exit"
    if attached_ends:
        agent.run("timeout", "60", "sh", "-c", f"until [ -s {status} ]; do sleep 0.1; done")
        assert agent.read(status).strip() == "125"
        assert "error waiting for container: unexpected EOF" in agent.read(f"/run/standin/tasks/{task}.stderr")
    else:
        assert agent.exec("test", "-e", status).exit_code == 1
    # The container still works: its output goes on, and it ends when asked.
    agent.inner("exec", task, "kill", "-USR1", "1")
    agent.run("timeout", "60", "sh", "-c", f'until [ "$(docker logs {task})" = heard ]; do sleep 0.1; done')
    agent.inner("stop", "--time=20", task)
    assert agent.inner("inspect", "--format", "{{.State.ExitCode}}", task) == "5"
    if not attached_ends:
        agent.run("timeout", "60", "sh", "-c", f"until [ -s {status} ]; do sleep 0.1; done")
        assert agent.read(status).strip() == "5"


def seconds_until_started_again(agent: Agent, service: str) -> float:
    """Seconds from a service's death by SIGKILL to its next start, by proc_uptime(5) and proc_pid_stat(5)."""
    script = """
        pid=$(pidof "$0") && cat /proc/uptime && kill -KILL "$pid"
        until next=$(pidof "$0") && [ "$next" != "$pid" ]; do :; done
        sed 's/.*) //' "/proc/$next/stat"
        getconf CLK_TCK
    """
    killed, stat, hertz = agent.run("timeout", "60", "sh", "-c", script, service).splitlines()
    return int(stat.split()[19]) / int(hertz) - float(killed.split()[0])


def test_a_converge_while_both_services_are_down_keeps_containers(
    start: Start, volume: str, task_archive: bytes
) -> None:
    """Both services are down, as while s6 waits before it starts them again."""
    agent = start("sleep", "1000", volumes={volume: "/var/lib/docker"}).await_boot()
    agent.load(task_archive)
    task = agent.inner("run", "--detach", "mesos-dind-task", "sleep", "1000")
    state = ("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}", task)
    before = agent.inner(*state)
    for service in ("dockerd", "containerd"):
        agent.run("s6-svc", "-wD", "-d", f"/etc/mesos-dind/services/{service}")
    converged = agent.run("mesos-dind", "converge")
    assert "failed=0" in converged, converged
    assert agent.inner(*state) == before
    agent.inner("exec", task, "true")


def test_an_engine_that_keeps_crashing_is_given_time_and_not_up(start: Start, volume: str) -> None:
    """The container lives on and is unhealthy, and turns healthy when the engine stays up."""
    agent = start("sleep", "1000", volumes={volume: "/var/lib/docker"}).await_boot()
    up = "until mesos-dind health; do sleep 0.1; done"
    for _ in range(3):
        agent.run("timeout", "60", "sh", "-c", up)
        agent.run("pkill", "-KILL", "-x", "dockerd")
    agent.await_line("dockerd has ended 3 times within a minute; it is started again in 2 s")
    assert agent.exec("mesos-dind", "health").exit_code == 1
    agent.run("timeout", "60", "sh", "-c", up)
    agent.container.stop(timeout=20)
    assert agent.wait() == 143


@pytest.mark.parametrize(
    ("limits", "resources"),
    [
        ({"mem_limit": "1g", "nano_cpus": 1_500_000_000}, "cpus:1.5;mem:768;disk:5120"),
        ({"mem_limit": "400m", "cpuset_cpus": "0"}, "cpus:1.0;mem:200;disk:5120"),
        ({}, "disk:5120"),
    ],
)
def test_resources_are_what_the_container_may_have(start: Start, limits: dict[str, Any], resources: str) -> None:
    agent = start(**limits).await_boot()
    assert handed_over.environ(agent)["MESOS_RESOURCES"] == resources


def test_another_host_name_makes_it_a_new_agent(start: Start, volume: str) -> None:
    volumes = {volume: "/var/lib/mesos-dind"}
    first = start(hostname="first", volumes=volumes).await_boot()
    meta = "/var/lib/mesos-dind/agent/meta/slaves"
    first.run("sh", "-c", f"mkdir -p {meta}/S0 && ln -s {meta}/S0 {meta}/latest")
    first.container.restart(timeout=20)
    first.await_boot()
    assert first.run("ls", meta).split() == ["S0", "latest"]
    first.container.stop(timeout=20)
    second = start(hostname="second", volumes=volumes).await_boot()
    assert second.run("ls", meta).split() == ["S0"]
    assert "the host name was first and is second" in second.logs()
