# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Images with a damaged file system, other data, or none."""

from __future__ import annotations

import hashlib

import pytest
from storage_fixtures import (
    FSTYPES,
    MIB,
    Container,
    Storage,
    checksums,
    is_detached,
)
from storage_situations import dirty, unmounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


@FSTYPES
def test_a_dirty_one_is_mended(storage: Storage, container: Container, fstype: str) -> None:
    storage = storage.but(fstype=fstype)
    data = dirty(storage, container)
    actions = container.call(storage.converge).actions
    assert [action.split()[0] for action in actions] == (["check", "mount"] if fstype == "ext4" else ["mount"])
    assert container.call(checksums, storage.data_root) == data


@FSTYPES
@pytest.mark.parametrize("size", ["320M", "400M"])
def test_one_beyond_repair_is_not_touched(storage: Storage, container: Container, fstype: str, size: str) -> None:
    storage = storage.but(fstype=fstype)
    dirty(storage, container)
    with storage.image.open("r+b") as file:
        # ext4's group descriptors; xfs's superblock behind the magic number, so that its log is not replayed.
        file.seek({"ext4": 4096, "xfs": 120}[fstype])
        file.write(b"damage" * 16)
    before = hashlib.sha256(storage.image.read_bytes()).digest()
    with pytest.raises(DindError, match=r"damage|mend the copy"):
        container.call(storage.converge)
    assert hashlib.sha256(storage.image.read_bytes()).digest() == before
    assert [path.name for path in storage.image.parent.iterdir()] == [storage.image.name]
    assert is_detached(storage.home)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"#!/bin/sh\n", "unknown data"),
        (b"\0" * 4096, "unknown data"),
        (b"LUKS\xba\xbe\0\1" + b"\0" * (1 << 20), "crypto_LUKS"),
    ],
)
def test_other_data_is_not_formatted_unless_forced(
    storage: Storage, container: Container, content: bytes, name: str
) -> None:
    storage.image.parent.mkdir()
    storage.image.write_bytes(content)
    with pytest.raises(DindError, match=f"holds {name}, no ext4 or xfs; it is not formatted; name another image"):
        container.call(storage.converge)
    assert storage.image.read_bytes() == content
    assert not storage.data_root.exists()
    container.call(storage.but(force=True).converge)
    assert storage.image.stat().st_size == 320 * MIB


@FSTYPES
def test_a_file_system_is_not_formatted_even_by_force(storage: Storage, container: Container, fstype: str) -> None:
    data = unmounted(storage.but(fstype=fstype), container)
    other = {"ext4": "xfs", "xfs": "ext4"}[fstype]
    outcome = container.call(storage.but(fstype=other, force=True).converge)
    assert outcome.facts["fstype"] == fstype
    assert any(f"has {fstype} and keeps it" in warning for warning in outcome.warnings)
    assert container.call(checksums, storage.data_root) == data


def test_a_file_of_nothing_but_a_hole_becomes_the_image(storage: Storage, container: Container) -> None:
    storage.image.parent.mkdir()
    with storage.image.open("wb") as file:
        file.truncate(50 * MIB)
    container.call(storage.converge)
    assert storage.image.stat().st_size == 320 * MIB


def test_what_is_no_file_is_refused(storage: Storage, container: Container) -> None:
    storage.image.mkdir(parents=True)
    with pytest.raises(DindError, match="is no regular file"):
        container.call(storage.but(force=True).converge)
