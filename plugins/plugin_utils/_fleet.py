# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Assign ranges of one network to the agents of many hosts. The rules for a range are in _bridged_net/ranges.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import (
    AUTO,
    RangeError,
    carve,
    meet,
    parse_offset,
    vacant,
)

if TYPE_CHECKING:
    from netaddr import IPNetwork


@dataclass(frozen=True)
class Fleet:
    """``agents`` is the number of ranges of each host, in the order in which hosts are served.

    ``pinned`` has the offsets that hosts have already; ``agents`` need not name these hosts.
    """

    subnet: IPNetwork
    size: int
    agents: Mapping[str, int]
    reserved: tuple[IPNetwork, ...]
    pinned: Mapping[str, tuple[str, ...]]


def plan(fleet: Fleet) -> dict[str, list[IPNetwork]]:
    """The ranges of each host: first its pinned ranges, then the lowest free ones.

    A host's ranges depend on the hosts before it, on ``pinned`` and on ``reserved``, but not on the hosts after it.
    Raises RangeError if there are too few ranges, or if a pinned range is not allowed.
    """
    pinned = _pinned(fleet)
    missing = {host: number - len(pinned.get(host, ())) for host, number in fleet.agents.items()}
    taken = [*fleet.reserved, *(found for ranges in pinned.values() for found in ranges)]
    wanted = sum(missing.values())
    free = list(islice(vacant(fleet.subnet, fleet.size, taken), wanted))
    if len(free) < wanted:
        raise RangeError(
            f"{wanted} ranges of size {fleet.size} are wanted beside the pinned ones, and {fleet.subnet.cidr} has room "
            f"for {len(free)}; take fewer hosts or agents, a larger network, smaller ranges, or reserve less"
        )
    left = iter(free)
    return {host: [*pinned.get(host, ()), *islice(left, number)] for host, number in missing.items()}


def _pinned(fleet: Fleet) -> dict[str, list[IPNetwork]]:
    owners: dict[IPNetwork, str] = {}
    pinned: dict[str, list[IPNetwork]] = {host: [] for host in fleet.pinned}
    for host, offsets in fleet.pinned.items():
        number = fleet.agents.get(host, len(offsets))
        if len(offsets) > number:
            raise RangeError(f"pinned: {host} has {len(offsets)} offsets, and agents gives it {number}")
        for offset in offsets:
            found = _pinned_range(fleet, host, offset)
            if found in owners:
                raise RangeError(f"pinned: offset {offset} of {host} gives {found}, which is pinned to {owners[found]}")
            owners[found] = host
            pinned[host].append(found)
    return pinned


def _pinned_range(fleet: Fleet, host: str, offset: str) -> IPNetwork:
    try:
        if parse_offset(offset) == AUTO:
            raise RangeError('"auto" is no fixed offset')
        # ``reserved`` has the hosts' own addresses and the gateway. carve itself refuses the network's own address.
        found = carve(fleet.subnet, fleet.subnet.network, offset, fleet.size, gateway=None)
    except (RangeError, ValueError) as error:
        raise RangeError(f"pinned: {host}: {error}") from None
    for held in fleet.reserved:
        if meet(found, held):
            raise RangeError(f"pinned: offset {offset} of {host} gives {found}, which meets the reserved {held}")
    return found
