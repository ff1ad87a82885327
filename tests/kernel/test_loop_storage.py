# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""loop_storage on real loop devices and real file systems, in containers without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from storage_fixtures import Container, Moment, Storage, attached_to, check_filesystem, checksums, fill, mounts_below


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A home for a data root and an image, of which no loop device and no mount is left in the end."""
    yield Storage(tmp_path)
    assert attached_to(tmp_path) == []
    assert mounts_below(tmp_path) == []


@pytest.fixture
def container() -> Iterator[Container]:
    with Container() as container:
        yield container


FSTYPES = pytest.mark.parametrize("fstype", ["ext4", "xfs"])


@FSTYPES
def test_a_second_run_changes_nothing_and_starts_no_process(storage: Storage, container: Container, fstype: str) -> None:
    storage = storage.but(fstype=fstype)
    predicted = container.call(storage.converge, check=True)
    assert container.call(mounts_below, storage.home) == []
    assert list(storage.home.iterdir()) == []
    first = container.call(storage.converge)
    assert first.actions == predicted.actions
    assert {**predicted.after, "mount": None} == {**first.after, "mount": None}
    assert first.facts["storage_driver"] == "overlay2"
    assert first.facts["fstype"] == fstype
    assert first.facts["size"] == storage.image.stat().st_size == 320 << 20
    assert attached_to(storage.home) == [first.facts["device"].removeprefix("/dev/")]
    second, commands = container.call(storage.converge_counting)
    assert (second.actions, commands) == ([], [])
    assert second.before == second.after == first.after
    assert len(attached_to(storage.home)) == 1


def start(storage: Storage, container: Container) -> None:
    """Nothing is there yet."""


def mounted(storage: Storage, container: Container) -> None:
    container.call(storage.converge)
    container.call(fill, storage.data_root, "old")


def unmounted(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call(storage.but(state="absent").converge)


@FSTYPES
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (start, {}),
        (start, {"preallocate": True}),
        (unmounted, {}),
        (unmounted, {"size": "400M"}),
        (mounted, {"state": "absent"}),
        (mounted, {"state": "absent", "purge": True}),
    ],
)
def test_killed_anywhere(tmp_path, fstype, given, wanted):
    import time
    t=time.monotonic()
    for change in count(1):
        storage = Storage(tmp_path / str(change), {"fstype": fstype})
        storage.home.mkdir()
        with Container() as container:
            given(storage, container)
            died = container.call(storage.but(**wanted).converge_dying, Moment(change))
        if not died:
            break
    print(change, time.monotonic()-t)
