# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Questions to the neighbours before the move."""

from __future__ import annotations

import socket

from agent_bench import GATEWAY, Bench, heard
from network_fixtures import namespace


def test_addresses_of_the_range_that_are_in_use_are_reported(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    squatter = bench.cleanup.enter_context(namespace())
    bench.plug(squatter, "eth0")
    squatter.ip("address add 172.17.1.7/16 dev eth0", "address add 172.17.1.200/16 dev eth0")
    outcome = agent.converge(offset="0.0.1.0")
    assert len(outcome.warnings) == 1
    assert "172.17.1.7, 172.17.1.200" in outcome.warnings[0]
    assert bench.agent("172.17.0.4/16").converge(offset="0.0.2.0").warnings == []


def test_containers_of_its_own_are_no_strangers_after_a_reboot(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0")
    bench.inner(agent, "172.17.1.2/16")
    agent.record.unlink()
    outcome = agent.converge(offset="0.0.1.0")
    assert (outcome.warnings, outcome.actions) == ([], [])


def test_each_asks_the_gateway_from_another_foreign_mac(bench: Bench) -> None:
    """Else the bridges on the way would take the answer to one for the other's."""
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    with heard(bench.host, "outer") as frames:
        for number, agent in enumerate(agents, 1):
            agent.converge(check=True, offset=f"0.0.{number}.0")
    gateway, anybody = socket.inet_aton(GATEWAY), bytes(4)
    asking = {frame[22:28] for frame in frames if (frame[28:32], frame[38:42]) == (anybody, gateway)}
    assert len(asking) == 2
    assert {mac[0] for mac in asking} == {0x02}
    assert asking.isdisjoint(frame[22:28] for frame in frames if frame[28:32] == anybody and frame[38:42] != gateway)
