# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The carving of ranges, against netaddr's own arithmetic and the ancestor's published examples."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import ranges as _ranges
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import (
    RangeError,
    carve,
    meet,
    parse_offset,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError

DOCKER = IPNetwork("172.17.0.0/16")
HOST = IPAddress("172.17.0.2")
GATEWAY = IPAddress("172.17.0.1")
Outer = tuple[IPNetwork, IPAddress, IPAddress]


@st.composite
def outer(draw: st.DrawFn) -> Outer:
    """An outer network with one of its addresses and its gateway."""
    prefix = draw(st.integers(8, 30))
    subnet = IPNetwork((draw(st.integers(1 << 24, (1 << 32) - 1)), prefix)).cidr
    host, gateway = (IPAddress(draw(st.integers(subnet.first + 1, subnet.last - 1))) for _ in range(2))
    return subnet, host, gateway


@pytest.mark.parametrize(
    ("offset", "expected"), [("0.0.1.0", "172.17.1.0/24"), ("0.0.2.0", "172.17.2.0/24"), ("256", "172.17.1.0/24")]
)
def test_the_ancestors_published_examples(offset: str, expected: str) -> None:
    assert carve(DOCKER, HOST, offset, 24, GATEWAY) == IPNetwork(expected)


def test_size_is_24_unless_given() -> None:
    assert carve(DOCKER, HOST, "0.0.1.0", None, GATEWAY) == IPNetwork("172.17.1.0/24")


def test_the_range_counts_from_the_network_and_not_from_the_containers_address() -> None:
    ranges = {carve(DOCKER, IPAddress(f"172.17.0.{n}"), "0.0.3.0", 24, GATEWAY) for n in range(2, 255)}
    assert ranges == {IPNetwork("172.17.3.0/24")}


@pytest.mark.parametrize(
    ("subnet", "host", "expected"),
    [
        ("172.17.0.0/16", "172.17.0.2", "172.17.2.0/24"),
        ("172.17.0.0/16", "172.17.0.254", "172.17.254.0/24"),
        ("192.168.1.0/24", "192.168.1.5", "192.168.1.80/28"),
        ("10.0.0.0/8", "10.0.1.7", "10.16.112.0/20"),
        ("192.168.1.0/29", "192.168.1.1", "192.168.1.2/31"),
    ],
)
def test_auto_follows_the_contracts_formula(subnet: str, host: str, expected: str) -> None:
    assert carve(IPNetwork(subnet), IPAddress(host), "auto", None, None) == IPNetwork(expected)


@pytest.mark.parametrize(
    ("subnet", "size", "room"),
    [
        ("10.0.0.0/8", None, 200),
        ("10.32.0.0/11", None, 200),
        ("172.17.0.0/16", None, 200),
        ("172.17.0.0/16", 25, 126),  # its first range holds no more addresses
        ("172.17.0.0/16", 22, 61),  # it has no more ranges
        ("10.7.0.0/20", None, 61),
        ("192.168.1.0/24", None, 13),
        ("192.168.1.0/29", None, 0),
    ],
)
def test_200_agents_have_disjoint_ranges_or_are_refused_with_the_numbers(
    subnet: str, size: int | None, room: int
) -> None:
    """One after the other on an outer network, which has the first address itself."""
    outer_network = IPNetwork(subnet)
    agents = [IPAddress(outer_network.first + number) for number in range(2, 202)]
    ranges, refusals = [], []
    for agent in agents:
        try:
            ranges.append(carve(outer_network, agent, "auto", size, IPAddress(outer_network.first + 1)))
        except RangeError as error:
            refusals.append((agent, str(error)))
    assert (len(ranges), len(refusals)) == (room, 200 - room)
    assert [agent for agent, _ in refusals] == agents[room:]
    assert not any(meet(one, other) for one, other in combinations(ranges, 2))
    assert not any(agent in carved for agent in agents[:room] for carved in ranges)
    for agent, refusal in refusals:
        assert all(number in refusal for number in (str(agent), subnet, "--ip-range", f"from 1 to {room + 1}"))


@pytest.mark.parametrize(
    ("subnet", "host", "offset", "size", "peers", "numbers"),
    [
        # The ancestor masked this one to 192.168.1.0/24 and so claimed the whole network.
        ("192.168.1.0/24", "192.168.1.5", "0.0.1.0", 24, (), ("size 24", "192.168.1.0/24", "25 to 32")),
        ("192.168.1.0/24", "192.168.1.5", "0.0.1.0", 28, (), ("0.0.1.0", "192.168.2.0", "0.0.0.224")),
        ("172.17.0.0/16", "172.17.0.2", "0.0.1.7", 24, (), ("0.0.1.7", "256 addresses", "0.0.1.0 and 0.0.2.0")),
        ("172.17.0.0/16", "172.17.0.2", "263", 24, (), ("263", "256 and 512")),
        ("172.17.0.0/16", "172.17.0.2", "0", 24, (), ("172.17.0.0/24", "network address", "256")),
        ("172.17.0.0/16", "172.17.9.2", "0.0.255.0", 24, (), ("broadcast address 172.17.255.255", "0.0.254.0")),
        (
            "172.17.0.0/16",
            "172.17.9.2",
            "0.0.9.0",
            24,
            (),
            ("container's own address 172.17.9.2", "0.0.8.0 and 0.0.10.0"),
        ),
        ("172.17.0.0/16", "172.17.9.2", "0.0.4.0", 24, (), ("gateway 172.17.4.1", "0.0.3.0 and 0.0.5.0")),
        ("172.17.0.0/16", "172.17.9.2", "0.0.7.0", 24, ("172.17.6.0/23",), ("172.17.6.0/23", "0.0.5.0 and 0.0.8.0")),
        ("172.17.0.0/16", "172.17.9.2", "0.0.7.0", 24, ("172.17.7.9/32",), ("172.17.7.9/32",)),
        ("172.17.0.0/16", "172.17.9.2", "200.0.0.0", 24, (), ("beyond 255.255.255.255", "0.0.254.0")),
        ("172.17.0.0/16", "172.17.9.2", "auto", None, (), ('"auto"', "2306", "1 to 254", "--ip-range 172.17.0.0/24")),
        ("172.17.0.0/16", "172.17.0.255", "auto", None, (), ("255", "1 to 254")),
        ("172.17.0.0/16", "172.17.0.2", "auto", 16, (), ("size 16", "17 to 32")),
        ("172.17.0.2/32", "172.17.0.2", "auto", None, (), ("172.17.0.2/32", "no room")),
        ("172.17.0.0/16", "172.17.0.2", "banana", None, (), ("banana", "dotted quad")),
        ("fd00::/64", "172.17.0.2", "0.0.1.0", None, (), ("fd00::/64", "IPv4")),
    ],
)
def test_refusals_hold_the_numbers(
    subnet: str, host: str, offset: str, size: int | None, peers: tuple[str, ...], numbers: tuple[str, ...]
) -> None:
    gateway = IPAddress("172.17.4.1")
    with pytest.raises(RangeError) as refusal:
        carve(IPNetwork(subnet), IPAddress(host), offset, size, gateway, [IPNetwork(peer) for peer in peers])
    assert "\n" not in str(refusal.value)
    assert [number for number in numbers if number not in str(refusal.value)] == []


@given(
    outer(), st.integers(0, (1 << 32) - 1) | st.integers(0, 300).map(lambda n: n << 8), st.none() | st.integers(1, 32)
)
def test_an_offset_gives_exactly_its_range_or_a_refusal(network: Outer, offset: int, size: int | None) -> None:
    subnet, host, gateway = network
    try:
        carved = carve(subnet, host, str(offset), size, gateway)
    except RangeError:
        first = subnet.first + offset
        span = 1 << (32 - (size or 24))
        fits = subnet.prefixlen < (size or 24) and first % span == 0 and first + span - 1 <= subnet.last
        forbidden = {subnet.first, subnet.last, int(host), int(gateway)}
        assert not fits or any(first <= address < first + span for address in forbidden)
    else:
        assert carved.first == carved.ip.value == subnet.first + offset
        assert carved.prefixlen == (size or 24)
        assert carved in subnet
        assert not any(address in carved for address in (subnet.network, IPAddress(subnet.last), host, gateway))


@given(outer(), st.none() | st.integers(1, 32), st.data())
def test_auto_ranges_of_two_agents_are_disjoint(network: Outer, size: int | None, data: st.DataObject) -> None:
    subnet, host, gateway = network
    other = IPAddress(data.draw(st.integers(subnet.first, subnet.last)))
    try:
        one, two = (carve(subnet, agent, "auto", size, gateway) for agent in (host, other))
    except RangeError:
        return
    assert meet(one, two) == (host == other)
    assert host not in two
    assert other not in one


@given(outer(), st.integers(0, 1 << 16), st.integers(9, 32))
def test_the_offsets_that_a_refusal_names_do(network: Outer, offset: int, size: int) -> None:
    subnet, host, gateway = network
    try:
        carve(subnet, host, str(offset), size, gateway)
    except RangeError as refusal:
        _, found, names = str(refusal).partition("nearest offsets that do: ")
        for name in names.split(" and ") if found else ():
            assert carve(subnet, host, name, size, gateway)


@given(st.integers(0, (1 << 32) - 1))
def test_both_notations_of_an_offset_are_one(offset: int) -> None:
    assert parse_offset(str(offset)) == parse_offset(str(IPAddress(offset))) == offset


@pytest.mark.parametrize(
    "text", ["", " 1", "1_0", "-1", "+1", "٣", "4294967296", "0.1", "0.0.256.0", "0.0.1.0/24", "AUTO"]
)
def test_what_is_no_offset_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"dotted quad.*integer.*auto"):
        parse_offset(text)


def test_without_netaddr_offsets_still_parse_and_ranges_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netaddr", None)
    assert parse_offset("0.0.1.0") == 256
    with pytest.raises(DindError, match="needs the Python library netaddr"):
        _ranges.network("172.17.0.0/16")


def test_the_settings_parser_does_not_pay_for_netaddr() -> None:
    program = f"import sys, {_ranges.__name__}; sys.exit('netaddr' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
