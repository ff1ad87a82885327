# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests of a fleet's ranges, against netaddr's sets and the carving on the hosts, and of the filter in Ansible."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork, IPRange, IPSet

from ansible_collections.mesos.dind.plugins.filter.fleet_ranges import DOCUMENTATION, FilterModule
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import carve

ROOT = Path(__file__).parents[2]
fleet_ranges = FilterModule().filters()["fleet_ranges"]

# The first example loads Ansible and netaddr, which takes long on a busy machine.
unhurried = settings(deadline=None)

Held: TypeAlias = IPAddress | IPNetwork | IPRange
Agents: TypeAlias = int | Mapping[str, int]
# Network, prefix length of the ranges, hosts, agents, and the reservations and their texts.
Fleet: TypeAlias = tuple[str, int, list[str], Agents, list[Held], list[str]]
# Each host with its ranges, as the filter returns them.
Plan: TypeAlias = Mapping[str, Mapping[str, Any]]

# Small sizes, so that fleets often outgrow their networks.
sizes_below = st.integers(1, 6)


def host_lists(min_size: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.integers(0, 99).map("a{}".format), unique=True, min_size=min_size, max_size=12)


agent_numbers = st.integers(1, 4)


@st.composite
def networks(draw: st.DrawFn) -> tuple[str, int]:
    """An outer network as text, sometimes with host bits, and the prefix length of its ranges."""
    prefix = draw(st.integers(8, 30))
    size = draw(sizes_below.map(lambda bits: min(prefix + bits, 32)))
    return str(IPNetwork((draw(st.integers(1 << 24, (1 << 32) - 1)), prefix))), size


@st.composite
def reservations(draw: st.DrawFn, network: str) -> tuple[list[Held], list[str]]:
    """Addresses, networks and spans, mostly in the network, and the text of each."""
    subnet = IPNetwork(network)
    low, high = max(subnet.first - 2, 0), min(subnet.last + 2, (1 << 32) - 1)
    addresses = st.integers(low, high).map(IPAddress)
    held = draw(
        st.lists(
            addresses
            | st.builds(lambda at, prefix: IPNetwork((at.value, prefix)), addresses, st.integers(subnet.prefixlen, 32))
            | st.lists(addresses, min_size=2, max_size=2).map(lambda ends: IPRange(min(ends), max(ends))),
            max_size=4,
        )
    )
    return held, [str(item) for item in held]


@st.composite
def fleets(draw: st.DrawFn, min_hosts: int = 0) -> Fleet:
    network, size = draw(networks())
    hosts = draw(host_lists(min_hosts))
    some: st.SearchStrategy[dict[str, int]] = (
        st.dictionaries(st.sampled_from(hosts), agent_numbers) if hosts else st.just({})
    )
    held, texts = draw(reservations(network))
    return network, size, hosts, draw(agent_numbers | some), held, texts


def room(network: str, size: int, held: Sequence[Held]) -> list[IPNetwork]:
    """The free ranges, from a look at each range of the network."""
    subnet = IPNetwork(network).cidr
    barred = IPSet([subnet.network, subnet[-1]]) | union(held)
    return [found for found in subnet.subnet(size) if barred.isdisjoint(IPSet([found]))]


def union(held: Iterable[Held]) -> IPSet:
    return IPSet([network for item in held for network in (item.cidrs() if isinstance(item, IPRange) else [item])])


def number(agents: Agents, host: str) -> int:
    return agents if isinstance(agents, int) else agents.get(host, 1)


def cidrs(plan: Plan) -> list[IPNetwork]:
    return [IPNetwork(agent["cidr"]) for host in plan.values() for agent in host["agents"]]


