# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The target: mode, range, addresses and refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from uplink_states import BRIDGED, DEFAULT_ROUTE, ETH0, OWN, arranged, facts, fresh, plan

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Survey
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import choose, own_address
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Route


def test_a_link_that_drops_foreign_macs_is_served_by_proxy_arp() -> None:
    auto = Desired(offset="0.0.1.0", mode="auto")
    state = fresh(survey=Survey(foreign_mac=False))
    assert facts(auto, state)["mode"] == "proxy_arp"
    assert facts(auto, fresh())["mode"] == "bridge"
    assert facts(auto, replace(arranged(state, auto), survey=Survey()))["mode"] == "proxy_arp"
    with pytest.raises(DindError, match="state: absent first"):
        plan(Desired(offset="0.0.1.0", mode="bridge"), arranged(state, auto))


def test_facts_of_proxy_arp() -> None:
    found = facts(Desired(offset="0.0.1.0", mode="proxy_arp"), fresh())
    assert (found["bip"], found["fixed_cidr"], found["gateway"]) == ("172.17.1.1/24", "172.17.1.0/24", "")
    assert found["masquerade"] is False


@pytest.mark.parametrize(
    ("addresses", "routes", "expected_own"),
    [
        (("172.17.0.2/16", "10.0.0.2/24"), [Route(4, "default", "eth0", "10.0.0.1")], "10.0.0.2"),
        (("172.17.0.2/16", "172.17.0.3/16"), [replace(DEFAULT_ROUTE, options=("src", "172.17.0.3"))], "172.17.0.3"),
        (("172.17.0.2/16", "10.0.0.2/24"), [], "172.17.0.2"),
        (("172.17.0.2/16", "10.0.0.2/24"), [Route(4, "default", "eth0", "10.0.0.1", 9), DEFAULT_ROUTE], "172.17.0.2"),
    ],
)
def test_of_several_addresses_the_one_of_the_default_route_counts(
    addresses: tuple[str, ...], routes: list[Route], expected_own: str
) -> None:
    found = tuple(
        Address(4, local, int(length)) for local, _slash, length in (text.partition("/") for text in addresses)
    )
    record = Record("", "eth0", 2, "", "docker0", "bridge", addresses=found, routes=tuple(routes))
    assert own_address(record).local == expected_own


def test_no_ipv4_address_no_range() -> None:
    with pytest.raises(RangeError, match="eth0 has no IPv4 address"):
        plan(BRIDGED, fresh(replace(ETH0, addresses=())))


@pytest.mark.parametrize(
    ("ipv6_range", "cause"),
    [
        ("fd00:1::/64", "lies in no IPv6 network of eth0 (it has: fd00::/64)"),
        ("fd00::/56", "lies in no IPv6 network"),
        ("10.0.0.0/24", "lies in no IPv6 network"),
        ("fd00::/112", "holds fd00::2"),
        ("fd00::1:1/112", "has host bits set"),
        ("nonsense", "CIDR"),
    ],
)
def test_ipv6_ranges_that_cannot_be(ipv6_range: str, cause: str) -> None:
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64)))
    with pytest.raises(RangeError, match=re.escape(cause)):
        plan(Desired(offset="0.0.1.0", ipv6_range=ipv6_range), fresh(eth0))


@pytest.mark.parametrize(
    ("params", "parameter", "cause"),
    [
        ({"uplink": "eth9"}, "uplink", "no network device 'eth9', only eth0"),
        ({"mtu": 9000}, "mtu", "larger than that of eth0, 1500"),
        ({"mtu": 1200}, "mtu", "below 1280, which IPv6 on eth0 needs"),
        ({"offset": "0.0.1.7"}, "offset", "no multiple"),
        ({"peers": ("172.17.1.0/33",)}, "peers", "CIDR"),
        ({"ipv6_range": "fd00:1::/64"}, "ipv6_range", "lies in no IPv6 network"),
        ({"ipv6_range": "fd00::/64", "mode": "proxy_arp"}, "ipv6_range", "with proxy ARP there is no IPv6 range"),
        ({"ipv6_range": "fd00::/64", "offset": ""}, "ipv6_range", "for bridged mode only"),
    ],
)
def test_a_refusal_knows_whose_fault_it_is(params: dict[str, Any], parameter: str, cause: str) -> None:
    state = fresh(replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64))))

    def look() -> None:
        desired = Desired.of({"offset": "0.0.1.0", "mode": "bridge", **params})
        choose(desired, state.network, None)
        plan(desired, state)

    with pytest.raises(ParameterError, match=cause) as refused:
        look()
    assert refused.value.parameter == parameter


def test_the_whole_ipv6_network_may_be_the_range() -> None:
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fe80::2", 64, "link"), Address(6, "fd00::2", 64)))
    found = facts(Desired(offset="0.0.1.0", ipv6_range="fd00::/64"), fresh(eth0))
    assert (found["fixed_cidr_v6"], found["bip_v6"]) == ("fd00::/64", "fd00::2/64")


@pytest.mark.parametrize("size", [31, 32])
def test_a_range_too_small_for_proxy_arp(size: int) -> None:
    with pytest.raises(ParameterError, match=rf"172\.17\.1\.0/{size} has no room .* sizes up to 30") as refused:
        facts(Desired(offset="0.0.1.0", size=size, mode="proxy_arp"), fresh())
    assert refused.value.parameter == "size"
    assert facts(Desired(offset="0.0.1.0", size=size, mode="bridge"), fresh())["fixed_cidr"] == f"172.17.1.0/{size}"


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"mtu": 67}, "68 to 65535"),
        ({"mtu": 65536}, "68 to 65535"),
        ({"verify_timeout": 0.0}, "between 0 and 300"),
        ({"verify_timeout": 301.0}, "between 0 and 300"),
        ({"bridge": "a/b"}, "'a/b'"),
        ({"uplink": "sixteen-letters-"}, "at most 15"),
        ({"uplink": ".."}, "name of a network device"),
    ],
)
def test_parameters_that_no_machine_has(params: dict[str, Any], cause: str) -> None:
    with pytest.raises(DindError, match=re.escape(cause)):
        Desired.of(params)
