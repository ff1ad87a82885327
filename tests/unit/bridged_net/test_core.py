# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""bridged_net without a network: parsing, choosing, planning, and the law that a plan done leaves nothing to do."""

from __future__ import annotations

import fcntl
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import default_pools, dns, dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.core import Desired, Roots, choose_uplink, facts
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in as drop_ins
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import (
    Original,
    Persistence,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.plan import originals, own_address, plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import (
    AskGateway,
    Move,
    Record,
    Remember,
    State,
    Survey,
    move_lines,
    rules_that_let_in,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._host import resolver as _resolver
from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp, iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel import links as _links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

ROOTS = Roots()
BRIDGED = Desired(offset="0.0.1.0")
OWN = Address(4, "172.17.0.2", 16, broadcast="172.17.255.255")
DEFAULT_ROUTE = Route(4, "default", "eth0", "172.17.0.1")
CONNECTED = Route(4, "172.17.0.0/16", "eth0", options=("proto", "kernel", "scope", "link", "src", "172.17.0.2"))
LO = Link(
    "lo", 1, "00:00:00:00:00:00", 65536, up=True, is_loopback=True, addresses=(Address(4, "127.0.0.1", 8, "host"),)
)
ETH0 = Link("eth0", 2, "02:42:ac:11:00:02", 1500, up=True, kind="veth", addresses=(OWN,))


def fresh(*links: Link, routes: tuple[Route, ...] = (DEFAULT_ROUTE, CONNECTED), **fields) -> State:
    """A container as the outer engine starts it."""
    network = Network((LO, *(links or (ETH0,))), routes)
    sysctls = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/eth0/disable_ipv6": "0", dns.ROUTE_LOCALNET: "0"}
    return State("here", "eth0", "docker0", network, sysctls, **fields)


def arranged(state: State, desired: Desired = BRIDGED) -> State:
    return expected(state, plan(desired, state, ROOTS))


# The law

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
def states(draw):
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
    sysctls = {"net/ipv4/ip_forward": draw(st.sampled_from(["0", "1"])), "net/ipv6/conf/eth0/disable_ipv6": "0"}
    sysctls[dns.ROUTE_LOCALNET] = draw(st.sampled_from(["0", "1"]))
    stale = draw(st.sampled_from([(), ("172.17.0.9/16",), ("172.17.0.2/16",)]))
    state = State("here", "eth0", "docker0", network, sysctls, remembered, engine_addresses=stale)
    left = draw(st.sampled_from([(), dns.GUARD, (*dns.GUARD, *EARLIER)]))
    return replace(state, resolver=draw(st.sampled_from([None, TOLD])), rules=left)


@given(states(), st.sampled_from(["bridge", "auto"]), st.booleans())
def test_a_move_done_leaves_nothing_to_do(state, mode, verify):
    desired = Desired(offset="0.0.1.0", mode=mode, verify=verify)
    after = arranged(state, desired)
    assert plan(desired, after, ROOTS) == []
    assert after.uplink_link.master == "docker0"
    assert after.record is None or after.record.verified


@given(states(), st.sampled_from([Desired(state="absent"), Desired()]))
def test_a_restoration_done_leaves_nothing_to_do(state, desired):
    after = arranged(state, desired)
    assert plan(desired, after, ROOTS) == []
    assert after.record is None
    if desired.state == "absent":
        assert after.rules == ()
    if state.record:
        assert after.uplink_link.master == ""
        assert set(state.record.addresses) <= set(after.uplink_link.addresses)


@given(states())
def test_a_move_taken_back_is_as_it_was(state):
    before = replace(state, record=None, engine_addresses=(), rules=())
    if before.is_port or not before.uplink_link.addresses:
        return
    after = arranged(arranged(before), Desired(state="absent"))
    assert after.uplink_link == before.uplink_link
    assert after.bridge_link == before.bridge_link
    for name in ("net/ipv4/ip_forward", dns.ROUTE_LOCALNET):
        assert after.sysctls[name] == before.sysctls[name]
    assert after.rules == ()
    there = {route for route in before.network.routes if route.device != "docker0"}
    assert {route for route in after.network.routes if route.device != "docker0"} == there


@given(states())
def test_a_record_survives_its_file(state):
    record = originals(state)
    assert Record.loads(record.dumps()) == record


def test_proxy_arp_done_leaves_nothing_to_do():
    desired = Desired(offset="0.0.1.0", mode="proxy_arp")
    state = fresh()
    after = arranged(state, desired)
    assert plan(desired, after, ROOTS) == []
    assert after.network == state.network
    assert arranged(after, Desired(state="absent")).sysctls["net/ipv4/ip_forward"] == "0"


LASTING = Desired(offset="0.0.1.0", mode="proxy_arp", persist="auto")


def test_proxy_arp_is_persisted_last_and_cut_short_at_any_step_both_ways_are_open():
    state = fresh(has_systemd=True)
    steps = plan(LASTING, state, ROOTS)
    assert str(steps[-1]) == f"write {ROOTS.drop_in}"
    after = expected(state, steps)
    for start, way in ((state, steps), (after, plan(Desired(state="absent"), after, ROOTS))):
        for count in range(len(way) + 1):
            cut = expected(start, way[:count])
            there, back = arranged(cut, LASTING), arranged(cut, Desired(state="absent"))
            assert plan(LASTING, there, ROOTS) == plan(Desired(state="absent"), back, ROOTS) == []
            assert (there.drop_in, back.drop_in) == (after.drop_in, "")
            assert back.sysctls["net/ipv4/ip_forward"] == "0"


def test_the_drop_in_quotes_a_devices_name_and_notes_what_was_before():
    rules = rules_that_let_in("e%t$0", "docker0", "172.17.1.0/24")
    noted = drop_ins.Noted("e%t$0", sysctls={"b": "0", "a": "1"})
    text = drop_ins.wanted(noted, rules, {"net/ipv4/conf/e%t$0/proxy_arp": "1"})
    assert " /proc/sys/net/ipv4/conf/e%%t$$0/proxy_arp 1\n" in text
    assert " filter DOCKER-USER -i e%%t$$0 -o docker0 -m comment " in text
    assert ' raw PREROUTING "!" -s 127.0.0.0/8 -d 172.17.1.0/24 -i e%%t$$0 -m comment ' in text
    assert (
        'COMMIT | iptables-restore -w --noflush; fi" DOCKER-USER\n' in text.partition('ExecStartPost=-/bin/sh -c "')[2]
    )
    assert drop_ins.Noted.of(text) == noted
    assert drop_ins.Noted.of("") == drop_ins.Noted()
    early = text.replace('"mode": "proxy_arp", ', "")
    assert early != text
    assert drop_ins.Noted.of(early) == noted


@pytest.mark.parametrize(
    ("desired", "fields", "cause"),
    [
        (LASTING, {}, "systemd, which does not run here"),
        (replace(LASTING, persist="none"), {"drop_in": "x"}, "persisted in /etc/systemd/system/docker.service.d/"),
        (LASTING, {"has_systemd": True, "persistence": Persistence(files={"x": ""})}, "a bridge is persisted in x"),
    ],
)
def test_proxy_arp_that_cannot_last_is_refused(desired, fields, cause):
    with pytest.raises(DindError, match=cause):
        plan(desired, fresh(**fields), ROOTS)


def test_a_drop_in_for_a_device_that_is_gone_is_taken_away():
    assert [str(step) for step in plan(Desired(state="absent"), fresh(drop_in="x"), ROOTS)] == [
        f"remove {ROOTS.drop_in}"
    ]


LASTING_BRIDGE = Desired(offset="0.0.1.0", mode="bridge", persist="auto")
BY_NETWORKD = Persistence("networkd", original=Original("/etc/systemd/network/50-x.network", "[Network]\nDHCP=yes\n"))
BY_IFUPDOWN = Ifupdown({"eth0": "eth0"}, is_sourced=True)
MANAGED = pytest.mark.parametrize(
    "manager", [{"persistence": BY_NETWORKD}, {"ifupdown": BY_IFUPDOWN}], ids=lambda by: next(iter(by))
)


def rebooted(state: State, rules: tuple[Rule, ...]) -> State:
    """With our files, the bridge is there again; the record and all rules but those of the drop-in are not."""
    return replace(state, record=None, rules=rules)


@MANAGED
def test_the_rules_of_a_bridge_are_persisted_with_it_and_cut_short_at_any_step_both_ways_are_open(manager):
    state = fresh(has_systemd=True, **manager)
    steps = plan(LASTING_BRIDGE, state, ROOTS)
    told = [str(step) for step in steps]
    assert told[-2:] == [f"write {ROOTS.drop_in}", "note that eth0 is arranged"]
    after = expected(state, steps)
    assert len(after.letting_through) == 2
    for rule in after.letting_through:
        assert systemd_unit.command(rule.words[1:]) in after.drop_in
    back = plan(Desired(state="absent"), after, ROOTS)
    assert f"remove {ROOTS.drop_in}" in [str(step) for step in back]
    for start, way in ((state, steps), (after, back)):
        for count in range(len(way) + 1):
            cut = expected(start, way[:count])
            there, given_back = arranged(cut, LASTING_BRIDGE), arranged(cut, Desired(state="absent"))
            assert plan(LASTING_BRIDGE, there, ROOTS) == plan(Desired(state="absent"), given_back, ROOTS) == []
            assert (there.drop_in, there.rules) == (after.drop_in, after.rules)
            assert (given_back.drop_in, given_back.rules) == ("", ())


@MANAGED
def test_after_a_reboot_the_drop_in_has_brought_the_rules_or_they_are_made_with_it(manager):
    after = arranged(fresh(has_systemd=True, **manager), LASTING_BRIDGE)
    assert plan(LASTING_BRIDGE, rebooted(after, after.rules), ROOTS) == []
    # The engine has not started yet.
    accept = "accept what other inner networks send out by docker0"
    assert [str(step) for step in plan(LASTING_BRIDGE, rebooted(after, ()), ROOTS)] == [accept]
    # It was persisted before there was a drop-in for that.
    former = replace(rebooted(after, ()), drop_in="")
    assert [str(step) for step in plan(LASTING_BRIDGE, former, ROOTS)] == [accept, f"write {ROOTS.drop_in}"]
    moved = replace(LASTING_BRIDGE, offset="0.0.2.0")
    assert [str(step) for step in plan(moved, after, ROOTS)] == [accept, f"write {ROOTS.drop_in}"]
    for state in (rebooted(after, after.rules), rebooted(after, ()), former):
        given_back = arranged(state, Desired(state="absent"))
        assert (given_back.drop_in, given_back.rules) == ("", ())


def test_without_systemd_nothing_would_read_a_drop_in():
    state = fresh(ifupdown=BY_IFUPDOWN)
    after = arranged(state, LASTING_BRIDGE)
    assert (after.drop_in, len(after.letting_through)) == ("", 2)
    assert plan(LASTING_BRIDGE, rebooted(after, ()), ROOTS) == []


def test_a_bridge_that_somebody_else_has_at_each_boot_gets_no_rules():
    eth0 = replace(ETH0, addresses=(), master="docker0")
    bridge = Link("docker0", 9, ETH0.mac, 1500, up=True, kind="bridge", forward_delay=0, addresses=(OWN,))
    theirs = replace(BY_NETWORKD, original=Original("/etc/systemd/network/50-x.network", "[Network]\nBridge=docker0\n"))
    state = fresh(
        eth0, bridge, routes=(replace(DEFAULT_ROUTE, device="docker0"),), has_systemd=True, persistence=theirs
    )
    state = replace(state, sysctls={**state.sysctls, "net/ipv4/ip_forward": "1"})
    assert plan(LASTING_BRIDGE, state, ROOTS) == []
    assert plan(replace(LASTING_BRIDGE, persist="none"), state, ROOTS) == []


@pytest.mark.parametrize(
    ("desired", "mode", "cause"),
    [
        (
            replace(LASTING_BRIDGE, persist="none"),
            "bridge",
            r"the bridge is persisted in .*net\.conf, and persist is none",
        ),
        (LASTING_BRIDGE, "proxy_arp", r"proxy ARP is persisted in .*net\.conf, and the mode is bridge"),
        (LASTING, "bridge", r"a bridge is persisted in .*net\.conf, and the mode is proxy_arp"),
    ],
)
def test_a_drop_in_of_another_mode_or_for_what_is_not_to_last_is_refused(desired, mode, cause):
    left = drop_ins.wanted(drop_ins.Noted("eth7", mode), (), {})
    with pytest.raises(DindError, match=cause):
        plan(desired, fresh(has_systemd=True, persistence=BY_NETWORKD, drop_in=left), ROOTS)


@given(states(), st.sampled_from([Desired(), Desired(offset="0.0.1.0", mode="bridge")]))
def test_names_done_leave_nothing_to_do(state, desired):
    after = arranged(state, desired)
    found = facts(desired, after)
    assert found["dns"] == ([found["bip"].partition("/")[0]] if state.resolver else [])
    assert found["dns_options"] == (["timeout:5"] if state.resolver else [])
    guarded = set(dns.GUARD) <= set(after.rules)
    if state.resolver:
        assert after.sysctls[dns.ROUTE_LOCALNET] == "1"
        assert len(after.rules_of("nat")) == 5
        assert guarded or (state.sysctls[dns.ROUTE_LOCALNET] == "1" and not state.rules)
    else:
        assert {rule.table for rule in after.rules} <= {"filter"}


# Names


def test_the_guard_is_there_before_the_loopback_is_opened_and_goes_after_it_is_closed():
    desired = Desired()
    state = fresh(resolver=RESOLVER)
    assert [str(step) for step in plan(desired, state, ROOTS)] == [
        "drop what comes from outside for the loopback",
        "set net/ipv4/conf/all/route_localnet to 1",
        "pass inner containers' questions on to 127.0.0.11",
    ]
    assert [str(step) for step in plan(Desired(state="absent"), arranged(state, desired), ROOTS)] == [
        "no longer pass inner containers' questions on to 127.0.0.11",
        "set net/ipv4/conf/all/route_localnet to 0",
        "no longer drop what comes from outside for the loopback",
    ]


def test_other_ports_after_a_start_change_the_redirection_only():
    state = replace(arranged(fresh(resolver=RESOLVER), Desired()), resolver=Resolver(udp=1, tcp=2))
    (step,) = plan(Desired(), state, ROOTS)
    assert step.table == "nat"
    targets = [rule.words[-1] for rule in arranged(state, Desired()).rules_of("nat") if "DNAT" in rule.words]
    assert targets == ["127.0.0.11:1", "127.0.0.11:2"]


def test_a_loopback_that_somebody_else_opened_stays_open():
    state = fresh(resolver=RESOLVER)
    state = replace(state, sysctls={**state.sysctls, dns.ROUTE_LOCALNET: "1"})
    after = arranged(state, Desired())
    assert {rule.table for rule in after.rules} == {"nat"}
    assert arranged(after, Desired(state="absent")) == state


@pytest.mark.parametrize(
    ("desired", "outside"),
    [
        (Desired(), ["-i", "eth0"]),
        (Desired(offset="0.0.1.0", mode="proxy_arp"), ["-i", "eth0"]),
        (BRIDGED, ["!", "-s", "172.17.1.0/24", "-i", "docker0"]),
    ],
    ids=["default", "proxy_arp", "bridge"],
)
def test_nobody_outside_is_served(desired, outside):
    rules = arranged(fresh(resolver=RESOLVER), desired).rules_of("nat")
    (spared,) = (rule for rule in rules if "RETURN" in rule.words)
    assert list(spared.words[2 : 2 + len(outside)]) == outside
    assert rules.index(spared) < min(rules.index(rule) for rule in rules if "DNAT" in rule.words)


# As the kernel prints them; the other sockets are another's, connected, or at another address.
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41 2 0000000000000000 0
  102: 0B00007F:8001 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 0
  103: 0B00007F:9C41 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43 2 0000000000000000 0
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:8002 0100007F:8003 01 00000000:00000000 00:00000000 00000000     0        0 44 1 0000000000000000
   1: 0B00007F:9C42 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 45 1 0000000000000000
   2: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 46 1 0000000000000000
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the samples were taken on a little-endian machine")
@pytest.mark.parametrize(
    ("resolv_conf", "udp", "found"),
    [
        ("nameserver 127.0.0.11\noptions ndots:2\n", UDP, RESOLVER),
        ("nameserver 127.0.0.11\noptions ndots:0\n", UDP, replace(RESOLVER, options=("timeout:5",))),
        ("options a ndots:0 b\nnameserver 127.0.0.11", UDP, replace(RESOLVER, options=("a", "b"))),
        ("# ExtServers: [host(10.0.0.2)]\nsearch a.b\n\tnameserver\t127.0.0.11\nnameserver ::1", UDP, RESOLVER),
        ("nameserver 127.0.0.11\nnameserver 10.0.0.2\n", UDP, None),
        ("nameserver 127.0.0.53\n", UDP, None),
        ("#nameserver 127.0.0.11\nnameserver\n", UDP, None),
        ("", UDP, None),
        ("nameserver 127.0.0.11\n", UDP.splitlines()[0], None),
    ],
)
def test_the_outer_engines_resolver_is_found_by_its_sockets(tmp_path: Path, resolv_conf, udp, found):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/udp").write_text(udp)
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    assert _resolver.find(tmp_path / "resolv.conf", tmp_path) == found


def test_without_a_resolv_conf_there_is_no_resolver(tmp_path: Path):
    assert _resolver.find(tmp_path / "resolv.conf", tmp_path) is None


def test_our_rules_are_told_from_all_others_whatever_the_order_of_their_words():
    saved = """\
# Generated by iptables-save v1.8.11 (nf_tables) on Sun Nov 22 22:36:21 2026
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 127.0.0.0/8 ! -i lo -m comment --comment "mesos.dind.bridged_net" -j DROP
-A PREROUTING -s 127.0.0.0/8 ! -i lo -m comment --comment "mesos.dind.bridged_net" -j DROP
COMMIT
*nat
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A MESOS-DIND-DNS ! -s 172.17.1.0/24 -i docker0 -m comment --comment "mesos.dind.bridged_net" -j RETURN
COMMIT
"""
    returning = Rule("nat", ("-A", dns.CHAIN, "-i", "docker0", "!", "-s", "172.17.1.0/24", *iptables.COMMENT))
    returning = replace(returning, words=(*returning.words, "-j", "RETURN"))
    assert list(iptables.parse(saved)) == [*dns.GUARD, returning]
    assert [rule.table for rule in iptables.parse(saved)] == ["raw", "raw", "nat"]


def test_rules_of_others_that_name_a_device_are_looked_for_with_what_there_is(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert iptables.naming("eth0", Runner()) == []
    others = "-A FORWARD -o eth01 -j DROP\n-A FORWARD -i eth0 -m comment --comment mesos.dind.bridged_net -j ACCEPT"
    for program, rule in (("iptables", "-A INPUT -i eth0 -j DROP"), ("ip6tables", "-A OUTPUT -o eth0 -j DROP")):
        script = tmp_path / f"{program}-save"
        script.write_text(f"#!/bin/sh\necho '{others}\n{rule}'\n")
        script.chmod(0o755)
    assert iptables.naming("eth0", Runner()) == ["-A INPUT -i eth0 -j DROP", "ip6tables -A OUTPUT -o eth0 -j DROP"]
    # A kernel without IPv6.
    (tmp_path / "ip6tables-save").write_text("#!/bin/sh\nexit 1\n")
    assert iptables.naming("eth0", Runner()) == ["-A INPUT -i eth0 -j DROP"]


# Planning


def test_the_whole_road():
    assert [str(step) for step in plan(BRIDGED, fresh(), ROOTS)] == [
        "remember the addresses and routes of eth0",
        "make the bridge docker0 (address 02:42:ac:11:00:02, mtu 1500)",
        "set net/ipv4/ip_forward to 1",
        "set net/ipv6/conf/docker0/disable_ipv6 to 0",
        "accept what other inner networks send out by docker0",
        "move addresses and routes of eth0 to docker0",
        "announce 172.17.0.2 on docker0",
        "see that 172.17.0.1 answers through docker0",
        "note that eth0 is arranged",
    ]


def test_the_batch_of_the_move():
    state = fresh()
    assert move_lines(originals(state), state.network) == (
        "link set dev eth0 master docker0",
        "address replace 172.17.0.2/16 broadcast 172.17.255.255 scope global dev docker0",
        "address flush dev eth0",
        "route flush dev eth0 table all",
        "route append default via 172.17.0.1 dev docker0",
    )


def test_nothing_is_changed_before_the_record_is_written():
    assert isinstance(plan(BRIDGED, fresh(), ROOTS)[0], Remember)


def test_what_was_found_good_once_is_repaired_without_being_torn_down():
    good = arranged(fresh())
    lost = replace(good, network=replace(good.network, routes=()))
    steps = plan(BRIDGED, lost, ROOTS)
    assert not any(isinstance(step, AskGateway) for step in steps)
    assert [step.reversible for step in steps if isinstance(step, Move)] == [False]


def test_an_address_that_the_uplink_gets_later_moves_as_well():
    good = arranged(fresh())
    late = Address(4, "172.17.3.3", 16)
    port = replace(good.uplink_link, addresses=(late,))
    changed = replace(good, network=replace(good.network, links=(*good.network.links[:1], port, good.bridge_link)))
    after = arranged(changed)
    assert after.bridge_link.addresses == (OWN, late)
    assert after.record.addresses == (OWN, late)


def test_a_link_that_drops_foreign_macs_is_served_by_proxy_arp():
    auto = Desired(offset="0.0.1.0", mode="auto")
    state = fresh(survey=Survey(foreign_mac=False))
    assert facts(auto, state)["mode"] == "proxy_arp"
    assert facts(auto, fresh())["mode"] == "bridge"
    assert facts(auto, replace(arranged(state, auto), survey=Survey()))["mode"] == "proxy_arp"
    with pytest.raises(DindError, match="state: absent first"):
        plan(Desired(offset="0.0.1.0", mode="bridge"), arranged(state, auto), ROOTS)


def test_facts_of_proxy_arp():
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
def test_of_several_addresses_the_one_of_the_default_route_counts(addresses, routes, expected_own):
    found = tuple(
        Address(4, *(part if i == 0 else int(part) for i, part in enumerate(a.split("/")))) for a in addresses
    )
    record = Record("", "eth0", 2, "", "docker0", "bridge", addresses=found, routes=tuple(routes))
    assert own_address(record).local == expected_own


def test_no_ipv4_address_no_range():
    with pytest.raises(RangeError, match="eth0 has no IPv4 address"):
        plan(BRIDGED, fresh(replace(ETH0, addresses=())), ROOTS)


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
def test_ipv6_ranges_that_cannot_be(ipv6_range, cause):
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64)))
    with pytest.raises(RangeError, match=re.escape(cause)):
        plan(Desired(offset="0.0.1.0", ipv6_range=ipv6_range), fresh(eth0), ROOTS)


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
        ({"ipv6_range": "fd00::/64", "offset": ""}, "ipv6_range", "in bridged mode only"),
    ],
)
def test_a_refusal_knows_whose_fault_it_is(params, parameter, cause):
    state = fresh(replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64))))

    def look():
        desired = Desired.of({"offset": "0.0.1.0", "mode": "bridge", **params})
        choose_uplink(desired, state.network, None)
        plan(desired, state, ROOTS)

    with pytest.raises(ParameterError, match=cause) as refused:
        look()
    assert refused.value.parameter == parameter


