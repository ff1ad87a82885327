# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Links, addresses, routes and permanent neighbours of this network namespace, as `ip -json` shows them.

Each also has the words for `ip` to create it again, on the same device or on another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import addresses
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

if TYPE_CHECKING:
    from netaddr import IPNetwork

FOREVER = 4294967295
FAMILIES = {"inet": 4, "inet6": 6}
# Attributes of a route and the words that set them (iproute2, ip/iproute.c: print_route).
ROUTE_WORDS = {"from": "from", "tos": "tos", "table": "table", "protocol": "proto", "scope": "scope", "prefsrc": "src"}
ROUTE_METRICS = frozenset(
    {"mtu", "advmss", "window", "initcwnd", "initrwnd", "hoplimit", "ssthresh", "cwnd", "quickack"}
)
# Metric of the route that comes with an IPv6 address, by default (net/ipv6/route.c: IP6_RT_PRIO_ADDRCONF).
IPV6_PREFIX_METRIC = 256
# Attributes that are read elsewhere, or that only describe the moment.
ROUTE_IGNORED = frozenset({"type", "dst", "gateway", "via", "dev", "metric", "flags", "metrics", "pref", "expires"})


@dataclass(frozen=True)
class Address:
    """An address on a link. Comparisons ignore its lifetimes (seconds), which run down."""

    family: int
    local: str
    prefixlen: int
    scope: str = "global"
    broadcast: str = ""
    peer: str = ""
    alias: str = ""  # the label, after the device's name
    metric: int = 0
    noprefixroute: bool = False
    valid: int = field(default=FOREVER, compare=False)
    preferred: int = field(default=FOREVER, compare=False)

    @property
    def cidr(self) -> str:
        return f"{self.local}/{self.prefixlen}"

    @property
    def prefix(self) -> IPNetwork:
        """The network of the address's neighbours."""
        return addresses.network(f"{self.peer or self.local}/{self.prefixlen}").cidr

    @property
    def is_leased(self) -> bool:
        return self.valid != FOREVER

    @property
    def is_link_local(self) -> bool:
        return self.family == 6 and self.scope == "link"

    def words(self, device: str, *, lasting: bool) -> str:
        """The address on ``device``, for `ip address replace`; ``lasting`` makes it permanent.

        Duplicate detection is off: the kernel has already found the IPv6 address unique.
        """
        words = [self.local, "peer", f"{self.peer}/{self.prefixlen}"] if self.peer else [self.cidr]
        words += ["broadcast", self.broadcast] if self.broadcast else []
        words += ["metric", str(self.metric)] if self.metric else []
        words += ["scope", self.scope, "dev", device]
        words += ["label", f"{device}{self.alias}"] if self.alias else []
        words += ["noprefixroute"] if self.noprefixroute else []
        words += ["nodad"] if self.family == 6 else []
        if self.is_leased and not lasting:
            words += ["valid_lft", str(self.valid), "preferred_lft", str(self.preferred)]
        elif self.preferred == 0:  # deprecated: no source of new connections (RFC 4862)
            words += ["preferred_lft", "0"]
        return " ".join(words)


