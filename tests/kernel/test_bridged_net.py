# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""bridged_net on real links: a host with an outer bridge, agents on it, inner containers on the agents' bridges."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import netaddr  # noqa: F401 - once here, and not in every child
import pytest
from network_fixtures import Namespace, bridge, namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import plan as bridged_net_plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import Move, Remember, _Reversible
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome, Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

OUTER = "172.17.0.0/16"
GATEWAY = "172.17.0.1"
VOLATILE = {"ifindex", "link_index", "operstate", "qdisc", "promiscuity", "valid_life_time", "preferred_life_time"}
VOLATILE |= {"flags", "nodad", "tentative", "expires", "link_netnsid", "carrier"}
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
LONG = 8.0  # seconds; the bound of a wait that ends as soon as what it waits for is there


@dataclass
class Agent:
    """An agent container's network namespace, with its record beside it."""

    namespace: Namespace
    record: Path
    uplink: str = "eth0"
    address: str = ""
    runner_commands: int = field(default=0, init=False)

    @property
    def roots(self) -> bridged_net.Roots:
        return bridged_net.Roots(record=self.record, resolv_conf=self.resolv_conf)

    @property
    def resolv_conf(self) -> Path:
        return self.record.with_name("resolv.conf")

    def converge(self, check: bool = False, **params: Any) -> Outcome:
        """The module's core in the namespace, with a time-out that is short for this bench."""

        def run() -> tuple[Outcome, int]:
            runner = Runner()
            return bridged_net.core({"verify_timeout": LONG, **params}, runner, check, self.roots), len(runner.commands)

        outcome, self.runner_commands = self.namespace.call(run)
        return outcome

    def steps(self, **params: Any) -> list[Step[Any]]:
        def plan() -> list[Step[Any]]:
            desired = bridged_net.Desired.of(params)
            state = bridged_net.inspect(desired, Runner(), self.roots)
            return bridged_net_plan.plan(desired, state, self.roots)

        return self.namespace.call(plan)

    def snapshot(self) -> dict[str, Any]:
        """All that `ip` shows, without what counts or runs by itself, and forwarding."""
        self._await_own_ipv6_routes()
        return {
            "forwarding": self.namespace.sysctl("ipv4/ip_forward"),
            "links": _settled(self.namespace.show("address", "show")),
            "routes4": _settled(self.namespace.show("-4", "route", "show", "table", "all")),
            "routes6": _settled(self.namespace.show("-6", "route", "show", "table", "all")),
            "neighbours": _settled(self.namespace.show("neighbour", "show", "nud", "permanent")),
        }

    def _await_own_ipv6_routes(self) -> None:
        """The kernel makes an address's own route some time after the address (addrconf_dad_work)."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            links = self.namespace.show("-6", "address", "show", "up")
            addresses = {(link["ifname"], info["local"]) for link in links for info in link["addr_info"]}
            routes = self.namespace.show("-6", "route", "show", "table", "local", "type", "local")
            if addresses <= {(route["dev"], route["dst"]) for route in routes}:
                break


def _settled(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {key: _settled(value) for key, value in sorted(shown.items()) if key not in VOLATILE}
    if isinstance(shown, list):
        return sorted((_settled(each) for each in shown), key=str)
    return shown


class Bench:
    """A host with an outer bridge, and whatever is plugged into it."""

    def __init__(self, cleanup: ExitStack, folder: Path) -> None:
        self.cleanup = cleanup
        self.folder = folder
        self.host = cleanup.enter_context(namespace())
        self.ports = 0

    def outer(self, *addresses: str, mtu: int = 1500) -> None:
        bridge(self.host, "outer", mtu=mtu)
        self.host.ip(*(f"address add {address} dev outer nodad" for address in addresses))

    def plug(self, guest: Namespace, device: str, *, mtu: int = 1500, mac: str = "") -> str:
        """A veth from the outer bridge to ``device`` in ``guest``; the name of the port."""
        self.ports += 1
        port = f"port{self.ports}"
        veth(self.host, port, guest, device, mtu=mtu, mac=mac)
        self.host.ip(f"link set dev {port} master outer")
        return port

    def agent(
        self,
        *addresses: str,
        uplink: str = "eth0",
        mac: str = "",
        routes: Sequence[str] = (f"default via {GATEWAY}",),
        mtu: int = 1500,
    ) -> Agent:
        inside = self.cleanup.enter_context(namespace())
        self.plug(inside, uplink, mtu=mtu, mac=mac)
        lines = [f"address add {a} dev {uplink} {'nodad' if ':' in a else 'broadcast +'}" for a in addresses]
        inside.ip(*lines, *(f"route add {route}" for route in routes))
        record = self.folder / f"{len(list(self.folder.iterdir()))}" / "bridged_net.json"
        record.parent.mkdir()
        return Agent(inside, record, uplink, addresses[0].partition("/")[0] if addresses else "")

    def inner(self, agent: Agent, *addresses: str, gateway: str = GATEWAY, mtu: int = 1500) -> Namespace:
        """A container on the agent's bridge, as the inner engine would make it."""
        inside = self.cleanup.enter_context(namespace())
        self.ports += 1
        port = f"inner{self.ports}"
        veth(agent.namespace, port, inside, "eth0", mtu=mtu)
        agent.namespace.ip(f"link set dev {port} master docker0")
        inside.ip(*(f"address add {a} dev eth0 {'nodad' if ':' in a else ''}" for a in addresses))
        if gateway:
            inside.ip(f"route add default via {gateway}")
        return inside


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as cleanup:
        made = Bench(cleanup, tmp_path)
        made.outer(f"{GATEWAY}/16")
        yield made


@contextmanager
def heard(where: Namespace, device: str) -> Iterator[list[bytes]]:
    """The frames that arrived at ``device`` meanwhile."""
    frames: list[bytes] = []
    with where.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as ear:
        ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        ear.bind((device, 0x0003))
        ear.setblocking(False)
        yield frames
        while True:
            try:
                frames.append(ear.recv(2048))
            except BlockingIOError:
                return


