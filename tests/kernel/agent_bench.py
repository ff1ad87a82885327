# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A host with an outer bridge, agents on it, and inner containers on the agents' bridges."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from network_fixtures import Namespace, bridge, namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import plan as bridged_net_plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Restore, Reversible
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import resolve
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
    def roots(self) -> Roots:
        return Roots(record=self.record, resolv_conf=self.resolv_conf)

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
            desired = Desired.of(params)
            state = inspect(desired, Runner(), self.roots)
            return bridged_net_plan.plan(resolve(desired, state), state, self.roots)

        return self.namespace.call(plan)

    def snapshot(self) -> dict[str, Any]:
        """All that `ip` shows, without what counts or runs by itself, and forwarding."""
        self._await_own_ipv6_routes()
        return {
            "forwarding": self.namespace.sysctl("ipv4/ip_forward"),
            "links": settled(self.namespace.show("address", "show")),
            "routes4": settled(self.namespace.show("-4", "route", "show", "table", "all")),
            "routes6": settled(self.namespace.show("-6", "route", "show", "table", "all")),
            "neighbours": settled(self.namespace.show("neighbour", "show", "nud", "permanent")),
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


def settled(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {key: settled(value) for key, value in sorted(shown.items()) if key not in VOLATILE}
    if isinstance(shown, list):
        return sorted((settled(each) for each in shown), key=str)
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


def apply(steps: Sequence[Step[Any]]) -> None:
    _plan.apply(steps, Runner())


def interruptions(steps: Sequence[Step[Any]]) -> Iterator[tuple[str, list[Step[Any]]]]:
    """Every beginning of ``steps``, batches also cut between their lines, with a name for each."""
    for index, step in enumerate(steps):
        if isinstance(step, Reversible | Restore):
            for count in range(len(step.lines)):
                half = dataclasses.replace(step, lines=step.lines[:count])
                yield f"{step}, {count} of {len(step.lines)} lines", [*steps[:index], half]
        yield f"{step}, done", list(steps[: index + 1])


def do_all(steps: Sequence[Step[Any]]) -> None:
    for step in steps:
        step.do(Runner())


# The settings that we change, with their values before.
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


MODES: dict[str, dict[str, Any]] = {
    "bridge": {"offset": "0.0.1.0", "mode": "bridge"},
    "proxy_arp": {"offset": "0.0.1.0", "mode": "proxy_arp"},
    "default": {},
}


def closed(agent: Agent) -> Agent:
    """Before anything is arranged."""
    for name, value in SETTINGS.items():
        agent.namespace.sysctl(name, value)
    return agent


def behind(bench: Bench, agent: Agent, bip: str) -> Namespace:
    """A container on a bridge that has nothing to do with the uplink, as the engine makes both."""
    bridge(agent.namespace, "docker0")
    agent.namespace.ip(f"address add {bip} dev docker0")
    gateway, _, prefix = bip.partition("/")
    return bench.inner(agent, f"{gateway[:-1]}2/{prefix}", gateway=gateway)


def record_of_dockerd(data_root: Path, record: dict[str, object]) -> Path:
    store = data_root / "network/files/local-kv.db"
    store.parent.mkdir(parents=True)
    store.write_text(json.dumps(record, separators=(",", ":")))
    return store


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


def serve(bench: Bench, agent: Agent, **params: Any) -> Namespace:
    """Arrange the agent with proxy ARP, and a container as the engine would make it then."""
    facts = agent.converge(**params).facts
    assert facts["mode"] == "proxy_arp"
    return behind(bench, agent, facts["bip"])


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


Named = tuple[Agent, OuterResolver, dict[str, Any]]
