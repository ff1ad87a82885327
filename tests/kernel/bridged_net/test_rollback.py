# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Moves that fail or are killed at any point."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest
from agent_bench import Agent, Bench, apply, do_all, interruptions

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Move, Remember, Reversible
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def the_move(steps: Sequence[Step[Any]]) -> tuple[int, Move]:
    return next((index, step) for index, step in enumerate(steps) if isinstance(step, Move))


def test_a_line_that_fails_keeps_none_of_the_others_from_being_undone_and_the_record_stays(bench: Bench) -> None:
    """Here it is a route that was there when it was remembered, and cannot be made again."""
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    steps = agent.steps(offset="0.0.1.0")
    lost = Route(4, "203.0.113.0/24", "eth0", "10.9.0.1")
    for index, step in enumerate(steps):
        if isinstance(step, Remember | Reversible):
            routes = (lost, *step.record.routes)
            steps[index] = dataclasses.replace(step, record=dataclasses.replace(step.record, routes=routes))
    index, move = the_move(steps)
    lines = (*move.lines, f"route append {lost.words('docker0', lasting=True)}")
    steps[index] = dataclasses.replace(move, lines=lines)
    with pytest.raises(DindError, match=r"could not be undone: `ip route append 203\.0\.113\.0/24 .* dev eth0` failed"):
        agent.namespace.call(apply, steps)
    assert agent.snapshot() == before
    assert agent.record.exists()
    agent.namespace.ip("route add 10.9.0.1 dev eth0 scope link")
    agent.converge(state="absent")
    assert agent.namespace.show("route", "show", "203.0.113.0/24")[0]["gateway"] == "10.9.0.1"
    assert not agent.record.exists()


def test_a_silent_gateway_undoes_everything(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", routes=("default via 172.17.0.66",))
    furnish_with_the_other_gateway = "route add 203.0.113.0/24 via 172.17.0.1"
    agent.namespace.ip(furnish_with_the_other_gateway)
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer within 0\.3 s"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before
    assert agent.namespace.sysctl("ipv4/ip_forward") == "0"
    assert not agent.record.exists()
    assert bench.host.pings("172.17.0.2")


def test_a_silent_ipv6_gateway_undoes_everything(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", routes=("default via 172.17.0.1", "default via fd00:17::66"))
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"fd00:17::66 did not answer"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before


def test_without_verify_nobody_is_asked(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",))
    outcome = agent.converge(offset="0.0.1.0", verify=False)
    assert not any("answers" in action for action in outcome.actions)
    assert agent.converge(offset="0.0.1.0", verify=False).actions == []


def test_a_batch_that_fails_half_way_is_undone(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    steps = agent.steps(offset="0.0.1.0")
    index, move = the_move(steps)
    for count in range(len(move.lines) + 1):
        broken = [*steps]
        broken[index] = dataclasses.replace(move, lines=(*move.lines[:count], "link set dev nowhere up"))
        with pytest.raises(DindError, match="nowhere"):
            agent.namespace.call(apply, broken)
        assert agent.snapshot() == before, f"after {count} lines"


def test_killed_after_any_step_of_the_move_the_next_run_completes_it(rich: Agent) -> None:
    before = rich.snapshot()
    steps = rich.steps(offset="0.0.1.0")
    rich.converge(offset="0.0.1.0")
    after = rich.snapshot()
    rich.converge(state="absent")
    points = list(interruptions(steps))
    assert len(points) > 20
    for name, done in points:
        assert rich.snapshot() == before, name
        rich.namespace.call(do_all, done)
        rich.converge(offset="0.0.1.0")
        assert rich.snapshot() == after, name
        assert rich.converge(offset="0.0.1.0").actions == [], name
        rich.converge(state="absent")


def test_killed_after_any_step_of_the_move_absent_restores_the_uplink(rich: Agent) -> None:
    before = rich.snapshot()
    for name, done in interruptions(rich.steps(offset="0.0.1.0")):
        rich.namespace.call(do_all, done)
        rich.converge(state="absent")
        assert rich.snapshot() == before, name


def test_killed_after_any_step_of_the_move_a_silent_gateway_undoes_everything(rich: Agent) -> None:
    rich.namespace.ip("route replace default via 172.17.0.66")
    before = rich.snapshot()
    *steps, _found_good = rich.steps(offset="0.0.1.0", mode="bridge", verify=False)
    for name, done in interruptions(steps):
        rich.namespace.call(do_all, done)
        with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer"):
            rich.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.1)
        assert rich.snapshot() == before, name
        assert not rich.record.exists(), name


@pytest.mark.parametrize("params", [{"state": "absent"}, {"offset": "0.0.1.0"}], ids=str)
def test_killed_while_restoring_both_ways_are_open(rich: Agent, params: dict[str, Any]) -> None:
    before = rich.snapshot()
    rich.converge(offset="0.0.1.0")
    after = rich.snapshot()
    goal = before if "state" in params else after
    for name, done in interruptions(rich.steps(state="absent")):
        rich.converge(offset="0.0.1.0")
        assert rich.snapshot() == after, name
        rich.namespace.call(do_all, done)
        rich.converge(**params)
        assert rich.snapshot() == goal, name


def test_hangup_and_terminate_wait_until_all_is_done(bench: Bench) -> None:
    """The connection that controls a run may be the one that the move cuts."""
    agent = bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",))
    before = agent.snapshot()
    told: list[int] = []

    def run() -> tuple[str, list[int]]:
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, lambda number, _: told.append(number))
        ask = arp.answering

        def cut(*args: Any) -> set[Any]:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert told == []
            return ask(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arp, "answering", cut)
            try:
                bridged_net.core({"offset": "0.0.1.0", "verify_timeout": 0.3}, Runner(), False, agent.roots)
            except DindError as error:
                return str(error), sorted(told)
        return "", told

    message, told = agent.namespace.call(run)
    assert "did not answer" in message
    assert told == [signal.SIGHUP, signal.SIGTERM]
    assert agent.snapshot() == before