def connects(client: Namespace, server: Namespace, address: str) -> str:
    """Connect by TCP, send a byte; the client's address as the server sees it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM) as listening, client.socket(family, socket.SOCK_STREAM) as calling:
        listening.settimeout(LONG)
        calling.settimeout(LONG)
        listening.bind((address, 0))
        listening.listen()
        calling.connect((address, listening.getsockname()[1]))
        talking, peer = listening.accept()
        with talking:
            calling.sendall(b"!")
            assert talking.recv(1) == b"!"
        return str(peer[0])


def test_inner_containers_are_on_the_outer_network(bench):
    """Host, a machine behind the gateway, two agents and four inner containers: each reaches each, as itself."""
    beyond = bench.cleanup.enter_context(namespace())
    veth(bench.host, "out", beyond, "eth0")
    bench.host.ip("address add 198.51.100.1/24 dev out")
    bench.host.sysctl("ipv4/ip_forward", "1")
    beyond.ip("address add 198.51.100.9/24 dev eth0", "route add default via 198.51.100.1")
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    for agent in agents:
        agent.converge(offset="auto")
    everyone = {GATEWAY: bench.host, "198.51.100.9": beyond}
    everyone |= {agent.address: agent.namespace for agent in agents}
    for host, agent in zip((2, 3), agents, strict=True):
        for last in (2, 3):
            everyone[f"172.17.{host}.{last}"] = bench.inner(agent, f"172.17.{host}.{last}/16")
    for (source, client), (target, server) in permutations(everyone.items(), 2):
        assert client.pings(target), f"{source} -> {target}"
        if {source, target} != {GATEWAY, "198.51.100.9"}:
            assert connects(client, server, target) == source


def test_by_the_agent_as_gateway_inner_containers_reach_what_is_beyond_as_themselves(bench):
    beyond = bench.cleanup.enter_context(namespace())
    veth(bench.host, "out", beyond, "eth0")
    bench.host.ip("address add 198.51.100.1/24 dev out")
    beyond.ip("address add 198.51.100.9/24 dev eth0", "route add default via 198.51.100.1")
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0", gateway="bridge")
    inner = bench.inner(agent, "172.17.1.2/16", gateway=agent.address)
    for address, server in ((GATEWAY, bench.host), ("198.51.100.9", beyond)):
        assert connects(inner, server, address) == "172.17.1.2"
        assert connects(server, inner, "172.17.1.2") == address


def test_the_result_says_what_the_engine_needs(bench):
    agent = bench.agent("172.17.0.2/16")
    mac = agent.namespace.show("link", "show", "dev", "eth0")[0]["address"]
    facts = agent.converge(offset="0.0.1.0").facts
    assert facts == {
        "uplink": "eth0",
        "bridge": "docker0",
        "bip": "172.17.0.2/16",
        "fixed_cidr": "172.17.1.0/24",
        "fixed_cidr_v6": "",
        "bip_v6": "",
        "gateway": GATEWAY,
        "gateway_v6": "",
        "address_pools": [],
        "dns": [],
        "dns_options": [],
        "mtu": 1500,
        "mac": mac,
        "mode": "bridge",
        "masquerade": True,
    }
    assert agent.converge(offset="0.0.1.0", gateway="bridge").facts["gateway"] == ""


def test_the_second_run_changes_nothing_and_forks_three_times(bench):
    agent = bench.agent("172.17.0.2/16", "172.17.0.20/16", "fd00:17::2/64")
    first = agent.converge(offset="0.0.1.0")
    after = agent.snapshot()
    record = agent.record.read_text()
    second = agent.converge(offset="0.0.1.0")
    assert second.actions == []
    assert second.before == second.after == first.after
    assert second.facts == first.facts
    assert agent.runner_commands <= 3
    assert agent.snapshot() == after
    assert agent.record.read_text() == record


def test_check_mode_predicts_and_changes_nothing(bench):
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    predicted = agent.converge(check=True, offset="0.0.1.0")
    assert agent.snapshot() == before
    assert not agent.record.exists()
    done = agent.converge(offset="0.0.1.0")
    assert predicted.actions == done.actions
    assert predicted.before == done.before
    assert predicted.facts == done.facts


def test_the_bridge_keeps_the_uplinks_mac_while_veths_come_and_go(bench):
    agent = bench.agent("172.17.0.2/16")
    mac = agent.converge(offset="0.0.1.0").facts["mac"]
    for _ in range(3):
        inner = bench.cleanup.enter_context(namespace())
        veth(agent.namespace, "low", inner, "eth0")
        agent.namespace.ip("link set dev low address 00:00:00:00:00:01 master docker0")
        assert agent.namespace.show("link", "show", "dev", "docker0")[0]["address"] == mac
        agent.namespace.ip("link delete dev low")
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["address"] == mac


def test_gratuitous_arp_and_neighbour_advertisement_follow_the_move(bench):
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
def test_the_mtu_is_the_uplinks(bench, mtu):
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


def test_a_smaller_mtu_and_later_another_one(bench):
    agent = bench.agent("172.17.0.2/16")
    assert agent.converge(offset="0.0.1.0", mtu=1450).facts["mtu"] == 1450
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["mtu"] == 1450
    again = agent.converge(offset="0.0.1.0", mtu=1420)
    assert len(again.actions) == 1
    assert agent.namespace.show("link", "show", "dev", "docker0")[0]["mtu"] == 1420
    assert agent.namespace.pings(GATEWAY)


def addresses_of(snapshot: dict[str, Any], device: str) -> list[dict[str, Any]]:
    return next(link["addr_info"] for link in snapshot["links"] if link["ifname"] == device)


def furnish(agent: Agent) -> None:
    """All that a uplink may carry."""
    agent.namespace.ip(
        "address add 10.9.8.7/24 dev eth0 label eth0:old metric 77",
        "address add 172.17.0.9/16 dev eth0 noprefixroute",
        "address add 10.5.5.1 peer 10.5.5.2/32 dev eth0",
        "address add fd00:17::9/64 dev eth0 nodad preferred_lft 0",
        "route add 203.0.113.0/24 via 172.17.0.77 src 172.17.0.9 metric 50",
        "route add 203.0.113.0/24 via 172.17.0.78 metric 60 mtu 1300 advmss 1200 proto static",
        "route add 192.0.2.1/32 dev eth0 scope link",
        "route add default via 10.9.8.1 table 77",
        "route add 198.18.0.0/15 via 100.64.0.1 dev eth0 onlink",
        "route add fd00:99::/64 via fd00:17::1 metric 5",
        "route add default via fd00:17::1 proto static",
        "neighbour add 172.17.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        "neighbour add fd00:17::77 lladdr 02:00:00:00:00:78 dev eth0 nud permanent",
    )


def test_all_that_the_uplink_has_moves_and_returns_exactly(bench):
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", "fd00:17::3/64")
    furnish(agent)
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    moved = json.loads(json.dumps(before).replace('"eth0:old"', '"docker0:old"').replace('"eth0"', '"docker0"'))
    after = agent.snapshot()
    for kind in ("routes4", "routes6", "neighbours"):
        assert after[kind] == _settled(moved[kind])
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


def test_addresses_as_networkmanager_gives_them_move_and_return_exactly(bench):
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent(routes=())
    furnish_as_networkmanager(agent)
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    after = agent.snapshot()
    moved = json.loads(json.dumps(before).replace('"eth0"', '"docker0"'))
    for kind in ("routes4", "routes6"):
        assert after[kind] == _settled(moved[kind])
    assert connects(bench.host, agent.namespace, "172.17.0.2") == GATEWAY
    assert agent.converge(offset="0.0.1.0").actions == []
    agent.converge(state="absent")
    assert agent.snapshot() == before


def test_a_silent_gateway_undoes_everything_as_networkmanager_gave_it(bench):
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent(routes=())
    furnish_as_networkmanager(agent, "172.17.0.66")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer within 0\.3 s, so all was undone; [^(]*$"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before
    assert not agent.record.exists()


def test_a_route_whose_gateway_is_no_neighbour_any_more_is_refused(bench):
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


def test_a_line_that_fails_keeps_none_of_the_others_from_being_undone_and_the_record_stays(bench):
    """Here it is a route that was there when it was remembered, and cannot be made again."""
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    steps = agent.steps(offset="0.0.1.0")
    lost = Route(4, "203.0.113.0/24", "eth0", "10.9.0.1")
    for index, step in enumerate(steps):
        if isinstance(step, Remember | _Reversible):
            routes = (lost, *step.record.routes)
            steps[index] = dataclasses.replace(step, record=dataclasses.replace(step.record, routes=routes))
    move = next(index for index, step in enumerate(steps) if isinstance(step, Move))
    lines = (*steps[move].lines, f"route append {lost.words('docker0', lasting=True)}")
    steps[move] = dataclasses.replace(steps[move], lines=lines)
    with pytest.raises(DindError, match=r"could not be undone: `ip route append 203\.0\.113\.0/24 .* dev eth0` failed"):
        agent.namespace.call(_plan_apply, steps)
    assert agent.snapshot() == before
    assert agent.record.exists()
    agent.namespace.ip("route add 10.9.0.1 dev eth0 scope link")
    agent.converge(state="absent")
    assert agent.namespace.show("route", "show", "203.0.113.0/24")[0]["gateway"] == "10.9.0.1"
    assert not agent.record.exists()


def test_ipv6_both_ways(bench):
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


def test_what_a_router_advertised_lasts_on_the_bridge(bench):
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


def test_a_bridge_learns_nothing_from_routers_where_the_uplink_does_not(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv6/conf/eth0/accept_ra", "0")
    agent.converge(offset="0.0.1.0")
    link_local = agent.namespace.show("-6", "address", "show", "dev", "docker0")[0]["addr_info"]
    advertise_router(bench.host, "outer")
    assert agent.namespace.pings("172.17.0.1")  # by then the bridge has had the advertisement, too
    assert agent.namespace.show("-6", "route", "show", "default") == []
    assert agent.namespace.show("-6", "address", "show", "dev", "docker0")[0]["addr_info"] == link_local
    assert agent.converge(offset="0.0.1.0").actions == []


def test_without_ipv6_on_the_uplink_there_is_none_on_the_bridge(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv6/conf/eth0/disable_ipv6", "1")
    agent.converge(offset="0.0.1.0")
    assert agent.namespace.sysctl("ipv6/conf/docker0/disable_ipv6") == "1"
    assert agent.converge(offset="0.0.1.0").actions == []


def test_forwarding_is_switched_on_and_absent_restores_it(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    agent.converge(offset="0.0.1.0")
    assert agent.namespace.sysctl("ipv4/ip_forward") == "1"
    agent.converge(state="absent")
    assert agent.namespace.sysctl("ipv4/ip_forward") == "0"


def test_an_uplink_of_another_name_beside_another_device(bench):
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


def test_no_default_route(bench):
    agent = bench.agent("172.17.0.2/16", routes=())
    facts = agent.converge(offset="0.0.1.0").facts
    assert (facts["uplink"], facts["gateway"]) == ("eth0", "")
    assert bench.host.pings("172.17.0.2")
    assert agent.converge(offset="0.0.1.0").actions == []


def test_a_silent_gateway_undoes_everything(bench):
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", routes=("default via 172.17.0.66",))
    furnish_with_the_other_gateway = "route add 203.0.113.0/24 via 172.17.0.1"
    agent.namespace.ip(furnish_with_the_other_gateway)
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer within 0\.3 s"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before
    assert agent.namespace.sysctl("ipv4/ip_forward") == "0"
    assert not agent.record.exists()
    assert bench.host.pings("172.17.0.2")


def test_a_silent_ipv6_gateway_undoes_everything(bench):
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64", routes=("default via 172.17.0.1", "default via fd00:17::66"))
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"fd00:17::66 did not answer"):
        agent.converge(offset="0.0.1.0", verify_timeout=0.3)
    assert agent.snapshot() == before


def test_without_verify_nobody_is_asked(bench):
    agent = bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",))
    outcome = agent.converge(offset="0.0.1.0", verify=False)
    assert not any("answers" in action for action in outcome.actions)
    assert agent.converge(offset="0.0.1.0", verify=False).actions == []


def test_a_batch_that_fails_half_way_is_undone(bench):
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    steps = agent.steps(offset="0.0.1.0")
    move = next(index for index, step in enumerate(steps) if isinstance(step, Move))
    for count in range(len(steps[move].lines) + 1):
        broken = [*steps]
        broken[move] = dataclasses.replace(steps[move], lines=(*steps[move].lines[:count], "link set dev nowhere up"))
        with pytest.raises(DindError, match="nowhere"):
            agent.namespace.call(_plan_apply, broken)
        assert agent.snapshot() == before, f"after {count} lines"


def _plan_apply(steps: Sequence[Step[Any]]) -> None:
    from ansible_collections.mesos.dind.plugins.module_utils import _plan

    _plan.apply(steps, Runner())


def interruptions(steps: Sequence[Step[Any]]) -> Iterator[tuple[str, list[Step[Any]]]]:
    """Every beginning of ``steps``, batches also cut between their lines, with a name for each."""
    for index, step in enumerate(steps):
        lines = getattr(step, "lines", ())
        for count in range(len(lines)):
            half = dataclasses.replace(step, lines=lines[:count])
            yield f"{step}, {count} of {len(lines)} lines", [*steps[:index], half]
        yield f"{step}, done", list(steps[: index + 1])


def _do(steps: Sequence[Step[Any]]) -> None:
    for step in steps:
        step.do(Runner())


@pytest.fixture(params=["docker0 left over", "no docker0"])
def rich(bench, monkeypatch, request):
    """An agent that carries all that an uplink may carry."""
    monkeypatch.setattr(bridged_net, "SURVEY_SECONDS", 0.0)  # nobody is there to answer
    bench.host.ip("address add fd00:17::1/64 dev outer nodad")
    agent = bench.agent("172.17.0.2/16", "fd00:17::2/64")
    furnish(agent)
    agent.namespace.sysctl("ipv4/ip_forward", "0")
    if request.param != "no docker0":
        agent.namespace.ip("link add dev docker0 type bridge", "address add 172.18.0.1/16 dev docker0")
    return agent


def test_killed_after_any_step_of_the_move_the_next_run_completes_it(rich):
    before = rich.snapshot()
    steps = rich.steps(offset="0.0.1.0")
    rich.converge(offset="0.0.1.0")
    after = rich.snapshot()
    rich.converge(state="absent")
    points = list(interruptions(steps))
    assert len(points) > 20
    for name, done in points:
        assert rich.snapshot() == before, name
        rich.namespace.call(_do, done)
        rich.converge(offset="0.0.1.0")
        assert rich.snapshot() == after, name
        assert rich.converge(offset="0.0.1.0").actions == [], name
        rich.converge(state="absent")


def test_killed_after_any_step_of_the_move_absent_restores_the_uplink(rich):
    before = rich.snapshot()
    for name, done in interruptions(rich.steps(offset="0.0.1.0")):
        rich.namespace.call(_do, done)
        rich.converge(state="absent")
        assert rich.snapshot() == before, name


def test_killed_after_any_step_of_the_move_a_silent_gateway_undoes_everything(rich):
    rich.namespace.ip("route replace default via 172.17.0.66")
    before = rich.snapshot()
    *steps, _found_good = rich.steps(offset="0.0.1.0", mode="bridge", verify=False)
    for name, done in interruptions(steps):
        rich.namespace.call(_do, done)
        with pytest.raises(DindError, match=r"172\.17\.0\.66 did not answer"):
            rich.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.1)
        assert rich.snapshot() == before, name
        assert not rich.record.exists(), name


@pytest.mark.parametrize("params", [{"state": "absent"}, {"offset": "0.0.1.0"}], ids=str)
def test_killed_while_restoring_both_ways_are_open(rich, params):
    before = rich.snapshot()
    rich.converge(offset="0.0.1.0")
    after = rich.snapshot()
    goal = before if "state" in params else after
    for name, done in interruptions(rich.steps(state="absent")):
        rich.converge(offset="0.0.1.0")
        assert rich.snapshot() == after, name
        rich.namespace.call(_do, done)
        rich.converge(**params)
        assert rich.snapshot() == goal, name


def test_a_restart_with_another_address_forgets_the_old_one(bench):
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


def test_two_namespaces_never_have_the_same_id():
    """By the kernel's cookie: the inode of a namespace that is gone is given out again."""
    ids = []
    for _ in range(3):
        with namespace() as inside:
            ids.append(inside.call(bridged_net.namespace_id, Path("/proc")))
    cookies = {found.rpartition("/")[2] for found in ids}
    assert len(cookies) == 3
    assert "0" not in cookies


