# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""IPv6 on the bridge, and what routers advertise."""

from __future__ import annotations

import socket
import struct
import subprocess

from agent_bench import Bench, connects
from network_fixtures import Namespace


def test_ipv6_both_ways(bench: Bench) -> None:
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", routes=("default via 172.17.0.1", "default via fd00:17::1"))
    facts = agent.converge(offset="0.0.1.0", ipv6_range="fd00:17::1:0/112").facts
    assert (facts["fixed_cidr_v6"], facts["gateway_v6"]) == ("fd00:17::1:0/112", "fd00:17::1")
    inner = bench.inner(agent, "172.17.1.2/16", "fd00:17::1:2/64")
    assert connects(inner, bench.host, "fd00:17::1") == "fd00:17::1:2"
    assert connects(bench.host, inner, "fd00:17::1:2") == "fd00:17::1"
    assert connects(agent.namespace, inner, "fd00:17::1:2") == "fd00:17::2"


def advertise_router(host: Namespace, device: str) -> None:
    """A router's advertisement (RFC 4861, 4.2) of itself and of the prefix fd00:17::/64."""
    prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 7200, 3600, 0, socket.inet_pton(socket.AF_INET6, "fd00:17::"))
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    with host.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        index = host.show("link", "show", "dev", device)[0]["ifindex"]
        link.sendto(message, ("ff02::1", 0, 0, index))


def test_what_a_router_advertised_lasts_on_the_bridge(bench: Bench) -> None:
    """dockerd switches advertisements off on its bridge, and forwarding would do so as well (moby#43466)."""
    agent = bench.agent("172.17.0.2/16")
    with agent.namespace.popen("ip", "-6", "monitor", "route", stdout=subprocess.PIPE) as monitor:
        advertise_router(bench.host, "outer")
        assert monitor.stdout is not None
        next(line for line in monitor.stdout if "default" in line)
        monitor.terminate()
    before = agent.namespace.show("-6", "route", "show", "default")[0]
    learnt = agent.namespace.addresses("eth0")[-1]
    assert (before["protocol"], "expires" in before, learnt[:8]) == ("ra", True, "fd00:17:")
    outcome = agent.converge(offset="0.0.1.0")
    assert learnt in outcome.warnings[0]
    agent.namespace.sysctl("ipv6/conf/docker0/accept_ra", "0")
    agent.namespace.sysctl("ipv6/conf/all/forwarding", "1")
    after = agent.namespace.show("-6", "route", "show", "default")[0]
    assert (after["gateway"], after["dev"], "expires" in after) == (before["gateway"], "docker0", False)
    assert learnt in agent.namespace.addresses("docker0")
    assert agent.converge(offset="0.0.1.0").actions == []
    agent.converge(state="absent")
    restored = agent.namespace.show("-6", "route", "show", "default")[0]
    assert (restored["gateway"], restored["dev"], "expires" in restored) == (before["gateway"], "eth0", True)


def test_a_bridge_learns_nothing_from_routers_where_the_uplink_does_not(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv6/conf/eth0/accept_ra", "0")
    agent.converge(offset="0.0.1.0")
    link_local = agent.namespace.show("-6", "address", "show", "dev", "docker0")[0]["addr_info"]
    advertise_router(bench.host, "outer")
    assert agent.namespace.pings("172.17.0.1")  # by then the bridge has had the advertisement, too
    assert agent.namespace.show("-6", "route", "show", "default") == []
    assert agent.namespace.show("-6", "address", "show", "dev", "docker0")[0]["addr_info"] == link_local
    assert agent.converge(offset="0.0.1.0").actions == []


def test_without_ipv6_on_the_uplink_there_is_none_on_the_bridge(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv6/conf/eth0/disable_ipv6", "1")
    agent.converge(offset="0.0.1.0")
    assert agent.namespace.sysctl("ipv6/conf/docker0/disable_ipv6") == "1"
    assert agent.converge(offset="0.0.1.0").actions == []
