# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The capabilities of this process (capabilities(7))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# include/uapi/linux/capability.h
NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_MKNOD": 27}


def missing(names: Iterable[str], proc: Path = Path("/proc")) -> list[str]:
    """The capabilities among ``names``, keys of NUMBERS, that this process lacks; all if /proc does not say."""
    lines = (proc / "self/status").read_text().splitlines()
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return [name for name in names if not effective >> NUMBERS[name] & 1]