def test_a_docker0_left_over_from_the_default_mode(bench):
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


def test_a_bridge_that_somebody_else_arranged_is_left_as_it_is(bench):
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


def test_addresses_of_the_range_that_are_in_use_are_reported(bench):
    agent = bench.agent("172.17.0.2/16")
    squatter = bench.cleanup.enter_context(namespace())
    bench.plug(squatter, "eth0")
    squatter.ip("address add 172.17.1.7/16 dev eth0", "address add 172.17.1.200/16 dev eth0")
    outcome = agent.converge(offset="0.0.1.0")
    assert len(outcome.warnings) == 1
    assert "172.17.1.7, 172.17.1.200" in outcome.warnings[0]
    assert bench.agent("172.17.0.4/16").converge(offset="0.0.2.0").warnings == []


def test_containers_of_its_own_are_no_strangers_after_a_reboot(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0")
    bench.inner(agent, "172.17.1.2/16")
    agent.record.unlink()
    outcome = agent.converge(offset="0.0.1.0")
    assert (outcome.warnings, outcome.actions) == ([], [])


def test_what_is_bound_to_the_uplink_and_does_not_move_is_told_once(bench):
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
        "of eth0 still, and of no effect there: the rule 100, the proxy neighbour 10.0.0.9, the multicast route to "
        "239.0.0.0/8, `-A INPUT -i eth0 -p tcp -j DROP`, `ip6tables -A OUTPUT -o eth0 -j DROP`; have it name docker0"
    )
    assert agent.converge(offset="0.0.1.0").warnings == []


