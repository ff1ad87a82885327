"""Default mode: inner containers on a network of the inner engine's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import netaddr
import pytest
from testinfra.host import Host


@pytest.fixture
def inner(host: Host, start_inner: Callable[[Host], Any]) -> Any:
    return start_inner(host)


def ipv4_network(host: Host, interface: str) -> netaddr.IPNetwork:
    (address,) = host.check_output("ip -4 -o address show dev %s scope global", interface).splitlines()
    return netaddr.IPNetwork(address.split()[3])


def test_the_variables_reach_the_agent_byte_for_byte(host: Host) -> None:
    environment = host.file("/run/standin/environ").content.split(b"\0")
    assert b"MESOS_RESOURCES=cpus:4;mem:1280;disk:25600;ports:[21000-21099]" in environment
    assert b'MESOS_ATTRIBUTES=rack:two words;quotes:"$HOME`\\n' in environment


def test_the_inner_network_does_not_meet_the_outer_one(host: Host) -> None:
    outer, inner = ipv4_network(host, "eth0"), ipv4_network(host, "docker0")
    assert outer not in inner
    assert inner not in outer


def test_an_inner_container_has_an_address_of_the_inner_network(host: Host, inner: Any) -> None:
    assert inner.address in ipv4_network(host, "docker0")


def test_an_inner_container_reaches_the_outer_network(host: Host, inner: Any) -> None:
    gateway = host.check_output("ip -4 route show default").split()[2]
    assert inner.ping(gateway)
