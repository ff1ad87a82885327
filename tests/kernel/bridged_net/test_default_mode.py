# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Default mode: inner subnets that meet no visible route."""

from __future__ import annotations

from pathlib import Path

from agent_bench import Agent, Bench, record_of_dockerd
from network_fixtures import bridge, namespace, veth


def test_the_default_mode_meets_no_visible_route(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip("route add 172.18.0.0/15 via 172.17.0.1", "route add 192.168.0.0/17 via 172.17.0.1")
    before = agent.snapshot()
    outcome = agent.converge()
    assert outcome.actions == []
    assert outcome.facts["bip"] == "172.20.0.1/16"
    assert outcome.facts["address_pools"][0] == {"base": "172.21.0.0/16", "size": 16}
    assert outcome.facts["fixed_cidr"] == outcome.facts["gateway"] == ""
    assert agent.snapshot() == before


def test_the_default_mode_stays_with_its_choice_while_the_engine_runs(bench: Bench, tmp_path: Path) -> None:
    agent = bench.agent("172.17.0.2/16")
    record_of_dockerd(tmp_path, {"BridgeName": "by-a-person", "DefaultBridge": False})
    first = agent.converge(data_root=str(tmp_path)).facts
    bridge(agent.namespace, "docker0")
    bridge(agent.namespace, "br-0123456789ab")
    agent.namespace.ip("address add 172.18.0.1/16 dev docker0", "address add 172.19.0.1/16 dev br-0123456789ab")
    bridge(agent.namespace, "by-a-person")
    agent.namespace.ip("address add 172.20.0.1/16 dev by-a-person")
    assert agent.converge(data_root=str(tmp_path)).facts == first
    veth(agent.namespace, "veth1", bench.cleanup.enter_context(namespace()), "eth0")
    agent.namespace.ip("link set dev veth1 master by-a-person")
    assert agent.converge(data_root=str(tmp_path)).facts == first


def test_the_default_mode_leaves_idle_bridges_of_others_their_subnets(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    bridge(agent.namespace, "virbr0")
    agent.namespace.ip("address add 172.18.0.1/16 dev virbr0")
    assert agent.converge().facts["bip"] == "172.19.0.1/16"


def test_the_default_mode_needs_no_uplink(bench: Bench) -> None:
    with namespace() as alone:
        facts = Agent(alone, bench.folder / "none.json").converge().facts
    assert (facts["bip"], facts["mtu"], facts["uplink"]) == ("172.17.0.1/16", 1500, "")


def test_the_default_mode_after_the_bridged_mode_gives_the_uplink_back(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    assert agent.converge().actions
    assert agent.snapshot() == before
