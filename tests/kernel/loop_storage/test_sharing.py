# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Containers beside each other, and one after another."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from storage_fixtures import (
    FSTYPES,
    MIB,
    Container,
    Storage,
    attached_to,
    checksums,
    fill,
    is_detached,
    names,
    run,
)
from storage_situations import mounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, loop_device
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome


@FSTYPES
def test_an_image_in_use_is_refused_and_taken_over_after_a_death(storage: Storage, fstype: str) -> None:
    storage = storage.but(fstype=fstype)
    with Container() as first, Container() as second:
        data = mounted(storage, first)
        for wanted in ({}, {"size": "400M"}, {"state": "absent", "purge": True}):
            with pytest.raises(DindError, match="in use by another container"):
                second.call(storage.but(**wanted).converge)
        assert len(attached_to(storage.home)) == 1
        first.kill()
        second.call(storage.converge)
        assert second.call(checksums, storage.data_root) == data


def test_the_same_image_under_another_name_is_refused_too(storage: Storage) -> None:
    with Container() as first, Container() as second:
        mounted(storage, first)
        alias = storage.home / "alias.img"
        os.link(storage.image, alias)
        with pytest.raises(DindError, match="in use by another container"):
            second.call(storage.but(image=str(alias), data_root=str(storage.home / "root2")).converge)


def test_an_image_in_use_elsewhere_in_the_same_container_is_refused(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    with pytest.raises(DindError, match="or mounted elsewhere"):
        container.call(storage.but(data_root=str(storage.home / "root2")).converge)


@pytest.mark.parametrize("strategy", ["overlay", "vfs"])
def test_a_data_root_in_use_is_refused_and_taken_over_after_a_death(storage: Storage, strategy: str) -> None:
    storage = storage.but(strategy=strategy)
    with Container() as first, Container() as second:
        outcome = first.call(storage.converge)
        assert outcome.actions[-1] == f"hold the lock on {storage.data_root}"
        assert first.call(storage.converge).actions == []
        for wanted in ({}, {"strategy": "auto"}, {"strategy": "loop"}):
            with pytest.raises(DindError, match=r"data root .* is in use by another container"):
                second.call(storage.but(**wanted).converge)
        first.kill()
        assert second.call(storage.converge).actions == [f"hold the lock on {storage.data_root}"]
        assert second.call(storage.but(state="absent").converge).actions == [f"release the lock on {storage.data_root}"]
        assert second.call(storage.but(state="absent").converge).actions == []
        assert second.call(file_lock.holder, storage.data_root) is None
        assert not file_lock.is_locked(storage.data_root)


def holder(data_root: Path) -> dict[str, object]:
    pid = file_lock.holder(data_root)
    assert pid is not None
    process = Path("/proc", str(pid))
    return {
        "alone": os.getsid(pid) == pid,
        "environment": sorted(word.split(b"=")[0] for word in (process / "environ").read_bytes().split(b"\0") if word),
        "directory": str((process / "cwd").readlink()),
        "files": sorted({str(path.readlink()) for path in (process / "fd").iterdir()}),
    }


def test_the_holder_has_nothing_but_the_lock(storage: Storage, container: Container) -> None:
    container.call(storage.but(strategy="vfs").converge)
    assert container.call(holder, storage.data_root) == {
        "alone": True,
        "environment": [b"PATH"],
        "directory": "/",
        "files": ["/dev/null", str(storage.data_root)],
    }


def test_a_data_root_in_use_gets_no_image_over_it(storage: Storage, container: Container) -> None:
    container.call(storage.but(strategy="vfs").converge)
    with pytest.raises(DindError, match="in use here without an image; stop the engine"):
        container.call(storage.converge)


@pytest.mark.parametrize("strategy", ["loop", "overlay"])
def test_of_containers_started_at_once_on_one_volume_one_wins(storage: Storage, strategy: str) -> None:
    storage = storage.but(strategy=strategy)

    def start(container: Container) -> str:
        try:
            container.call(storage.converge)
        except DindError as error:
            return str(error)
        return "won"

    with ExitStack() as stack:
        containers = [stack.enter_context(Container()) for _ in range(6)]
        with ThreadPoolExecutor(len(containers)) as pool:
            results = list(pool.map(start, containers))
        assert results.count("won") == 1
        losers = [result for result in results if result != "won"]
        assert all("by another container" in result for result in losers), losers
        if strategy == "loop":
            assert len(attached_to(storage.home)) == 1


def test_twenty_started_at_once_get_twenty_devices(storage: Storage) -> None:
    storages = [Storage(storage.home / str(number), {"size": "64M"}) for number in range(20)]
    with ExitStack() as stack:
        containers = [stack.enter_context(Container()) for _ in storages]
        with ThreadPoolExecutor(len(containers)) as pool:
            outcomes = list(pool.map(lambda container, own: container.call(own.converge), containers, storages))
        assert len({outcome.facts["device"] for outcome in outcomes}) == len(storages)
        assert len(attached_to(storage.home)) == len(storages)
        for container, own in zip(containers, storages, strict=True):
            data = container.call(fill, own.data_root, "a", 3)
            assert container.call(checksums, own.data_root) == data


def converge_losing_races(storage: Storage, taken: int) -> Outcome:
    """The first free device that the kernel tells of has always been taken by somebody else meanwhile."""
    really_free = loop_device._free_number
    answers = [taken] * 5

    def free_number(dev: Path) -> int:
        return answers.pop() if answers else really_free(dev)

    loop_device._free_number = free_number
    try:
        return storage.converge()
    finally:
        loop_device._free_number = really_free


def test_the_loser_of_a_race_takes_the_next_device(storage: Storage, container: Container) -> None:
    with Container() as other:
        taken = other.call(storage.converge).facts["device"]
        second = storage.but(image=str(storage.home / "second.img"), data_root=str(storage.home / "second"))
        outcome = container.call(converge_losing_races, second, int(taken.removeprefix("/dev/loop")))
        assert outcome.facts["device"] != taken
        assert other.call(storage.converge).actions == []


@FSTYPES
def test_twenty_cycles_of_start_and_kill_leak_nothing(storage: Storage, fstype: str) -> None:
    storage = storage.but(fstype=fstype, strategy="auto")
    disk = set()
    with Container() as container:
        container.call(storage.but(strategy="loop").converge)
    for _ in range(20):
        with Container() as container:
            container.call(storage.converge)
            assert len(attached_to(storage.home)) == 1
        assert is_detached(storage.home)
        disk.add(storage.image.stat().st_blocks)
    assert max(disk) - min(disk) < 4 * MIB // 512
    assert names(storage.home / "root") == []


def test_the_loop_devices_of_the_host_are_told_apart_by_file(storage: Storage, container: Container) -> None:
    """An image of the same path in another mount namespace, as every container has it, is another image."""
    with Container() as other:
        for each, name in ((container, "one"), (other, "two")):
            (storage.home / name).mkdir()
            each.call(over, storage.home / name, storage.home / "volume")
        assert container.call(storage.converge).facts["device"] != other.call(storage.converge).facts["device"]
        assert container.call(storage.converge).actions == other.call(storage.converge).actions == []


def over(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    run("mount", "--bind", str(source), str(target))
