# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Room on the disk under the image."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from storage_fixtures import (
    FSTYPES,
    MIB,
    Container,
    Storage,
    checksums,
    eventually,
    fill,
    is_detached,
    names,
    remove_all,
    run,
)
from storage_situations import unmounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


def small_disk(home: Path, size: str) -> None:
    (home / "volume").mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(home / "volume"))


@FSTYPES
@pytest.mark.parametrize(("room", "preallocate"), [("64M", True), ("64K", False)])
def test_a_full_disk_at_creation_leaves_nothing(
    storage: Storage, container: Container, fstype: str, room: str, preallocate: bool
) -> None:
    container.call(small_disk, storage.home, room)
    with pytest.raises(DindError, match=r"no room for 320M at .*; free some disk space"):
        container.call(storage.but(fstype=fstype, preallocate=preallocate).converge)
    assert container.call(names, storage.home / "volume") == []
    assert is_detached(storage.home)


def test_a_full_disk_at_growing_leaves_the_image_as_it_was(storage: Storage, container: Container) -> None:
    container.call(small_disk, storage.home, "360M")
    storage = storage.but(preallocate=True)
    data = unmounted(storage, container)
    with pytest.raises(DindError, match="no room for 1G"):
        container.call(storage.but(size="1G").converge)
    container.call(storage.converge)
    assert container.call(checksums, storage.data_root) == data


def write_until_it_fails(path: Path) -> str:
    try:
        with path.open("wb") as file:
            while True:
                file.write(os.urandom(MIB))
                os.fsync(file.fileno())
    except OSError as error:
        return str(error)


@FSTYPES
def test_a_disk_that_becomes_full_keeps_the_old_data(storage: Storage, container: Container, fstype: str) -> None:
    container.call(small_disk, storage.home, "72M")
    storage = storage.but(fstype=fstype)
    outcome = container.call(storage.converge)
    assert any("MiB short" in warning for warning in outcome.warnings)
    assert any("writable layer" in warning for warning in outcome.warnings)
    data = container.call(fill, storage.data_root, "old")
    container.call(run, "sync", "-f", str(storage.data_root))
    assert container.call(write_until_it_fails, storage.data_root / "too-much")
    container.call(run, "umount", str(storage.data_root))
    container.call(run, "mount", "-o", "remount,size=512M", str(storage.home / "volume"))
    container.call(storage.converge)
    found = container.call(checksums, storage.data_root)
    assert {name: found.get(name) for name in data} == data


@FSTYPES
def test_freed_space_returns_to_the_host(storage: Storage, container: Container, fstype: str) -> None:
    storage = storage.but(fstype=fstype)
    container.call(storage.converge)
    container.call(fill, storage.data_root, "much", 100)
    container.call(run, "sync", "-f", str(storage.data_root))
    full = storage.image.stat().st_blocks * 512
    assert full > 20 * MIB
    container.call(remove_all, storage.data_root)

    def is_freed() -> bool:
        container.call(run, "sync", "-f", str(storage.data_root))
        return storage.image.stat().st_blocks * 512 < full - 20 * MIB

    assert eventually(is_freed)


def test_a_preallocated_image_keeps_its_space(storage: Storage, container: Container) -> None:
    storage = storage.but(preallocate=True)
    container.call(storage.converge)
    container.call(fill, storage.data_root, "much", 100)
    container.call(remove_all, storage.data_root)
    container.call(storage.but(state="absent").converge)
    assert storage.image.stat().st_blocks * 512 >= 320 * MIB
    groups = re.findall(r"^Group \d+:.*", run("dumpe2fs", str(storage.image)), re.MULTILINE)
    assert groups
    assert all("ITABLE_ZEROED" in group for group in groups), "no table is left for the kernel to zero by a hole"
