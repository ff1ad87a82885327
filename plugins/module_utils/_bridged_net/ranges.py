# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Carving an agent's range out of the outer network. All rules about ranges are here."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, Literal

from ansible_collections.mesos.dind.plugins.module_utils._errors import ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import addresses

if TYPE_CHECKING:
    from netaddr import IPAddress, IPNetwork

AUTO: Literal["auto"] = "auto"
BITS = 32
DEFAULT_SIZE = 24
ALLOWED = 'a dotted quad such as 0.0.1.0, an integer from 0 to 4294967295, or "auto"'
SUGGESTIONS_LOOKED_AT = 4096


class RangeError(ParameterError):
    """A range that is not available; the message has the numbers."""

    def __init__(self, cause: str, parameter: str = "offset") -> None:
        super().__init__(cause, parameter)


def parse_offset(text: str) -> int | Literal["auto"]:
    """The offset in addresses, or "auto". Raises ValueError that says what is allowed. Needs no netaddr."""
    if text == AUTO:
        return AUTO
    with contextlib.suppress(OSError, ValueError):
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big") if "." in text else int(text)
        if text.isascii() and text.replace(".", "").isdecimal() and number < 1 << BITS:
            return number
    raise ValueError(f"{text!r} is not an offset: allowed is {ALLOWED}")


def network(text: str, parameter: str = "offset") -> IPNetwork:
    """``text`` (address/prefix) as netaddr's network, host bits kept. Raises RangeError about ``parameter``."""
    try:
        return addresses.network(text)
    except ValueError:
        raise RangeError(f"{text!r} is not a network in CIDR notation", parameter) from None


def networks(text: str) -> list[IPNetwork]:
    """The networks that cover ``text``: an address, a network in CIDR notation, or a span "first-last".

    Raises RangeError.
    """
    first, dash, last = text.partition("-")
    if not dash:
        return [network(text).cidr]
    from netaddr import AddrFormatError, IPRange

    try:
        return IPRange(first.strip(), last.strip()).cidrs()
    except (AddrFormatError, ValueError):
        raise RangeError(f"{text!r} is no span of addresses, from the first to the last") from None


