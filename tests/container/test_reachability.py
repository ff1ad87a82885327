"""Tests of who reaches whom, and under which address: the host, two agents and four inner containers.

Each test runs in both modes and on both kinds of outer networks.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import docker
import jmespath
import netaddr
import pytest
from agents import Agent, Start
from conftest import IMAGE, ImageOn, MakeNetwork, gone_afterwards
from docker.models.networks import Network
from docker.types import EndpointConfig
from places import SERVE, TASK, Place, agents_place, inner_place

# Offsets by the agent's name on a user-defined network. On the default bridge, other tests' ranges are far from these.
OFFSETS = {"first": "0.0.60.0", "second": "0.0.61.0"}

HostOn = Callable[..., Place]


@pytest.fixture(scope="module", params=["default bridge", "user-defined"])
def outer(request: pytest.FixtureRequest, make_network: MakeNetwork, engine: docker.DockerClient) -> Iterator[Network]:
    if request.param == "default bridge":
        yield engine.networks.get("bridge")
    else:
        made = make_network()
        yield made
        made.remove()


# The mode and the release of Debian. Since Docker 28, an engine drops traffic to its containers unless it comes over
# the engine's bridge.
KINDS = ["bridge", "proxy_arp", "proxy_arp on forky"]


@pytest.fixture(scope="module", params=KINDS)
def agents(
    request: pytest.FixtureRequest, outer: Network, start_any: Start, task_archive: bytes, image_on: ImageOn
) -> Iterator[list[Agent]]:
    mode, _on, suite = request.param.partition(" on ")
    image = image_on(suite) if suite else IMAGE
    with gone_afterwards(start_any) as start:
        started = []
        for alias, offset in OFFSETS.items():
            named = {} if outer.name == "bridge" else {outer.name: EndpointConfig("1.45", aliases=[alias])}
            agent = start(
                image=image,
                env={"DOCKER_NETWORK_OFFSET": offset, "MESOS_DIND_NETWORK_MODE": mode},
                network=outer.name,
                networking_config=named,
            )
            started.append(agent)
        for agent in started:
            agent.await_boot().load(task_archive)
        yield started


@pytest.fixture(scope="module")
def inner(agents: list[Agent]) -> dict[Agent, list[Place]]:
    return {agent: [inner_place(agent, name) for name in ("one", "two")] for agent in agents}


@pytest.fixture(scope="module")
def host_on(start_for_all: Start) -> HostOn:
    """The host. Others call its address on the outer network."""

    def place(network: Network, version: int = 4) -> Place:
        gateways = map(ipaddress.ip_address, jmespath.search("IPAM.Config[].Gateway", network.attrs))
        (gateway,) = (gateway for gateway in gateways if gateway.version == version)
        family, host = (socket.AF_INET6, f"[{gateway}]") if version == 6 else (socket.AF_INET, str(gateway))
        with socket.create_server((str(gateway), 0), family=family) as free:
            port = free.getsockname()[1]
        container = start_for_all(
            "sh", "-c", f"{SERVE} {host}:{port}",
            image=TASK, privileged=False, standin=False, network_mode="host",
        )  # fmt: skip
        return Place("host", container.run, gateway, port)

    return place


def assert_each_is_seen_by_each(places: list[Place]) -> None:
    for place in places:
        own = place.addresses
        seen = place.seen_by(other for other in places if other != place)
        assert {name: who for name, who in seen.items() if who not in own} == {}, place.name


@pytest.mark.timeout(1200)  # seconds; a fixture may build an image
def test_everybody_reaches_everybody_as_himself(
    inner: dict[Agent, list[Place]], outer: Network, host_on: HostOn
) -> None:
    places = [host_on(outer), *map(agents_place, inner), *(place for four in inner.values() for place in four)]
    assert len(places) == 7
    assert_each_is_seen_by_each(places)
    for place in places[3:]:
        assert place.addresses == {place.address}
    for agent in inner:
        assert "changed=0" in agent.run("mesos-dind", "converge")


def test_inner_containers_are_in_the_range_and_the_agents_in_their_mode(
    inner: dict[Agent, list[Place]], outer: Network, request: pytest.FixtureRequest
) -> None:
    subnet = netaddr.IPNetwork(jmespath.search("IPAM.Config[0].Subnet", outer.attrs))
    for (agent, places), third in zip(inner.items(), (60, 61), strict=True):
        for place in places:
            assert str(place.address) in netaddr.IPNetwork((subnet.first + (third << 8), 24))
        is_port = agent.exec("test", "-e", "/sys/class/net/eth0/brport").exit_code == 0
        assert is_port == (request.node.callspec.params["agents"] == "bridge")


def test_inner_containers_resolve_what_the_agent_does(inner: dict[Agent, list[Place]], outer: Network) -> None:
    """On a user-defined network, each agent's resolver is 127.0.0.11. On the default bridge, there are no names."""
    for agent, places in inner.items():
        for place in places:
            if outer.name == "bridge":
                told, had = place.run("cat", "/etc/resolv.conf"), agent.read("/etc/resolv.conf")
                assert nameservers(told) == nameservers(had) != []
            else:
                for alias, other in zip(OFFSETS, inner, strict=True):
                    assert f"Address: {other.address}\n" in f"{place.run('nslookup', alias)}\n"


