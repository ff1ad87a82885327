# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Mode `bridge`: the uplink becomes a port of the engine's bridge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import neighbours, rules, sysctls
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import (
    Move,
    Remember,
    ShapeBridge,
    missing_routes,
    move_lines,
    shape_lines,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in, manager
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import addresses
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose, Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step

SMALLEST_IPV6_MTU = 1280
LONGEST_LABEL = 15  # linux/if.h: IFNAMSIZ, with the zero at its end


def plan(target: Target, record: Record, state: State, roots: Roots) -> list[Step[State]]:
    """The steps from ``record``, which the target has. Raises DindError for a move that is not possible."""
    _refuse_what_cannot_move(target, record, state)
    chosen = manager.choose(target, state, record, roots)
    settings = {sysctls.IP_FORWARD: "1"}
    record = record.remembering(state.sysctls, settings)
    files = manager.files_for(chosen, target, state, record)
    is_new = not (state.record.verified if state.record else _is_adopted(state, record))
    is_ours = is_new or state.record is not None
    # ifupdown may be there without systemd, which then starts no engine either.
    has_drop_in = bool(files) and state.has_systemd
    # A bridge of somebody else's gets no rules. After a reboot, only our files tell that the bridge is ours.
    accepted = rules.let_out(record.bridge, target.fixed_cidr) if is_ours or has_drop_in else ()
    verification = neighbours.verification(target.desired, record, record.bridge)
    lasting = drop_in.text_of(drop_in.Noted(record.uplink, BRIDGE), accepted, {}) if has_drop_in else ""
    return [
        *_remember(record, state, is_new, roots),
        *_shape(target, record, state, is_new),
        *_set(settings, record, state, is_new, roots),
        *_accept(accepted, state),
        *_move(record, state, is_new, verification),
        *(chosen.keep(state, record, files, verification) if chosen else []),
        *drop_in.set_to(lasting, state, roots),
        *([Remember(roots.record, replace(record, verified=True))] if is_new else []),
    ]


def _is_adopted(state: State, record: Record) -> bool:
    """Whether somebody else made the uplink a port of this bridge, and nothing is left to move."""
    return state.is_port and not move_lines(record.without_link_local, state.network)


def _remember(record: Record, state: State, is_new: bool, roots: Roots) -> list[Step[State]]:
    if is_new:
        return [Remember(roots.record, replace(record, verified=False))]
    if state.record and state.record != record:
        return [Remember(roots.record, replace(record, verified=True), otherwise=state.record)]
    return []


def _shape(target: Target, record: Record, state: State, is_new: bool) -> list[Step[State]]:
    lines = shape_lines(state, record, target.mtu, is_new)
    return [ShapeBridge(record, lines, is_new, mtu=target.mtu)] if is_new or (state.record and lines) else []


def _set(settings: Mapping[str, str], record: Record, state: State, is_new: bool, roots: Roots) -> list[Step[State]]:
    is_ours = is_new or state.record
    wanted = {**settings, **_bridge_settings(state)} if is_ours else settings
    return sysctls.set_all(state, wanted, roots.proc, record.sysctls if is_new else {})


def _accept(accepted: tuple[Rule, ...], state: State) -> list[Step[State]]:
    return rules.replace_all(state, Purpose.FORWARD, accepted) if accepted or state.drop_in else []


def _move(record: Record, state: State, is_new: bool, verification: Sequence[Step[State]]) -> list[Step[State]]:
    lines = move_lines(record if is_new else record.without_link_local, state.network)
    if not (is_new or lines):
        return []
    return [Move(record, lines, is_new), *neighbours.announcement(record), *(verification if is_new else [])]


def _bridge_settings(state: State) -> Mapping[str, str]:
    """IPv6 on the bridge as it is on the uplink.

    A new bridge learns from routers until networkd or dockerd arranges it, even if the uplink does not.
    """
    disabled = state.sysctls.get(sysctls.DISABLE_IPV6.format(state.uplink))
    wanted = {} if disabled is None else {sysctls.DISABLE_IPV6.format(state.bridge): disabled}
    is_deaf = state.sysctls.get(sysctls.ACCEPT_RA.format(state.uplink)) == "0"
    return {**wanted, sysctls.ACCEPT_RA.format(state.bridge): "0"} if is_deaf else wanted


# Refusals


def _refuse_what_cannot_move(target: Target, record: Record, state: State) -> None:
    _refuse_devices(state)
    for route in record.routes:
        if route.foreign:
            raise DindError(
                f"the route to {route.dst} has attributes that cannot be moved: {', '.join(route.foreign)}",
                cure="remove the route, or name another uplink",
            )
    for address in record.addresses:
        if address.alias and len(record.bridge + address.alias) > LONGEST_LABEL:
            raise DindError(
                f"{address.local} would have the label {record.bridge}{address.alias} on the bridge, which is longer "
                f"than {LONGEST_LABEL} characters",
                cure="shorten its label, or the bridge's name",
            )
    _refuse_unreachable_gateways(state, record)
    if target.mtu < SMALLEST_IPV6_MTU and any(a.family == 6 for a in record.without_link_local.addresses):
        raise ParameterError(
            f"mtu {target.mtu} is below {SMALLEST_IPV6_MTU}, which IPv6 on {record.uplink} needs", "mtu"
        )


def _refuse_devices(state: State) -> None:
    uplink, bridge = state.uplink_link, state.bridge_link
    if uplink.is_loopback or uplink.name == state.bridge:
        raise DindError(f"{uplink.name} cannot be the uplink", cure="name another uplink")
    if uplink.master not in ("", state.bridge):
        raise DindError(f"{uplink.name} belongs to {uplink.master} already", cure=f"name {uplink.master} as the bridge")
    if bridge and bridge.kind != "bridge":
        raise DindError(f"{bridge.name} exists and is no bridge but {bridge.kind or 'a device'}", cure="name another")


def _refuse_unreachable_gateways(state: State, record: Record) -> None:
    """A route outlives the address that made its gateway a neighbour, but `ip` cannot add it again (fib_check_nh)."""
    for route in missing_routes(record, state.network, record.bridge):
        if not _has_neighbouring_gateway(route, record):
            raise DindError(
                f"the route to {route.dst} could not be made again: no address of {record.uplink} and no other route "
                f"of {record.uplink} leads to the gateway {route.gateway} any more",
                cure="remove the route, or give it `onlink`",
            )


def _has_neighbouring_gateway(route: Route, record: Record) -> bool:
    if not route.gateway or "onlink" in route.options:
        return True
    gateway = addresses.network(route.gateway.rpartition(" ")[2]).ip
    prefixes = [address.prefix for address in record.addresses if not address.noprefixroute]
    prefixes += [other.prefix for other in record.routes if other.leads_to_neighbours]
    return (gateway.version == 6 and gateway.is_link_local()) or any(gateway in prefix for prefix in prefixes)