def test_the_whole_ipv6_network_may_be_the_range():
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fe80::2", 64, "link"), Address(6, "fd00::2", 64)))
    found = facts(Desired(offset="0.0.1.0", ipv6_range="fd00::/64"), fresh(eth0))
    assert (found["fixed_cidr_v6"], found["bip_v6"]) == ("fd00::/64", "fd00::2/64")


def test_the_link_local_address_that_dockerd_takes_away_is_not_missed():
    local = Address(6, "fe80::2", 64, "link")
    good = arranged(fresh(replace(ETH0, addresses=(OWN, local))))
    bridge = replace(good.bridge_link, addresses=(OWN, replace(local, local="fe80::1")))
    after = replace(good, network=replace(good.network, links=(LO, good.uplink_link, bridge)))
    assert plan(BRIDGED, after, ROOTS) == []
    assert local in arranged(after, Desired(state="absent")).uplink_link.addresses


# Choosing the uplink


@pytest.mark.parametrize(
    ("routes", "chosen"),
    [
        ([DEFAULT_ROUTE], "eth0"),
        ([replace(DEFAULT_ROUTE, device="eth1", metric=5), replace(DEFAULT_ROUTE, metric=9)], "eth1"),
        ([Route(6, "default", "eth1", "fd00::1"), DEFAULT_ROUTE], "eth0"),
        ([Route(6, "default", "eth1", "fd00::1")], "eth1"),
        ([replace(DEFAULT_ROUTE, options=("table", "7"), device="eth1"), DEFAULT_ROUTE], "eth0"),
    ],
)
def test_the_uplink_is_the_default_routes_device(routes, chosen):
    assert choose_uplink(BRIDGED, Network((LO, ETH0, replace(ETH0, name="eth1")), tuple(routes)), None) == chosen


