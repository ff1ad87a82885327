# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Proxy ARP, for links that drop foreign MAC addresses."""

from __future__ import annotations

from itertools import permutations

from agent_bench import GATEWAY, Agent, Bench, addresses_of, connects, serve


def lock(bench: Bench, agent: Agent, port: str) -> None:
    """Have the host drop what comes from the agent's port with another MAC than the agent's, as clouds do."""
    mac = agent.namespace.show("link", "show", "dev", "eth0")[0]["address"]
    bench.host.run("bridge", "fdb", "replace", mac, "dev", port, "master", "static")
    bench.host.run("bridge", "link", "set", "dev", port, "locked", "on", "learning", "off")


def test_a_port_that_drops_foreign_macs_is_served_by_proxy_arp_both_ways(bench: Bench) -> None:
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    before = [agent.snapshot() for agent in agents]
    for number, agent in enumerate(agents, 1):
        lock(bench, agent, f"port{number}")
        agent.namespace.sysctl("ipv4/ip_forward", "0")
    one, other = (serve(bench, agent, offset="auto") for agent in agents)
    everyone = {"172.17.2.2": one, "172.17.3.2": other, GATEWAY: bench.host}
    for (source, client), (target, server) in permutations(everyone.items(), 2):
        assert client.pings(target), f"{source} -> {target}"
        assert connects(client, server, target) == source
    assert agents[0].converge(offset="auto").actions == []
    for agent, untouched in zip(agents, before, strict=True):
        agent.converge(state="absent")
        agent.namespace.ip("link delete dev docker0")
        assert agent.namespace.sysctl("ipv4/ip_forward") == "0"
        assert agent.namespace.sysctl("ipv4/conf/eth0/proxy_arp") == "0"
        assert "bridged_net" not in agent.namespace.run("iptables", "-S").stdout
        assert addresses_of(agent.snapshot(), "eth0") == addresses_of(untouched, "eth0")


def test_a_macvlan_uplink_is_served_by_proxy_arp(bench: Bench) -> None:
    agent = bench.agent(uplink="parent", routes=())
    agent.namespace.ip(
        "link add link parent name eth0 type macvlan mode bridge",
        "link set dev eth0 up",
        "address add 172.17.0.2/16 dev eth0",
        f"route add default via {GATEWAY}",
    )
    inner = serve(bench, agent, offset="auto")
    assert connects(inner, bench.host, GATEWAY) == "172.17.2.2"
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY
