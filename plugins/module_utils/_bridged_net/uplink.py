# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The uplink: the device that leads out, and its addresses and routes without us."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import addresses
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route

T = TypeVar("T")


def choose(desired: Desired, network: Network, record: Record | None, persisted: str = "") -> str:
    """The device that leads out; empty in default mode if none does.

    The first of: the parameter, the uplink of the ``record``, the uplink ``persisted`` by files of an earlier run, the
    default route's device, the only device that could be one. Raises DindError if there is none in bridged mode.
    """
    if desired.uplink:
        return _existing(desired.uplink, network)
    if record:
        return record.uplink
    if network.link(persisted):
        return persisted
    defaults = [route for route in network.routes if route.is_default and route.device]
    if defaults:
        return _behind(desired.bridge, min(defaults, key=lambda route: (route.family, route.metric)).device, network)
    return _only_candidate(desired, network)


def _existing(device: str, network: Network) -> str:
    if network.link(device) is None:
        there = ", ".join(link.name for link in network.links if not link.is_loopback)
        raise ParameterError(f"there is no network device {device!r}, only {there or 'none'}", "uplink")
    return device


def _behind(bridge: str, device: str, network: Network) -> str:
    """``device``, or the port that gave the bridge its MAC address if ``device`` is the bridge."""
    link = network.link(bridge)
    if device != bridge or link is None:
        return device
    ports = [port.name for port in network.links if port.master == bridge and port.mac == link.mac]
    if len(ports) != 1:
        raise DindError(f"the default route is on {bridge} already and its uplink is not clear", cure="name the uplink")
    return ports[0]


def _only_candidate(desired: Desired, network: Network) -> str:
    candidates = [
        link.name
        for link in network.links
        if link.up and not link.is_loopback and link.name != desired.bridge and own_addresses(link)
    ]
    if not desired.is_bridged:
        return next(iter(candidates), "")
    if len(candidates) != 1:
        found = ", ".join(candidates) or "none"
        raise DindError(
            f"without a default route the uplink is not clear (candidates: {found})", cure="name the uplink"
        )
    return candidates[0]


def own_addresses(link: Link) -> tuple[Address, ...]:
    """The addresses of ``link`` without the link-local ones, which the kernel makes on a port too."""
    return tuple(address for address in link.addresses if not address.is_link_local)


def own_routes(network: Network, device: str) -> tuple[Route, ...]:
    """The routes through ``device`` that the kernel did not make by itself."""
    link = network.link(device)
    on_device = link.addresses if link else ()
    return tuple(route for route in network.routes if route.device == device and not route.is_kernels(on_device))


def originals(state: State) -> Record:
    """The uplink's addresses and routes without us: remembered, still on the uplink, or both."""
    uplink, bridge = state.uplink_link, state.bridge_link
    if state.record:
        record = _renewed(state, state.record)
        found = (*record.addresses, *own_addresses(uplink))
        routes = (*record.routes, *_routes_of_uplink(state, uplink))
    else:
        adopted = [bridge] if bridge and state.is_port else []
        record = Record(state.namespace, uplink.name, uplink.index, uplink.mac, state.bridge, BRIDGE)
        before = bridge and replace(bridge, addresses=() if adopted else own_addresses(bridge))
        record = replace(record, bridge_before=before, neighbours=_neighbours(state))
        found = tuple(address for link in (uplink, *adopted) for address in link.addresses)
        routes = tuple(route for link in (uplink, *adopted) for route in _routes_of_uplink(state, link))
    return replace(record, addresses=tuple(dict.fromkeys(found)), routes=tuple(dict.fromkeys(routes)))


def _renewed(state: State, record: Record) -> Record:
    """``record`` with today's leases: the bridge's manager renews them on the bridge."""
    bridge = state.bridge_link
    by_networkd = state.persistence.files and state.persistence.is_followed
    if bridge is None or not (by_networkd or state.bridge in state.ifupdown.leasing):
        return record
    return replace(
        record,
        addresses=_with_leases(record.addresses, own_addresses(bridge), lambda address: address.is_leased),
        routes=_with_leases(record.routes, _routes_of_uplink(state, bridge), lambda route: route.is_dynamic),
    )


def _with_leases(remembered: Iterable[T], there: Sequence[T], is_leased: Callable[[T], bool]) -> tuple[T, ...]:
    """The remembered ones without those whose lease is gone, and the leased ones that are ``there``."""
    kept = (each for each in remembered if not is_leased(each) or each in there)
    return tuple(dict.fromkeys((*kept, *filter(is_leased, there))))


def _routes_of_uplink(state: State, link: Link) -> tuple[Route, ...]:
    """The routes through ``link``, as they were on the uplink."""
    return tuple(replace(route, device=state.uplink) for route in own_routes(state.network, link.name))


def _neighbours(state: State) -> tuple[Neighbour, ...]:
    devices = {state.uplink, state.bridge} if state.is_port else {state.uplink}
    return tuple(replace(e, device=state.uplink) for e in state.network.neighbours if e.device in devices)


def own_address(record: Record) -> Address:
    """The IPv4 address by which the outer network knows this machine. Raises RangeError without one.

    The default route's preferred address comes first, then one in the gateway's network, then the first of all.
    """
    candidates = [a for a in record.addresses if a.family == 4 and a.scope == "global"]
    if not candidates:
        raise RangeError(f"{record.uplink} has no IPv4 address, so there is no outer network to carve a range from")
    default = record.default_route(4)
    if default is None or len(candidates) == 1:
        return candidates[0]
    gateway = record.gateway(4)

    def is_near(address: Address) -> bool:
        return bool(gateway) and addresses.network(gateway) in addresses.network(address.cidr)

    return min(candidates, key=lambda address: (address.local not in default.options, not is_near(address)))