def meet(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether the two networks have an address in common."""
    return one in other or other in one


def carve(
    subnet: IPNetwork,
    host: IPAddress,
    offset: str,
    size: int | None,
    gateway: IPAddress | None,
    peers: Iterable[IPNetwork] = (),
) -> IPNetwork:
    """The range of the agent with the address ``host`` on ``subnet``.

    ``offset`` counts addresses from the subnet's network address, as a dotted quad or an integer. With "auto" the range
    follows from the host number alone. ``size`` is the range's prefix length; None means 24, or with "auto" half of the
    bits that the subnet leaves. Raises RangeError for a range that is not aligned, that lies outside the subnet, or
    that holds the network, broadcast, gateway's or agent's own address or an address of a peer's range. Never masks or
    moves a range silently.
    """
    try:
        wanted = parse_offset(offset)
    except ValueError as error:
        raise RangeError(str(error)) from None
    prefix = _size(subnet, size, auto=wanted == AUTO)
    carving = _Carving(subnet.cidr, host, gateway, tuple(peers), prefix)
    if wanted == AUTO:
        return carving.auto()
    return carving.at(wanted, text=offset)


def vacant(subnet: IPNetwork, size: int, taken: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    """The ranges of prefix length ``size`` that meet none of ``taken`` and that `carve` gives, lowest first.

    `carve` gives them for every own address and gateway that is in ``taken`` or in the subnet's first range. Raises
    RangeError if ``size`` is not a proper part of the subnet.
    """
    from netaddr import IPSet

    prefix = _size(subnet, size, auto=False)
    free = IPSet([subnet.cidr]) - IPSet([*(address for what, address in _ends(subnet)), *taken])
    return (found for block in free.iter_cidrs() if block.prefixlen <= prefix for found in block.subnet(prefix))


def _ends(subnet: IPNetwork) -> tuple[tuple[str, IPAddress], ...]:
    """The addresses that no range of any agent may hold."""
    return (("network address", subnet.network), ("broadcast address", subnet[-1]))


def _size(subnet: IPNetwork, size: int | None, *, auto: bool) -> int:
    if subnet.version != 4:
        raise RangeError(f"the outer network {subnet.cidr} is not IPv4: only an IPv4 range can be carved by offset")
    if size is None:
        size = subnet.prefixlen + (BITS - subnet.prefixlen + 1) // 2 if auto else DEFAULT_SIZE
    if not subnet.prefixlen < size <= BITS:
        allowed = f"from {subnet.prefixlen + 1} to {BITS}" if subnet.prefixlen < BITS else "none, it has no room"
        raise RangeError(
            f"a range of size {size} is no proper part of the outer network {subnet.cidr}; allowed: {allowed}"
        )
    return size


@dataclass(frozen=True)
class _Carving:
    subnet: IPNetwork
    host: IPAddress
    gateway: IPAddress | None
    peers: Sequence[IPNetwork]
    size: int

    @property
    def span(self) -> int:
        return 1 << (BITS - self.size)

    def auto(self) -> IPNetwork:
        number = int(self.host) - self.subnet.first
        last = (1 << (self.size - self.subnet.prefixlen)) - 2
        if not 1 <= number <= min(last, self.span - 1):
            raise RangeError(
                f'offset "auto" cannot give {self.host} a range of size {self.size} in {self.subnet}: its host number '
                f"{number} is not from 1 to {min(last, self.span - 1)}; have the outer network hand out only "
                f"{self._network(0)} (docker network create --subnet {self.subnet} --ip-range {self._network(0)}), "
                "or give an offset"
            )
        return self.at(number * self.span, text=AUTO)

    def at(self, offset: int, *, text: str) -> IPNetwork:
        named = f"offset {text} with size {self.size} in {self.subnet}"
        if offset % self.span:
            raise RangeError(
                f"{named} is no multiple of the range's {self.span} addresses{self._nearest(offset, text)}"
            )
        fault = self._fault(offset)
        if fault:
            raise RangeError(f"{named} {fault}{self._nearest(offset, text)}")
        return self._network(offset)

    def _network(self, offset: int) -> IPNetwork:
        return addresses.network((self.subnet.first + offset, self.size))

    def _fault(self, offset: int) -> str:
        """The fault of the aligned ``offset``; empty without one."""
        if offset + self.span > self.subnet.size:
            end = self.subnet.first + offset
            where = addresses.network((end, BITS)).ip if end < 1 << BITS else "beyond 255.255.255.255"
            return f"starts at {where}, outside the outer network"
        found = self._network(offset)
        for what, address in (
            *_ends(self.subnet),
            ("gateway", self.gateway),
            ("container's own address", self.host),
        ):
            if address is not None and address in found:
                return f"gives {found}, which holds the {what} {address}"
        for peer in self.peers:
            if meet(found, peer):
                return f"gives {found}, which meets the peer's range {peer.cidr}"
        return ""

    def _nearest(self, offset: int, text: str) -> str:
        """The nearest good offsets on either side, in the user's notation."""
        last = (self.subnet.size - self.span) // self.span
        start = min(offset // self.span, last)
        write: Callable[[int], str] = (
            str if "." not in text and text != AUTO else lambda n: str(addresses.network((n, BITS)).ip)
        )
        below = self._first_good(range(start, -1, -1))
        above = self._first_good(takewhile(lambda index: index <= last, count(start + 1)))
        names = [write(good) for good in (*below, *above)]
        return f"; the nearest offsets that do: {' and '.join(names)}" if names else "; no other offset nearby does"

    def _first_good(self, indexes: Iterable[int]) -> Iterator[int]:
        offsets = (index * self.span for index in islice(indexes, SUGGESTIONS_LOOKED_AT))
        return islice((offset for offset in offsets if not self._fault(offset)), 1)
