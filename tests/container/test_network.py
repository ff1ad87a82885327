"""Tests of bridged mode: the host and inner containers reach inner containers on the outer network."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import docker
import netaddr
import pytest
from agents import Agent, Start
from docker.models.networks import Network
from docker.types import EndpointConfig

Pair = tuple[Agent, Agent]

# A command in the host's network namespace, which needs no program on the host.
HOST = ("docker", "run", "--rm", "--network", "host", "mesos-dind-task")


@pytest.fixture(scope="module")
def pair(start_for_all: Start, task_archive: bytes) -> Pair:
    """Two stand-in agents in bridged mode, each with two inner containers, `one` and `two`."""
    agents = [start_for_all(env={"DOCKER_NETWORK_OFFSET": f"0.0.{number}.0"}) for number in (1, 2)]
    for agent in agents:
        agent.await_boot().load(task_archive)
        for name in ("one", "two"):
            agent.inner(
                "run",
                "--detach",
                "--restart=always",
                "--name",
                name,
                "mesos-dind-task",
                "httpd",
                "-f",
                "-vv",
                "-p",
                "80",
            )
    return agents[0], agents[1]


def address(agent: Agent, name: str) -> netaddr.IPAddress:
    return netaddr.IPAddress(agent.inner("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name))


def ping(*prefix: str, to: object) -> list[str]:
    return [*prefix, "ping", "-c", "1", "-W", "5", str(to)]


def ranges(network: netaddr.IPNetwork) -> list[netaddr.IPNetwork]:
    return [netaddr.IPNetwork((int(network.network) + (number << 8), 24)) for number in (1, 2)]


def test_inner_containers_have_addresses_of_their_agents_range(pair: Pair, outer_network: netaddr.IPNetwork) -> None:
    for agent, wanted in zip(pair, ranges(outer_network), strict=True):
        for name in ("one", "two"):
            assert address(agent, name) in wanted
        assert address(agent, "one") == wanted.network, "the engine spares no first address"


def test_the_host_reaches_them(pair: Pair) -> None:
    for agent in pair:
        for name in ("one", "two"):
            subprocess.run(ping(*HOST, to=address(agent, name)), check=True, capture_output=True)


def test_they_reach_the_host(pair: Pair, outer_network: netaddr.IPNetwork) -> None:
    for agent in pair:
        for name in ("one", "two"):
            agent.inner(*ping("exec", name, to=outer_network.network + 1))


def test_they_reach_each_other_within_and_across_agents(pair: Pair) -> None:
    everyone = [(agent, name) for agent in pair for name in ("one", "two")]
    for agent, name in everyone:
        for other, other_name in everyone:
            agent.inner(*ping("exec", name, to=address(other, other_name)))


def test_a_sibling_sees_the_source_address_unchanged(pair: Pair) -> None:
    here, there = pair
    here.inner("exec", "two", "wget", "-q", "-O", "-", f"http://{address(there, 'two')}/proc/version")
    assert f"[::ffff:{address(here, 'two')}]:" in there.run("sh", "-c", "docker logs two 2>&1")


def test_the_agents_own_address_is_on_the_bridge_and_still_answers(pair: Pair) -> None:
    for agent in pair:
        (docker0,) = json.loads(agent.run("ip", "-json", "-4", "address", "show", "docker0"))
        assert agent.address in {info["local"] for info in docker0["addr_info"]}
        assert json.loads(agent.run("ip", "-json", "-4", "address", "show", "eth0")) in ([], [{}])
        subprocess.run(ping(*HOST, to=agent.address), check=True, capture_output=True)


def test_a_second_run_changes_nothing(pair: Pair) -> None:
    for agent in pair:
        assert "changed=0" in agent.run("mesos-dind", "converge")


def test_agents_are_restarted_with_what_they_had(pair: Pair) -> None:
    """A restarted agent has a new network namespace. It keeps images and containers.

    Containers with the restart policy ``always`` run again: a stop of the agent does not count as a stop by hand.
    """
    agent = pair[1]
    agent.container.restart(timeout=20)
    agent.await_line("stand-in agent: running")
    assert agent.inner("inspect", "--format", "{{.State.Running}}", "one") == "true"
    subprocess.run(ping(*HOST, to=address(agent, "one")), check=True, capture_output=True)


@pytest.mark.parametrize("offset", ["auto", "0.0.7.0"])
def test_on_a_user_defined_network(user_network: Network, start: Start, task_archive: bytes, offset: str) -> None:
    agent = start(env={"DOCKER_NETWORK_OFFSET": offset}, network=user_network.name).await_boot()
    agent.load(task_archive)
    agent.inner("run", "--detach", "--name", "one", "mesos-dind-task", "sleep", "1000")
    subnet = netaddr.IPNetwork(user_network.attrs["IPAM"]["Config"][0]["Subnet"])
    number = int(netaddr.IPAddress(agent.address)) - int(subnet.network) if offset == "auto" else 7
    assert address(agent, "one") in netaddr.IPNetwork((int(subnet.network) + (number << 8), 24))
    subprocess.run(ping(*HOST, to=address(agent, "one")), check=True, capture_output=True)


def test_auto_is_refused_with_the_numbers_where_the_layout_cannot_give_it(user_network: Network, start: Start) -> None:
    subnet = netaddr.IPNetwork(user_network.attrs["IPAM"]["Config"][0]["Subnet"])
    agent = start(
        "true",
        env={"DOCKER_NETWORK_OFFSET": "auto", "DOCKER_NETWORK_SIZE": "18"},
        networking_config={user_network.name: EndpointConfig("1.45", ipv4_address=str(subnet.network + 5))},
        network=user_network.name,
    )
    assert agent.wait() == 64
    (line,) = agent.logs().splitlines()
    for number in ("DOCKER_NETWORK_OFFSET='auto'", "18", "5", str(subnet)):
        assert number in line


def nameservers(resolv_conf: str) -> list[str]:
    return [line.split()[1] for line in resolv_conf.splitlines() if line.startswith("nameserver")]


def test_inner_containers_resolve_the_names_of_a_user_defined_network(
    user_network: Network, start: Start, task_archive: bytes
) -> None:
    """On every kind of inner network, and after every restart: the outer resolver's ports change each time."""
    agents = {
        alias: start(
            env={"DOCKER_NETWORK_OFFSET": offset, "MESOS_DIND_NETWORK_MODE": mode},
            network=user_network.name,
            networking_config={user_network.name: EndpointConfig("1.45", aliases=[alias])},
        )
        for alias, offset, mode in (("plain", "", ""), ("bridged", "auto", "bridge"), ("routed", "auto", "proxy_arp"))
    }
    for agent in agents.values():
        agent.await_boot().load(task_archive)
        agent.inner("network", "create", "own")
        for network in ("bridge", "own", "host"):
            agent.inner(
                "run", "--detach", "--restart=always", "--network", network, "--name", f"on-{network}",
                "mesos-dind-task", "sleep", "1000",
            )  # fmt: skip
        assert "changed=0" in agent.run("mesos-dind", "converge")
        steps = json.loads(agent.read("/run/mesos-dind/boot.json"))["steps"]
        assert [step["step"] for step in steps if step["ahead"]] == ["cgroups", "storage", "network", "engine"]

    def each_finds_another() -> None:
        for name_here, alias in (("plain", "bridged"), ("bridged", "routed"), ("routed", "plain")):
            here, there = agents[name_here], agents[alias]
            for name in (alias, str(there.container.name), f"{alias}.{user_network.name}"):
                for network in ("bridge", "own", "host"):
                    answer = here.inner("exec", f"on-{network}", "nslookup", name)
                    assert f"Address: {there.address}\n" in f"{answer}\n", (alias, name, network)

    each_finds_another()
    for agent in agents.values():
        # s6 takes a dockerd for ready as soon as it starts (see the service's `run`). The test needs one that answers.
        agent.run("s6-svc", "-wD", "-d", "/etc/mesos-dind/services/dockerd")
        agent.run("s6-svc", "-u", "/etc/mesos-dind/services/dockerd")
        agent.run("timeout", "60", "sh", "-c", "until docker version >/dev/null 2>&1; do sleep 0.1; done")
    each_finds_another()
    for agent in agents.values():
        agent.container.restart(timeout=20)
    for agent in agents.values():
        agent.await_line("stand-in agent: running")
    each_finds_another()


