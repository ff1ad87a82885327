# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The target of a run: all that follows from the parameters and the state, worked out once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import default_pools, ranges, uplink
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.default_pools import Pool
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, DEFAULT, PROXY_ARP, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError

if TYPE_CHECKING:
    from netaddr import IPNetwork

SMALLEST_ROUTED = 30  # the prefix length of a network with two hosts
ETHERNET_MTU = 1500


@dataclass(frozen=True)
class Target:
    """The module's return values for the engine, and in bridged mode the ``record`` of the uplink.

    ``fixed_cidr`` is the range, empty without bridged mode. ``bip`` is the bridge's address for dockerd, with its
    prefix length; empty if the uplink is only given back.
    """

    desired: Desired
    mode: str
    bridge: str
    uplink: str
    mac: str
    mtu: int
    record: Record | None = None
    bip: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    bip_v6: str = ""
    gateway: str = ""
    gateway_v6: str = ""
    address_pools: tuple[Pool, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """The module's return values."""
        own = ("desired", "record")
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in own}
        return found | {
            "masquerade": self.mode != PROXY_ARP,
            "address_pools": [dataclasses.asdict(pool) for pool in self.address_pools],
            "dns": list(self.dns),
            "dns_options": list(self.dns_options),
        }


def resolve(desired: Desired, state: State) -> Target:
    """Raises ParameterError for a parameter that this machine refuses, and DindError for anything else it lacks."""
    mode = choose_mode(desired, state)
    mac = state.uplink_link.mac if state.uplink else ""
    target = Target(desired, mode, desired.bridge, state.uplink, mac, _mtu(desired, state))
    if desired.state == "absent":
        return target
    if mode == DEFAULT:
        first, *others = default_pools.pools(state.network, state.bridge, state.uplink, state.engine_bridges)
        target = replace(target, bip=default_pools.first_address(first), address_pools=tuple(others))
    else:
        target = _bridged(target, replace(uplink.originals(state), mode=mode))
    if state.resolver is None:
        return target
    return replace(target, dns=(target.bip.partition("/")[0],), dns_options=state.resolver.options)


def choose_mode(desired: Desired, state: State) -> str:
    """Raises DindError if the uplink is in another bridged mode than the wanted one."""
    if not desired.is_bridged:
        return DEFAULT
    remembered = state.record.mode if state.record else ""
    if remembered and desired.mode not in ("auto", remembered):
        raise DindError(
            f"{state.uplink} is arranged in mode {remembered}, not {desired.mode}", cure="run state: absent first"
        )
    if remembered or desired.mode != "auto":
        return remembered or desired.mode
    return BRIDGE if state.survey.foreign_mac else PROXY_ARP


def _mtu(desired: Desired, state: State) -> int:
    largest = state.uplink_link.mtu if state.uplink else ETHERNET_MTU
    mtu = desired.mtu or largest
    if mtu > largest and desired.state == "present":
        raise ParameterError(f"mtu {mtu} is larger than that of {state.uplink or 'Ethernet'}, {largest}", "mtu")
    return mtu


def _bridged(target: Target, record: Record) -> Target:
    desired, is_port = target.desired, target.mode == BRIDGE
    own = ranges.network(uplink.own_address(record).cidr)
    found = _carve(desired, record, own)
    has_outer_gateway = desired.gateway == "outer" and is_port
    fixed_cidr_v6, bip_v6 = _ipv6(desired.ipv6_range, record) if desired.ipv6_range else ("", "")
    return replace(
        target,
        record=record,
        bip=str(own) if is_port else f"{found[1]}/{found.prefixlen}",
        fixed_cidr=str(found),
        fixed_cidr_v6=fixed_cidr_v6,
        bip_v6=bip_v6,
        gateway=record.gateway(4) if has_outer_gateway else "",
        gateway_v6=record.gateway(6) if has_outer_gateway else "",
    )


def _carve(desired: Desired, record: Record, own: IPNetwork) -> IPNetwork:
    gateway = record.gateway(4)
    peers = [ranges.network(peer, "peers") for peer in desired.peers]
    found = ranges.carve(
        own, own.ip, desired.offset, desired.size, ranges.network(gateway).ip if gateway else None, peers
    )
    for address in record.addresses:
        if address.family == 4 and ranges.network(address.local) in found:
            raise RangeError(f"the range {found} holds {address.local}, which {record.uplink} has as well")
    if record.mode == PROXY_ARP and found.prefixlen > SMALLEST_ROUTED:
        raise RangeError(
            f"with proxy ARP the range {found} has no room for the bridge and a container; allowed are sizes up to "
            f"{SMALLEST_ROUTED}",
            "size",
        )
    return found


def _ipv6(text: str, record: Record) -> tuple[str, str]:
    """The IPv6 range and the uplink's address in its network, which is one of the uplink's networks.

    The range may be the whole network: dockerd knows the bridge's own addresses, and makes containers' addresses of
    their MAC addresses. Raises RangeError.
    """
    if record.mode == PROXY_ARP:
        raise RangeError("with proxy ARP there is no IPv6 range: the kernel answers for single addresses", "ipv6_range")
    wanted = ranges.network(text, "ipv6_range")
    networks = [ranges.network(a.cidr) for a in record.without_link_local.addresses if a.family == 6]
    homes = [network for network in networks if wanted in network]
    if not homes:
        known = ", ".join(str(network.cidr) for network in networks) or "none"
        raise RangeError(
            f"the IPv6 range {wanted} lies in no IPv6 network of {record.uplink} (it has: {known})", "ipv6_range"
        )
    if wanted.ip != wanted.network:
        raise RangeError(f"the IPv6 range {wanted} has host bits set", "ipv6_range")
    _refuse_held(wanted, networks, homes, record)
    return str(wanted), str(homes[0])


def _refuse_held(wanted: IPNetwork, networks: list[IPNetwork], homes: list[IPNetwork], record: Record) -> None:
    gateway = record.gateway(6)
    reserved = [network.ip for network in networks] + ([ranges.network(gateway).ip] if gateway else [])
    held = [str(address) for address in (*reserved, *(home.network for home in homes)) if address in wanted]
    if held and wanted not in [home.cidr for home in homes]:
        raise RangeError(f"the IPv6 range {wanted} holds {held[0]}", "ipv6_range")
