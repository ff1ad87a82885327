# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Benches and agents for the tests of bridged_net."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent_bench import GATEWAY, MODES, Agent, Backends, Bench, Named, OuterResolver, closed, furnish

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import neighbours


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as cleanup:
        made = Bench(cleanup, tmp_path)
        made.outer(f"{GATEWAY}/16")
        yield made


@pytest.fixture(params=["docker0 left over", "no docker0"])
def rich(bench: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Agent:
    """An agent that carries all that an uplink may carry."""
    monkeypatch.setattr(neighbours, "SURVEY_SECONDS", 0.0)  # nobody is there to answer
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64")
    furnish(agent)
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    if request.param != "no docker0":
        agent.namespace.ip("link add dev docker0 type bridge", "address add 172.18.0.1/16 dev docker0")
    return agent


@pytest.fixture(params=MODES)
def named(bench: Bench, request: pytest.FixtureRequest) -> Named:
    """An agent with an outer engine's resolver, and the parameters of a mode."""
    agent = closed(bench.agent("172.17.0.2/16"))
    return agent, OuterResolver(agent), MODES[request.param]


@pytest.fixture
def backends(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Backends:
    return Backends(tmp_path_factory.mktemp("bin"), monkeypatch)