def test_each_asks_the_gateway_from_another_foreign_mac(bench):
    """Else the bridges on the way would take the answer to one for the other's."""
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    with heard(bench.host, "outer") as frames:
        for number, agent in enumerate(agents, 1):
            agent.converge(check=True, offset=f"0.0.{number}.0")
    gateway, anybody = socket.inet_aton(GATEWAY), bytes(4)
    asking = {frame[22:28] for frame in frames if (frame[28:32], frame[38:42]) == (anybody, gateway)}
    assert len(asking) == 2
    assert {mac[0] for mac in asking} == {0x02}
    assert asking.isdisjoint(frame[22:28] for frame in frames if frame[28:32] == anybody and frame[38:42] != gateway)


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
def test_refusals_change_nothing(bench, params, cause):
    agent = bench.agent("172.17.0.2/16", "172.17.3.3/16")
    agent.namespace.ip("link add dev veth0 type veth peer name veth1")
    before = agent.snapshot()
    for check in (True, False):
        with pytest.raises(DindError, match=re.escape(cause)):
            agent.converge(check=check, **params)
    assert agent.snapshot() == before
    assert not agent.record.exists()


def test_a_route_that_cannot_be_made_again_is_refused(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip("route add 203.0.113.0/24 nexthop via 172.17.0.1 weight 1 nexthop via 172.17.0.7 weight 2")
    before = agent.snapshot()
    with pytest.raises(DindError, match=r"203\.0\.113\.0/24.*nexthops"):
        agent.converge(offset="0.0.1.0")
    assert agent.snapshot() == before


def test_the_default_mode_meets_no_visible_route(bench):
    agent = bench.agent("172.17.0.2/16")
    agent.namespace.ip("route add 172.18.0.0/15 via 172.17.0.1", "route add 192.168.0.0/17 via 172.17.0.1")
    before = agent.snapshot()
    outcome = agent.converge()
    assert outcome.actions == []
    assert outcome.facts["bip"] == "172.20.0.1/16"
    assert outcome.facts["address_pools"][0] == {"base": "172.21.0.0/16", "size": 16}
    assert outcome.facts["fixed_cidr"] == outcome.facts["gateway"] == ""
    assert agent.snapshot() == before


def test_the_default_mode_stays_with_its_choice_while_the_engine_runs(bench, tmp_path):
    agent = bench.agent("172.17.0.2/16")
    record_of_dockerd(tmp_path, {"BridgeName": "by-a-person", "DefaultBridge": False})
    first = agent.converge(data_root=str(tmp_path)).facts
    bridge(agent.namespace, "docker0")
    bridge(agent.namespace, "br-0123456789ab")
    agent.namespace.ip("address add 172.18.0.1/16 dev docker0", "address add 172.19.0.1/16 dev br-0123456789ab")
    bridge(agent.namespace, "by-a-person")
    agent.namespace.ip("address add 172.20.0.1/16 dev by-a-person")
    assert agent.converge(data_root=str(tmp_path)).facts == first
    veth(agent.namespace, "veth1", bench.cleanup.enter_context(namespace()), "eth0")
    agent.namespace.ip("link set dev veth1 master by-a-person")
    assert agent.converge(data_root=str(tmp_path)).facts == first


def test_the_default_mode_leaves_idle_bridges_of_others_their_subnets(bench):
    agent = bench.agent("172.17.0.2/16")
    bridge(agent.namespace, "virbr0")
    agent.namespace.ip("address add 172.18.0.1/16 dev virbr0")
    assert agent.converge().facts["bip"] == "172.19.0.1/16"


def test_the_default_mode_needs_no_uplink(bench):
    with namespace() as alone:
        facts = Agent(alone, bench.folder / "none.json").converge().facts
    assert (facts["bip"], facts["mtu"], facts["uplink"]) == ("172.17.0.1/16", 1500, "")


def test_the_default_mode_after_the_bridged_mode_gives_the_uplink_back(bench):
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    agent.converge(offset="0.0.1.0")
    assert agent.converge().actions
    assert agent.snapshot() == before


def test_the_preflight_carves_without_changing_anything(bench):
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    agent.namespace.call(bridged_net.require, agent.roots, offset="auto", size=None)
    with pytest.raises(bridged_net.RangeError, match="size 16"):
        agent.namespace.call(bridged_net.require, agent.roots, offset="auto", size=16)
    assert agent.snapshot() == before


def test_hangup_and_terminate_wait_until_all_is_done(bench):
    """The connection that controls a run may be the one that the move cuts."""
    agent = bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",))
    before = agent.snapshot()
    told: list[int] = []

    def run() -> tuple[str, list[int]]:
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, lambda number, _: told.append(number))
        ask = bridged_net.probes.answering

        def cut(*args: Any) -> set[Any]:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert told == []
            return ask(*args)

        bridged_net.probes.answering = cut
        try:
            bridged_net.core({"offset": "0.0.1.0", "verify_timeout": 0.3}, Runner(), False, agent.roots)
        except DindError as error:
            return str(error), sorted(told)
        return "", told

    message, told = agent.namespace.call(run)
    assert "did not answer" in message
    assert told == [signal.SIGHUP, signal.SIGTERM]
    assert agent.snapshot() == before


