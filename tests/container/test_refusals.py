"""Tests of refusals: a boot that cannot work changes nothing and ends with one line and a documented status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agents import Start, assert_untouched

from ansible_collections.mesos.dind.plugins.module_utils._engine.user_settings import BOOLEANS

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
    ("DOCKER_DAEMON_ARGS", "-g/elsewhere", "/var/lib/docker"),
    ("DOCKER_DAEMON_ARGS", "-b none", "DOCKER_NETWORK_OFFSET"),
    ("DOCKER_DAEMON_ARGS", "-Dg/elsewhere", "/var/lib/docker"),
    ("DOCKER_DAEMON_ARGS", "--no-such-flag", "unknown flag: --no-such-flag"),
    ("DOCKER_DAEMON_ARGS", "--dns=nowhere", "IP address"),
    ("DOCKER_DAEMON_ARGS", "--cgroup-parent", "flag needs an argument: --cgroup-parent"),
    ("DOCKER_DAEMON_ARGS", "-D -H", "flag needs an argument: 'H' in -H"),
    ("DOCKER_DAEMON_ARGS", "-v", "dockerd does not start"),
    ("DOCKER_DAEMON_ARGS", "--exec-opt native.cgroupdriver=systemd", "cgroupfs"),
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
    # The boot has made nothing.
    assert_untouched(agent)


# Gives each flag of dockerd, alone and at the end, to the checks before the first change. Prints flag, seconds, error.
EVERY_FLAG = """
import json, re, subprocess, time
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import preflight, settings

described = subprocess.run(["dockerd", "--help"], check=True, capture_output=True, text=True).stdout
for flag in [*re.findall(r"(?m)^ +(?:-., )?(--[a-z0-9-]+)", described), *re.findall(r"(?m)^ +(-.), ", described), "-h"]:
    environ, began, error = {"DOCKER_DAEMON_ARGS": f"-D {flag}"}, time.monotonic(), ""
    try:
        preflight.require_engine_settings(settings.read(environ, ["true"]), environ, Runner())
    except DindError as refused:
        error = str(refused)
    print(json.dumps([flag, time.monotonic() - began, error]))