def test_without_a_default_route_only_a_single_candidate_will_do():
    eth1 = replace(ETH0, name="eth1")
    assert choose_uplink(BRIDGED, Network((LO, ETH0, replace(eth1, up=False))), None) == "eth0"
    with pytest.raises(DindError, match="candidates: eth0, eth1"):
        choose_uplink(BRIDGED, Network((LO, ETH0, eth1)), None)
    with pytest.raises(DindError, match="candidates: none"):
        choose_uplink(BRIDGED, Network((LO,)), None)
    assert choose_uplink(Desired(), Network((LO,)), None) == ""


def test_a_default_route_on_the_bridge_leads_to_the_port_that_gave_its_address():
    good = replace(arranged(fresh()), record=None).network
    inner_veth = Link("veth1", 7, "02:00:00:00:00:07", 1500, up=True, master="docker0")
    assert choose_uplink(BRIDGED, replace(good, links=(*good.links, inner_veth)), None) == "eth0"


# Default mode


def test_the_default_mode_takes_dockers_own_order():
    pools = default_pools.pools(fresh().network, "docker0", "eth0")
    assert [pool.base for pool in pools[:2]] == ["172.18.0.0/16", "172.19.0.0/16"]
    assert default_pools.first_address(pools[0]) == "172.18.0.1/16"