def lock(bench: Bench, agent: Agent, port: str) -> None:
    """Have the host drop what comes from the agent's port with another MAC than the agent's, as clouds do."""
    mac = agent.namespace.show("link", "show", "dev", "eth0")[0]["address"]
    bench.host.run("bridge", "fdb", "replace", mac, "dev", port, "master", "static")
    bench.host.run("bridge", "link", "set", "dev", port, "locked", "on", "learning", "off")


def serve(bench: Bench, agent: Agent, **params: Any) -> Namespace:
    """Arrange the agent with proxy ARP, and a container as the engine would make it then."""
    facts = agent.converge(**params).facts
    assert facts["mode"] == "proxy_arp"
    return behind(bench, agent, facts["bip"])


def behind(bench: Bench, agent: Agent, bip: str) -> Namespace:
    """A container on a bridge that has nothing to do with the uplink, as the engine makes both."""
    bridge(agent.namespace, "docker0")
    agent.namespace.ip(f"address add {bip} dev docker0")
    gateway, _, prefix = bip.partition("/")
    return bench.inner(agent, f"{gateway[:-1]}2/{prefix}", gateway=gateway)


def test_a_port_that_drops_foreign_macs_is_served_by_proxy_arp_both_ways(bench):
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    before = [agent.snapshot() for agent in agents]
    for number, agent in enumerate(agents, 1):
        lock(bench, agent, f"port{number}")
        agent.namespace.sysctl("ipv4/ip_forward", "0")
    one, other = (serve(bench, agent, offset="auto") for agent in agents)
    everyone = {"172.17.2.2": one, "172.17.3.2": other, GATEWAY: bench.host}
    for (source, client), (target, server) in permutations(everyone.items(), 2):
        assert client.pings(target), f"{source} -> {target}"
        assert connects(client, server, target) == source
    assert agents[0].converge(offset="auto").actions == []
    for agent, untouched in zip(agents, before, strict=True):
        agent.converge(state="absent")
        agent.namespace.ip("link delete dev docker0")
        assert agent.namespace.sysctl("ipv4/ip_forward") == "0"
        assert agent.namespace.sysctl("ipv4/conf/eth0/proxy_arp") == "0"
        assert "bridged_net" not in agent.namespace.run("iptables", "-S").stdout
        assert addresses_of(agent.snapshot(), "eth0") == addresses_of(untouched, "eth0")