@unhurried
@given(fleets(), st.data())
def test_every_range_is_disjoint_and_what_the_host_will_carve_or_there_is_no_room(
    fleet: Fleet, data: st.DataObject
) -> None:
    network, size, hosts, agents, held, texts = fleet
    subnet = IPNetwork(network).cidr
    # The documentation reserves the addresses of the host and of the outer network's gateway.
    host, gateway = (IPAddress(data.draw(st.integers(subnet.first, subnet.last))) for name in ("host", "gateway"))
    held, texts = [*held, host, gateway], [*texts, str(host), str(gateway)]
    wanted = sum(number(agents, name) for name in hosts)
    free = room(network, size, held)
    if wanted > len(free):
        with pytest.raises(AnsibleFilterError, match=rf"{wanted} ranges of size {size} .* room for {len(free)};"):
            fleet_ranges(hosts, network, size=size, agents=agents, reserved=texts)
        return
    plan = fleet_ranges(hosts, network, size=size, agents=agents, reserved=texts)
    assert [(name, len(ranges["agents"])) for name, ranges in plan.items()] == [(n, number(agents, n)) for n in hosts]
    found = cidrs(plan)
    assert found == free[:wanted]
    assert union(held).isdisjoint(IPSet(found))
    assert sum(len(IPSet([one])) for one in found) == len(IPSet(found))
    for ranges in plan.values():
        assert {name: ranges[name] for name in ("offset", "size", "cidr")} == ranges["agents"][0]
        for agent in ranges["agents"]:
            mine = IPNetwork(agent["cidr"])
            peers = [other for other in found if other != mine]
            assert carve(IPNetwork(network), host, agent["offset"], agent["size"], gateway, peers) == mine


@unhurried
@given(fleets(), host_lists())
def test_hosts_at_the_end_move_nobody(fleet: Fleet, more: list[str]) -> None:
    network, size, hosts, agents, _held, texts = fleet
    longer = hosts + [name for name in more if name not in hosts]
    before, after = plans([(hosts, {}), (longer, {})], network=network, size=size, agents=agents, reserved=texts)
    assert {name: after[name] for name in hosts} == before


@unhurried
@given(fleets(), st.data())
def test_the_pinned_stay_whoever_comes_and_goes(fleet: Fleet, data: st.DataObject) -> None:
    network, size, hosts, agents, _held, texts = fleet
    (before,) = plans([(hosts, {})], network=network, size=size, agents=agents, reserved=texts)
    pinned = {name: [agent["offset"] for agent in ranges["agents"]] for name, ranges in before.items()}
    others = data.draw(st.permutations([*hosts, "b1", "b2"]))[data.draw(st.integers(0, 5)) :]
    agents = {name: number(agents, name) + data.draw(st.integers(0, 1)) for name in others}
    (after,) = plans([(others, pinned)], network=network, size=size, agents=agents, reserved=texts)
    for name in set(others) & set(hosts):
        assert after[name]["agents"][: len(pinned[name])] == before[name]["agents"]
    gone = [IPNetwork(agent["cidr"]) for name in set(hosts) - set(others) for agent in before[name]["agents"]]
    assert IPSet(gone).isdisjoint(IPSet(cidrs(after)))


@unhurried
@given(fleets(min_hosts=1), st.data())
def test_a_host_that_is_gone_but_pinned_moves_nobody(fleet: Fleet, data: st.DataObject) -> None:
    network, size, hosts, agents, _held, texts = fleet
    gone = data.draw(st.sampled_from(hosts))
    (before,) = plans([(hosts, {})], network=network, size=size, agents=agents, reserved=texts)
    left = [name for name in hosts if name != gone]
    pinned = {gone: [agent["offset"] for agent in before[gone]["agents"]]}
    agents = {name: number(agents, name) for name in left}
    (after,) = plans([(left, pinned)], network=network, size=size, agents=agents, reserved=texts)
    assert after == {name: before[name] for name in left}


