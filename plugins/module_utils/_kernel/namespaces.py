# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The identity of a network namespace."""

from __future__ import annotations

import socket
from pathlib import Path

# asm-generic/socket.h, since Linux 5.14: a number that no other network namespace of this boot has or will have.
SO_NETNS_COOKIE = 71


def network_id(proc: Path) -> str:
    """A text that no other network namespace has, of this boot or of another.

    The inode alone is not enough: a restarted container may get the same one again.
    """
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    inode = (proc / "self/ns/net").stat().st_ino
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    except OSError:
        cookie = 0
    return f"{boot}/{inode}/{cookie}"
