"""Tests of an agent's work directory after a change of the host name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.plugin_utils._recovery import host_name, prepare, setting


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work directory of an agent: https://mesos.apache.org/documentation/latest/sandbox/ and slave/paths.hpp."""
    agent = tmp_path / "meta/slaves/0001-S0"
    agent.mkdir(parents=True)
    (agent / "slave.info").write_text("binary")
    (agent.parent / "latest").symlink_to(agent)
    (tmp_path / "slaves/0001-S0/frameworks").mkdir(parents=True)
    return tmp_path


def life(work: Path, host: str) -> str | None:
    return prepare(["mesos-agent"], {"MESOS_WORK_DIR": str(work), "MESOS_HOSTNAME": host})


def test_the_same_host_recovers(work: Path) -> None:
    assert life(work, "a") is None
    assert life(work, "a") is None
    assert (work / "meta/slaves/latest").is_symlink()


def test_another_host_starts_as_a_new_agent_and_keeps_all_else(work: Path) -> None:
    life(work, "a")
    told = life(work, "b")
    assert told is not None
    assert "was a and is b" in told
    assert not (work / "meta/slaves/latest").is_symlink()
    assert (work / "meta/slaves/0001-S0/slave.info").exists()
    assert (work / "slaves/0001-S0/frameworks").exists()
    assert life(work, "b") is None


def test_what_an_unknown_agent_left_is_not_touched(work: Path) -> None:
    assert life(work, "a") is None
    assert (work / "meta/slaves/latest").is_symlink()


def test_a_work_directory_is_made(tmp_path: Path) -> None:
    assert life(tmp_path / "new/agent", "a") is None
    assert life(tmp_path / "new/agent", "b") is None, "there was no agent to forget"


def test_without_a_work_directory_there_is_nothing_to_do() -> None:
    assert prepare(["mesos-agent"], {}) is None


def test_a_flag_wins_over_the_environment() -> None:
    assert setting("work_dir", ["a", "--work_dir=/flag", "--ip=1"], {"MESOS_WORK_DIR": "/env"}) == "/flag"
    assert setting("work_dir", ["a", "--ip=1"], {"MESOS_WORK_DIR": "/env"}) == "/env"


@pytest.mark.parametrize(
    ("argv", "environment", "name"),
    [
        ([], {}, socket.gethostname()),
        ([], {"MESOS_HOSTNAME": "a", "MESOS_HOSTNAME_LOOKUP": "false"}, "a"),
        (["--no-hostname_lookup", "--ip=10.0.0.2"], {}, "10.0.0.2"),
        ([], {"MESOS_HOSTNAME_LOOKUP": "false", "MESOS_IP": "10.0.0.2"}, "10.0.0.2"),
        ([], {"MESOS_HOSTNAME_LOOKUP": "true", "MESOS_IP": "10.0.0.2"}, socket.gethostname()),
    ],
)
def test_the_name_of_the_host_is_the_agents(argv: list[str], environment: dict[str, str], name: str) -> None:
    assert host_name(["mesos-agent", *argv], environment) == name


def test_without_a_look_up_another_address_is_another_host(work: Path) -> None:
    for address, told in (("10.0.0.2", False), ("10.0.0.2", False), ("10.0.0.3", True)):
        environment = {"MESOS_WORK_DIR": str(work), "MESOS_HOSTNAME_LOOKUP": "false", "MESOS_IP": address}
        assert (prepare(["mesos-agent"], environment) is not None) is told
