"""Tests of a machine after its reboot, without another run of Ansible."""

from __future__ import annotations

import json
from typing import Any


def test_all_units_have_started(host: Any) -> None:
    assert host.check_output("systemctl is-system-running --wait") == "running"
    for unit in ("var-lib-docker.mount", "docker.service", "mesos-dind-agent.service"):
        assert (unit, host.service(unit).is_enabled, host.service(unit).is_running) == (unit, True, True)


def test_the_data_root_is_the_image(host: Any) -> None:
    mount = host.mount_point("/var/lib/docker")
    assert mount.filesystem == "ext4"
    assert "discard" in mount.options
    device = json.loads(host.check_output(f"losetup --json --list {mount.device}"))["loopdevices"][0]
    assert device["back-file"] == "/var/lib/mesos-dind/docker.img"


def test_the_uplink_is_a_port_of_the_bridge(host: Any) -> None:
    bridge, uplink = (
        json.loads(host.check_output(f"ip -json -details address show {name}"))[0] for name in ("docker0", "ens3")
    )
    assert uplink["master"] == "docker0"
    assert uplink["address"] == bridge["address"]
    assert [address["local"] for address in uplink["addr_info"] if address["scope"] == "global"] == []
    assert [address["local"] for address in bridge["addr_info"] if address["family"] == "inet"] == ["10.0.2.15"]
    default = json.loads(host.check_output("ip -json route show default"))
    assert [(route["dev"], route["gateway"]) for route in default] == [("docker0", "10.0.2.2")]


def test_the_engine_has_the_roles_results(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format json"))
    assert info["Driver"] == "overlay2"
    assert info["LiveRestoreEnabled"]
    assert info["Labels"] == ['quoted=a "b" 100% $HOME \\n']
    config = json.loads(host.check_output("docker network inspect bridge"))[0]["IPAM"]["Config"][0]
    assert config == {
        "Subnet": "10.0.2.0/24",
        "IPRange": "10.0.2.64/28",
        "Gateway": "10.0.2.15",
        "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.0.2.2"},
    }


def test_the_agent_has_its_arguments_and_its_environment(host: Any) -> None:
    """The stand-in recorded both, byte for byte."""
    environment = dict(
        line.split("=", 1) for line in host.file("/run/standin/environ").content_string.split("\0") if line
    )
    assert environment["MESOS_MASTER"] == "zk://zookeeper.example:2181/mesos"
    assert environment["MESOS_ATTRIBUTES"] == 'rack:two words;quotes:"$HOME`\\n%h'
    assert environment["MESOS_CONTAINERIZERS"] == "docker,mesos"
    assert environment["MESOS_RESOURCES"] == "disk:1024"
    assert environment["DOCKER_API_VERSION"] == "1.44"
    assert host.file("/etc/mesos-dind/agent.env").mode == 0o600


def test_the_engine_has_its_control_groups_delegated(host: Any) -> None:
    assert host.check_output("systemctl show --value --property Delegate docker.service") == "yes"


def test_the_agents_service_has_its_settings(host: Any) -> None:
    names = ("CPUQuotaPerSecUSec", "MemoryMax", "Restart", "Delegate")
    shown = host.check_output(f"systemctl show --property {','.join(names)} mesos-dind-agent")
    assert dict(line.split("=") for line in shown.splitlines()) == {
        "CPUQuotaPerSecUSec": "1.500000s",
        "MemoryMax": str(1 << 30),
        "Restart": "always",
        "Delegate": "yes",
    }


def test_an_agent_that_ends_is_started_again(host: Any) -> None:
    before = host.service("mesos-dind-agent").systemd_properties["MainPID"]
    host.check_output(f"kill -KILL {before}")
    host.check_output(
        "timeout 60 sh -c 'until systemctl is-active --quiet mesos-dind-agent"
        f" && [ $(systemctl show --value --property MainPID mesos-dind-agent) != {before} ]; do sleep 0.5; done'"
    )


def test_a_stop_drains_the_agent(host: Any) -> None:
    """The last test, because it stops the agent and starts it again."""
    host.check_output("timeout 60 sh -c 'until [ -p /run/standin/launch ]; do sleep 0.5; done'")
    host.check_output("systemctl stop mesos-dind-agent")
    assert host.file("/run/standin/drained").exists
    assert host.check_output("systemctl show --value --property Result mesos-dind-agent") == "success"
    host.check_output("systemctl start mesos-dind-agent")
