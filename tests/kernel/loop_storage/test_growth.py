# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Images that grow."""

from __future__ import annotations

import os

import pytest
from storage_fixtures import (
    FSTYPES,
    MIB,
    Container,
    Storage,
    check_filesystem,
    checksums,
    drop_capability,
    start_writing,
)
from storage_situations import Situation, mounted, unmounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


@FSTYPES
@pytest.mark.parametrize("size", ["321M", "450M", "2G"])
def test_more_is_grown_with_the_data_intact(storage: Storage, container: Container, fstype: str, size: str) -> None:
    storage = storage.but(fstype=fstype)
    data = unmounted(storage, container)
    assert f"grow the image {storage.image} to {size}" in container.call(storage.but(size=size).converge).actions
    assert container.call(checksums, storage.data_root) == data
    room = container.call(os.statvfs, storage.data_root)
    assert room.f_blocks * room.f_frsize > 0.75 * storage.image.stat().st_size
    assert container.call(storage.but(size=size).converge).actions == []
    container.call(storage.but(size=size, state="absent").converge)
    check_filesystem(storage.image)


def test_a_mounted_xfs_grows_while_it_is_written_to(storage: Storage, container: Container) -> None:
    storage = storage.but(fstype="xfs")
    data = mounted(storage, container)
    writer = container.call(start_writing, storage.data_root / "stream")
    outcome = container.call(storage.but(size="1G").converge)
    assert [action.split()[0] for action in outcome.actions] == ["grow", "let", "grow"]
    written = container.call(writer.finish)
    found = container.call(checksums, storage.data_root)
    assert found.pop("stream") == written
    assert found == data
    room = container.call(os.statvfs, storage.data_root)
    assert room.f_blocks * room.f_frsize > 900 * MIB


def test_a_mounted_ext4_grows_only_by_privilege(storage: Storage, container: Container) -> None:
    data = mounted(storage, container)
    container.call(drop_capability, "CAP_SYS_RESOURCE")
    with pytest.raises(DindError, match="takes CAP_SYS_RESOURCE; restart the container"):
        container.call(storage.but(size="400M").converge)
    assert storage.image.stat().st_size == 320 * MIB
    assert container.call(checksums, storage.data_root) == data


@FSTYPES
@pytest.mark.parametrize("situation", [mounted, unmounted])
def test_less_is_refused(storage: Storage, container: Container, fstype: str, situation: Situation) -> None:
    storage = storage.but(fstype=fstype)
    situation(storage, container)
    with pytest.raises(DindError, match="has 320M already and is not shrunk to 300M; ask for 320M or more"):
        container.call(storage.but(size="300M").converge)
    assert storage.image.stat().st_size == 320 * MIB
