"""What cannot work is one line and a status, before anything is changed."""

from __future__ import annotations

import pytest
from agents import Start

WRONG = [
    ("DOCKER_NETWORK_OFFSET", "1.2.3", "dotted quad"),
    ("DOCKER_NETWORK_OFFSET", "0.0.0.300", "dotted quad"),
    ("DOCKER_NETWORK_OFFSET", "9.0.0.0", "172."),
    ("DOCKER_NETWORK_SIZE", "33", "1 to 30"),
    ("DOCKER_NETWORK_SIZE", "/24", "1 to 30"),
    ("VAR_LIB_DOCKER_SIZE", "five", "500M"),
    ("VAR_LIB_DOCKER_SIZE", "-1", "500M"),
    ("VAR_LIB_DOCKER_SIZE", "1K", "ext4"),
    ("DOCKER_DAEMON_ARGS", "--label 'open", "split"),
    ("DOCKER_DAEMON_ARGS", "--data-root=/elsewhere", "/var/lib/docker"),
    ("DOCKER_DAEMON_ARGS", "-b none", "DOCKER_NETWORK_OFFSET"),
    ("LOG", "syslog", "stdio, file"),
    ("MESOS_DIND_STORAGE", "zfs", "auto, overlay, loop, aufs, vfs"),
    ("MESOS_DIND_FILESYSTEM", "btrfs", "ext4, xfs"),
    ("MESOS_DIND_IMAGE", "docker.img", "absolute"),
    ("MESOS_DIND_IMAGE", "/var/lib/docker/docker.img", "outside of /var/lib/docker"),
    ("MESOS_DIND_GATEWAY", "inner", "outer, bridge"),
    ("MESOS_DIND_NETWORK_MODE", "nat", "auto, bridge, proxy_arp"),
    ("MESOS_DIND_PEERS", "172.17.2.1/24", "172.17.2.0/24,172.17.3.0/24"),
    ("MESOS_DIND_IPV6_RANGE", "172.17.2.0/24", "fd00:17::/64"),
    ("MESOS_DIND_IPV6_RANGE", "fd00:17::/64", "bridged mode only"),
    ("MESOS_DIND_UPLINK", "eth0/1", "network device"),
    ("MESOS_DIND_UPLINK", "eth9", "only eth0"),
    ("MESOS_DIND_MTU", "67", "68 to 65535"),
    ("MESOS_DIND_MTU", "65000", "larger than that of eth0"),
    ("MESOS_DIND_VERIFY", "no", "0, 1"),
    ("MESOS_DIND_VERIFY_TIMEOUT", "0", "more than 0"),
    ("MESOS_DIND_DEBUG", "yes", "0, 1"),
    ("MESOS_DIND_STOP_TIMEOUT", "soon", "1 to 3600"),
    ("MESOS_DIND_STORAG", "loop", "MESOS_DIND_STORAGE"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_wrong_value_is_one_line_and_64(start: Start, name: str, value: str, allowed: str) -> None:
    agent = start("true", env={name: value})
    assert agent.wait() == 64
    (line,) = agent.logs().splitlines()
    assert line.startswith("mesos-dind: ")
    assert name in line
    assert repr(value) in line
    assert allowed in line
    # Nothing that the boot makes is there.
    paths = {str(change["Path"]) for change in agent.container.diff()}
    assert not {path for path in paths if path.startswith(("/var/lib/docker", "/var/lib/mesos-dind", "/etc/docker"))}


def test_an_offset_that_does_not_fit_is_refused_with_the_numbers(start: Start) -> None:
    agent = start("true", env={"DOCKER_NETWORK_OFFSET": "0.0.1.128"})
    assert agent.wait() == 64
    (line,) = agent.logs().splitlines()
    assert "DOCKER_NETWORK_OFFSET='0.0.1.128'" in line
    assert "0.0.1.0 and 0.0.2.0" in line


def test_without_privileges(start: Start) -> None:
    agent = start("true", privileged=False)
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    assert "docker run --privileged" in line


def test_in_the_hosts_pid_namespace(start: Start) -> None:
    agent = start("true", pid_mode="host")
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    assert "--pid=host" in line


@pytest.mark.parametrize("name", ["mesos-slave", "mesos-agent"])
def test_without_a_mesos_the_ways_to_bring_one_are_named(start: Start, name: str) -> None:
    agent = start(name, standin=False)
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    for way in ("--build-context mesos=", "MESOS_DEB_URL", "BASE_IMAGE", "MESOS_PACKAGES"):
        assert way in line


def test_another_command_that_is_missing(start: Start) -> None:
    agent = start("no-such-command")
    assert agent.wait() == 127
    (line,) = agent.logs().splitlines()
    assert "no-such-command: command not found" in line


def test_a_failure_of_a_step_is_70_and_names_step_cause_and_cure(start: Start, volume: str) -> None:
    agent = start("true", env={"DOCKER_DAEMON_ARGS": "--no-such-flag"}, volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 70
    line = next(line for line in agent.stderr() if line.startswith("mesos-dind: engine:"))
    assert "start dockerd" in line
    assert "unknown flag: --no-such-flag" in line


def test_two_containers_never_share_a_data_root(start: Start, volume: str) -> None:
    first = start("sleep", "1000", volumes={volume: "/var/lib/docker"}).await_boot()
    second = start("true", volumes={volume: "/var/lib/docker"})
    assert second.wait() == 70
    assert any("storage" in line and "another" in line for line in second.stderr())
    assert first.inner("info", "--format", "{{.Driver}}") == "overlay2"