@given(st.lists(st.tuples(st.sampled_from(["10", "172", "192"]), st.integers(0, 255), st.integers(8, 30)), max_size=8))
def test_no_inner_subnet_meets_a_visible_route(outer):
    subnets = [IPNetwork(f"{first}.{second}.0.0/{prefix}").cidr for first, second, prefix in outer]
    network = Network((LO, ETH0), tuple(Route(4, str(subnet), "eth0") for subnet in subnets))
    try:
        pools = default_pools.pools(network, "docker0", "eth0")
    except DindError:
        return
    chosen = [IPNetwork(pool.base) for pool in pools]
    assert len(set(chosen)) == len(chosen)
    assert not any(one in other or other in one for one in chosen for other in subnets)


def test_routes_that_leave_nothing_are_an_error():
    subnets = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    with pytest.raises(DindError, match="leave no private subnet"):
        default_pools.pools(Network((), tuple(Route(4, subnet, "eth0") for subnet in subnets)), "docker0", "eth0")


def test_a_single_address_as_a_route_counts():
    network = Network((), (Route(4, "172.17.3.3", "wg0"),))
    assert default_pools.pools(network, "docker0", "eth0")[0].base == "172.18.0.0/16"


BRIDGE_OF_A_PERSON = Link("mybr", 7, "02:42:00:00:00:07", 1500, up=True, kind="bridge")
PORT = Link("veth1", 8, "02:42:00:00:00:08", 1500, up=True, kind="veth", master="mybr")


