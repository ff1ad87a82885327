# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""DNS for inner containers if the outer resolver is on a loopback address.

dockerd ignores loopback addresses in resolv.conf and, without any other address there, gives its containers public
resolvers. So we give containers the bridge's address, and redirect queries to its port 53 to the resolver, as kind does
(kubernetes-sigs/kind, images/base/files/usr/local/bin/entrypoint).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import rules
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.rules import SetRules
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.sysctls import ROUTE_LOCALNET, SetSysctl
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._host import resolver as outer_resolver
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import COMMENT, OWN_CHAINS, Purpose, Rule
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step

CHAIN = f"{OWN_CHAINS}DNS"
# ROUTE_LOCALNET alone would let neighbours address, or pretend to be, this machine's loopback (CVE-2020-8558).
GUARD = tuple(
    Rule("raw", ("-A", "PREROUTING", side, "127.0.0.0/8", "!", "-i", "lo", *COMMENT, "-j", "DROP"), Purpose.GUARD)
    for side in ("-d", "-s")
)


def redirection(resolver: Resolver, address: str, outside: Sequence[str]) -> tuple[Rule, ...]:
    """Rules that redirect queries to ``address``, except packets that match ``outside``, to the resolver.

    Queries of this machine too: containers on the host's network have the same nameserver.
    """
    jumps = [("-A", hook, "-d", f"{address}/32", *COMMENT, "-j", CHAIN) for hook in ("PREROUTING", "OUTPUT")]
    spared = [("-A", CHAIN, *outside, *COMMENT, "-j", "RETURN")] if outside else []
    passed = [
        ("-A", CHAIN, "-p", protocol, "-m", protocol, "--dport", "53", *COMMENT, "-j", "DNAT", "--to-destination", to)
        for protocol, to in (
            ("udp", f"{outer_resolver.ADDRESS}:{resolver.udp}"),
            ("tcp", f"{outer_resolver.ADDRESS}:{resolver.tcp}"),
        )
    ]
    return tuple(Rule("nat", words, Purpose.REDIRECT) for words in (*jumps, *spared, *passed))


def plan(target: Target, state: State, proc: Path) -> list[Step[State]]:
    """Arrange the redirection, or remove it if the target has none.

    The guard shows that we opened ROUTE_LOCALNET. Undone, a killed run's changes are gone too.
    """
    wanted = _wanted(target, state)
    redirect = rules.replace_all(state, Purpose.REDIRECT, wanted)
    guard, is_open = state.rules_for(Purpose.GUARD), state.sysctls.get(ROUTE_LOCALNET) == "1"
    if wanted:
        return [*_open(state, guard, is_open, proc), *redirect]
    closing = [SetSysctl(proc, ROUTE_LOCALNET, "0", "1")] if guard and is_open else []
    return [*redirect, *closing, *([SetRules(Purpose.GUARD, guard, (), guard)] if guard else [])]


def _wanted(target: Target, state: State) -> tuple[Rule, ...]:
    if state.resolver is None or not target.dns:
        return ()
    if target.mode == BRIDGE:
        outside = ["!", "-s", target.fixed_cidr, "-i", state.bridge]
    else:
        outside = ["-i", state.uplink] if state.uplink else []
    return redirection(state.resolver, target.dns[0], outside)


def _open(state: State, guard: tuple[Rule, ...], is_open: bool, proc: Path) -> list[Step[State]]:
    if is_open and not guard:  # by somebody else
        return []
    is_left_open = is_open and state.is_half_done
    opening = [SetSysctl(proc, ROUTE_LOCALNET, "1", "0" if guard else state.sysctls.get(ROUTE_LOCALNET))]
    return [*rules.replace_all(state, Purpose.GUARD, GUARD), *(opening if is_left_open or not is_open else [])]
