# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The default bridge of a dockerd of our own: its subnet and its MTU."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from pathlib import Path

from docker_engine.errors import EngineError
from docker_engine.terminal import Terminal

# The default bridge's candidates, like Docker's own: a /16 each, since agents are given /24s of it.
SUBNETS = tuple(ipaddress.IPv4Network((f"172.{n}.0.0", 16)) for n in range(17, 32))


def free_subnet(taken: Iterable[str], avoid: Iterable[str] = ()) -> ipaddress.IPv4Network:
    """The first of Docker's usual subnets that meets no network of ``taken`` and holds no address of ``avoid``.

    Raises EngineError if there is none.
    """
    networks = [ipaddress.IPv4Network(network, strict=False) for network in taken]
    networks += [ipaddress.IPv4Network(address) for address in avoid]
    for subnet in SUBNETS:
        if not any(subnet.overlaps(network) for network in networks):
            return subnet
    raise EngineError(
        f"every subnet from {SUBNETS[0]} to {SUBNETS[-1]} is in use on this machine",
        "remove unused networks (docker network prune, ip route)",
    )


def add_bridge(terminal: Terminal, name: str) -> None:
    """Add a bridge with an address in a free subnet, if it is not there; raises EngineError if no subnet is free.

    Its name is one that no other engine has: dockerd uses it as it is, and would have to share docker0.
    """
    if Path("/sys/class/net", name).exists():
        return
    addresses = [
        f"{address['local']}/{address['prefixlen']}"
        for link in json.loads(terminal.ask("ip", "-json", "-4", "address", "show"))
        for address in link.get("addr_info", [])
    ]
    routes = json.loads(terminal.ask("ip", "-json", "-4", "route", "show", "table", "all"))
    taken = [route["dst"] for route in routes if route["dst"] != "default"]
    resolvers = re.findall(r"^nameserver (\d+\.\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    subnet = free_subnet([*addresses, *taken], resolvers)
    terminal.say(f"adding bridge {name} with {subnet}")
    terminal.ask("ip", "link", "add", name, "type", "bridge")
    terminal.ask("ip", "address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", name)
    terminal.ask("ip", "link", "set", name, "up")


def remove_bridge(terminal: Terminal, name: str) -> None:
    """Remove a bridge, if it is there."""
    terminal.answer("ip", "link", "delete", name)


def uplink_mtu(terminal: Terminal) -> int:
    """The MTU of the default route's device in bytes: a tunnel's is smaller, and packets of 1500 vanish in it."""
    routes = json.loads(terminal.ask("ip", "-json", "-4", "route", "show", "default"))
    devices = [route["dev"] for route in routes if "dev" in route]
    return int(Path("/sys/class/net", devices[0], "mtu").read_text()) if devices else 1500