def test_a_macvlan_uplink_is_served_by_proxy_arp(bench):
    agent = bench.agent(uplink="parent", routes=())
    agent.namespace.ip(
        "link add link parent name eth0 type macvlan mode bridge",
        "link set dev eth0 up",
        "address add 172.17.0.2/16 dev eth0",
        f"route add default via {GATEWAY}",
    )
    inner = serve(bench, agent, offset="auto")
    assert connects(inner, bench.host, GATEWAY) == "172.17.2.2"
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY


def test_what_the_engine_drops_by_default_is_let_through_to_the_range(bench):
    agent = bench.agent("172.17.0.2/16")
    inner = serve(bench, agent, offset="auto", mode="proxy_arp")
    for rule in ("-P FORWARD DROP", "-A FORWARD -j DOCKER-USER", "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT"):
        agent.namespace.run("iptables", "-w", *rule.split())
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY


def test_what_the_engine_keeps_apart_from_the_bridge_gets_out_by_it_but_not_to_its_containers(bench):
    """As dockerd does for each of its networks (moby, iptabler: DOCKER-ISOLATION-STAGE-1 and -2)."""
    agent = closed(bench.agent("172.17.0.2/16"))
    agent.converge(offset="0.0.1.0", mode="bridge")
    inner = bench.inner(agent, "172.17.1.2/16")
    apart = bench.cleanup.enter_context(namespace())
    veth(agent.namespace, "br-own", apart, "eth0")
    agent.namespace.ip("address add 172.30.0.1/16 dev br-own")
    apart.ip("address add 172.30.0.2/16 dev eth0", "route add default via 172.30.0.1")
    for rule in (
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -i br-own -o docker0 -j DROP",
        "-A FORWARD -i docker0 -o br-own -j DROP",
        "-t nat -A POSTROUTING -s 172.30.0.0/16 ! -o br-own -j MASQUERADE",
    ):
        agent.namespace.run("iptables", "-w", *rule.split())
    assert connects(apart, bench.host, GATEWAY) == "172.17.0.2"
    assert not apart.pings("172.17.1.2", seconds=1)
    bench.host.ip("route add 172.30.0.0/16 via 172.17.0.2")
    assert not bench.host.pings("172.30.0.2", seconds=1)
    assert connects(bench.host, inner, "172.17.1.2") == GATEWAY
    assert agent.converge(offset="0.0.1.0", mode="bridge").actions == []
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED


def test_what_the_engine_drops_before_it_is_routed_is_let_in_to_the_range_only(bench):
    """As Docker 28 and later do for each container (moby, iptabler: filterDirectAccess)."""
    agent = closed(bench.agent("172.17.0.2/16"))
    resolver = OuterResolver(agent)
    inner = serve(bench, agent, offset="auto", mode="proxy_arp")
    drop = "-t raw -A PREROUTING -d 172.17.2.2 ! -i docker0 -j DROP"
    agent.namespace.run("iptables", "-w", *drop.split())
    assert connects(bench.host, inner, "172.17.2.2") == GATEWAY
    assert resolver.answers(inner, "172.17.2.1")
    moved = agent.converge(offset="0.0.4.0", mode="proxy_arp")
    assert "accept what eth0 forwards to docker0" in moved.actions
    assert [rule for rule in opened(agent)[0] if "172.17.2.0/24" in rule] == []
    assert agent.converge(offset="0.0.4.0", mode="proxy_arp").actions == []
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED


def test_twelve_agents_at_once_are_disjoint_and_reach_each_other(bench):
    agents = [bench.agent(f"172.17.0.{n}/16") for n in range(2, 14)]
    ranges = [agent.converge(offset="auto").facts["fixed_cidr"] for agent in agents]
    assert ranges == [f"172.17.{n}.0/24" for n in range(2, 14)]
    inners = [bench.inner(agent, f"172.17.{n}.2/16") for n, agent in enumerate(agents, 2)]
    for n in range(2, 14):
        following = 2 + (n - 1) % 12
        assert connects(inners[n - 2], inners[following - 2], f"172.17.{following}.2") == f"172.17.{n}.2"


def record_of_dockerd(data_root: Path, record: dict[str, object]) -> Path:
    store = data_root / "network/files/local-kv.db"
    store.parent.mkdir(parents=True)
    store.write_text(json.dumps(record, separators=(",", ":")))
    return store


def test_dockerds_record_of_another_address_is_laid_to_rest(bench, tmp_path):
    record = {"AddressIPv4": "172.17.0.9/16", "BridgeName": "docker0", "DefaultBridge": True, "InhibitIPv4": False}
    store = record_of_dockerd(tmp_path / "data", record)
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0", data_root=str(tmp_path / "data"))
    assert json.loads(store.read_text()) == {**record, "InhibitIPv4": True}
    assert agent.converge(offset="0.0.1.0", data_root=str(tmp_path / "data")).actions == []


def test_the_module_by_ansible(bench):
    """Check mode with diff, a run, another run, and absent, in one container's worth of namespaces."""
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    ansible = f"{Path(sys.executable).parent / 'ansible'} localhost -m mesos.dind.bridged_net"
    ansible += f" -e ansible_python_interpreter={sys.executable}"
    runs = ("--check --diff -a offset=auto", "--diff -a offset=auto", "-a offset=auto", "-a state=absent")
    script = "mount -t tmpfs none /run\n" + "".join(f"{ansible} {run} && echo END\n" for run in runs)
    collections = Path(__file__).parents[2] / ".cache" / "collections"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}
    with agent.namespace.popen("unshare", "-m", "sh", "-ec", script, stdout=subprocess.PIPE, env=environment) as shell:
        said = shell.communicate()[0]
    assert shell.returncode == 0, said
    texts = [text[text.index("=> {") + 3 :] for text in said.split("END\n")[:-1]]
    check, done, again, absent = (json.loads(text) for text in texts)
    assert check["changed"] is done["changed"] is absent["changed"] is True
    assert again["changed"] is False
    assert check["actions"] == done["actions"]
    assert done["fixed_cidr"] == again["fixed_cidr"] == "172.17.2.0/24"
    assert said.count('"kind": "bridge"') == 2  # once in each diff
    assert agent.snapshot() == before


# The backend of iptables


