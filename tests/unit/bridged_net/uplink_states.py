# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""States of an uplink for the unit tests, recorded and drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import dns, sysctls
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import plan as bridged_net_plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import resolve
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step, expected

ROOTS = Roots()


BRIDGED = Desired(offset="0.0.1.0")


OWN = Address(4, "172.17.0.2", 16, broadcast="172.17.255.255")


DEFAULT_ROUTE = Route(4, "default", "eth0", "172.17.0.1")


CONNECTED = Route(4, "172.17.0.0/16", "eth0", options=("proto", "kernel", "scope", "link", "src", "172.17.0.2"))


LO = Link(
    "lo", 1, "00:00:00:00:00:00", 65536, up=True, is_loopback=True, addresses=(Address(4, "127.0.0.1", 8, "host"),)
)


ETH0 = Link("eth0", 2, "02:42:ac:11:00:02", 1500, up=True, kind="veth", addresses=(OWN,))


def fresh(*links: Link, routes: tuple[Route, ...] = (DEFAULT_ROUTE, CONNECTED), **fields: Any) -> State:
    """A container as the outer engine starts it."""
    network = Network((LO, *(links or (ETH0,))), routes)
    settings = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/eth0/disable_ipv6": "0", sysctls.ROUTE_LOCALNET: "0"}
    return State("here", "eth0", "docker0", network, settings, **fields)


def plan(desired: Desired, state: State) -> list[Step[State]]:
    return bridged_net_plan.plan(resolve(desired, state), state, ROOTS)


def facts(desired: Desired, state: State) -> dict[str, Any]:
    return resolve(desired, state).facts


def arranged(state: State, desired: Desired = BRIDGED) -> State:
    return expected(state, plan(desired, state))


RESOLVER = Resolver(udp=40001, tcp=40002)


TOLD = replace(RESOLVER, options=("timeout:5",))


EARLIER = dns.redirection(Resolver(udp=30001, tcp=30002), "172.17.0.2", ())


ipv4 = st.builds(
    Address,
    family=st.just(4),
    local=st.integers(2, 250).map(lambda n: f"10.0.{n}.1"),
    prefixlen=st.sampled_from([16, 24, 32]),
    alias=st.sampled_from(["", ":1"]),
    metric=st.sampled_from([0, 7]),
)


ipv6 = st.builds(
    Address,
    family=st.just(6),
    local=st.integers(2, 99).map(lambda n: f"fd00::{n}"),
    prefixlen=st.just(64),
    scope=st.sampled_from(["global", "link"]),
)


routes = st.builds(
    Route,
    family=st.just(4),
    dst=st.sampled_from(["default", "10.9.0.0/16", "10.8.0.0/16"]),
    device=st.sampled_from(["eth0", "eth1", "docker0"]),
    gateway=st.sampled_from(["", "172.17.0.254"]),
    metric=st.integers(0, 3),
    options=st.sampled_from([(), ("proto", "static"), ("table", "7")]),
)


neighbours = st.builds(
    Neighbour,
    dst=st.sampled_from(["10.0.0.9", "10.0.0.8"]),
    mac=st.just("02:00:00:00:00:01"),
    device=st.sampled_from(["eth0", "docker0"]),
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """Anything between untouched and arranged, with whatever others have left there."""
    addresses = (OWN, *draw(st.lists(ipv4 | ipv6, max_size=4, unique_by=lambda a: a.local)))
    on_uplink = draw(st.booleans())
    eth0 = replace(ETH0, addresses=addresses if on_uplink else (), master=draw(st.sampled_from(["", "docker0"])))
    leftovers = draw(st.lists(ipv4, max_size=2, unique_by=lambda a: a.local))
    bridge = Link(
        "docker0",
        9,
        draw(st.sampled_from([ETH0.mac, "02:42:00:00:00:01"])),
        draw(st.sampled_from([1400, 1500])),
        up=draw(st.booleans()),
        kind="bridge",
        stp=draw(st.booleans()),
        forward_delay=1500,
        addresses=tuple(leftovers),
    )
    links = (LO, eth0, bridge) if eth0.master or draw(st.booleans()) else (LO, eth0)
    found = tuple(dict.fromkeys(draw(st.lists(routes, max_size=5))))
    network = Network(links, found, tuple(dict.fromkeys(draw(st.lists(neighbours, max_size=2)))))
    record = Record(
        "here",
        "eth0",
        2,
        ETH0.mac,
        "docker0",
        "bridge",
        addresses=addresses,
        routes=tuple(replace(route, device="eth0") for route in found if draw(st.booleans())),
        bridge_before=draw(st.sampled_from([None, bridge])) if len(links) == 3 else None,
        sysctls=draw(st.sampled_from([{}, {"net/ipv4/ip_forward": "0"}])),
        verified=draw(st.booleans()),
    )
    remembered = record if not on_uplink or draw(st.booleans()) else None
    settings = {"net/ipv4/ip_forward": draw(st.sampled_from(["0", "1"])), "net/ipv6/conf/eth0/disable_ipv6": "0"}
    settings[sysctls.ROUTE_LOCALNET] = draw(st.sampled_from(["0", "1"]))
    stale = draw(st.sampled_from([(), ("172.17.0.9/16",), ("172.17.0.2/16",)]))
    state = State("here", "eth0", "docker0", network, settings, remembered, engine_addresses=stale)
    left = draw(st.sampled_from([(), dns.GUARD, (*dns.GUARD, *EARLIER)]))
    return replace(state, resolver=draw(st.sampled_from([None, TOLD])), rules=left)


LASTING = Desired(offset="0.0.1.0", mode="proxy_arp", persist="auto")
