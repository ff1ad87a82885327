# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Default mode: inner subnets that meet no route of the outer network (moby#32842).

This needs netaddr: an import of 30 ms once the standard library is loaded (Python 3.11).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import ranges
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network, Route

if TYPE_CHECKING:
    from netaddr import IPNetwork

# Docker's own default pools first (moby, daemon/libnetwork/ipamutils), then the rest of RFC 1918.
CANDIDATES = (
    (tuple(f"172.{second}.0.0/16" for second in range(17, 32)), 16),
    (("192.168.0.0/16",), 20),
    (("10.0.0.0/8",), 16),
)
POOLS = 31  # as many as Docker's own default has
# The engine names its bridges br- and the first 12 digits of the network's id; swarm adds a gateway bridge.
ENGINES_OWN = re.compile(r"br-[0-9a-f]{12}|docker_gwbridge")


@dataclass(frozen=True)
class Pool:
    """A subnet for inner networks of prefix length ``size``: an entry of dockerd's default-address-pools."""

    base: str
    size: int


def pools(network: Network, bridge: str, uplink: str, engines: Collection[str] = ()) -> tuple[Pool, ...]:
    """Subnets that meet no visible route but the default one, in order of preference.

    Routes to the inner engine's own networks do not count, so that the answer stays the same while the engine runs:
    ``bridge``, the bridges with the engine's names, and those of ``engines``, which are in the engine's record. Raises
    DindError if the routes leave no subnet.
    """
    chosen = {*_leading_nowhere(network, uplink)} & {*engines}
    routes = [route for route in network.routes if route.family == 4 and not _is_engines(route, bridge, chosen)]
    subnets = [ranges.network(route.dst) for route in routes if route.dst != "default"]
    free = chain.from_iterable(_free(base, size, subnets) for bases, size in CANDIDATES for base in bases)
    found = tuple(islice(free, POOLS + 1))
    if not found:
        raise DindError(
            "the visible routes leave no private subnet for the inner engine",
            cure="choose bridged mode (DOCKER_NETWORK_OFFSET), or narrow the routes",
        )
    return found


def _is_engines(route: Route, bridge: str, named_by_its_user: Collection[str]) -> bool:
    if route.device == bridge or ENGINES_OWN.fullmatch(route.device):
        return True
    return route.device in named_by_its_user and not route.gateway


def _leading_nowhere(network: Network, uplink: str) -> Iterator[str]:
    """Bridges whose only ports are veths, as containers have.

    With com.docker.network.bridge.name the engine may also use a bridge that leads out.
    """
    for link in network.links:
        ports = [port for port in network.links if port.master == link.name]
        if link.kind == "bridge" and link.name != uplink and all(p.kind == "veth" and p.name != uplink for p in ports):
            yield link.name


def _free(base: str, size: int, taken: Sequence[IPNetwork]) -> Iterator[Pool]:
    for subnet in ranges.network(base).subnet(size):
        if not any(ranges.meet(subnet, other) for other in taken):
            yield Pool(str(subnet), size)


def first_address(pool: Pool) -> str:
    """The bridge's address in ``pool``, with its prefix length."""
    subnet = ranges.network(pool.base)
    return f"{subnet[1]}/{subnet.prefixlen}"
