# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Default mode: inner subnets that meet no route of the outer network (moby#32842)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from ansible_collections.mesos.dind.plugins.module_utils import _ranges
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._links import Network, Route

if TYPE_CHECKING:
    from netaddr import IPNetwork

# Docker's own default pools first (moby, daemon/libnetwork/ipamutils), then what is left of RFC 1918.
CANDIDATES = (
    (tuple(f"172.{second}.0.0/16" for second in range(17, 32)), 16),
    (("192.168.0.0/16",), 20),
    (("10.0.0.0/8",), 16),
)
POOLS = 31  # as many as Docker's own default has
# The engine's own networks are named br- and the first half of their id; swarm adds the gateway bridge.
ENGINES_OWN = re.compile(r"br-[0-9a-f]{12}|docker_gwbridge")


@dataclass(frozen=True)
class Pool:
    """A subnet to cut inner networks of prefix length ``size`` from: dockerd's default-address-pools."""

    base: str
    size: int


def pools(network: Network, bridge: str) -> tuple[Pool, ...]:
    """Subnets that meet no visible route but the default one, in the order of preference.

    What the inner engine has made itself (``bridge`` and its other networks) doesn't count, so that the answer
    stays the same while it runs. Raises DindError when the routes leave nothing.
    """
    routes = [route for route in network.routes if route.family == 4 and not _is_engines(route, bridge)]
    subnets = [_ranges.network(route.dst) for route in routes if route.dst != "default"]
    free = chain.from_iterable(_free(base, size, subnets) for bases, size in CANDIDATES for base in bases)
    found = tuple(islice(free, POOLS + 1))
    if not found:
        raise DindError(
            "the visible routes leave no private subnet for the inner engine",
            cure="choose bridged mode (DOCKER_NETWORK_OFFSET), or narrow the routes",
        )
    return found


def _is_engines(route: Route, bridge: str) -> bool:
    return route.device == bridge or ENGINES_OWN.fullmatch(route.device) is not None


def _free(base: str, size: int, taken: Sequence[IPNetwork]) -> Iterator[Pool]:
    for subnet in _ranges.network(base).subnet(size):
        if not any(_ranges.meet(subnet, other) for other in taken):
            yield Pool(str(subnet), size)


def first_address(pool: Pool) -> str:
    """The bridge's own address in ``pool``, with its prefix length."""
    subnet = _ranges.network(pool.base)
    return f"{subnet[1]}/{subnet.prefixlen}"