class Backends:
    """Programs of iptables, by a folder that is first in PATH: the machine's own backend is nft, and does not work."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.monkeypatch = monkeypatch
        self.program("iptables-restore", "echo 'Could not fetch rule set generation id: Invalid argument' >&2; exit 4")
        self.program("update-alternatives", f'echo "$@" >> {self.log}; rm -f {self.folder}/iptables*')
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(self, name: str, script: str) -> None:
        path = self.folder / name
        with path.open("x") as new:  # never through a link to the machine's own
            new.write(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def alone(self) -> None:
        """As if the machine had no others."""
        self.program("iptables-save", "exit 0")
        self.program("ip", f'exec {shutil.which("ip")} "$@"')
        self.monkeypatch.setenv("PATH", str(self.folder))

    @property
    def chosen(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def backends(tmp_path_factory, monkeypatch):
    return Backends(tmp_path_factory.mktemp("bin"), monkeypatch)


PROVEN: list[dict[str, Any]] = [{}, {"offset": "0.0.1.0", "mode": "bridge"}, {"offset": "0.0.1.0", "mode": "proxy_arp"}]


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_nat_is_proven_before_an_engine_is_started_and_leaves_nothing(bench, tmp_path_factory, monkeypatch, params):
    agent = bench.agent("172.17.0.2/16")
    real, folder = shutil.which("iptables-restore"), tmp_path_factory.mktemp("bin")
    (folder / "iptables-restore").write_text(f'#!/bin/sh\ncat >> {folder}/log; exec {real} "$@" < {folder}/log\n')
    (folder / "iptables-restore").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    agent.converge(check=True, **params)
    assert not (folder / "log").exists()
    agent.converge(**params)
    asked = (folder / "log").read_text()
    assert "-j MASQUERADE" in asked
    assert "PROOF" not in agent.namespace.run("iptables-save").stdout
    if params.get("mode") != "bridge":
        bridge(agent.namespace, "docker0")  # as the engine does
    assert agent.converge(**params).actions == []
    assert (folder / "log").read_text() == asked


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_where_the_own_backend_does_not_work_the_other_is_taken(bench, backends, params):
    agent = bench.agent("172.17.0.2/16")
    outcome = agent.converge(**params)
    assert "use iptables-legacy, since NAT does not work with iptables-nft (Could not fetch" in outcome.actions[0]
    names = ("iptables", "ip6tables")
    assert backends.chosen == [f"--set {name} {shutil.which(f'{name}-legacy')}" for name in names]
    assert not any("iptables" in action for action in agent.converge(**params).actions)


@pytest.mark.parametrize("params", PROVEN, ids=str)
def test_where_no_backend_works_nothing_is_touched_and_both_are_named(bench, backends, params):
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    backends.program("iptables-legacy-restore", "echo 'can not initialize iptables table nat' >&2; exit 3")
    legacy = "with iptables-legacy: can not initialize iptables table nat"
    with pytest.raises(DindError, match=f"with iptables-nft: Could not fetch .*; {legacy}; load the kernel's modules"):
        agent.converge(**params)
    assert (agent.snapshot(), backends.chosen, agent.record.exists()) == (before, [], False)


def test_a_backend_that_is_not_installed_is_named_as_well(bench, backends):
    agent = bench.agent("172.17.0.2/16")
    backends.alone()
    with pytest.raises(DindError, match="with iptables-legacy: it is not installed"):
        agent.converge()


# Names

RESOLVER_ADDRESS = "127.0.0.11"


class OuterResolver:
    """Sockets where an outer Docker engine has its resolver's, and a resolv.conf that names it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        agent.resolv_conf.write_text(f"nameserver {RESOLVER_ADDRESS}\noptions ndots:0\n")
        self.listen()

    def listen(self) -> None:
        self.udp = bound(self.agent.namespace, socket.SOCK_DGRAM, RESOLVER_ADDRESS)
        self.tcp = bound(self.agent.namespace, socket.SOCK_STREAM, RESOLVER_ADDRESS)

    def listen_elsewhere(self) -> None:
        """As after a restart of the outer engine."""
        old = self.udp, self.tcp
        self.listen()
        for gone in old:
            gone.close()

    def answers(self, client: Namespace, address: str) -> bool:
        """Whether who asks ``address`` by UDP and by TCP has its answer from there, and the resolver's."""
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(LONG)
            asking.connect((address, 53))
            asking.send(b"?")
            question, asker = self.udp.recvfrom(1)
            self.udp.sendto(b"!", asker)
            by_udp = (question, asking.recv(1)) == (b"?", b"!")
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
            asking.settimeout(LONG)
            asking.connect((address, 53))
            talking, _ = self.tcp.accept()
            with talking:
                talking.sendall(b"!")
                return by_udp and asking.recv(1) == b"!"


def bound(where: Namespace, kind: int, address: str, port: int = 0) -> socket.socket:
    made = where.socket(socket.AF_INET, kind)
    made.settimeout(LONG)
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


# What we set, and what it is before.
SETTINGS = {
    "ipv4/conf/all/route_localnet": "0",
    "ipv4/ip_forward": "0",
    "ipv4/conf/eth0/proxy_arp": "0",
    "ipv4/neigh/eth0/proxy_delay": "80",
}
Opened = tuple[list[str], dict[str, str]]


def opened(agent: Agent) -> Opened:
    """Our rules, and the settings by which others get in and through."""
    saved = agent.namespace.run("iptables-save").stdout.splitlines()
    rules = [line for line in saved if "mesos.dind" in line or "MESOS-DIND" in line]
    return rules, {name: agent.namespace.sysctl(name) for name in SETTINGS}


UNTOUCHED: Opened = ([], SETTINGS)
MODES = {
    "bridge": {"offset": "0.0.1.0", "mode": "bridge"},
    "proxy_arp": {"offset": "0.0.1.0", "mode": "proxy_arp"},
    "default": {},
}


@pytest.fixture(params=MODES)
def named(bench, request):
    """An agent with an outer engine's resolver, and the parameters of a mode."""
    agent = closed(bench.agent("172.17.0.2/16"))
    return agent, OuterResolver(agent), MODES[request.param]


def closed(agent: Agent) -> Agent:
    """Before anything is arranged."""
    for name, value in SETTINGS.items():
        agent.namespace.sysctl(name, value)
    return agent


