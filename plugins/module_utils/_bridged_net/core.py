# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module bridged_net: inner containers on the outer network.

With an offset, the container's uplink becomes a port of the inner engine's bridge (bridged mode). Otherwise the engine
has its own network (default mode), and we choose subnets that meet no outer route.
"""

from __future__ import annotations

import dataclasses
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import neighbours
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Move
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.plan import plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import PROXY_ARP
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State, Survey
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target, choose_mode, resolve
from ansible_collections.mesos.dind.plugins.module_utils._kernel import iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome, Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def core(params: Mapping[str, Any], runner: Runner, check: bool, roots: Roots | None = None) -> Outcome:
    """Run the module; see its documentation. Raises DindError."""
    desired, roots = Desired.of(params), roots or Roots()
    surveys: list[Survey] = []
    targets: list[Target] = []

    def look() -> State:
        state = inspect(desired, runner, roots)
        if desired.is_bridged and not state.is_port and (state.record is None or not state.record.verified):
            surveys[:] = surveys or [neighbours.surveyed(resolve(desired, state), state)]
            state = replace(state, survey=surveys[0])
        if state.record is None and choose_mode(desired, state) == PROXY_ARP:
            state = replace(state, rules=iptables.read(runner))
        return state

    def plan_once(state: State) -> list[Step[State]]:
        targets.append(resolve(desired, state))
        return plan(targets[-1], state, roots)

    with undisturbed():
        switch = "" if check else _prove_nat(desired, runner)
        done = _plan.converge(look, plan_once, runner, check=check)
    # In check mode, nobody has planned from the predicted state.
    target = resolve(desired, done.after) if check else targets[-1]
    is_moved = any(isinstance(step, Move) and step.reversible for step in done.steps)
    left = _left_behind(done.before, runner) if is_moved else []
    return Outcome(
        actions=[*([switch] if switch else []), *done.actions],
        before=_described(done.before),
        after=_described(done.after),
        facts=target.facts,
        warnings=[*_warnings(desired, surveys, done.before), *left],
    )


def _prove_nat(desired: Desired, runner: Runner) -> str:
    """Prove NAT before an engine starts. A bridge shows that an engine has started, or that we proved NAT before."""
    is_first = desired.bridge not in (name for _index, name in socket.if_nameindex())
    return iptables.prove(runner) if desired.state == "present" and is_first and iptables.is_installed() else ""


def require(roots: Roots | None = None, **params: Any) -> dict[str, Any]:
    """The module's return values, found by looking only; ``params`` are the module's.

    With mode `auto`, they are those of mode `bridge`: only questions to the neighbours tell whether the link carries
    foreign MAC addresses. Raises ParameterError for a range, a device or an MTU that this machine refuses.
    """
    desired = Desired.of(params)
    return resolve(desired, inspect(desired, Runner(), roots or Roots(), with_rules=False)).facts


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals of a lost terminal or connection until the move is done or undone."""
    ending = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _described(state: State) -> dict[str, Any]:
    """The diff's view of ``state``."""
    links = tuple(filter(None, map(state.network.link, (state.uplink, state.bridge))))
    names = {link.name for link in links}
    routes = tuple(route for route in state.network.routes if route.device in names)
    static = tuple(entry for entry in state.network.neighbours if entry.device in names)
    shown = dataclasses.asdict(Network(links, routes, static))
    return {
        **{kind: list(shown[kind]) for kind in ("links", "routes", "neighbours")},
        "sysctls": dict(state.sysctls),
        "record": dataclasses.asdict(state.record) if state.record else None,
        "engine_addresses": list(state.engine_addresses),
        "rules": [str(rule) for rule in sorted(state.rules, key=lambda rule: rule.table)],
        "files": {path: text.splitlines() for path, text in state.files.items()},
        "drop_in": state.drop_in.splitlines(),
    }


def _left_behind(before: State, runner: Runner) -> list[str]:
    """A warning about rules that name the uplink, where no traffic is routed in or out any more."""
    bound = [bound.what for bound in before.network.bound if bound.device == before.uplink]
    bound += [f"`{rule}`" for rule in iptables.naming(before.uplink, runner)]
    shown = ", ".join(bound[:5]) + (", ..." if len(bound) > 5 else "")
    return (
        [f"without effect, since they still name {before.uplink}: {shown}; have them name {before.bridge}"]
        if bound
        else []
    )


def _warnings(desired: Desired, surveys: Sequence[Survey], before: State) -> list[str]:
    warnings = []
    for taken in (found.taken for found in surveys if found.taken):
        shown = ", ".join(taken[:5]) + (", ..." if len(taken) > 5 else "")
        warnings.append(f"{len(taken)} address(es) of the range answer on {before.uplink} already: {shown}")
    moved = before.uplink_link.addresses if desired.is_bridged else ()
    leased = [address.cidr for address in moved if address.is_leased]
    if leased and desired.persist == "none":
        warnings.append(
            f"{', '.join(leased)} of {before.uplink} had a lifetime and is permanent on {desired.bridge}; the "
            "machine's own network configuration must renew it there"
        )
    return warnings