def test_where_the_outer_resolver_is_reached_as_it_is_inner_containers_have_it(pair: Pair) -> None:
    for agent in pair:
        inner = agent.inner("exec", "two", "cat", "/etc/resolv.conf")
        assert nameservers(inner) == nameservers(agent.read("/etc/resolv.conf")) != []
        assert "dns" not in json.loads(agent.read("/run/mesos-dind/daemon.json"))
        assert "MESOS-DIND" not in agent.run("iptables-save")


def test_the_default_mode_stays_with_its_pools_whatever_a_network_is_named(start: Start, task_archive: bytes) -> None:
    agent = start("sleep", "1000").await_boot()
    agent.load(task_archive)
    for name in ("mybr", "empty"):
        agent.inner("network", "create", "--opt", f"com.docker.network.bridge.name={name}", name)
    agent.inner("run", "--detach", "--network", "mybr", "mesos-dind-task", "sleep", "1000")
    assert "changed=0" in agent.run("mesos-dind", "converge")


@pytest.fixture
def network_of_dockers_own_pools(engine: docker.DockerClient, label: str) -> Iterator[Network]:
    """A network with a subnet that an unconfigured inner engine would choose for its own networks."""
    key, _, value = label.partition("=")
    for second in range(18, 32):
        config = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(f"172.{second}.0.0/16")])
        with contextlib.suppress(docker.errors.APIError):  # another network has this subnet
            made = engine.networks.create(f"mesos-dind-test-{uuid.uuid4().hex[:12]}", ipam=config, labels={key: value})
            break
    else:
        pytest.fail("no free subnet among 172.18.0.0/16 to 172.31.0.0/16")
    yield made
    made.remove()


