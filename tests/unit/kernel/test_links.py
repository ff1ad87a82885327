# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Addresses and routes as `ip -json` shows them, and the words that make them again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from uplink_states import CONNECTED, OWN

from ansible_collections.mesos.dind.plugins.module_utils._kernel import links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Route


def test_an_address_keeps_what_it_had() -> None:
    shown = {"family": "inet", "local": "10.5.5.1", "address": "10.5.5.2", "prefixlen": 32, "scope": "global"}
    shown |= {"label": "eth0:x", "metric": 5, "noprefixroute": True, "valid_life_time": 60, "preferred_life_time": 30}
    address = links.parse_address(shown, "eth0")
    assert address.words("docker0", lasting=True) == (
        "10.5.5.1 peer 10.5.5.2/32 metric 5 scope global dev docker0 label docker0:x noprefixroute"
    )
    assert address.words("eth0", lasting=False).endswith("label eth0:x noprefixroute valid_lft 60 preferred_lft 30")


@pytest.mark.parametrize(("valid", "lasting"), [(links.FOREVER, True), (links.FOREVER, False), (60, True)])
def test_a_deprecated_address_stays_deprecated(valid: int, lasting: bool) -> None:
    address = Address(6, "fd00::2", 64, valid=valid, preferred=0)
    assert address.words("eth0", lasting=lasting).endswith("nodad preferred_lft 0")


def test_a_lifetime_makes_no_difference_between_addresses() -> None:
    assert replace(OWN, valid=60) == OWN


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "flags": []}, "default via 10.0.0.1 dev br"),
        (
            {
                "dst": "10.1.0.0/16",
                "dev": "eth0",
                "scope": "link",
                "prefsrc": "10.0.0.2",
                "metric": 5,
                "flags": ["linkdown"],
            },
            "10.1.0.0/16 dev br metric 5 scope link src 10.0.0.2",
        ),
        (
            {"dst": "10.1.0.0/16", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth0", "flags": ["onlink"]},
            "10.1.0.0/16 via inet6 fe80::1 dev br onlink",
        ),
        (
            {
                "dst": "10.1.0.0/16",
                "dev": "eth0",
                "table": "77",
                "flags": [],
                "metrics": [{"mtu": 1300, "advmss": 1200}],
            },
            "10.1.0.0/16 dev br table 77 mtu 1300 advmss 1200",
        ),
    ],
)
def test_a_route_is_made_again_by_the_same_words(shown: dict[str, Any], words: str) -> None:
    (route,) = links.parse_route(shown, 4)
    assert route.words("br", lasting=True) == words
    assert route.foreign == ()


def test_an_ipv6_default_route_is_told_from_the_ipv4_one() -> None:
    shown = {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra", "metric": 1024, "flags": []}
    (route,) = links.parse_route(shown | {"expires": 1790, "pref": "high"}, 6)
    assert route.words("br", lasting=True) == "::/0 via fe80::1 dev br metric 1024 proto ra pref high"
    assert route.words("eth0", lasting=False).endswith("expires 1790")


@pytest.mark.parametrize(
    ("route", "is_kernels"),
    [
        (CONNECTED, True),
        (replace(CONNECTED, metric=100), False),
        (replace(CONNECTED, options=("proto", "kernel", "scope", "link", "src", "172.17.0.3")), False),
        (replace(CONNECTED, options=("proto", "static", "scope", "link", "src", "172.17.0.2")), False),
        (Route(4, "10.5.5.2", "eth0", options=("proto", "kernel", "scope", "link", "src", "10.5.5.1")), True),
        (Route(6, "fd00::/64", "eth0", metric=256, options=("proto", "kernel")), True),
        (Route(6, "fd00::/64", "eth0", metric=100, options=("proto", "kernel")), False),
        (Route(6, "fd00:1::/64", "eth0", metric=256, options=("proto", "kernel")), False),
        (Route(6, "fd00:2::/64", "eth0", metric=7, options=("proto", "kernel")), True),
    ],
)
def test_a_route_is_the_kernels_own_where_an_address_brings_it(route: Route, is_kernels: bool) -> None:
    addresses = (
        OWN,
        Address(4, "10.5.5.1", 32, peer="10.5.5.2"),
        Address(6, "fd00::2", 64),
        Address(6, "fd00:1::2", 64, noprefixroute=True),
        Address(6, "fd00:2::2", 64, metric=7),
    )
    assert route.is_kernels(addresses) == is_kernels


def test_a_multipath_route_counts_for_each_of_its_devices() -> None:
    hops = [{"gateway": "10.0.0.1", "dev": "eth0", "weight": 1}, {"gateway": "10.1.0.1", "dev": "eth1", "weight": 1}]
    parsed = links.parse_route({"dst": "default", "flags": [], "nexthops": hops}, 4)
    assert [(route.device, route.foreign) for route in parsed] == [("eth0", ("nexthops",)), ("eth1", ("nexthops",))]


@pytest.mark.parametrize("shown", [{"type": "blackhole", "dst": "10.0.0.0/8"}, {"dst": "10.0.0.2", "table": "local"}])
def test_what_is_no_unicast_route_of_a_persons_is_left_out(shown: dict[str, Any]) -> None:
    assert list(links.parse_route(shown, 4)) == []


def test_documents_one_after_another() -> None:
    assert list(links.documents('[1]\n[{"a": 2}]\n\n[]\n')) == [[1], [{"a": 2}], []]
