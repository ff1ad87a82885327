# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inner containers resolve outer names also where the outer resolver is on a loopback address.

dockerd takes no loopback address over from resolv.conf and, where there is no other, gives its containers public
resolvers. So they are told the bridge's address instead, and what they send to its port 53 is passed on to the
resolver, as kind does it (kubernetes-sigs/kind, images/base/files/usr/local/bin/entrypoint).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import SetSysctl, State
from ansible_collections.mesos.dind.plugins.module_utils._host import resolver as _resolver
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel import iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import COMMENT, Rule
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Of all devices, because dockerd makes bridges later: its default one, and one for each network of a user's own.
ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"
CHAIN = f"{iptables.OWN_CHAINS}DNS"
# What ROUTE_LOCALNET would let in: neighbours who address, or pretend to be, this machine's loopback (CVE-2020-8558).
GUARD = tuple(
    Rule("raw", ("-A", "PREROUTING", side, "127.0.0.0/8", "!", "-i", "lo", *COMMENT, "-j", "DROP"))
    for side in ("-d", "-s")
)


def redirection(resolver: Resolver, address: str, outside: Sequence[str]) -> tuple[Rule, ...]:
    """Rules that pass questions to ``address`` on to the resolver, but not what matches ``outside``.

    Also what is asked from here: containers on the host's network are told the same nameserver.
    """
    jumps = [("-A", hook, "-d", f"{address}/32", *COMMENT, "-j", CHAIN) for hook in ("PREROUTING", "OUTPUT")]
    spared = [("-A", CHAIN, *outside, *COMMENT, "-j", "RETURN")] if outside else []
    passed = [
        ("-A", CHAIN, "-p", protocol, "-m", protocol, "--dport", "53", *COMMENT, "-j", "DNAT", "--to-destination", to)
        for protocol, to in (
            ("udp", f"{_resolver.ADDRESS}:{resolver.udp}"),
            ("tcp", f"{_resolver.ADDRESS}:{resolver.tcp}"),
        )
    ]
    return tuple(Rule("nat", words) for words in (*jumps, *spared, *passed))


def plan(wanted: Sequence[Rule], state: State, proc: Path) -> list[Step[State]]:
    """What makes ``wanted`` the redirection; none is wanted where it is empty.

    The guard is there exactly where it was this plan that opened ROUTE_LOCALNET, and so remembers it. What a killed run
    has left behind is undone as if this run had done it.
    """
    nat = state.rules_of("nat")
    raw = tuple(rule for rule in state.rules_of("raw") if rule not in state.letting_through)
    nat_before, raw_before = ((), ()) if state.is_half_done else (nat, raw)
    is_open = state.sysctls.get(ROUTE_LOCALNET) == "1"
    is_left_open = is_open and raw != raw_before
    redirect = (
        [] if set(wanted) == set(nat) and nat == nat_before else [SetRules("nat", nat, tuple(wanted), nat_before)]
    )
    if wanted:
        is_guarded = set(raw) == set(GUARD) and raw == raw_before
        guard = [] if is_guarded or (is_open and not raw) else [SetRules("raw", raw, GUARD, raw_before)]
        closed = "0" if raw else state.sysctls.get(ROUTE_LOCALNET)
        opening = [] if is_open and not is_left_open else [SetSysctl(proc, ROUTE_LOCALNET, "1", closed)]
        return [*guard, *opening, *redirect]
    closing = [SetSysctl(proc, ROUTE_LOCALNET, "0", "1")] if raw and is_open else []
    return [*redirect, *closing, *([SetRules("raw", raw, (), raw)] if raw else [])]


@dataclass(frozen=True)
class SetRules(Step[State]):
    """``rules`` in the place of those that are ``there``, and ``before`` when this is undone."""

    table: str
    there: tuple[Rule, ...]
    rules: tuple[Rule, ...]
    before: tuple[Rule, ...]

    def __str__(self) -> str:
        if self.table == "raw":
            return f"{'drop' if self.rules else 'no longer drop'} what comes from outside for the loopback"
        return f"{'pass' if self.rules else 'no longer pass'} inner containers' questions on to {_resolver.ADDRESS}"

    def effect(self, state: State) -> State:
        others = tuple(rule for rule in state.rules if rule not in self.there)
        return replace(state, rules=(*others, *self.rules))

    def do(self, runner: Runner) -> None:
        iptables.change(runner, self.table, self.there, self.rules)

    def undo(self, runner: Runner) -> None:
        known = {*self.before, *self.there, *self.rules}
        there = [rule for rule in iptables.read(runner) if rule in known]
        iptables.change(runner, self.table, there, self.before)