def test_inner_networks_meet_no_route_of_the_agent(network_of_dockers_own_pools: Network, start: Start) -> None:
    agent = start("sleep", "1000", network=network_of_dockers_own_pools.name).await_boot()
    routes = {route["dst"] for route in json.loads(agent.run("ip", "-json", "route")) if route["dev"] == "eth0"}
    taken = [netaddr.IPNetwork(route) for route in routes - {"default"}]
    assert taken
    for name in ("one", "two", "three"):
        agent.inner("network", "create", name)
    subnets = [
        netaddr.IPNetwork(agent.inner("network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name))
        for name in ("bridge", "one", "two", "three")
    ]
    for one, other in combinations([*taken, *subnets], 2):
        assert one not in other
        assert other not in one


# A name server that knows one name (RFC 1035, 4.1).
NAMESERVER = r"""
import socket
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind(("", 53))
while True:
    asked, asker = port.recvfrom(512)
    end = asked.index(b"\0", 12) + 5
    is_known = asked[12:end] == b"\4peer\7example\0" + b"\0\1\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7]) if is_known else b""
    head = asked[:2] + b"\x81\x80\0\1\0" + bytes([bool(answer), 0, 0, 0, 0])
    port.sendto(head + asked[12:end] + answer, asker)
"""


@pytest.mark.parametrize("mode", ["", "bridge", "proxy_arp"])
def test_inner_containers_resolve_by_the_agents_own_nameserver(start: Start, task_archive: bytes, mode: str) -> None:
    """The outer engine's default bridge has no resolver."""
    server = start(entrypoint=["python3", "-c", NAMESERVER], privileged=False, standin=False)
    bridged = {"DOCKER_NETWORK_OFFSET": "0.0.64.0", "MESOS_DIND_NETWORK_MODE": mode} if mode else {}
    agent = start("sleep", "1000", env=bridged, dns=[server.address]).await_boot()
    agent.load(task_archive)
    agent.inner("network", "create", "own")
    for network in ("bridge", "own", "host"):
        answer = agent.inner("run", "--rm", "--network", network, "mesos-dind-task", "nslookup", "peer.example")
        assert "192.0.2.7" in answer, network


def test_inner_networks_lead_out_also_after_the_engine_was_killed(start: Start, task_archive: bytes) -> None:
    """dockerd starts again beside a living container. Its own rules then come before DOCKER-USER."""
    agent = start("sleep", "1000", env={"DOCKER_NETWORK_OFFSET": "0.0.67.0"}).await_boot()
    agent.load(task_archive)
    agent.inner("network", "create", "own")
    agent.inner("run", "--detach", "--network", "own", "--name", "one", "mesos-dind-task", "sleep", "1000")
    ping = "docker exec one ping -c 1 -W 1 $(ip route show default | cut -d ' ' -f 3)"
    agent.run("sh", "-c", ping)
    for _ in range(2):
        killed = agent.run("pidof", "dockerd").strip()
        agent.run("pkill", "-KILL", "-x", "dockerd")
        agent.run("timeout", "60", "sh", "-c", f"until [ $(pidof dockerd) != {killed} ] && {ping}; do sleep 0.1; done")
        assert agent.run("iptables", "-S", "FORWARD", "1") == "-A FORWARD -j DOCKER-USER\n"
    agent.run("timeout", "60", "sh", "-c", "while pgrep -x s6-notifyonchec; do sleep 0.1; done")


FILTERS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


@pytest.mark.parametrize(("flag", "filters"), [("", "0 0"), ("--userland-proxy=false", "1 1")])
def test_frames_pass_the_bridge_by_iptables_only_for_who_needs_that(
    start: Start, task_archive: bytes, flag: str, filters: str
) -> None:
    """Without iptables and the userland proxy, a published port would answer from the container's own address."""
    environment = {"DOCKER_NETWORK_OFFSET": "0.0.65.0", "DOCKER_DAEMON_ARGS": flag}
    agent = start("sleep", "1000", env=environment).await_boot()
    agent.load(task_archive)
    agent.inner("run", "--detach", "--publish", "8080:80", "mesos-dind-task", "httpd", "-f", "-p", "80")
    for client in (HOST, ("docker", "exec", agent.container.id, "docker", "run", "--rm", "mesos-dind-task")):
        fetched = subprocess.run(
            [*client, "wget", "-T", "10", "-O", "-", f"http://{agent.address}:8080/"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "404 Not Found" in fetched.stderr
    assert agent.run("sysctl", "--values", *FILTERS).split() == filters.split()
    assert "changed=0" in agent.run("mesos-dind", "converge")


def test_inner_containers_that_the_user_keeps_apart_are(start: Start, task_archive: bytes) -> None:
    """The engine itself switches the filter on, also for a network that is made later."""
    agent = start("sleep", "1000", env={"DOCKER_NETWORK_OFFSET": "0.0.66.0"}).await_boot()
    agent.load(task_archive)
    agent.inner("network", "create", "--opt", "com.docker.network.bridge.enable_icc=false", "apart")
    agent.inner("run", "--detach", "--network", "apart", "--name", "one", "mesos-dind-task", "httpd", "-f", "-p", "80")
    fetch = ("run", "--rm", "--network", "apart", "mesos-dind-task", "wget", "-T", "2", "-O", "-", "http://one/")
    assert b"download timed out" in agent.exec("docker", *fetch).output
    assert "changed=0" in agent.run("mesos-dind", "converge")
    assert agent.run("sysctl", "--values", FILTERS[0]) == "1\n"


@pytest.mark.parametrize("environment", [{}, {"DOCKER_NETWORK_OFFSET": "0.0.13.0"}], ids=["default", "bridged"])
def test_where_iptables_does_not_work_with_its_own_backend_the_other_is_taken(
    start: Start, tmp_path: Path, task_archive: bytes, environment: dict[str, str]
) -> None:
    """The default backend, nft, does not work here: all its programs are a script that fails."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'Could not fetch rule set generation id: Invalid argument' >&2\nexit 4\n")
    broken.chmod(0o755)
    agent = start("sleep", "1000", env=environment, volumes={str(broken): "/usr/sbin/xtables-nft-multi"}).await_boot()
    assert "legacy" in agent.run("iptables", "--version")
    assert "legacy" in agent.run("ip6tables", "--version")
    agent.load(task_archive)
    agent.inner("run", "--detach", "--publish", "8080:80", "mesos-dind-task", "httpd", "-f", "-p", "80")
    assert "--to-destination" in agent.run("iptables-legacy-save", "-t", "nat")
    assert "changed=0" in agent.run("mesos-dind", "converge")