@dataclass(frozen=True)
class Route:
    """A unicast route outside the kernel's own table.

    ``options`` are words for `ip route`. ``foreign`` names the attributes that have no words here.
    """

    family: int
    dst: str
    device: str
    gateway: str = ""
    metric: int = 0
    options: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    expires: int = field(default=0, compare=False)

    @property
    def is_default(self) -> bool:
        return self.dst == "default" and "table" not in self.options

    @property
    def prefix(self) -> IPNetwork:
        everything = "0.0.0.0/0" if self.family == 4 else "::/0"
        return addresses.network(everything if self.dst == "default" else self.dst).cidr

    @property
    def leads_to_neighbours(self) -> bool:
        """Whether another route's gateway may be at the route's destination. `ip` shows no scope for IPv6."""
        return not self.gateway and (self.family == 6 or self.says("scope", "link"))

    def says(self, word: str, value: str) -> bool:
        return (word, value) in zip(self.options, self.options[1:], strict=False)

    def is_kernels(self, on_device: Iterable[Address]) -> bool:
        """Whether the kernel made the route together with one of the addresses ``on_device``.

        An address with `noprefixroute` has none. NetworkManager adds such a route itself, and marks it as the kernel's
        (nm-l3-config-data.c: NM_IP_CONFIG_SOURCE_KERNEL).
        """
        return self.says("proto", "kernel") and any(self._comes_with(address) for address in on_device)

    def _comes_with(self, address: Address) -> bool:
        metric = address.metric or (IPV6_PREFIX_METRIC if self.family == 6 else 0)
        if address.noprefixroute or (address.family, metric) != (self.family, self.metric):
            return False
        return (self.family == 6 or self.says("src", address.local)) and address.prefix == self.prefix

    @property
    def is_advertised(self) -> bool:
        """Whether a router advertised the route; its next advertisement refreshes it."""
        return self.says("proto", "ra")

    @property
    def is_dynamic(self) -> bool:
        """Whether the route came from a router's advertisement or with a lease."""
        return self.is_advertised or self.says("proto", "dhcp")

    def words(self, device: str, *, lasting: bool) -> str:
        """The route through ``device``, for `ip route`; ``lasting`` makes it permanent."""
        words = [self.dst if self.dst != "default" or self.family == 4 else "::/0"]
        words += ["via", *self.gateway.split()] if self.gateway else []
        words += ["dev", device]
        words += ["metric", str(self.metric)] if self.metric else []
        words += self.options
        words += ["expires", str(self.expires)] if self.expires and not lasting else []
        return " ".join(words)


@dataclass(frozen=True)
class Neighbour:
    """A permanent entry of the neighbour table."""

    dst: str
    mac: str
    device: str

    def words(self, device: str) -> str:
        return f"{self.dst} lladdr {self.mac} dev {device} nud permanent"


@dataclass(frozen=True)
class Link:
    name: str
    index: int
    mac: str
    mtu: int
    up: bool
    kind: str = ""
    master: str = ""
    stp: bool = False
    forward_delay: int = 0  # hundredths of a second
    is_loopback: bool = False
    addresses: tuple[Address, ...] = ()

    def of(self, family: int) -> tuple[Address, ...]:
        return tuple(address for address in self.addresses if address.family == family)


@dataclass(frozen=True)
class Bound:
    """Something that names a device and cannot move to another device."""

    device: str
    what: str


@dataclass(frozen=True)
class Network:
    """The contents of a network namespace."""

    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    bound: tuple[Bound, ...] = ()

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)


def read(runner: Runner) -> Network:
    """The network namespace of this process; two forks."""
    commands = "address show\nneighbour show nud permanent\nneighbour show proxy\nrule show\n"
    shown = documents(runner.run("ip", "-json", "-details", "-batch", "-", stdin=commands).stdout)
    links, neighbours, proxies, rules = shown
    # Without details, which include a route's default attributes.
    commands = "route show table all root 0.0.0.0/0\nroute show table all root ::/0\n"
    by_family = [*documents(runner.run("ip", "-json", "-batch", "-", stdin=commands).stdout)]
    routes = [
        parsed
        for family, document in zip((4, 6), by_family, strict=True)
        for route in document
        for parsed in parse_route(route, family)
    ]
    return Network(
        tuple(parse_link(link) for link in links),
        tuple(routes),
        tuple(Neighbour(entry["dst"], entry["lladdr"], entry["dev"]) for entry in neighbours if "lladdr" in entry),
        tuple(_bound(rules, proxies, chain.from_iterable(by_family))),
    )


def _bound(
    rules: Iterable[Mapping[str, Any]], proxies: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]]
) -> Iterator[Bound]:
    for rule in rules:
        yield from (Bound(rule[key], f"the rule {rule['priority']}") for key in ("iif", "oif") if key in rule)
    yield from (Bound(entry["dev"], f"the proxy neighbour {entry['dst']}") for entry in proxies if "dev" in entry)
    for route in routes:
        if route.get("type") == "multicast" and route.get("table") != "local" and "dev" in route:
            yield Bound(route["dev"], f"the multicast route to {route['dst']}")


