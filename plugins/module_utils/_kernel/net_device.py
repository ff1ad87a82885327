# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The kernel's bounds for a network device: its name and its MTU."""

from __future__ import annotations

ALLOWED_NAME = "the name of a network device (at most 15 characters, no space, slash or colon)"
# include/uapi/linux/if_ether.h: ETH_MIN_MTU, ETH_MAX_MTU, which a veth has.
SMALLEST_MTU, LARGEST_MTU = 68, 65535
ALLOWED_MTU = f"a number of bytes from {SMALLEST_MTU} to {LARGEST_MTU}"


def is_name(text: str) -> bool:
    """Whether a device can have this name (net/core/dev.c: dev_valid_name)."""
    return 0 < len(text) <= 15 and text not in (".", "..") and not any(char.isspace() or char in "/:" for char in text)


def is_mtu(size: int) -> bool:
    """Whether a veth can have an MTU of so many bytes."""
    return SMALLEST_MTU <= size <= LARGEST_MTU