@pytest.mark.parametrize(
    ("links", "uplink", "gateway", "recorded", "is_engines"),
    [
        ((), "eth0", "", {"mybr"}, True),
        ((PORT,), "eth0", "", {"mybr"}, True),
        ((), "eth0", "", {"docker0"}, False),
        ((PORT,), "eth0", "", set(), False),
        ((PORT,), "eth0", "172.18.0.9", {"mybr"}, False),
        ((PORT, replace(PORT, name="eth1", kind="")), "eth0", "", {"mybr"}, False),
        ((replace(PORT, name="eth1"),), "eth1", "", {"mybr"}, False),
        ((PORT,), "mybr", "", {"mybr"}, False),
    ],
)
def test_a_bridge_in_the_engines_record_is_the_engines_unless_it_leads_out(
    links, uplink, gateway, recorded, is_engines
):
    network = Network((ETH0, BRIDGE_OF_A_PERSON, *links), (Route(4, "172.18.0.0/16", "mybr", gateway),))
    found = [pool.base for pool in default_pools.pools(network, "docker0", uplink, recorded)]
    assert ("172.18.0.0/16" in found) == is_engines


# Parameters


@pytest.mark.parametrize("size", [31, 32])
def test_a_range_too_small_for_proxy_arp(size):
    with pytest.raises(ParameterError, match=rf"172\.17\.1\.0/{size} has no room .* sizes up to 30") as refused:
        facts(Desired(offset="0.0.1.0", size=size, mode="proxy_arp"), fresh())
    assert refused.value.parameter == "size"
    assert facts(Desired(offset="0.0.1.0", size=size, mode="bridge"), fresh())["fixed_cidr"] == f"172.17.1.0/{size}"


