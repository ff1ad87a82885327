# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Runs and containers that are killed at any moment."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_fixtures import (
    MIB,
    Container,
    Moment,
    Storage,
    attached_to,
    check_filesystem,
    checksums,
    fill,
    is_detached,
    mounts_below,
)
from storage_situations import Situation, dirty, mounted, nothing, unmounted, without_device

TRANSITIONS: list[tuple[Situation, dict[str, object]]] = [
    (nothing, {}),
    (nothing, {"preallocate": True}),
    (unmounted, {}),
    (unmounted, {"size": "400M"}),
    (unmounted, {"size": "400M", "preallocate": True}),
    (unmounted, {"state": "absent", "purge": True}),
    (dirty, {}),
    (dirty, {"size": "400M"}),
    (mounted, {"state": "absent"}),
    (mounted, {"state": "absent", "purge": True}),
]

CASES = [(fstype, *transition) for fstype in ("ext4", "xfs") for transition in TRANSITIONS]

LIVES = st.lists(
    st.tuples(
        st.sampled_from([{}, {}, {"size": "352M"}, {"size": "400M"}, {"state": "absent"}, {"preallocate": True}]),
        st.integers(1, 20),
        st.booleans(),
    ),
    min_size=2,
    max_size=6,
)


def assert_recovers(storage: Storage, container: Container, data: dict[str, str]) -> None:
    """From whatever a death has left: converges as predicted, is stable, has all data, leaks nothing."""
    predicted = container.call(storage.converge, check=True)
    done = container.call(storage.converge)
    assert done.actions == predicted.actions
    assert without_device(done) == without_device(predicted)
    assert container.call(storage.converge).actions == []
    if storage.full_params["state"] == "present":
        found = container.call(checksums, storage.data_root)
        assert found == data
        assert len(attached_to(storage.home)) == 1
        assert container.call(mounts_below, storage.home) == [str(storage.data_root)]
        assert storage.image.stat().st_size >= 320 * MIB
        container.call(storage.but(state="absent").converge)
    assert is_detached(storage.home)
    left = [path.name for path in storage.image.parent.iterdir()] if storage.image.parent.exists() else []
    assert left == ([] if storage.full_params["purge"] else [storage.image.name])
    if left:
        check_filesystem(storage.image)


def die(
    storage: Storage, situation: Situation, wanted: dict[str, object], moment: Moment, *, with_container: bool
) -> bool:
    """One death on the way from the situation to what is wanted, and the recovery; whether it came to the death.

    Dead is either the run alone, or its container with it; then a new one takes over.
    """
    storage.home.mkdir()
    target = storage.but(**wanted)
    with ExitStack() as stack:
        container = stack.enter_context(Container())
        data = situation(storage, container)
        end = container.call(target.converge_dying, moment)
        assert end != "refused"
        if with_container:
            container.kill()
            assert is_detached(storage.home)
            container = stack.enter_context(Container())
        assert_recovers(target, container, data)
    shutil.rmtree(storage.home)
    return end == "died"


@pytest.mark.parametrize("with_container", [False, True], ids=["run", "container"])
@pytest.mark.parametrize(("fstype", "situation", "wanted"), CASES)
def test_killed_before_any_of_its_changes(
    tmp_path: Path, fstype: str, situation: Situation, wanted: dict[str, object], with_container: bool
) -> None:
    deaths = 0
    for change in count(1):
        storage = Storage(tmp_path / str(change), {"fstype": fstype})
        if not die(storage, situation, wanted, Moment(change), with_container=with_container):
            break
        deaths += 1
    assert deaths >= 2, "the harness has lost its grip"


@pytest.mark.parametrize(
    ("fstype", "situation", "wanted", "command", "stride"),
    [
        ("ext4", nothing, {}, "mkfs.ext4", 3),
        ("ext4", nothing, {"preallocate": True}, "mkfs.ext4", 3),
        ("xfs", nothing, {}, "mkfs.xfs", 5),
        ("ext4", unmounted, {"size": "700M"}, "resize2fs", 19),
        ("ext4", dirty, {}, "e2fsck", 7),
        ("ext4", dirty, {"size": "700M"}, "resize2fs", 41),
        ("xfs", unmounted, {"size": "400M"}, "xfs_growfs", 1),
        ("xfs", mounted, {"size": "400M"}, "xfs_growfs", 1),
    ],
)
def test_killed_in_the_middle_of_a_command(
    tmp_path: Path, fstype: str, situation: Situation, wanted: dict[str, object], command: str, stride: int
) -> None:
    deaths = 0
    for write in count(1, stride):
        storage = Storage(tmp_path / str(write), {"fstype": fstype})
        moment = Moment(command=command, write=write)
        if not die(storage, situation, wanted, moment, with_container=write % 2 == 0):
            break
        deaths += 1
    assert deaths >= 1, "the harness has lost its grip"


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fstype=st.sampled_from(["ext4", "xfs"]), lives=LIVES)
def test_any_sequence_of_lives_and_deaths(
    tmp_path_factory: pytest.TempPathFactory, fstype: str, lives: list[tuple[dict[str, object], int, bool]]
) -> None:
    """Each life asks for something, dies on the way or not, and leaves data if it got storage."""
    storage = Storage(tmp_path_factory.mktemp("lives"), {"fstype": fstype})
    data: dict[str, str] = {}
    with ExitStack() as stack:
        container = stack.enter_context(Container())
        for number, (wanted, change, with_container) in enumerate(lives):
            target = storage.but(**wanted)
            end = container.call(target.converge_dying, Moment(change))
            if end == "done" and target.full_params["state"] == "present":
                assert container.call(checksums, storage.data_root) == data
                data |= container.call(fill, storage.data_root, f"life{number}", 5)
            if with_container:
                container.kill()
                container = stack.enter_context(Container())
        size = str(storage.image.stat().st_size // MIB) + "M" if storage.image.exists() else "320M"
        container.kill()
        assert is_detached(storage.home)
        assert_recovers(storage.but(size=size), stack.enter_context(Container()), data)
    shutil.rmtree(storage.home)