@pytest.mark.parametrize("bridge_nf", ["0", "1"])
def test_inner_containers_are_answered_by_the_outer_resolver(bench, named, bridge_nf):
    agent, resolver, params = named
    agent.namespace.sysctl("bridge/bridge-nf-call-iptables", bridge_nf)
    facts = agent.converge(**params).facts
    (nameserver,) = facts["dns"]
    assert facts["dns_options"] == ["timeout:5"]
    is_port = facts["mode"] == "bridge"
    inner = bench.inner(agent, "172.17.1.2/16") if is_port else behind(bench, agent, facts["bip"])
    # dockerd's embedded resolver asks from the container's namespace, on a network of a user's own as well.
    users_own = bench.cleanup.enter_context(namespace())
    veth(agent.namespace, "br-0123456789ab", users_own, "eth0")
    agent.namespace.ip("address add 172.30.0.1/16 dev br-0123456789ab")
    users_own.ip("address add 172.30.0.2/16 dev eth0", "route add default via 172.30.0.1")
    for client in (inner, users_own, agent.namespace):
        assert resolver.answers(client, nameserver)
    resolver.listen_elsewhere()
    assert agent.converge(**params).actions == ["pass inner containers' questions on to 127.0.0.11"]
    assert resolver.answers(inner, nameserver)


def test_who_listens_at_port_53_still_serves_those_outside(bench):
    agent = bench.agent("172.17.0.2/16")
    resolver = OuterResolver(agent)
    agent.converge(**MODES["bridge"])
    with (
        bound(agent.namespace, socket.SOCK_DGRAM, "172.17.0.2", 53) as server,
        bench.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.sendto(b"?", ("172.17.0.2", 53))
        assert server.recv(1) == b"?"
    assert resolver.answers(agent.namespace, "172.17.0.2")


def packet(destination_mac: str, source: str, destination: str, port: int) -> bytes:
    """A frame with a UDP datagram of no data (RFC 791, RFC 768: no checksum)."""
    udp = struct.pack("!HHHH", 9, port, 8, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    mac = bytes.fromhex(destination_mac.replace(":", ""))
    return mac + bytes.fromhex("020000000001") + b"\x08\x00" + head[:10] + struct.pack("!H", checksum) + head[12:] + udp


def arrivals(bench: Bench, agent: Agent, mac: str) -> list[str]:
    """Which packets from outside that touch the loopback reach a server in the agent."""
    attempts = {
        "to it": ("172.17.0.1", "127.0.0.1", 7001),
        "as if from it": ("127.0.0.2", "172.17.0.2", 7002),
        "an honest one": ("172.17.0.1", "172.17.0.2", 7003),
    }
    with ExitStack() as sockets:
        servers = {
            name: sockets.enter_context(bound(agent.namespace, socket.SOCK_DGRAM, to, port))
            for name, (_, to, port) in attempts.items()
        }
        sender = sockets.enter_context(bench.host.socket(socket.AF_PACKET, socket.SOCK_RAW))
        sender.bind(("outer", 0))
        for source, to, port in attempts.values():
            sender.send(packet(mac, source, to, port))
        servers["an honest one"].recv(1)  # by then the others have come as well, or won't
        for name in ("to it", "as if from it"):
            servers[name].setblocking(False)
        arrived = []
        for name in ("to it", "as if from it"):
            try:
                servers[name].recv(1)
                arrived.append(name)
            except BlockingIOError:
                pass
        return arrived


def test_nobody_outside_reaches_the_loopback(bench, named):
    agent, _, params = named
    for device in ("all", "eth0"):
        agent.namespace.sysctl(f"ipv4/conf/{device}/rp_filter", "0")
    mac = agent.converge(**params).facts["mac"]
    assert arrivals(bench, agent, mac) == []
    agent.namespace.run("iptables", "-t", "raw", "-F")
    assert arrivals(bench, agent, mac) == ["to it", "as if from it"]


def test_names_are_arranged_once_and_given_back(named):
    agent, _, params = named
    predicted = agent.converge(check=True, **params)
    assert opened(agent) == UNTOUCHED
    first = agent.converge(**params)
    assert (predicted.actions, predicted.facts) == (first.actions, first.facts)
    assert predicted.after["rules"] == first.after["rules"]
    after = opened(agent)
    again = agent.converge(**params)
    assert again.actions == []
    assert again.before == again.after == first.after
    assert opened(agent) == after
    if first.facts["mode"] != "bridge":
        bridge(agent.namespace, "docker0")  # as the engine does; until then NAT is proven each time
    assert agent.converge(**params).actions == []
    assert agent.runner_commands <= 3
    assert opened(agent) == after
    agent.converge(state="absent")
    assert opened(agent) == UNTOUCHED
    assert agent.converge(state="absent").actions == []


def test_killed_while_names_are_arranged_both_ways_are_open(named):
    agent, _, params = named
    steps = agent.steps(**params)
    agent.converge(**params)
    after = opened(agent)
    removal = agent.steps(state="absent")
    agent.converge(state="absent")
    for name, done in interruptions(steps):
        agent.namespace.call(_do, done)
        agent.converge(state="absent")
        assert opened(agent) == UNTOUCHED, name
        agent.namespace.call(_do, done)
        agent.converge(**params)
        assert opened(agent) == after, name
        agent.converge(state="absent")
    for name, done in interruptions(removal):
        for goal, found in ((params, after), ({"state": "absent"}, UNTOUCHED)):
            agent.converge(**params)
            agent.namespace.call(_do, done)
            agent.converge(**goal)
            assert opened(agent) == found, name


def test_a_move_that_fails_closes_the_loopback_again_also_after_a_killed_one(bench):
    agent = closed(bench.agent("172.17.0.2/16", routes=("default via 172.17.0.66",)))
    resolver = OuterResolver(agent)
    with pytest.raises(DindError, match="did not answer"):
        agent.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.3)
    assert opened(agent) == UNTOUCHED
    *steps, _found_good = agent.steps(offset="0.0.1.0", mode="bridge", verify=False)
    for name, done in interruptions(steps):
        agent.namespace.call(_do, done)
        with pytest.raises(DindError, match="did not answer"):
            agent.converge(offset="0.0.1.0", mode="bridge", verify_timeout=0.1)
        assert opened(agent) == UNTOUCHED, name
    agent.converge(offset="0.0.1.0", mode="bridge", verify=False)
    assert resolver.answers(agent.namespace, "172.17.0.2")


def test_without_the_resolver_nothing_of_it_is_left(named):
    agent, _, params = named
    outer_resolvers = agent.resolv_conf.read_text()
    agent.resolv_conf.write_text("nameserver 10.0.0.53\n")
    agent.converge(**params)
    without = opened(agent)
    agent.converge(state="absent")
    agent.resolv_conf.write_text(outer_resolvers)
    agent.converge(**params)
    assert opened(agent) != without
    agent.resolv_conf.write_text("nameserver 10.0.0.53\n")
    outcome = agent.converge(**params)
    assert (opened(agent), outcome.facts["dns"]) == (without, [])