def test_a_label_that_is_too_long_on_the_bridge_is_refused():
    labelled = replace(OWN, local="172.17.0.3", alias=":backup99")
    state = fresh(replace(ETH0, addresses=(OWN, labelled)))
    with pytest.raises(DindError, match=r"172\.17\.0\.3 would have the label docker0:backup99 .* than 15 characters"):
        plan(BRIDGED, state, ROOTS)
    assert plan(replace(BRIDGED, bridge="br0"), replace(state, bridge="br0"), ROOTS)


def test_without_its_lease_the_uplink_is_given_back_all_the_same():
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64)), master="docker0")
    routes = (Route(6, "default", "eth0", "fd00::1"),)
    record = replace(originals(fresh(eth0, routes=routes)), addresses=eth0.addresses[1:], verified=True)
    original = Original("/etc/systemd/network/eth0.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    ours = {"/etc/systemd/network/00-00-mesos-dind-eth0.network": ""}
    persistence = Persistence("networkd", "", original, ours, is_used=True)
    state = fresh(replace(eth0, addresses=()), routes=(), record=record, persistence=persistence)
    (question,) = (step for step in plan(Desired(state="absent"), state, ROOTS) if isinstance(step, AskGateway))
    assert (question.gateways, question.sender) == (("fd00::1",), arp.ANYBODY)


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"mtu": 67}, "68 to 65535"),
        ({"mtu": 65536}, "68 to 65535"),
        ({"verify_timeout": 0.0}, "between 0 and 300"),
        ({"verify_timeout": 301.0}, "between 0 and 300"),
        ({"bridge": "a/b"}, "'a/b'"),
        ({"uplink": "sixteen-letters-"}, "at most 15"),
        ({"uplink": ".."}, "device's name"),
    ],
)
def test_parameters_that_no_machine_has(params, cause):
    with pytest.raises(DindError, match=re.escape(cause)):
        Desired.of(params)


