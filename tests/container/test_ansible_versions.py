"""Tests of the boot and its hand-over on every supported version of ansible-core.

The image has 2.21, so the other files test that version.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import handed_over
import pytest
from agents import Agent, Start, tar_of
from conftest import IMAGE, ImageOn, gone_afterwards
from image import secrets

FOLDER = Path(__file__).parents[1] / "images/ansible"
# 2.17 requires Python 3.10 to 3.12, so Debian 12. 2.20 requires Python 3.12 or later.
VERSIONS = {"2.17.14": "bookworm", "2.18.19": "", "2.19.14": "", "2.20.10": ""}
ATTRIBUTES = "note:spaces and $dollars 'quotes' \"too\" %s {{ braces }} ü"

# Seconds. A fixture may build an image, and so download and unpack packages on a busy machine.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def agent(version: str, image_on: ImageOn, start_any: Start) -> Iterator[Agent]:
    """An agent in bridged mode, with arguments and with limits."""
    under = image_on(VERSIONS[version]) if VERSIONS[version] else IMAGE
    tag = f"mesos-dind-ansible:{version}"
    subprocess.run(
        [
            "docker", "buildx", "build", "--load", f"--tag={tag}", f"--build-arg=IMAGE={under}",
            f"--build-arg=ANSIBLE_CORE={version}", *secrets(os.environ), str(FOLDER),
        ],
        check=True,
    )  # fmt: skip
    with gone_afterwards(start_any) as start:
        yield start(
            "mesos-slave", "--port=5052", "--attributes=two words; {{ braces }}",
            image=tag,
            env={"DOCKER_NETWORK_OFFSET": "0.0.3.0", "MESOS_ATTRIBUTES": ATTRIBUTES, "LOG": "file"},
            working_dir="/var/tmp",
            mem_limit="1g",
            nano_cpus=1_500_000_000,
        ).await_boot()  # fmt: skip


def test_the_version_is_the_one_that_is_meant(agent: Agent, version: str) -> None:
    script = "from ansible.release import __version__; print(__version__)"
    assert agent.run("/opt/mesos-dind/bin/python", "-c", script).strip() == version


def test_the_agent_is_handed_over_to(agent: Agent) -> None:
    handed_over.assert_is_the_process_that_was_ansible(agent)
    handed_over.assert_starts_as_from_a_shell(agent, "/var/tmp")
    assert handed_over.argv(agent) == ["--port=5052", "--attributes=two words; {{ braces }}"]


def test_the_agents_environment_is_the_containers_and_the_defaults(agent: Agent) -> None:
    environ, given = handed_over.environ(agent), handed_over.given(agent)
    assert environ["MESOS_ATTRIBUTES"] == ATTRIBUTES
    assert given.items() <= environ.items()
    added = {name: value for name, value in environ.items() if name not in given and name != "DOCKER_API_VERSION"}
    assert added.pop("MESOS_ISOLATION").endswith(",filesystem/linux,docker/runtime")
    assert added == {
        "MESOS_CONTAINERIZERS": "docker,mesos",
        "MESOS_RECONFIGURATION_POLICY": "additive",
        "MESOS_RESOURCES": "cpus:1.5;mem:768;disk:5120",
        "MESOS_SYSTEMD_ENABLE_SUPPORT": "false",
        "MESOS_WORK_DIR": "/var/lib/mesos-dind/agent",
    }


def test_the_log_is_the_boots_and_nothing_else(agent: Agent) -> None:
    """The log has no warning of Ansible about a plug-in."""
    agent.await_line("stand-in agent: running")
    strange = [line for line in agent.stderr() if not line.startswith(("mesos-dind: ", "stand-in agent: "))]
    assert strange == []


def test_every_role_has_its_head_start(agent: Agent) -> None:
    steps = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
    assert {step["step"]: step["ahead"] for step in steps} == {
        "ansible": False, "cgroups": True, "storage": True, "network": True, "engine": True, "agent": False,
    }  # fmt: skip


def test_a_second_run_changes_nothing(agent: Agent) -> None:
    recap = agent.run("mesos-dind", "converge").splitlines()[-2]
    assert "changed=0" in recap
    assert "failed=0" in recap


def test_status_says_that_nothing_would_change(agent: Agent) -> None:
    found = json.loads(agent.run("mesos-dind", "status"))
    assert found["converged"]
    assert list(found["roles"]) == ["cgroups", "engine", "network", "storage"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_play_hands_over_only_where_it_ends_well(agent: Agent, fails: bool) -> None:
    """A play whose last task fails does not hand over either."""
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {"mesos.dind.hand_over": {"program": "/bin/echo", "argv": ["echo", "this", "is the program"]}},
            {"ansible.builtin.assert": {"that": [not fails]}},
        ],
    }
    assert agent.container.put_archive("/tmp", tar_of("play.yml", json.dumps([play]).encode()))
    # The hand-over reads the environment of the process that started Ansible, so a process in this container must.
    script = "/opt/mesos-dind/bin/ansible-playbook -i localhost, /tmp/play.yml; exit $?"
    code, output = agent.exec(
        "env", "ANSIBLE_CONFIG=/etc/mesos-dind/ansible.cfg", "ANSIBLE_STDOUT_CALLBACK=ansible.builtin.default",
        "LANG=C.UTF-8", "sh", "-c", script,
    )  # fmt: skip
    assert code == (2 if fails else 0), output.decode()
    assert output.decode().rstrip().endswith("this is the program") is not fails
