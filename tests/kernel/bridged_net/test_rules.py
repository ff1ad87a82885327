# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Rules for traffic that the engine would drop, and the backend of iptables."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
from agent_bench import GATEWAY, UNTOUCHED, Backends, Bench, OuterResolver, closed, connects, opened, serve
from network_fixtures import bridge, namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


def test_what_the_engine_drops_by_default_is_let_through_to_the_range(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    inner = serve(bench, agent, offset="auto", mode="proxy_arp")
    for rule in ("-P FORWARD DROP", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT"):
        agent.namespace.run("iptables", "-w", *rule.split())
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY


def test_what_the_engine_keeps_apart_from_the_bridge_gets_out_by_it_but_not_to_its_containers(bench: Bench) -> None:
    """As dockerd does for each of its networks (moby, iptabler: DOCKER-ISOLATION-STAGE-1 and -2)."""
    agent = closed(bench.agent("172.17.0.2/16"))
    agent.converge(offset="0.0.1.0", mode="bridge")
    inner = bench.inner(agent, "172.17.1.2/16")
    apart = bench.cleanup.enter_context(namespace())
    veth(agent.namespace, "br-own", apart, "eth0")
    agent.namespace.ip("address add 172.30.0.1/16 dev br-own")
    apart.ip("address add 172.30.0.2/16 dev eth0", "route add default via 172.30.0.1")
    for rule in (
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -i br-own -o docker0 -j DROP",
        "-A FORWARD -i docker0 -o br-own -j DROP",
        "-t nat -A POSTROUTING -s 172.30.0.0/16 ! -o br-own -j MASQUERADE",
    ):
        agent.namespace.run("iptables", "-w", *rule.split())
    assert connects(apart, bench.host, GATEWAY) == "172.17.0.2"
    assert not apart.pings("172.17.1.2", seconds=1)
    bench.host.ip("route add 172.30.0.0/16 via 172.17.0.2")
    assert not bench.host.pings("172.30.0.2", seconds=1)
    assert connects(bench.host, inner, "172.17.1.2") == GATEWAY
    assert agent.converge(offset="0.0.1.0", mode="bridge").actions == []
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED


def test_what_the_engine_drops_before_it_is_routed_is_let_in_to_the_range_only(bench: Bench) -> None:
    """As Docker 28 and later do for each container (moby, iptabler: filterDirectAccess)."""
    agent = closed(bench.agent("172.17.0.2/16"))
    resolver = OuterResolver(agent)
    inner = serve(bench, agent, offset="auto", mode="proxy_arp")
    drop = "-t raw -A PREROUTING -d 172.17.2.2 ! -i docker0 -j DROP"
    agent.namespace.run("iptables", "-w", *drop.split())
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY
    assert resolver.answers(inner, "172.17.2.1")
    moved = agent.converge(offset="0.0.4.0", mode="proxy_arp")
    assert "accept forwarded traffic that the engine would drop" in moved.actions
    assert [rule for rule in opened(agent)[0] if "172.17.2.0/24" in rule] == []
    assert agent.converge(offset="0.0.4.0", mode="proxy_arp").actions == []
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED


PROVEN: list[dict[str, Any]] = [{}, {"offset": "0.0.1.0", "mode": "bridge"}, {"offset": "0.0.1.0", "mode": "proxy_arp"}]


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_nat_is_proven_before_an_engine_is_started_and_leaves_nothing(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    agent = bench.agent("172.17.0.2/16")
    real, folder = shutil.which("iptables-restore"), tmp_path_factory.mktemp("bin")
    (folder / "iptables-restore").write_text(f'#!/bin/sh\ncat >> {folder}/log; exec {real} "$@" < {folder}/log\n')
    (folder / "iptables-restore").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    agent.converge(check=True, **params)
    assert not (folder / "log").exists()
    agent.converge(**params)
    asked = (folder / "log").read_text()
    assert "-j MASQUERADE" in asked
    assert "PROOF" not in agent.namespace.run("iptables-save").stdout
    if params.get("mode") != "bridge":
        bridge(agent.namespace, "docker0")  # as the engine does
    assert agent.converge(**params).actions == []
    assert (folder / "log").read_text() == asked


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_where_the_own_backend_does_not_work_the_other_is_taken(
    bench: Bench, backends: Backends, params: dict[str, Any]
) -> None:
    agent = bench.agent("172.17.0.2/16")
    outcome = agent.converge(**params)
    assert "use iptables-legacy, since NAT does not work with iptables-nft (Could not fetch" in outcome.actions[0]
    names = ("iptables", "ip6tables")
    assert backends.chosen == [f"--set {name} {shutil.which(f'{name}-legacy')}" for name in names]
    assert not any("iptables" in action for action in agent.converge(**params).actions)


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_where_no_backend_works_nothing_is_touched_and_both_are_named(
    bench: Bench, backends: Backends, params: dict[str, Any]
) -> None:
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    backends.program("iptables-legacy-restore", "echo 'can not initialize iptables table nat' >&2; exit 3")
    legacy = "with iptables-legacy: can not initialize iptables table nat"
    with pytest.raises(DindError, match=f"with iptables-nft: Could not fetch .*; {legacy}; load the kernel's modules"):
        agent.converge(**params)
    assert (agent.snapshot(), backends.chosen, agent.record.exists()) == (before, [], False)


def test_a_backend_that_is_not_installed_is_named_as_well(bench: Bench, backends: Backends) -> None:
    agent = bench.agent("172.17.0.2/16")
    backends.alone()
    with pytest.raises(DindError, match="with iptables-legacy: it is not installed"):
        agent.converge()
