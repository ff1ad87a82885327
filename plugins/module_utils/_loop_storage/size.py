# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The grammar and the bounds of sizes, for ``VAR_LIB_DOCKER_SIZE`` and the modules."""

from __future__ import annotations

import re
from fractions import Fraction

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import filesystem

ALLOWED = "a number of GB such as 5 or 1.5, or one with a unit such as 500M, 20G or 1T (K, M, G, T: powers of 1024)"
BLOCK = 4096

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)(?:(?P<unit>[KMGT])(?:I?B)?)?", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes, rounded down. A bare number is in GB.

    Raises ValueError, whose text says what is allowed, for any other text and for 0.
    """
    match = _SIZE.fullmatch(text)
    size = int(Fraction(match["number"]) * _UNITS[(match["unit"] or "G").upper()]) if match else 0
    if size <= 0:
        raise ValueError(f"{text!r} is not a size; allowed is {ALLOWED}")
    return size


def check_size(text: str, fstype: str) -> int:
    """Bytes, in whole blocks. Raises DindError for a text that is no size or too small for the file system."""
    try:
        size = parse_size(text) // BLOCK * BLOCK
    except ValueError as error:
        raise DindError(f"size: {error}") from None
    minimum = filesystem.KINDS[fstype].minimum
    if size < minimum:
        raise DindError(
            f"size: {text} is too small for {fstype}, which needs at least {format_size(minimum)}",
            cure="ask for more" if fstype == "ext4" else "ask for more, or use ext4",
        )
    return size


def format_size(size: int) -> str:
    """For people, exact, and read back as the same number of bytes: ``5G``, ``500M``, ``1536K``.

    A size that is no whole number of KiB is given in bytes, for reading only.
    """
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size} bytes"
