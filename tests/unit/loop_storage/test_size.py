# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The grammar of sizes."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size, parse_size

POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5", 5 << 30),
        ("1.5", 3 << 29),
        ("500M", 500 << 20),
        ("20G", 20 << 30),
        ("20g", 20 << 30),
        ("2GB", 2 << 30),
        ("2GiB", 2 << 30),
        ("2gib", 2 << 30),
        ("1T", 1 << 40),
        ("64K", 64 << 10),
        ("0.5K", 512),
        ("1.0001K", 1024),
        ("05", 5 << 30),
    ],
)
def test_what_is_allowed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "0", "0.0G", "0.0000001K", "-5", "+5", "5 G", " 5", "5\n", "5,5", ".5", "5.", "1e3", "0x10", "G", "GB",
        "5P", "5BG", "5B", "5iB", "5Gi", "5G5", "five", "inf", "nan", "\u0665", "5\u212a", "1" * 16, "5G\0", "5;reboot",
    ],
)  # fmt: skip
def test_what_is_not_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed is .*5 or 1\.5.*500M, 20G") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(whole=st.integers(0, 10**15 - 1), decimals=st.text("0123456789", max_size=15), unit=st.sampled_from("KMGT"))
def test_every_number_with_a_unit_is_exact_and_rounded_down(whole: int, decimals: str, unit: str) -> None:
    number = f"{whole}.{decimals}" if decimals else str(whole)
    exact = Fraction(number) * 2 ** POWERS[unit]
    if exact < 1:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(number + unit)
    else:
        assert {parse_size(number + unit + suffix) for suffix in ("", "B", "iB")} == {int(exact)}


@given(st.text())
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_size(text) > 0


@given(st.integers(1, 1 << 50))
def test_a_size_is_shown_so_that_it_reads_back(size: int) -> None:
    shown = format_size(size)
    if size % 1024 == 0:
        assert parse_size(shown) == size
    else:
        assert shown == f"{size} bytes"
