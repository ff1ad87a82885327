# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Address arithmetic by netaddr, imported at its first use: most boots of the entry point need none."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError

if TYPE_CHECKING:
    from netaddr import IPAddress, IPNetwork

IPV4_ADDRESSES = 1 << 32


def _netaddr() -> ModuleType:
    try:
        import netaddr
    except ImportError:
        raise DindError("needs the Python library netaddr", cure="install it (python3-netaddr)") from None
    return netaddr


def network(text: str) -> IPNetwork:
    """The network that ``text`` (address/prefix length) names, host bits kept.

    Raises ValueError for any other text, and DindError without netaddr.
    """
    netaddr = _netaddr()
    try:
        found: IPNetwork = netaddr.IPNetwork(text)
    except netaddr.AddrFormatError as error:
        raise ValueError(str(error)) from None
    return found


def span(first: str, last: str) -> list[IPNetwork]:
    """The networks that cover exactly the addresses from ``first`` to ``last``. Raises ValueError if there are none."""
    netaddr = _netaddr()
    try:
        found: list[IPNetwork] = netaddr.IPRange(first, last).cidrs()
    except netaddr.AddrFormatError as error:
        raise ValueError(str(error)) from None
    return found


def address(text: str) -> IPAddress:
    """The IPv6 address or the IPv4 dotted quad of four numbers that ``text`` is. Raises ValueError for any other."""
    netaddr = _netaddr()
    try:
        found: IPAddress = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except netaddr.AddrFormatError as error:
        raise ValueError(str(error)) from None
    return found


def ipv4(number: int, prefix: int = 32) -> IPNetwork:
    """The IPv4 network of length ``prefix`` at the address that is ``number`` (below 2**32)."""
    found: IPNetwork = _netaddr().IPNetwork((number, prefix), version=4)
    return found