# Reading


def test_an_address_keeps_what_it_had():
    shown = {"family": "inet", "local": "10.5.5.1", "address": "10.5.5.2", "prefixlen": 32, "scope": "global"}
    shown |= {"label": "eth0:x", "metric": 5, "noprefixroute": True, "valid_life_time": 60, "preferred_life_time": 30}
    address = _links.parse_address(shown, "eth0")
    assert address.words("docker0", lasting=True) == (
        "10.5.5.1 peer 10.5.5.2/32 metric 5 scope global dev docker0 label docker0:x noprefixroute"
    )
    assert address.words("eth0", lasting=False).endswith("label eth0:x noprefixroute valid_lft 60 preferred_lft 30")


@pytest.mark.parametrize(("valid", "lasting"), [(_links.FOREVER, True), (_links.FOREVER, False), (60, True)])
def test_a_deprecated_address_stays_deprecated(valid, lasting):
    address = Address(6, "fd00::2", 64, valid=valid, preferred=0)
    assert address.words("eth0", lasting=lasting).endswith("nodad preferred_lft 0")


def test_a_lifetime_makes_no_difference_between_addresses():
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
def test_a_route_is_made_again_by_the_same_words(shown, words):
    (route,) = _links.parse_route(shown, 4)
    assert route.words("br", lasting=True) == words
    assert route.foreign == ()


def test_an_ipv6_default_route_is_told_from_the_ipv4_one():
    shown = {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra", "metric": 1024, "flags": []}
    (route,) = _links.parse_route(shown | {"expires": 1790, "pref": "high"}, 6)
    assert route.words("br", lasting=True) == "::/0 via fe80::1 dev br metric 1024 proto ra pref high"
    assert route.words("eth0", lasting=False).endswith("expires 1790")


@pytest.mark.parametrize("extra", [{"encap": "mpls"}, {"nhid": 7}, {"metrics": [{"lock": 1}]}])
def test_what_a_route_has_that_cannot_be_made_again_is_named(extra):
    (route,) = _links.parse_route({"dst": "10.1.0.0/16", "dev": "eth0", "flags": [], **extra}, 4)
    assert len(route.foreign) == 1
    with pytest.raises(DindError, match=f"cannot be moved: {route.foreign[0]}"):
        plan(BRIDGED, fresh(routes=(DEFAULT_ROUTE, route)), ROOTS)


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
def test_a_route_is_the_kernels_own_where_an_address_brings_it(route, is_kernels):
    addresses = (
        OWN,
        Address(4, "10.5.5.1", 32, peer="10.5.5.2"),
        Address(6, "fd00::2", 64),
        Address(6, "fd00:1::2", 64, noprefixroute=True),
        Address(6, "fd00:2::2", 64, metric=7),
    )
    assert route.is_kernels(addresses) == is_kernels


STALE = Route(4, "10.1.0.0/16", "eth0", "10.9.0.1")


@pytest.mark.parametrize(
    ("route", "others", "is_refused"),
    [
        (Route(4, "10.1.0.0/16", "eth0", "172.17.0.9"), (), False),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"), (), True),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1", options=("onlink",)), (), False),
        (
            Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"),
            (Route(4, "10.9.0.1", "eth0", options=("scope", "link")),),
            False,
        ),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"), (Route(4, "10.9.0.1", "eth0"),), True),
        (Route(4, "10.1.0.0/16", "eth0", "10.8.0.1"), (), True),
        (Route(4, "10.1.0.0/16", "eth0", "inet6 fe80::1"), (), False),
        (Route(6, "fd00:1::/64", "eth0", "fd00::9"), (), True),
        (Route(6, "fd00:1::/64", "eth0", "fd00::9"), (Route(6, "fd00::/64", "eth0"),), False),
    ],
)
def test_a_gateway_that_is_no_neighbour_any_more_is_refused(route, others, is_refused):
    eth0 = replace(ETH0, addresses=(OWN, Address(4, "10.8.0.2", 16, noprefixroute=True)))
    state = fresh(eth0, routes=(DEFAULT_ROUTE, CONNECTED, *others, route))
    if is_refused:
        with pytest.raises(DindError, match=f"the route to {route.dst} .* leads to the gateway {route.gateway}"):
            plan(BRIDGED, state, ROOTS)
    else:
        assert plan(BRIDGED, arranged(state), ROOTS) == []


def test_a_multipath_route_counts_for_each_of_its_devices():
    hops = [{"gateway": "10.0.0.1", "dev": "eth0", "weight": 1}, {"gateway": "10.1.0.1", "dev": "eth1", "weight": 1}]
    parsed = _links.parse_route({"dst": "default", "flags": [], "nexthops": hops}, 4)
    assert [(route.device, route.foreign) for route in parsed] == [("eth0", ("nexthops",)), ("eth1", ("nexthops",))]


