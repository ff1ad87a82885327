# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Superblocks, and the features of mkfs.xfs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from loop_storage.states import MIB

from ansible_collections.mesos.dind.plugins.module_utils._kernel.filesystem import EXT4, XFS, has_xfs_quota


def ext4_start(blocks: int, *, state: int = 1, incompat: int = 0x80, magic: int = 0xEF53) -> bytes:
    start = bytearray(4096)
    struct.pack_into("<II", start, 1024, 81920, blocks & 0xFFFFFFFF)
    struct.pack_into("<I", start, 1024 + 24, 2)
    struct.pack_into("<IxxxxI", start, 1024 + 32, 32768, 8192)
    struct.pack_into("<HH", start, 1024 + 56, magic, state)
    struct.pack_into("<H", start, 1024 + 88, 256)
    struct.pack_into("<I", start, 1024 + 96, incompat)
    struct.pack_into("<H", start, 1024 + 206, 100)
    struct.pack_into("<H", start, 1024 + 254, 64)
    struct.pack_into("<I", start, 1024 + 336, blocks >> 32)
    return bytes(start)


@given(st.integers(16384, 1 << 40))
def test_ext4_superblock(blocks: int) -> None:
    found = EXT4.superblock(ext4_start(blocks))
    assert found is not None
    assert (found.fstype, found.size, found.clean) == ("ext4", blocks * 4096, True)
    assert found.fills(found.size)
    assert found.fills(found.size + found.slack - 1)
    assert not found.fills(found.size + found.slack)
    assert found.slack >= (53 + 100 + 512) * 4096


@pytest.mark.parametrize(("state", "incompat"), [(0, 0x80), (2, 0x80), (3, 0x80), (1, 0x84)])
def test_ext4_that_is_not_clean(state: int, incompat: int) -> None:
    found = EXT4.superblock(ext4_start(81920, state=state, incompat=incompat))
    assert found is not None
    assert not found.clean


def test_xfs_superblock() -> None:
    start = struct.pack(">4sIQ", b"XFSB", 4096, 81920).ljust(4096, b"\0")
    found = XFS.superblock(start)
    assert found is not None
    assert (found.fstype, found.size) == ("xfs", 320 * MIB)
    assert EXT4.superblock(start) is None


@given(st.binary(max_size=4096))
def test_other_data_is_no_file_system(data: bytes) -> None:
    start = data.ljust(4096, b"\0")
    assume(start[1080:1082] != b"\x53\xef")
    assume(start[:4] != b"XFSB")
    assert EXT4.superblock(start) is None
    assert XFS.superblock(start) is None


@pytest.mark.parametrize(
    ("presets", "release", "expected_preset"),
    [
        ((), "6.1.0-13-amd64", None),
        (("5.15", "6.1", "6.12"), "6.12.3", None),
        (("5.15", "6.1", "6.12"), "6.18.44-x", None),
        (("5.15", "6.1", "6.12"), "6.8.0-31-generic", "6.1"),
        (("5.15", "6.1", "6.12"), "5.15.0", "5.15"),
        (("5.15", "6.1", "6.12"), "5.10.0", "5.15"),
    ],
)
def test_mkfs_xfs_suits_the_kernel(
    tmp_path: Path, presets: tuple[str, ...], release: str, expected_preset: str | None
) -> None:
    for preset in presets:
        (tmp_path / f"lts_{preset}.conf").touch()
    options = ("-c", f"options={tmp_path}/lts_{expected_preset}.conf") if expected_preset else ()
    assert XFS._features(release, tmp_path) == options


def test_xfs_quota(tmp_path: Path) -> None:
    assert has_xfs_quota(tmp_path)
    (tmp_path / "fs/xfs").mkdir(parents=True)
    assert not has_xfs_quota(tmp_path)
    (tmp_path / "fs/xfs/xqmstat").touch()
    assert has_xfs_quota(tmp_path)