def change(runner: Runner, lines: Iterable[str], *, all_the_same: bool = False) -> None:
    """Run ``lines`` as one batch of `ip`.

    The batch stops at the first line that fails; with ``all_the_same`` it runs the others too. Raises DindError that
    names the failed lines.
    """
    batch = [*lines]
    if not batch:
        return
    force = ("-force",) if all_the_same else ()
    done = runner.run("ip", *force, "-batch", "-", stdin="".join(f"{line}\n" for line in batch), ok=range(256))
    if done.status:
        failures = re.findall(r"(.*?)Command failed -:(\d+)", done.stderr, re.DOTALL)
        named = [(batch[int(number) - 1], said) for said, number in failures] or [("; ".join(batch), done.stderr)]
        causes = [f"`ip {line}` failed with status {done.status}: {said.strip()}" for line, said in named]
        raise DindError("; ".join(causes))


def documents(text: str) -> Iterator[Any]:
    """The JSON documents in ``text``, one after another."""
    decoder = json.JSONDecoder()
    rest = text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        yield document
        rest = rest[end:].lstrip()


def parse_link(link: Mapping[str, Any]) -> Link:
    info = link.get("linkinfo", {})
    details = info.get("info_data", {}) if info.get("info_kind") == "bridge" else {}
    return Link(
        name=link["ifname"],
        index=link["ifindex"],
        mac=link.get("address", ""),
        mtu=link["mtu"],
        up="UP" in link["flags"],
        kind=info.get("info_kind", ""),
        master=link.get("master", ""),
        stp=bool(details.get("stp_state", 0)),
        forward_delay=details.get("forward_delay", 0),
        is_loopback="LOOPBACK" in link["flags"],
        addresses=tuple(
            parse_address(address, link["ifname"])
            for address in link["addr_info"]
            # Only the kernel can make a temporary address (RFC 8981).
            if address.get("local") and not address.get("temporary")
        ),
    )


def parse_address(address: Mapping[str, Any], device: str) -> Address:
    label = address.get("label", "")
    return Address(
        family=FAMILIES[address["family"]],
        local=address["local"],
        prefixlen=address["prefixlen"],
        scope=str(address["scope"]),
        broadcast=address.get("broadcast", ""),
        peer=address.get("address", ""),
        alias=label.removeprefix(device) if label.startswith(f"{device}:") else "",
        metric=address.get("metric", 0),
        noprefixroute=address.get("noprefixroute", False),
        valid=address.get("valid_life_time", FOREVER),
        preferred=address.get("preferred_life_time", FOREVER),
    )


def parse_route(route: Mapping[str, Any], family: int) -> Iterator[Route]:
    """The route, once for each of its devices. Empty for the kernel's own table and for all but unicast routes."""
    if route.get("type", "unicast") != "unicast" or route.get("table") == "local":
        return
    metrics = {key: value for group in route.get("metrics", ()) for key, value in group.items()}
    via = route.get("via", {})
    known = ROUTE_WORDS.keys() | ROUTE_IGNORED
    for device in dict.fromkeys(hop.get("dev", "") for hop in route.get("nexthops", [route])):
        yield Route(
            family=family,
            dst=route["dst"],
            device=device,
            gateway=route.get("gateway", "") or " ".join((via["family"], via["host"]) if via else ()),
            metric=route.get("metric", 0),
            options=tuple(_options(route, metrics)),
            foreign=tuple(sorted((route.keys() - known) | (metrics.keys() - ROUTE_METRICS))),
            expires=route.get("expires", 0),
        )


def _options(route: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    for key, name in ROUTE_WORDS.items():
        if key in route:
            yield from (name, str(route[key]))
    if "onlink" in route.get("flags", ()):
        yield "onlink"
    for key, value in metrics.items():
        if key in ROUTE_METRICS:
            yield from (key, str(value))
    if route.get("pref", "medium") != "medium":
        yield from ("pref", route["pref"])