@pytest.mark.parametrize("shown", [{"type": "blackhole", "dst": "10.0.0.0/8"}, {"dst": "10.0.0.2", "table": "local"}])
def test_what_is_no_unicast_route_of_a_persons_is_left_out(shown):
    assert list(_links.parse_route(shown, 4)) == []


def test_documents_one_after_another():
    assert list(_links.documents('[1]\n[{"a": 2}]\n\n[]\n')) == [[1], [{"a": 2}], []]


# The record


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"namespace": "x"}'])
def test_what_is_no_record_is_none(tmp_path: Path, text):
    path = tmp_path / "record"
    path.write_text(text)
    assert bridged_net.read_record(path, "here", fresh().network) is None


def test_a_record_of_another_namespace_device_or_boot_is_none(tmp_path: Path):
    path = tmp_path / "record"
    record = originals(fresh())
    path.write_text(record.dumps())
    network = fresh().network
    assert bridged_net.read_record(path, "here", network) == record
    assert bridged_net.read_record(path, "elsewhere", network) is None
    for other in (replace(ETH0, index=7), replace(ETH0, mac="02:00:00:00:00:99"), replace(ETH0, name="eth9")):
        assert bridged_net.read_record(path, "here", Network((other,))) is None


# dockerd's own record


def store(tmp_path: Path, *addresses: str, bridge: str = "docker0") -> Path:
    """A piece of dockerd's database, between bytes of other kinds."""
    fields = {"BridgeIfaceCreator": 2, "BridgeName": bridge, "DefaultBridge": True, "InhibitIPv4": False, "Mtu": 1500}
    records = [json.dumps({"AddressIPv4": a, **fields}, separators=(",", ":")).encode() for a in addresses]
    path = tmp_path / dockerd_networks.STORE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00\xff{\xed\xda\x0c\xed" + b"\x00{}\x07".join(records) + b"\x00{\xff}")
    return path


def test_the_record_names_the_engines_bridges(tmp_path):
    assert dockerd_networks.bridges(tmp_path) == set()
    store(tmp_path, "172.17.0.9/16", "172.17.0.2/16", bridge="mybr")
    assert dockerd_networks.bridges(tmp_path) == {"mybr"}


def test_a_record_of_another_address_is_laid_to_rest_in_place(tmp_path):
    path = store(tmp_path, "172.17.0.9/16", "172.17.0.2/16")
    before = path.read_bytes()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.9/16", "172.17.0.2/16")
    assert dockerd_networks.addresses(tmp_path, "docker1") == ()
    dockerd_networks.Disarm(tmp_path, "docker0", "172.17.0.2/16").do(None)
    after = path.read_bytes()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.2/16",)
    assert after == before.replace(b"false", b" true", 1)


def test_the_record_of_an_engine_with_remapped_users_is_found_too(tmp_path):
    store(tmp_path, "172.17.0.2/16")
    path = store(tmp_path / "100000.100000", "172.17.0.9/16", bridge="mybr")
    (tmp_path / "overlay2").mkdir()
    assert dockerd_networks.bridges(tmp_path) == {"docker0", "mybr"}
    assert dockerd_networks.addresses(tmp_path, "mybr") == ("172.17.0.9/16",)
    dockerd_networks.disarm(tmp_path, "mybr", "172.17.0.2/16")
    assert dockerd_networks.RESTS in path.read_bytes()


def test_a_record_that_dockerd_holds_is_not_looked_at(tmp_path):
    path = store(tmp_path, "172.17.0.9/16")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert dockerd_networks.addresses(tmp_path, "docker0") == ()
    assert dockerd_networks.addresses(tmp_path, "docker0") == ("172.17.0.9/16",)


def test_a_record_that_dockerd_holds_is_laid_to_rest_as_soon_as_it_lets_go_of_it(tmp_path):
    path = store(tmp_path, "172.17.0.9/16")
    before = path.read_bytes()
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with dockerd_networks.disarming(tmp_path, "docker0", "172.17.0.2/16"):
            with pytest.raises(DindError, match="is locked by a dockerd that runs"):
                dockerd_networks.disarm(tmp_path, "docker0", "172.17.0.2/16")
            assert path.read_bytes() == before
            fcntl.flock(held, fcntl.LOCK_UN)
    assert path.read_bytes() == before.replace(b"false", b" true")


def test_a_record_that_nobody_lets_go_of_is_said(tmp_path, monkeypatch):
    path = store(tmp_path, "172.17.0.9/16")
    monkeypatch.setattr(dockerd_networks, "DISARM_SECONDS", 0.1)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(DindError, match="stayed locked"),
            dockerd_networks.disarming(tmp_path, "docker0", "172.17.0.2/16"),
        ):
            pass


def test_without_a_record_of_dockerds_there_is_nothing_to_do(tmp_path):
    assert dockerd_networks.addresses(tmp_path, "docker0") == ()
    assert dockerd_networks.addresses(tmp_path / "nowhere", "docker0") == ()


def test_a_state_can_be_shown():
    assert json.dumps(bridged_net._described(arranged(fresh())))
