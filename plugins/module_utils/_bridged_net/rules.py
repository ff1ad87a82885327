# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Our netfilter rules for traffic that the engine would drop, and the step that replaces rules of one purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._kernel import iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import COMMENT, Purpose, Rule
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# dockerd keeps the rules in this chain and asks it first.
USER_CHAIN = "DOCKER-USER"


def let_in(uplink: str, bridge: str, containers: str) -> tuple[Rule, ...]:
    """Accept traffic from the uplink for ``containers``, a range.

    Since Docker 28 the engine drops, for each container and before routing, packets from any device but its bridge
    (moby, iptabler: filterDirectAccess). It appends those rules.
    """
    # Neighbours may pretend to be our loopback.
    outside = ("!", "-s", "127.0.0.0/8", "-d", containers, "-i", uplink)
    return _accept("filter", USER_CHAIN, "-i", uplink, "-o", bridge), _accept("raw", "PREROUTING", *outside)


def let_out(bridge: str, containers: str) -> tuple[Rule, ...]:
    """Accept traffic of the engine's other networks to the bridge, except to ``containers``, and its answers.

    The engine isolates its networks (chains DOCKER-ISOLATION-*). It takes everything behind a bridge with an uplink for
    one of them.
    """
    answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
    return (
        _accept("filter", USER_CHAIN, "!", "-d", containers, "!", "-i", bridge, "-o", bridge),
        _accept("filter", USER_CHAIN, "-i", bridge, "!", "-o", bridge, *answers),
    )


def _accept(table: str, chain: str, *matches: str) -> Rule:
    return Rule(table, ("-I", chain, *matches, *COMMENT, "-j", "ACCEPT"), Purpose.FORWARD)


def replace_all(state: State, purpose: Purpose, wanted: tuple[Rule, ...]) -> list[Step[State]]:
    """Make ``wanted`` the only rules of this purpose. Undone, a killed run's rules are gone too."""
    there = state.rules_for(purpose)
    before = () if state.is_half_done else there
    is_done = set(wanted) == set(there) and there == before
    return [] if is_done else [SetRules(purpose, there, wanted, before)]


@dataclass(frozen=True)
class SetRules(Step[State]):
    """Replace the rules that are ``there`` with ``rules``, or when undone with ``before``."""

    purpose: Purpose
    there: tuple[Rule, ...]
    rules: tuple[Rule, ...]
    before: tuple[Rule, ...]

    def __str__(self) -> str:
        return self.purpose.value if self.rules else f"no longer {self.purpose.value}"

    def effect(self, state: State) -> State:
        others = tuple(rule for rule in state.rules if rule not in self.there)
        return replace(state, rules=tuple(sorted((*others, *self.rules), key=lambda rule: not rule.is_first)))

    def do(self, runner: Runner) -> None:
        self._change(runner, self.there, self.rules)

    def undo(self, runner: Runner) -> None:
        known = {*self.before, *self.there, *self.rules}
        self._change(runner, tuple(rule for rule in iptables.read(runner) if rule in known), self.before)

    @staticmethod
    def _change(runner: Runner, there: tuple[Rule, ...], wanted: tuple[Rule, ...]) -> None:
        if any(rule.chain == USER_CHAIN for rule in wanted if rule not in there):
            runner.run("iptables", "-w", "-N", USER_CHAIN, ok=(0, 1))  # 1: there already
        iptables.change(runner, there, wanted)
