# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The resolver that an outer Docker engine puts on a loopback address of a container, on user-defined networks.

Its rules send what goes to port 53 of that address to ports that change at every start. They may be iptables' or
nftables' (moby#50050), so it is found by its sockets.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.11"  # moby, daemon/libnetwork: resolverIPSandbox
# Of a socket that waits for anybody (include/net/tcp_states.h: TCP_LISTEN; unconnected UDP is TCP_CLOSE).
LISTENING, UNCONNECTED = "0A", "07"


@dataclass(frozen=True)
class Resolver:
    """The ports on which it listens at ADDRESS."""

    udp: int
    tcp: int


def find(resolv_conf: Path, proc: Path) -> Resolver | None:
    """The outer engine's resolver, where it is this machine's and can't be told to others as it is."""
    try:
        servers = list(nameservers(resolv_conf.read_text()))
    except FileNotFoundError:
        return None
    if ADDRESS not in servers or not all(map(_is_loopback, servers)):
        return None
    udp = port((proc / "net/udp").read_text(), UNCONNECTED)
    tcp = port((proc / "net/tcp").read_text(), LISTENING)
    return Resolver(udp, tcp) if udp and tcp else None


def nameservers(text: str) -> Iterator[str]:
    """The addresses that a resolv.conf(5) names."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            yield words[1]


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def port(table: str, state: str) -> int | None:
    """The port of a socket at ADDRESS that is in ``state``, from the text of proc_net_tcp(5) or its UDP sibling."""
    # The kernel prints the address as one number, in its own byte order.
    address = f"{int.from_bytes(socket.inet_aton(ADDRESS), sys.byteorder):08X}"
    for line in table.splitlines()[1:]:
        local, _remote, found = line.split()[1:4]
        host, _, number = local.partition(":")
        if (host, found) == (address, state):
            return int(number, 16)
    return None
