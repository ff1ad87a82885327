# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Address arithmetic by netaddr, imported at its first use: the entry point needs none in default mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError

if TYPE_CHECKING:
    from netaddr import IPNetwork


def network(text: str | tuple[int, int]) -> IPNetwork:
    """The network of ``text`` (address/prefix length, or the address as a number and the length), host bits kept.

    Raises ValueError for any other text, and DindError without netaddr.
    """
    try:
        from netaddr import AddrFormatError, IPNetwork
    except ImportError:
        raise DindError("needs the Python library netaddr", cure="install it (python3-netaddr)") from None
    try:
        return IPNetwork(text)
    except AddrFormatError as error:
        raise ValueError(str(error)) from None
