# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Questions and announcements to the neighbours on a link: ARP (RFC 826, RFC 5227) and NDP (RFC 4861).

By sockets, because minimal images have neither arping nor ndisc6.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack

ANYBODY = "0.0.0.0"  # noqa: S104 - the sender of an ARP probe
BROADCAST_MAC = b"\xff" * 6
ETH_P_ARP = 0x0806
ARP = struct.Struct("!HHBBH6s4s6s4s")
ARP_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
ARP_REQUEST, ARP_REPLY = 1, 2
# linux/if_packet.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1

NDP_SOLICIT, NDP_ADVERTISE = 135, 136
NDP_OVERRIDE = 0x20000000
ALL_NODES = "ff02::1"
NDP_HOPS = 255
RETRY_SECONDS = 0.25

# The MAC address that asks, and the IPv4 address that it asks for.
Question = tuple[str, str]


def announce(device: str, mac: str, addresses: Sequence[str]) -> None:
    """Tell every neighbour on ``device`` that ``addresses`` are at ``mac``."""
    ipv4 = [address for address in addresses if ":" not in address]
    if ipv4:
        with _arp_socket(device) as link:  # one for all: the kernel is slow to close one
            for address in ipv4:
                link.send(_arp(mac, address, address))
    for address in addresses:
        if ":" in address:
            _advertise(device, mac, address)


def answering(device: str, questions: Collection[Question], sender: str, seconds: float) -> set[Question]:
    """The questions that get an ARP answer within ``seconds``; returns as soon as all have one.

    ``sender`` 0.0.0.0 makes them probes, which leave no trace in the neighbours' tables (RFC 5227). The asking MAC
    addresses need not be the device's own.
    """
    open_questions = set(questions)
    with _arp_socket(device) as link:  # one for all: the kernel is slow to close one
        index = socket.if_nametoindex(device)
        link.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("IHH8s", index, PACKET_MR_PROMISC, 0, b""))

        def ask() -> None:
            for mac, target in questions:
                if (mac, target) in open_questions:
                    link.send(_arp(mac, sender, target))

        for frame in _heard(link, ask, seconds):
            open_questions.discard(_arp_answer(frame))
            if not open_questions:
                break
    return set(questions) - open_questions


def is_neighbour(device: str, mac: str, target: str, seconds: float) -> bool:
    """Whether the IPv6 address ``target`` answers a solicitation on ``device`` within ``seconds``."""
    wanted = socket.inet_pton(socket.AF_INET6, target)
    group = socket.inet_ntop(socket.AF_INET6, bytes.fromhex("ff0200000000000000000001ff") + wanted[-3:])
    message = struct.pack("!BBHI16sBB6s", NDP_SOLICIT, 0, 0, 0, wanted, 1, 1, _octets(mac))
    with _ndp_socket(device) as link:

        def ask() -> None:
            link.sendto(message, (group, 0, 0, socket.if_nametoindex(device)))

        return any(
            frame[:1] == bytes([NDP_ADVERTISE]) and frame[8:24] == wanted for frame in _heard(link, ask, seconds)
        )


def _heard(link: socket.socket, ask: Callable[[], None], seconds: float) -> Iterator[bytes]:
    """The frames that arrive within ``seconds`` of the first question; the question is repeated.

    On a busy machine we may read a frame late that came in time. So we read the waiting frames after the end too, for
    at most ``seconds`` more.
    """
    ask()
    asked = time.monotonic()
    end, again = asked + seconds, asked + RETRY_SECONDS
    while True:
        now = time.monotonic()
        if again <= now < end:
            ask()
            again = now + RETRY_SECONDS
        if now < end + seconds and select.select([link], [], [], max(0.0, min(end, again) - now))[0]:
            yield link.recv(2048)
        elif now >= end:
            return


def _arp_socket(device: str) -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    with ExitStack() as undo:
        undo.callback(link.close)
        link.bind((device, ETH_P_ARP))
        undo.pop_all()
    return link


def _arp(mac: str, sender: str, target: str) -> bytes:
    payload = ARP.pack(
        *ARP_ETHERNET_IPV4, ARP_REQUEST, _octets(mac), socket.inet_aton(sender), bytes(6), socket.inet_aton(target)
    )
    return BROADCAST_MAC + _octets(mac) + ETH_P_ARP.to_bytes(2, "big") + payload


def _arp_answer(frame: bytes) -> Question:
    """The question that ``frame`` answers; empty texts if it is no answer."""
    if len(frame) < 14 + ARP.size:
        return ("", "")
    *kind, operation, _sender_mac, sender, asker, _asked = ARP.unpack(frame[14 : 14 + ARP.size])
    if tuple(kind) != ARP_ETHERNET_IPV4 or operation != ARP_REPLY:
        return ("", "")
    return (asker.hex(":"), socket.inet_ntoa(sender))


def _ndp_socket(device: str) -> socket.socket:
    link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with ExitStack() as undo:
        undo.callback(link.close)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, NDP_HOPS)
        undo.pop_all()
    return link


def _advertise(device: str, mac: str, address: str) -> None:
    target = socket.inet_pton(socket.AF_INET6, address)
    message = struct.pack("!BBHI16sBB6s", NDP_ADVERTISE, 0, 0, NDP_OVERRIDE, target, 2, 1, _octets(mac))
    index = socket.if_nametoindex(device)
    with _ndp_socket(device) as link:
        link.bind((address, 0, 0, index))
        link.sendto(message, (ALL_NODES, 0, 0, index))


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
