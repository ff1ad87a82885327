# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The record of the uplink before the first change: enough to complete the move, or to take it back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route

BRIDGE, PROXY_ARP, DEFAULT = "bridge", "proxy_arp", "default"


@dataclass(frozen=True)
class Record:
    """The addresses, routes, neighbours and settings of an uplink.

    A record holds for one device in one network namespace of one boot, since its file outlives all three.
    """

    namespace: str
    uplink: str
    index: int
    mac: str
    bridge: str
    mode: str
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    bridge_before: Link | None = None
    sysctls: Mapping[str, str] = dataclasses.field(default_factory=dict)
    verified: bool = False

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Record:
        """Raises ValueError for a text that is no record of this version."""
        try:
            fields: dict[str, Any] = json.loads(text)
            before = fields["bridge_before"]
            fields["addresses"] = tuple(Address(**each) for each in fields["addresses"])
            fields["routes"] = tuple(_route(each) for each in fields["routes"])
            fields["neighbours"] = tuple(Neighbour(**each) for each in fields["neighbours"])
            fields["bridge_before"] = None if before is None else _link(before)
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None

    @property
    def unleased(self) -> Record:
        """The record without addresses and routes of leases and advertisements."""
        addresses = tuple(address for address in self.addresses if not address.is_leased)
        return replace(self, addresses=addresses, routes=tuple(r for r in self.routes if not r.is_dynamic))

    @property
    def without_link_local(self) -> Record:
        """With IPv6, dockerd removes link-local addresses from its bridge and adds its own."""
        return replace(self, addresses=tuple(a for a in self.addresses if not a.is_link_local))

    def default_route(self, family: int) -> Route | None:
        defaults = (route for route in self.routes if route.is_default and route.family == family)
        return min(defaults, key=lambda route: route.metric, default=None)

    def gateway(self, family: int) -> str:
        """The outer network's gateway of this IP version; empty without one."""
        default = self.default_route(family)
        return default.gateway if default and " " not in default.gateway else ""

    def remembering(self, now: Mapping[str, str], wanted: Mapping[str, str]) -> Record:
        """The record with the settings of ``now`` that ``wanted`` will change and that are not in it yet."""
        changing = {name: now[name] for name, value in wanted.items() if now.get(name, value) != value}
        return replace(self, sysctls={**changing, **self.sysctls})


def _link(fields: Mapping[str, Any]) -> Link:
    return Link(**{**fields, "addresses": tuple(Address(**each) for each in fields["addresses"])})


def _route(fields: Mapping[str, Any]) -> Route:
    words = {name: tuple(fields[name]) for name in ("options", "foreign")}
    return Route(**{**fields, **words})


def read(path: Path, namespace: str, network: Network) -> Record | None:
    """The record in ``path``; None if it is of another namespace, device or boot."""
    try:
        record = Record.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    uplink = network.link(record.uplink)
    is_same = uplink is not None and (uplink.index, uplink.mac) == (record.index, record.mac)
    return record if is_same and record.namespace == namespace else None