def test_by_the_agent_as_gateway_everybody_reaches_everybody_as_himself(
    start: Start, task_archive: bytes, engine: docker.DockerClient, host_on: HostOn
) -> None:
    places = [host_on(engine.networks.get("bridge"))]
    for offset in ("0.0.62.0", "0.0.63.0"):
        agent = start(env={"DOCKER_NETWORK_OFFSET": offset, "MESOS_DIND_GATEWAY": "bridge"})
        agent.await_boot().load(task_archive)
        inner = inner_place(agent, "one")
        assert f"default via {agent.address} dev eth0" in inner.run("ip", "route")
        places += [agents_place(agent), inner]
    assert_each_is_seen_by_each(places)


def nameservers(resolv_conf: str) -> list[str]:
    return [line for line in resolv_conf.splitlines() if line.startswith("nameserver")]


def test_twelve_agents_with_ranges_of_their_own_making(
    user_network: Network, start: Start, task_archive: bytes, host_on: HostOn
) -> None:
    """Agents with `auto`, started at once on a network of `docker network create --subnet ... --ip-range ...`."""
    subnet = netaddr.IPNetwork(jmespath.search("IPAM.Config[0].Subnet", user_network.attrs))
    agents = [start(env={"DOCKER_NETWORK_OFFSET": "auto"}, network=user_network.name) for _ in range(12)]
    places = []
    for agent in agents:
        agent.await_boot().load(task_archive)
        places.append(inner_place(agent, "one"))
    ranges = [netaddr.IPNetwork((subnet.first + ((address_in(subnet, agent.address)) << 8), 24)) for agent in agents]
    for place, own in zip(places, ranges, strict=True):
        assert str(place.address) in own
    assert not any(one in other or other in one for one, other in combinations(ranges, 2))
    assert not any(agent.address in taken for agent in agents for taken in ranges)
    assert_each_is_seen_by_each([host_on(user_network), *places])


def address_in(subnet: netaddr.IPNetwork, address: str) -> int:
    """The host part of the address."""
    return int(netaddr.IPAddress(address)) - int(subnet.first)


# The range that each engine accepts: before Docker 28 the whole network only, since then a part only (_engine/ipv6.py).
PARTS = {"": "::/64", "bookworm": "::/64", "forky": "::{}:0/112"}


@pytest.mark.timeout(1200)  # seconds; a fixture may build an image
@pytest.mark.parametrize("suite", PARTS)
def test_ipv6_addresses_of_the_outer_network(
    suite: str, image_on: ImageOn, ipv6_network: Network, start: Start, task_archive: bytes, host_on: HostOn
) -> None:
    image = image_on(suite) if suite else IMAGE
    agents = [
        start(
            image=image,
            env={
                "DOCKER_NETWORK_OFFSET": offset,
                "MESOS_DIND_IPV6_RANGE": ipv6_subnet(ipv6_network).replace("::/64", PARTS[suite].format(number)),
            },
            network=ipv6_network.name,
        )
        for number, offset in enumerate(OFFSETS.values(), 1)
    ]
    places: list[Place] = []
    for agent in agents:
        agent.await_boot().load(task_archive)
        steps = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
        assert [step["step"] for step in steps if step["ahead"]] == ["cgroups", "storage", "network", "engine"]
        inner = [inner_place(agent, name, 6) for name in ("one", "two")]
        daemon = json.loads(agent.read("/run/mesos-dind/daemon.json"))
        assert all(place.address in ipaddress.ip_network(daemon["fixed-cidr-v6"]) for place in inner)
        places += [agents_place(agent, 6), *inner]
    # Not earlier: while the bridge has no port, its address is tentative (RFC 4862), and no server can bind to it.
    assert_each_is_seen_by_each([host_on(ipv6_network, 6), *places])
    for agent in agents:
        assert "changed=0" in agent.run("mesos-dind", "converge")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("suite", "part", "cause"), [("", "::1:0/112", "of the whole network"), ("forky", "::/64", "give it a part")]
)
def test_an_ipv6_range_that_the_engine_cannot_take(
    suite: str, part: str, cause: str, image_on: ImageOn, ipv6_network: Network, start: Start
) -> None:
    wanted = ipv6_subnet(ipv6_network).replace("::/64", part)
    agent = start(
        "true",
        image=image_on(suite) if suite else IMAGE,
        env={"DOCKER_NETWORK_OFFSET": "auto", "MESOS_DIND_IPV6_RANGE": wanted},
        network=ipv6_network.name,
    )
    assert agent.wait() == 64
    (line,) = agent.logs().splitlines()
    for text in (f"MESOS_DIND_IPV6_RANGE={wanted!r}", cause, ipv6_subnet(ipv6_network)):
        assert text in line


def test_a_daemon_json_that_contradicts_the_ipv6_range(ipv6_network: Network, start: Start, tmp_path: Path) -> None:
    wanted = ipv6_subnet(ipv6_network)
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"ipv6": True, "fixed-cidr-v6": "fd00:9::/64"}))
    agent = start(
        "true",
        env={"DOCKER_NETWORK_OFFSET": "auto", "MESOS_DIND_IPV6_RANGE": wanted},
        network=ipv6_network.name,
        volumes={str(config): "/etc/docker/daemon.json"},
    )
    assert agent.wait() == 64
    assert agent.logs().splitlines() == [
        f"mesos-dind: /etc/docker/daemon.json (beside MESOS_DIND_IPV6_RANGE={wanted!r}) is refused: "
        "/etc/docker/daemon.json sets fixed-cidr-v6, which the boot sets itself; remove it from that file"
    ]


@pytest.fixture
def ipv6_network(make_network: MakeNetwork) -> Iterator[Network]:
    made = make_network(ipv6=True)
    yield made
    made.remove()


def ipv6_subnet(network: Network) -> str:
    return str(jmespath.search("IPAM.Config[].Subnet | [1]", network.attrs))