"""


def test_every_flag_of_dockerd_is_refused_or_complete_within_two_seconds(start: Start) -> None:
    """A flag that lacked its value once took the next word, `--validate`, and a real dockerd started."""
    agent = start("30", "/opt/mesos-dind/bin/python", "-I", "-c", EVERY_FLAG, entrypoint="timeout")
    assert agent.wait() == 0, agent.logs()
    found = [json.loads(line) for line in agent.logs().splitlines()]
    assert len(found) > 70
    assert not [flag for flag, seconds, _error in found if seconds > 2]
    accepted = {flag for flag, _seconds, error in found if not error}
    # The others with a value were refused by the name of the flag, since the boot sets them, or by dockerd.
    assert accepted <= BOOLEANS - {"--help", "-h", "--validate", "--version", "-v", "--live-restore"}
    assert accepted >= {"--debug", "--icc", "--ipv6", "--userland-proxy"}
    assert {flag for flag, _seconds, error in found if "needs an argument" in error} >= {"--init-path", "-H", "--mtu"}
    assert_untouched(agent)


@pytest.mark.parametrize(
    ("config", "args", "cause"),
    [
        ("{", "", "is not JSON"),
        ('{"features": []}', "", "features is not a JSON object"),
        ('{"bip": "10.0.0.1/8", "data-root": "/elsewhere"}', "", "sets bip, data-root, which the boot sets itself"),
        ('{"no-such-key": 1}', "", "don't match any configuration option: no-such-key"),
        ('{"exec-opts": ["native.cgroupdriver=systemd"]}', "", "native.cgroupdriver=systemd needs systemd, which does"),
        ('{"labels": ["a=b"]}', "--label=c=d", "labels: (from flag: [c=d], from file: [a=b])"),
    ],
)
def test_a_wrong_daemon_json_is_one_line_and_64(
    start: Start, tmp_path: Path, config: str, args: str, cause: str
) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(config)
    agent = start("true", env={"DOCKER_DAEMON_ARGS": args}, volumes={str(path): "/etc/docker/daemon.json"})
    assert agent.wait() == 64
    (line,) = agent.logs().splitlines()
    assert line.startswith("mesos-dind: /etc/docker/daemon.json")
    assert cause in line
    assert (f"DOCKER_DAEMON_ARGS={args!r}" in line) is bool(args)
    assert_untouched(agent)


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


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"read_only": True}, "file system is read-only"),
        ({"read_only": True, "tmpfs": {"/run": "", "/tmp": ""}}, "file system is read-only"),
        ({"user": "1000"}, "the user is 1000 and not root"),
        ({"tmpfs": {"/run": "size=8k"}}, "No space left on device; make /run/mesos-dind writable"),
    ],
    ids=["read-only", "read-only but for some folders", "user", "full"],
)
def test_what_docker_run_takes_away_is_said(start: Start, options: dict[str, Any], cause: str) -> None:
    agent = start("true", **options)
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    assert line.startswith("mesos-dind: preflight: ")
    assert cause in line


def test_in_the_hosts_pid_namespace(start: Start) -> None:
    agent = start("true", pid_mode="host")
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    assert "pid namespace of the host" in line


def test_in_the_pid_namespace_of_another_container(start: Start) -> None:
    other = start("-c", "exec sleep 1000", entrypoint="sh")
    agent = start("true", pid_mode=f"container:{other.container.id}")
    assert agent.wait() == 70
    (line,) = agent.logs().splitlines()
    assert "pid namespace of another container" in line
    other.container.reload()
    assert other.container.status == "running"


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
    agent = start("true", env={"DOCKER_DAEMON_ARGS": "--default-runtime=nope"}, volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 70
    (line,) = [line for line in agent.stderr() if line.startswith("mesos-dind: engine:")]
    assert "start dockerd: dockerd ended while it started; its last log lines: " in line
    assert "specified default runtime 'nope' does not exist" in line
    assert "mend the cause; the whole log is in /var/log/mesos-dind/dockerd" in line


def test_a_containerd_that_cannot_start_is_an_error_and_no_loop(start: Start, volume: str, tmp_path: Path) -> None:
    (tmp_path / "containerd.toml").write_text("version = 99\n")
    volumes = {volume: "/var/lib/docker", str(tmp_path / "containerd.toml"): "/etc/mesos-dind/containerd.toml"}
    agent = start("true", volumes=volumes)
    assert agent.wait() == 70
    (line,) = [line for line in agent.stderr() if line.startswith("mesos-dind: engine:")]
    assert "start containerd: containerd ended while it started; its last log lines: " in line
    assert "unsupported config version `99`" in line
    said = [line for line in agent.stderr() if line.startswith("containerd: ")]
    assert len(said) == 1, "it was started once"


def test_aufs_is_refused_with_what_lacks_it(start: Start, volume: str) -> None:
    agent = start("true", env={"MESOS_DIND_STORAGE": "aufs"}, volumes={volume: "/var/lib/docker"})
    assert agent.wait() == 70
    line = next(line for line in agent.stderr() if line.startswith("mesos-dind: storage:"))
    assert "the kernel has no AUFS and the engine has no AUFS any more" in line


@pytest.mark.parametrize(("content", "status"), [(b"#!/no/such/interpreter\n", 127), (b"\x00 is no program\n", 126)])
def test_a_command_that_cannot_be_run_is_told_from_ansibles_own_failures(
    start: Start, volume: str, tmp_path: Path, content: bytes, status: int
) -> None:
    """The exec at the very end of the boot fails."""
    command = tmp_path / "command"
    command.write_bytes(content)
    command.chmod(0o755)
    agent = start("/command", volumes={volume: "/var/lib/docker", str(command): "/command"})
    assert agent.wait() == status
    *_, line = agent.stderr()
    assert line.startswith("mesos-dind: agent: /command: ")


@pytest.mark.parametrize("status", [1, 2, 4, 250])
def test_a_status_of_the_agents_that_ansible_has_too_is_the_agents(start: Start, volume: str, status: int) -> None:
    agent = start("sh", "-c", f"exit {status}", volumes={volume: "/var/lib/docker"})
    assert agent.wait() == status


def test_two_containers_never_share_a_data_root(start: Start, volume: str) -> None:
    first = start("sleep", "1000", volumes={volume: "/var/lib/docker"}).await_boot()
    second = start("true", volumes={volume: "/var/lib/docker"})
    assert second.wait() == 70
    assert any("storage" in line and "another" in line for line in second.stderr())
    assert first.inner("info", "--format", "{{.Driver}}") == "overlay2"
