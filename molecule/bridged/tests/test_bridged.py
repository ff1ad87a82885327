"""Bridged mode: inner containers of two agents on the outer network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import netaddr
import pytest
import testinfra
from testinfra.host import Host

NETWORK = "molecule-bridged"
OFFSETS = {"molecule-bridged-a": "0.0.1.0", "molecule-bridged-b": "0.0.2.0"}
TASK_IMAGE = "mesos-dind-task:latest"


def docker(*argv: str) -> str:
    """The output of a command of the outer engine."""
    return subprocess.run(["docker", *argv], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def outer() -> dict[str, str]:
    """Subnet and gateway of the outer network."""
    (config,) = json.loads(docker("network", "inspect", "--format", "{{json .IPAM.Config}}", NETWORK))
    return {"subnet": config["Subnet"], "gateway": config["Gateway"]}


@pytest.fixture
def inner(host: Host, start_inner: Callable[[Host], Any]) -> Any:
    return start_inner(host)


def name(host: Host) -> str:
    return str(host.backend.name)


def ipv4_addresses(host: Host, interface: str) -> list[str]:
    return [address for address in host.interface(interface).addresses if ":" not in address]


def test_the_bridge_has_the_address_of_the_container(host: Host) -> None:
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", name(host)))
    assert ipv4_addresses(host, "docker0") == [networks[NETWORK]["IPAddress"]]
    assert ipv4_addresses(host, "eth0") == []


def test_an_inner_container_has_an_address_of_the_range(host: Host, inner: Any, outer: dict[str, str]) -> None:
    network = netaddr.IPNetwork(outer["subnet"]).network + int(netaddr.IPAddress(OFFSETS[name(host)]))
    assert inner.address in netaddr.IPNetwork(f"{network}/24")


def test_an_inner_container_routes_by_the_outer_gateway(inner: Any, outer: dict[str, str]) -> None:
    assert f"default via {outer['gateway']} dev eth0" in inner.run("ip route")


def test_an_inner_container_is_reached_from_the_host(inner: Any) -> None:
    docker("run", "--rm", "--network", "host", TASK_IMAGE, "ping", "-c", "1", "-W", "10", inner.address)


def test_inner_containers_of_two_agents_reach_each_other(start_inner: Callable[[Host], Any]) -> None:
    a, b = (start_inner(testinfra.get_host(f"docker://{agent}")) for agent in OFFSETS)
    assert a.ping(b.address)
    assert b.ping(a.address)
