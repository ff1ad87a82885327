"""Tests of every agent, in any network mode."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

IMAGE_FILE = "/var/lib/mesos-dind/docker.img"


def environment(host: Host, pid: int) -> dict[bytes, bytes]:
    entries = host.file(f"/proc/{pid}/environ").content.split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if entry)


def agent_pid(host: Host) -> int:
    return int(host.file("/run/mesos-dind/agent.pid").content_string)


def test_the_data_root_is_a_file_system_in_the_image_file(host: Host) -> None:
    mount = host.mount_point("/var/lib/docker")
    assert mount.exists
    assert mount.filesystem == "ext4"
    # losetup finds an image's loop devices by the image's device and inode. All containers share its path.
    devices = host.check_output("losetup --noheadings --output NAME --associated %s", IMAGE_FILE).split()
    assert devices == [mount.device]


def test_the_data_root_is_mounted_once(host: Host) -> None:
    mount_points = [line.split()[4] for line in host.file("/proc/self/mountinfo").content_string.splitlines()]
    assert mount_points.count("/var/lib/docker") == 1


def test_the_engine_uses_the_overlay_driver_on_the_data_root(host: Host) -> None:
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["Driver"] == "overlay2"
    assert ["Backing Filesystem", "extfs"] in info["DriverStatus"]
    assert info["DockerRootDir"] == "/var/lib/docker"


def test_the_agent_is_not_the_first_process(host: Host) -> None:
    pid = agent_pid(host)
    assert host.process.get(pid=1).comm == "tini"
    assert host.process.get(pid=pid).comm == "mesos-agent"
    assert pid != 1


def test_no_process_of_the_boot_is_left(host: Host) -> None:
    processes = host.check_output("ps -e -o args=").splitlines()
    assert [line for line in processes if "ansible" in line or "python" in line] == []


@pytest.mark.parametrize("service", ["containerd", "dockerd"])
def test_the_engine_is_supervised(host: Host, service: str) -> None:
    parent = host.process.get(pid=host.process.get(comm=service).ppid)
    assert parent.args == f"s6-supervise {service}"


def test_the_agent_has_the_environment_of_the_container_and_the_defaults(host: Host) -> None:
    given = environment(host, 1)
    assert given[b"MESOS_MASTER"] == b"zk://zookeeper.example:2181/mesos"
    defaults = {
        b"MESOS_CONTAINERIZERS": b"docker,mesos",
        b"MESOS_ISOLATION": b"cgroups/cpu,cgroups/mem,filesystem/linux,docker/runtime",
        b"MESOS_RECONFIGURATION_POLICY": b"additive",
        b"MESOS_RESOURCES": b"disk:5120",
        b"MESOS_SYSTEMD_ENABLE_SUPPORT": b"false",
        b"MESOS_WORK_DIR": b"/var/lib/mesos-dind/agent",
        b"DOCKER_API_VERSION": b"1.44",
    }
    assert environment(host, agent_pid(host)) == defaults | given


def test_the_agent_is_healthy(host: Host) -> None:
    assert host.run("mesos-dind health").succeeded


def test_check_mode_predicts_no_change(host: Host) -> None:
    output = host.check_output("mesos-dind converge --check --diff")
    assert " changed=0 " in output, output
