# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The move of all that an uplink has to the bridge, and back."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest
from agent_bench import GATEWAY, Agent, Bench, addresses_of, connects, furnish, heard, settled
from network_fixtures import bridge, namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


def test_the_bridge_keeps_the_uplinks_mac_while_veths_come_and_go(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    mac = agent.converge(offset="0.0.1.0").facts["mac"]
    for _ in range(3):
        inner = bench.cleanup.enter_context(namespace())
        veth(agent.namespace, "low", inner, "eth0")
        agent.namespace.ip("link set dev low address 00:00:00:00:00:01 master docker0")
        assert agent.namespace.show("link", "show", "dev", "docker0")[0]["address"] == mac
        agent.namespace.ip("link delete dev low")
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["address"] == mac


def test_gratuitous_arp_and_neighbour_advertisement_follow_the_move(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64")
    with heard(bench.host, "outer") as frames:
        mac = bytes.fromhex(agent.converge(offset="0.0.1.0").facts["mac"].replace(":", ""))
    own = socket.inet_aton("172.17.0.2")
    announcements = [f for f in frames if f[12:14] == b"\x08\x06" and f[28:32] == f[38:42] == own]
    assert [(f[:6], f[22:28]) for f in announcements] == [(b"\xff" * 6, mac)]
    own6 = socket.inet_pton(socket.AF_INET6, "fd00:17::2")
    advertisements = [f for f in frames if f[12:14] == b"\x86\xdd" and f[54:55] == b"\x88" and f[62:78] == own6]
    assert [f[80:86] for f in advertisements if f[:2] == b"\x33\x33"] == [mac]


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_the_mtu_is_the_uplinks(bench: Bench, mtu: int) -> None:
    bench.host.ip(f"link set dev outer mtu {mtu}")
    agent = bench.agent("172.17.0.2/16", mtu=mtu)
    assert agent.converge(offset="0.0.1.0").facts["mtu"] == mtu
    inner = bench.inner(agent, "172.17.1.2/16", mtu=mtu)
    payload = mtu - 28
    assert inner.pings(GATEWAY, size=payload)
    assert not inner.pings(GATEWAY, size=payload + 1, seconds=1)
    assert agent.namespace.pings(GATEWAY, size=payload)
    bench.inner(agent, "172.17.1.3/16", mtu=1300)
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["mtu"] == mtu
    assert agent.converge(offset="0.0.1.0").actions == []


def test_a_smaller_mtu_and_later_another_one(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    assert agent.converge(offset="0.0.1.0", mtu=1450).facts["mtu"] == 1450
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["mtu"] == 1450
    again = agent.converge(offset="0.0.1.0", mtu=1420)
    assert len(again.actions) == 1
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["mtu"] == 1420
    assert agent.namespace.pings(GATEWAY)


def test_all_that_the_uplink_has_moves_and_returns_exactly(bench: Bench) -> None:
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", "fd00:17::3/64")
    furnish(agent)
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    moved = json.loads(json.dumps(before).replace('"eth0:old"', '"docker0:old"').replace('"eth0"', '"docker0"'))
    after = agent.snapshot()
    for kind in ("routes4", "routes6", "neighbours"):
        assert after[kind] == settled(moved[kind])
    assert addresses_of(after, "docker0") == addresses_of(moved, "docker0")
    assert addresses_of(after, "eth0") == []
    assert agent.converge(offset="0.0.1.0").actions == []
    agent.converge(state="absent")
    assert agent.snapshot() == before
    assert not agent.record.exists()
    assert agent.converge(state="absent").actions == []


def furnish_as_networkmanager(agent: Agent, gateway: str = GATEWAY) -> None:
    """Its addresses bring no route with them; those it makes itself, and calls them the kernel's."""
    agent.namespace.ip(
        "address add 172.17.0.2/16 dev eth0 broadcast + noprefixroute",
        "address add fd00:17::2/64 dev eth0 nodad noprefixroute",
        "route add 172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2 metric 100",
        f"route add default via {gateway} proto dhcp src 172.17.0.2 metric 100",
        "route add fd00:17::/64 dev eth0 proto kernel metric 100",
        "route add default via fd00:17::1 proto ra metric 100",
    )


def test_addresses_as_networkmanager_gives_them_move_and_return_exactly(bench: Bench) -> None:
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent(routes=())
    furnish_as_networkmanager(agent)
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    after = agent.snapshot()
    moved = json.loads(json.dumps(before).replace('"eth0"', '"docker0"'))
    for kind in ("routes4", "routes6"):
        assert after[kind] == settled(moved[kind])
    assert connects(bench.host, agent.namespace, "172.17.0.2") == GATEWAY
    assert agent.converge(offset="0.0.1.0").actions == []
    agent.converge(state="absent")
    assert agent.snapshot() == before


def test_a_silent_gateway_undoes_everything_as_networkmanager_gave_it(bench: Bench) -> None:
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent(routes=())
    furnish_as_networkmanager(agent, "172.17.0.66")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer within 0\.3 s, so all was undone; [^(]*$"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before
    assert not agent.record.exists()


def test_a_route_whose_gateway_is_no_neighbour_any_more_is_refused(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip(
        "address add 10.9.0.2/24 dev eth0",
        "route add 203.0.113.0/24 via 10.9.0.1",
        "address del 10.9.0.2/24 dev eth0",
    )
    before = agent.snapshot()
    assert agent.namespace.show("route", "show", "203.0.113.0/24")
    with pytest.raises(DindError, match=r"203\.0\.113\.0/24 could not be made again.* gateway 10\.9\.0\.1"):
        agent.converge(offset="0.0.1.0")
    assert agent.snapshot() == before
    assert not agent.record.exists()


def test_forwarding_is_switched_on_and_absent_restores_it(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    agent.converge(offset="0.0.1.0")
    assert agent.namespace.sysctl("ipv4/ip_forward") == "1"
    agent.converge(state="absent")
    assert agent.namespace.sysctl("ipv4/ip_forward") == "0"


def test_an_uplink_of_another_name_beside_another_device(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", uplink="ens3.100")
    other = bench.cleanup.enter_context(namespace())
    veth(other, "there", agent.namespace, "eth0")
    agent.namespace.ip("address add 10.1.1.1/24 dev eth0", "route add 10.2.0.0/16 via 10.1.1.2")
    facts = agent.converge(offset="0.0.1.0").facts
    assert facts["uplink"] == "ens3.100"
    assert agent.namespace.addresses("eth0") == ["10.1.1.1/24"]
    assert agent.namespace.show("route", "show", "10.2.0.0/16")[0]["dev"] == "eth0"
    assert bench.host.pings("172.17.0.2")
    assert agent.converge(offset="0.0.1.0").actions == []


def test_no_default_route(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", routes=())
    facts = agent.converge(offset="0.0.1.0").facts
    assert (facts["uplink"], facts["gateway"]) == ("eth0", "")
    assert bench.host.pings("172.17.0.2")
    assert agent.converge(offset="0.0.1.0").actions == []


def test_a_docker0_left_over_from_the_default_mode(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip(
        "link add dev docker0 address 02:42:00:00:00:01 type bridge", "address add 172.18.0.1/16 dev docker0"
    )
    before = agent.namespace.addresses("docker0")
    facts = agent.converge(offset="0.0.1.0").facts
    assert agent.namespace.addresses("docker0") == ["172.17.0.2/16"]
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["address"] == facts["mac"]
    assert bench.host.pings("172.17.0.2")
    agent.converge(state="absent")
    assert agent.namespace.addresses("docker0") == before
    assert agent.namespace.addresses("eth0") == ["172.17.0.2/16"]
    assert bench.host.pings("172.17.0.2")


def test_a_bridge_that_somebody_else_arranged_is_left_as_it_is(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    bridge(agent.namespace, "br0")
    agent.namespace.ip(
        "link set dev eth0 master br0",
        "address flush dev eth0",
        "address add 172.17.0.2/16 dev br0",
        "route add default via 172.17.0.1",
    )
    before = agent.snapshot()
    outcome = agent.converge(offset="0.0.1.0", bridge="br0", uplink="eth0")
    assert outcome.actions == []
    assert outcome.facts["bip"] == "172.17.0.2/16"
    assert agent.snapshot() == before


def test_a_restart_with_another_address_forgets_the_old_one(bench: Bench) -> None:
    first = bench.agent("172.17.0.2/16")
    first.converge(offset="0.0.1.0")
    mac = first.namespace.show("link", "show", "dev", "eth0")[0]["address"]
    bench.host.ip(f"link delete dev port{bench.ports}")
    second = bench.agent("172.17.0.3/16")
    second.namespace.ip(f"link set dev eth0 address {mac}")
    second.record = first.record
    facts = second.converge(offset="0.0.1.0").facts
    assert (facts["bip"], facts["fixed_cidr"]) == ("172.17.0.3/16", "172.17.1.0/24")
    assert second.namespace.addresses("docker0") == ["172.17.0.3/16"]
    assert second.converge(offset="0.0.1.0").actions == []


def test_what_is_bound_to_the_uplink_and_does_not_move_is_told_once(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip(
        "rule add iif eth0 lookup 77 priority 100",
        "rule add oif lo lookup 78 priority 101",
        "neighbour add proxy 10.0.0.9 dev eth0",
        "route add multicast 239.0.0.0/8 dev eth0",
    )
    agent.namespace.run("iptables", "-w", "-A", "INPUT", "-i", "eth0", "-p", "tcp", "-j", "DROP")
    agent.namespace.run("iptables", "-w", "-A", "INPUT", "-i", "eth01", "-j", "DROP")
    agent.namespace.run("ip6tables", "-w", "-A", "OUTPUT", "-o", "eth0", "-j", "DROP")
    agent.namespace.run("ip6tables", "-w", "-A", "OUTPUT", "-o", "eth01", "-j", "DROP")
    (warning,) = agent.converge(offset="0.0.1.0").warnings
    assert warning == (
        "without effect, since they still name eth0: the rule 100, the proxy neighbour 10.0.0.9, the multicast route "
        "to 239.0.0.0/8, `-A INPUT -i eth0 -p tcp -j DROP`, `ip6tables -A OUTPUT -o eth0 -j DROP`; "
        "have them name docker0"
    )
    assert agent.converge(offset="0.0.1.0").warnings == []


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"offset": "0"}, "network address"),
        ({"offset": "0.0.1.0", "size": 16}, "size 16"),
        ({"offset": "0.0.1.0", "peers": ["172.17.0.0/23"]}, "peer's range"),
        ({"offset": "0.0.1.0", "peers": ["nonsense"]}, "CIDR"),
        ({"offset": "0.0.1.0", "mtu": 9000}, "larger than that of eth0"),
        ({"offset": "0.0.1.0", "uplink": "nowhere"}, "no network device 'nowhere'"),
        ({"offset": "0.0.1.0", "uplink": "lo"}, "lo"),
        ({"offset": "0.0.1.0", "bridge": "eth0", "uplink": "eth0"}, "eth0 cannot be the uplink"),
        ({"offset": "0.0.1.0", "bridge": "veth0"}, "no bridge but veth"),
        ({"offset": "0.0.1.0", "bridge": "much-too-long-a-name"}, "at most 15"),
        ({"offset": "0.0.1.0", "ipv6_range": "fd00:18::/112"}, "no IPv6 network of eth0"),
        ({"offset": "0.0.3.0"}, "172.17.3.3"),
    ],
)
def test_refusals_change_nothing(bench: Bench, params: dict[str, Any], cause: str) -> None:
    agent = bench.agent("172.17.0.2/16", "172.17.3.3/16")
    agent.namespace.ip("link add dev veth0 type veth peer name veth1")
    before = agent.snapshot()
    for check in (True, False):
        with pytest.raises(DindError, match=re.escape(cause)):
            agent.converge(check=check, **params)
    assert agent.snapshot() == before
    assert not agent.record.exists()


def test_a_route_that_cannot_be_made_again_is_refused(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip("route add 203.0.113.0/24 nexthop via 172.17.0.1 weight 1 nexthop via 172.17.0.7 weight 2")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"203\.0\.113\.0/24.*nexthops"):
        agent.converge(offset="0.0.1.0")
    assert agent.snapshot() == before
