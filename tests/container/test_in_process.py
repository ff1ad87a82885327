"""Tests of the modules in Ansible's own process and of the head start: faster, but with the same results."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agents import Agent, Start, tar_of

AHEAD = ["cgroups", "storage", "network", "engine"]

# A task with its own environment runs the ordinary module.
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - &task
      {module}: {arguments}
      ignore_errors: true
      register: in_process
    - <<: *task
      environment: {{MESOS_DIND_TEST: ordinary}}
      register: ordinary
    - ansible.builtin.copy:
        content: "{{{{ [in_process, ordinary] | to_json }}}}"
        dest: /tmp/answers.json
      check_mode: false
"""


@pytest.fixture(scope="module")
def agent(start_for_all: Start) -> Agent:
    return start_for_all("sleep", "infinity", env={"DOCKER_NETWORK_OFFSET": "0.0.9.0"}).await_boot()


def steps(agent: Agent) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
    return found


def answers(
    agent: Agent, module: str, arguments: dict[str, Any], *options: str, **settings: str
) -> tuple[dict[str, Any], ...]:
    playbook = PLAYBOOK.format(module=f"mesos.dind.{module}", arguments=json.dumps(arguments))
    assert agent.container.put_archive("/tmp", tar_of("play.yml", playbook.encode()))
    agent.run(
        "env", "ANSIBLE_CONFIG=/etc/mesos-dind/ansible.cfg", "LANG=C.UTF-8", "ANSIBLE_STDOUT_CALLBACK=default",
        *(f"{name}={value}" for name, value in settings.items()),
        "/opt/mesos-dind/bin/ansible-playbook", "-i", "localhost,", *options, "/tmp/play.yml",
    )  # fmt: skip
    return tuple(json.loads(agent.read("/tmp/answers.json")))


@pytest.mark.parametrize(
    ("module", "arguments", "options", "said"),
    [
        ("cgroup_mounts", {}, (), "version"),
        ("loop_storage", {}, (), "storage_driver"),
        ("loop_storage", {"size": "4"}, (), "not shrunk"),
        ("loop_storage", {"state": "absent"}, ("--check", "--diff"), "unmount"),
        ("loop_storage", {"strategy": "zfs"}, (), "must be one of"),
        ("loop_storage", {"sise": "5"}, (), "Unsupported parameters"),
        ("bridged_net", {"offset": "0.0.9.0"}, (), "fixed_cidr"),
        ("engine", {"log": "file", "storage_driver": "overlay2"}, ("--check",), "stop dockerd"),
    ],
)
def test_the_answer_is_the_ordinary_modules(
    agent: Agent, module: str, arguments: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    in_process, ordinary = answers(agent, module, arguments, *options)
    assert said in json.dumps(ordinary)
    assert in_process == ordinary


def test_the_arguments_are_in_the_answer_where_they_are_asked_for(agent: Agent) -> None:
    in_process, ordinary = answers(agent, "cgroup_mounts", {}, ANSIBLE_INJECT_INVOCATION="true")
    assert ordinary["invocation"]["module_args"]["leaf"] == "mesos-dind"
    assert in_process == ordinary


def test_all_of_the_boot_had_a_head_start(agent: Agent) -> None:
    """If the arguments differed from the roles', the boot would do the work twice."""
    assert [step["step"] for step in steps(agent) if step["ahead"]] == AHEAD


def test_an_answer_is_given_once(agent: Agent) -> None:
    assert agent.run("ls", "/run/mesos-dind/head-start") == ""


def test_the_head_start_knows_all_that_a_user_can_set(start: Start, task_archive: bytes) -> None:
    agent = start(
        "sleep", "1000",
        env={
            "VAR_LIB_DOCKER_SIZE": "600M",
            "DOCKER_DAEMON_ARGS": "--label 'a=b c'",
            "LOG": "file",
            "MESOS_DIND_STORAGE": "loop",
            "MESOS_DIND_FILESYSTEM": "xfs",
            "MESOS_DIND_IMAGE": "/var/lib/mesos-dind/other.img",
            "DOCKER_NETWORK_OFFSET": "0.0.10.0",
            "DOCKER_NETWORK_SIZE": "25",
            "MESOS_DIND_GATEWAY": "bridge",
            "MESOS_DIND_NETWORK_MODE": "bridge",
            "MESOS_DIND_PEERS": "172.17.250.0/24,10.255.0.0/16",
            "MESOS_DIND_UPLINK": "eth0",
            "MESOS_DIND_MTU": "1400",
            "MESOS_DIND_VERIFY": "0",
            "MESOS_DIND_VERIFY_TIMEOUT": "2.5",
        },
    ).await_boot()  # fmt: skip
    assert [step["step"] for step in steps(agent) if step["ahead"]] == AHEAD
    assert "changed=0" in agent.run("mesos-dind", "converge")
    agent.load(task_archive)
    assert agent.inner("run", "--rm", "mesos-dind-task", "cat", "/sys/class/net/eth0/mtu") == "1400"


def test_a_failure_ahead_is_the_tasks_failure(start: Start, volume: str) -> None:
    agent = start("true", env={"DOCKER_DAEMON_ARGS": "--default-runtime=nope"}, volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 70
    (line,) = [line for line in agent.stderr() if line.startswith("mesos-dind: engine:")]
    assert "default runtime 'nope'" in line


def play_of(agent: Agent, environment: dict[str, str], *variables: str) -> tuple[int, str]:
    """The status and the output of a play that hands over."""
    hand_over = {"program": "/bin/echo", "argv": ["echo", "handed over"], "environment": environment}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{"mesos.dind.hand_over": hand_over}],
    }
    assert agent.container.put_archive("/tmp", tar_of("hand_over.yml", json.dumps([play]).encode()))
    # The hand-over reads the environment of the process that started Ansible, so a process in this container must.
    script = "/opt/mesos-dind/bin/ansible-playbook -i localhost, /tmp/hand_over.yml; exit $?"
    settings = ("ANSIBLE_CONFIG=/etc/mesos-dind/ansible.cfg", "ANSIBLE_STDOUT_CALLBACK=default", "LANG=C.UTF-8")
    code, output = agent.exec("env", *settings, *variables, "sh", "-c", script)
    return code, output.decode()


def test_without_its_callback_a_play_does_not_end_well(agent: Agent) -> None:
    code, output = play_of(agent, {}, "ANSIBLE_CALLBACKS_ENABLED=mesos.dind.boot_report")
    assert code == 2, output
    assert "the callback mesos.dind.hand_over is not enabled" in output


def test_a_callback_that_raises_ends_the_process_itself(agent: Agent) -> None:
    """A NUL in the environment makes the exec raise. Ansible itself would only warn."""
    code, output = play_of(agent, {"NUL": "a\0b"})
    assert code == 70, output
    assert "mesos-dind: agent: embedded null byte; this is a bug" in output
