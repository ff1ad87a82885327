# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The resolver of an outer Docker engine, on a loopback address of containers on user-defined networks.

The engine redirects port 53 of that address to ports that change at every start. Its rules may be of iptables or of
nftables (moby#50050), so we find the resolver by its sockets.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.11"  # moby, daemon/libnetwork: resolverIPSandbox
DOCKERS_OWN = "ndots:0"
DEFAULT_OPTION = "timeout:5"  # resolv.conf(5); without any option, the inner engine would read the file
# States of a socket open to everybody (include/net/tcp_states.h: TCP_LISTEN; unconnected UDP is TCP_CLOSE).
LISTENING, UNCONNECTED = "0A", "07"


@dataclass(frozen=True)
class Resolver:
    """The resolver's ports at ADDRESS, and resolv.conf's options for an inner engine that asks it."""

    udp: int
    tcp: int
    options: tuple[str, ...] = ()


def find(resolv_conf: Path, proc: Path) -> Resolver | None:
    """The outer engine's resolver, if all nameservers in ``resolv_conf`` are on loopback addresses."""
    try:
        text = resolv_conf.read_text()
    except FileNotFoundError:
        return None
    servers = [word for words in directives(text, "nameserver") for word in words[:1]]
    if ADDRESS not in servers or not all(map(_is_loopback, servers)):
        return None
    udp = port((proc / "net/udp").read_text(), UNCONNECTED)
    tcp = port((proc / "net/tcp").read_text(), LISTENING)
    return Resolver(udp, tcp, options(text)) if udp and tcp else None


def directives(text: str, name: str) -> Iterator[list[str]]:
    """The words after ``name``, for each line of a resolv.conf(5) that begins with ``name``."""
    for line in text.splitlines():
        first, *words = line.split() or [""]
        if first == name:
            yield words


def options(text: str) -> tuple[str, ...]:
    """The options for an inner engine in place of those in ``text``; none if it may read ``text`` itself.

    The outer engine writes `ndots:0` for its own resolver. An inner engine would take that for a person's wish, and not
    forward names without a dot (moby, daemon/libnetwork: Resolver.ServeDNS, NdotsSet).
    """
    found = [word for words in directives(text, "options") for word in words]
    if DOCKERS_OWN not in found:
        return ()
    return tuple(word for word in found if word != DOCKERS_OWN) or (DEFAULT_OPTION,)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def port(table: str, state: str) -> int | None:
    """The port of a socket at ADDRESS in ``state``, from the text of proc_net_tcp(5) or of its UDP sibling."""
    # The kernel prints the address as one number, in its own byte order.
    address = f"{int.from_bytes(socket.inet_aton(ADDRESS), sys.byteorder):08X}"
    for line in table.splitlines()[1:]:
        local, _remote, found = line.split()[1:4]
        host, _colon, number = local.partition(":")
        if (host, found) == (address, state):
            return int(number, 16)
    return None
