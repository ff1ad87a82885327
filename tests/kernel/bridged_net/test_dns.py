# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""DNS through an outer resolver on a loopback address."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack

import pytest
from agent_bench import (
    MODES,
    UNTOUCHED,
    Agent,
    Bench,
    Named,
    OuterResolver,
    behind,
    bound,
    closed,
    do_all,
    interruptions,
    opened,
)
from network_fixtures import bridge, namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


@pytest.mark.parametrize("bridge_nf", ["0", "1"])
def test_inner_containers_are_answered_by_the_outer_resolver(bench: Bench, named: Named, bridge_nf: str) -> None:
    agent, resolver, params = named
    agent.namespace.sysctl("bridge/bridge-nf-call-iptables", bridge_nf)
    facts = agent.converge(**params).facts
    (nameserver,) = facts["dns"]
    assert facts["dns_options"] == ["timeout:5"]
    is_port = facts["mode"] == "bridge"
    inner = bench.inner(agent, "172.17.1.2/16") if is_port else behind(bench, agent, facts["bip"])
    # dockerd's embedded resolver asks from the container's namespace, on a network of a user's own as well.
    users_own = bench.cleanup.enter_context(namespace())
    veth(agent.namespace, "br-0123456789ab", users_own, "eth0")
    agent.namespace.ip("address add 172.30.0.1/16 dev br-0123456789ab")
    users_own.ip("address add 172.30.0.2/16 dev eth0", "route add default via 172.30.0.1")
    for client in (inner, users_own, agent.namespace):
        assert resolver.answers(client, nameserver)
    resolver.listen_elsewhere()
    assert agent.converge(**params).actions == ["redirect inner containers' DNS queries to the outer resolver"]
    assert resolver.answers(inner, nameserver)


def test_who_listens_at_port_53_still_serves_those_outside(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    resolver = OuterResolver(agent)
    agent.converge(**MODES["bridge"])
    with (
        bound(agent.namespace, socket.SOCK_DGRAM, "172.17.0.2", 53) as server,
        bench.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.sendto(b"?", ("172.17.0.2", 53))
        assert server.recv(1) == b"?"
    assert resolver.answers(agent.namespace, "172.17.0.2")


def packet(destination_mac: str, source: str, destination: str, port: int) -> bytes:
    """A frame with a UDP datagram of no data (RFC 791, RFC 768: no checksum)."""
    udp = struct.pack("!HHHH", 9, port, 8, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    mac = bytes.fromhex(destination_mac.replace(":", ""))
    return mac + bytes.fromhex("020000000001") + b"\x08\x00" + head[:10] + struct.pack("!H", checksum) + head[12:] + udp


def arrivals(bench: Bench, agent: Agent, mac: str) -> list[str]:
    """Which packets from outside that touch the loopback reach a server in the agent."""
    attempts = {
        "to it": ("172.17.0.1", "127.0.0.1", 7001),
        "as if from it": ("127.0.0.2", "172.17.0.2", 7002),
        "an honest one": ("172.17.0.1", "172.17.0.2", 7003),
    }
    with ExitStack() as sockets:
        servers = {
            name: sockets.enter_context(bound(agent.namespace, socket.SOCK_DGRAM, to, port))
            for name, (_, to, port) in attempts.items()
        }
        sender = sockets.enter_context(bench.host.socket(socket.AF_PACKET, socket.SOCK_RAW))
        sender.bind(("outer", 0))
        for source, to, port in attempts.values():
            sender.send(packet(mac, source, to, port))
        servers["an honest one"].recv(1)  # by then the others have come as well, or won't
        for name in ("to it", "as if from it"):
            servers[name].setblocking(False)
        arrived = []
        for name in ("to it", "as if from it"):
            try:
                servers[name].recv(1)
                arrived.append(name)
            except BlockingIOError:
                pass
        return arrived


def test_nobody_outside_reaches_the_loopback(bench: Bench, named: Named) -> None:
    agent, _, params = named
    for device in ("all", "eth0"):
        agent.namespace.sysctl(f"ipv4/conf/{device}/rp_filter", "0")
    mac = agent.converge(**params).facts["mac"]
    assert arrivals(bench, agent, mac) == []
    agent.namespace.run("iptables", "-t", "raw", "-F")
    assert arrivals(bench, agent, mac) == ["to it", "as if from it"]


def test_names_are_arranged_once_and_given_back(named: Named) -> None:
    agent, _, params = named
    predicted = agent.converge(check=True, **params)
    assert opened(agent) == UNTOUCHED
    first = agent.converge(**params)
    assert (predicted.actions, predicted.facts) == (first.actions, first.facts)
    assert predicted.after["rules"] == first.after["rules"]
    after = opened(agent)
    again = agent.converge(**params)
    assert again.actions == []
    assert again.before == again.after == first.after
    assert opened(agent) == after
    if first.facts["mode"] != "bridge":
        bridge(agent.namespace, "docker0")  # as the engine does; until then NAT is proven each time
    assert agent.converge(**params).actions == []
    assert agent.runner_commands <= 3
    assert opened(agent) == after
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED
    assert agent.converge(state="absent").actions == []


def test_killed_while_names_are_arranged_both_ways_are_open(named: Named) -> None:
    agent, _, params = named
    steps = agent.steps(**params)
    agent.converge(**params)
    after = opened(agent)
    removal = agent.steps(state="absent")
    agent.converge(state="absent")
    for name, done in interruptions(steps):
        agent.namespace.call(do_all, done)
        agent.converge(state="absent")
        assert opened(agent) == UNTOUCHED, name
        agent.namespace.call(do_all, done)
        agent.converge(**params)
        assert opened(agent) == after, name
        agent.converge(state="absent")
    for name, done in interruptions(removal):
        for goal, found in ((params, after), ({"state": "absent"}, UNTOUCHED)):
            agent.converge(**params)
            agent.namespace.call(do_all, done)
            agent.converge(**goal)
            assert opened(agent) == found, name


def test_a_move_that_fails_closes_the_loopback_again_also_after_a_killed_one(bench: Bench) -> None:
    agent = closed(bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",)))
    resolver = OuterResolver(agent)
    with pytest.raises(DindError, match="did not answer"):
        agent.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.3)
    assert opened(agent) == UNTOUCHED
    *steps, _found_good = agent.steps(offset="0.0.1.0", mode="bridge", verify=False)
    for name, done in interruptions(steps):
        agent.namespace.call(do_all, done)
        with pytest.raises(DindError, match="did not answer"):
            agent.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.1)
        assert opened(agent) == UNTOUCHED, name
    agent.converge(offset="0.0.1.0", mode="bridge", verify=False)
    assert resolver.answers(agent.namespace, "172.17.0.2")


def test_without_the_resolver_nothing_of_it_is_left(named: Named) -> None:
    agent, _, params = named
    outer_resolvers = agent.resolv_conf.read_text()
    agent.resolv_conf.write_text("nameserver 10.0.0.53\n")
    agent.converge(**params)
    without = opened(agent)
    agent.converge(state="absent")
    agent.resolv_conf.write_text(outer_resolvers)
    agent.converge(**params)
    assert opened(agent) != without
    agent.resolv_conf.write_text("nameserver 10.0.0.53\n")
    outcome = agent.converge(**params)
    assert (opened(agent), outcome.facts["dns"]) == (without, [])