@unhurried
@given(fleets(min_hosts=1), st.data())
def test_pins_are_had_as_they_are_or_refused_for_a_reason(fleet: Fleet, data: st.DataObject) -> None:
    network, size, hosts, agents, held, texts = fleet
    span = 1 << (32 - size)
    aligned = st.integers(0, IPNetwork(network).size // span).map(lambda index: index * span)
    offsets = aligned | aligned | st.integers(0, (1 << 32) - 1)
    names = data.draw(st.permutations([*hosts, "gone"]))[:3]
    pinned = {name: data.draw(st.lists(offsets, max_size=2)) for name in names}
    free = {found.first - IPNetwork(network).first for found in room(network, size, held)}
    given_twice = [one for ours in pinned.values() for one in ours]
    wanted = sum(number(agents, name) for name in hosts) + len(pinned.get("gone", ()))
    good = (
        free.issuperset(given_twice)
        and len(given_twice) == len(set(given_twice))
        and all(len(ours) <= number(agents, name) for name, ours in pinned.items() if name != "gone")
        and wanted <= len(free)
    )
    try:
        plan = fleet_ranges(hosts, network, size=size, agents=agents, reserved=texts, pinned=pinned)
    except AnsibleFilterError:
        assert not good
    else:
        assert good
        assert not any(one in other or other in one for one, other in combinations(cidrs(plan), 2))
        for name in hosts:
            had = [int(IPAddress(agent["offset"])) for agent in plan[name]["agents"]]
            assert had[: len(pinned.get(name, ()))] == pinned.get(name, [])


def plans(cases: Iterable[tuple[list[str], Mapping[str, Any]]], **options: Any) -> list[Plan]:
    """The plan of each (hosts, pinned). If a plan has no room, hypothesis tries another example."""
    try:
        return [fleet_ranges(hosts, pinned=pinned, **options) for hosts, pinned in cases]
    except AnsibleFilterError as refusal:
        if "has room for" not in str(refusal):
            raise
        reject()


@pytest.mark.parametrize(
    ("hosts", "network", "options", "parts"),
    [
        (["a1"], "banana", {}, ["'banana'", "CIDR"]),
        ([], "banana", {}, ["'banana'"]),
        (["a1"], "fd00::/64", {}, ["fd00::/64", "IPv4"]),
        (["a1"], "10.20.0.0/16", {"size": 16}, ["size 16", "10.20.0.0/16", "17 to 32"]),
        ([], "10.20.0.0/16", {"size": 33}, ["size 33", "17 to 32"]),
        (["a1"], "10.20.0.0/16", {"size": "many"}, ["size", "'many'"]),
        (["a1", "a2", "a1"], "10.20.0.0/16", {}, ["a1", "more than once", "3"]),
        ("a1,a2", "10.20.0.0/16", {}, ["hosts", "'a1,a2'", "list"]),
        ({"a1": {}}, "10.20.0.0/16", {}, ["hosts", "list"]),
        (["a1"], "10.20.0.0/16", {"agents": 0}, ["agents", "'0'", "from 1 up"]),
        (["a1"], "10.20.0.0/16", {"agents": True}, ["agents", "'True'"]),
        (["a1"], "10.20.0.0/16", {"agents": {"a1": -1}}, ["agents of a1", "'-1'"]),
        (["a1"], "10.20.0.0/16", {"agents": {"a9": 2}}, ["agents", "a9"]),
        (["a1"], "10.20.0.0/16", {"agents": 255}, ["255 ranges of size 24", "10.20.0.0/16", "room for 254"]),
        (["a1"], "10.20.0.0/16", {"reserved": "10.20.0.1"}, ["reserved", "'10.20.0.1'", "list"]),
        (["a1"], "10.20.0.0/16", {"reserved": ["10.20.0.1/33"]}, ["'10.20.0.1/33'"]),
        (["a1"], "10.20.0.0/16", {"reserved": ["10.20.0.9-10.20.0.1"]}, ["'10.20.0.9-10.20.0.1'", "span"]),
        (["a1"], "10.20.0.0/16", {"reserved": ["10.20.0.9-"]}, ["'10.20.0.9-'", "span"]),
        (["a1"], "10.20.0.0/16", {"reserved": ["10.20.0.0/17", "10.20.128.0-10.20.255.0"]}, ["room for 0"]),
        (["a1"], "10.20.0.0/16", {"pinned": ["0.0.1.0"]}, ["pinned", "dictionary"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": None}}, ["pinned", "'None'", "list"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "auto"}}, ["a1", '"auto" is no fixed offset']),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "banana"}}, ["a1", "'banana'", "dotted quad"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "0.0.1.7"}}, ["a1", "0.0.1.7", "256 addresses"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": 0}}, ["a1", "network address 10.20.0.0"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "0.0.255.0"}}, ["a1", "broadcast address 10.20.255.255"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "0.1.0.0"}}, ["a1", "10.21.0.0", "outside"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": "0.0.3.0", "a9": 768}}, ["768 of a9", "10.20.3.0/24", "to a1"]),
        (["a1"], "10.20.0.0/16", {"pinned": {"a1": ["0.0.3.0", "0.0.4.0"]}}, ["a1 has 2", "gives it 1"]),
        (
            ["a1"],
            "10.20.0.0/16",
            {"pinned": {"a9": "0.0.3.0"}, "reserved": ["10.20.3.9"]},
            ["0.0.3.0 of a9", "10.20.3.0/24", "reserved 10.20.3.9"],
        ),
    ],
)
def test_refusals_are_one_line_that_holds_the_numbers(
    hosts: Any, network: str, options: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(AnsibleFilterError) as refusal:
        fleet_ranges(hosts, network, **options)
    assert str(refusal.value).startswith("fleet_ranges: ")
    assert "\n" not in str(refusal.value)
    assert [part for part in parts if part not in str(refusal.value)] == []


def test_without_netaddr_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netaddr", None)
    with pytest.raises(AnsibleFilterError, match="needs the Python library netaddr"):
        fleet_ranges(["a1"], "10.20.0.0/16")


def test_numbers_may_be_texts_as_templates_give_them() -> None:
    given_as_text = fleet_ranges(iter(["a1", "a2"]), "10.20.0.0/16", size="28", agents="2")
    assert given_as_text == fleet_ranges(["a1", "a2"], "10.20.0.0/16", size=28, agents={"a1": 2, "a2": 2})


def test_the_documentation_has_the_filters_own_arguments_and_defaults() -> None:
    options = yaml.safe_load(DOCUMENTATION)["options"]
    parameters = dict(inspect.signature(fleet_ranges).parameters)
    assert list(options) == ["_input", *list(parameters)[1:]]
    documented = {name: option.get("default") for name, option in options.items() if not option.get("required")}
    ours = {name: parameters[name].default for name in documented}
    assert {**ours, "reserved": list(ours["reserved"]), "pinned": ours["pinned"] or {}} == documented


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The inventory of docs/fleet.md."""
    blocks = re.findall(r"```yaml\n# (\S+\.yml)\n(.*?)```", (ROOT / "docs/fleet.md").read_text(), re.DOTALL)
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "inventory.yml"


def ansible(inventory: Path, hosts: str, template: str) -> dict[str, Any]:
    """The template as ansible.builtin.debug renders it on each host."""
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible"), hosts, "-i", inventory, "-m", "debug", "-a", f"msg={template}"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    answers = re.finditer(r"^(\S+) \| \w+!? => ", done.stdout, re.MULTILINE)
    return {
        answer[1]: json.JSONDecoder().raw_decode(done.stdout, answer.end())[0]["msg"] for answer in answers
    } or pytest.fail(done.stdout + done.stderr)


def test_ansible_gives_each_host_of_the_documented_inventory_its_own(documented: Path) -> None:
    assert ansible(documented, "mesos_agents", "{{ network_offset }}/{{ network_size }}") == {
        "a1": "0.0.1.0/24",
        "a2": "0.0.4.0/24",
        "a3": "0.0.5.0/24",
    }


def test_what_the_documented_command_prints_can_be_pinned(documented: Path) -> None:
    text = (ROOT / "docs/fleet.md").read_text()
    (template,) = re.findall(r'-a "msg=(\{\{ dict\(fleet_plan.*?\}\})"', text, re.DOTALL)
    pinned = ansible(documented, "a1", template)["a1"]
    assert pinned == {"a1": ["0.0.1.0"], "a2": ["0.0.4.0"], "a3": ["0.0.5.0"]}
    documented.write_text("mesos_agents: {hosts: {a3: , a4: , a1: }}")
    variables = documented.parent / "group_vars/mesos_agents.yml"
    variables.write_text(variables.read_text().replace("fleet_pinned: {}", f"fleet_pinned: {json.dumps(pinned)}"))
    assert ansible(documented, "mesos_agents", "{{ network_offset }}") == {
        "a1": "0.0.1.0", "a3": "0.0.5.0", "a4": "0.0.6.0",
    }  # fmt: skip


def test_ansible_shows_the_line_of_a_refusal(documented: Path) -> None:
    template = "{{ groups['mesos_agents'] | mesos.dind.fleet_ranges('192.168.1.0/29', size=31) }}"
    (said,) = ansible(documented, "a1", template).values()
    assert (
        "fleet_ranges: 3 ranges of size 31 are wanted beside the pinned ones, and 192.168.1.0/29 has room for 2;"
        in said
    )
