# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""loop_storage on real loop devices and real file systems, in containers without an engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storage_fixtures import (
    Container,
    Moment,
    Storage,
    attached_to,
    check_filesystem,
    checksums,
    drop_capability,
    eventually,
    fill,
    is_detached,
    mounts_below,
    shut_down,
    start_writing,
)

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, loop_device, overlay_probe
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome

FSTYPES = pytest.mark.parametrize("fstype", ["ext4", "xfs"])
MIB = 1 << 20


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A home for a data root and an image, of which no loop device and no mount is left in the end."""
    yield Storage(tmp_path)
    assert is_detached(tmp_path)
    assert mounts_below(tmp_path) == []


@pytest.fixture
def container(storage: Storage) -> Iterator[Container]:
    with Container() as container:
        yield container


def run(*argv: str) -> str:
    """For calls in a container."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


# Idempotence and prediction


@FSTYPES
def test_a_second_run_changes_nothing_and_starts_no_process(
    storage: Storage, container: Container, fstype: str
) -> None:
    storage = storage.but(fstype=fstype)
    predicted = container.call(storage.converge, check=True)
    assert container.call(mounts_below, storage.home) == []
    assert list(storage.home.iterdir()) == []
    first = container.call(storage.converge)
    assert first.actions == predicted.actions
    assert without_device(first) == without_device(predicted)
    assert first.facts["storage_driver"] == "overlay2"
    assert first.facts["fstype"] == fstype
    assert first.facts["size"] == storage.image.stat().st_size == 320 * MIB
    assert attached_to(storage.home) == [first.facts["device"].removeprefix("/dev/")]
    second, commands = container.call(storage.converge_counting)
    assert (second.actions, commands) == ([], [])
    assert second.before == second.after == first.after
    assert len(attached_to(storage.home)) == 1
    assert container.call(mounts_below, storage.home) == [str(storage.data_root)]


def ansible(storage: Storage, *options: str) -> dict[str, Any]:
    """What the module answers to an ad-hoc call in the container."""
    os.environ.update(
        ANSIBLE_COLLECTIONS_PATH=str(Path(__file__).parents[2] / ".cache/collections"),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_INVENTORY_UNPARSED_WARNING="false",
    )
    given = ("data_root", "image", "size", "fstype", "strategy")
    arguments = " ".join(f"{name}={storage.full_params[name]}" for name in given)
    argv = (sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "mesos.dind.loop_storage", "-a", arguments)
    said = run(*argv, *options)
    return json.loads(said[said.index("=> {") + 3 :])  # type: ignore[no-any-return]


def test_the_module_itself(storage: Storage, container: Container) -> None:
    predicted = container.call(ansible, storage, "--check")
    assert names(storage.home) == []
    done = container.call(ansible, storage)
    again = container.call(ansible, storage)
    assert predicted["changed"]
    assert done["changed"]
    assert done["actions"] == predicted["actions"]
    assert done["storage_driver"] == "overlay2"
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["device"] == done["device"]


# Crash injection


def nothing(storage: Storage, container: Container) -> dict[str, str]:
    """There is nothing yet."""
    return {}


def mounted(storage: Storage, container: Container) -> dict[str, str]:
    container.call(storage.converge)
    return container.call(fill, storage.data_root, "old")


def unmounted(storage: Storage, container: Container) -> dict[str, str]:
    data = mounted(storage, container)
    container.call(storage.but(state="absent").converge)
    return data


def dirty(storage: Storage, container: Container) -> dict[str, str]:
    data = mounted(storage, container)
    container.call(shut_down, storage.data_root)
    container.call(run, "umount", str(storage.data_root))
    return data


def without_device(outcome: Outcome) -> dict[str, object]:
    """What there is afterwards; which loop device is free cannot be predicted."""
    mount = outcome.after["mount"]
    return {**outcome.after, "mount": {**mount, "device": None} if mount else None}


Situation = Callable[[Storage, Container], dict[str, str]]
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
CASES.append(("xfs", mounted, {"size": "400M"}))


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


LIVES = st.lists(
    st.tuples(
        st.sampled_from([{}, {}, {"size": "352M"}, {"size": "400M"}, {"state": "absent"}, {"preallocate": True}]),
        st.integers(1, 20),
        st.booleans(),
    ),
    min_size=2,
    max_size=6,
)


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


# Growing


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


# What an image holds


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


# Room


def small_disk(home: Path, size: str) -> None:
    (home / "volume").mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(home / "volume"))


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


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


def remove_all(directory: Path) -> None:
    for path in directory.glob("much-*"):
        path.unlink()


def test_a_preallocated_image_keeps_its_space(storage: Storage, container: Container) -> None:
    storage = storage.but(preallocate=True)
    container.call(storage.converge)
    container.call(fill, storage.data_root, "much", 100)
    container.call(remove_all, storage.data_root)
    container.call(storage.but(state="absent").converge)
    assert storage.image.stat().st_blocks * 512 >= 320 * MIB


# Containers beside each other


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
    answers = iter([taken] * 5)
    loop_device._free_number = lambda dev: next(answers, None) if answers.__length_hint__() else really_free(dev)
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


# What /dev and the kernel offer


def empty_dev(home: Path, *nodes: str) -> None:
    """A container's /dev with no loop node but those named, as if made before the host had more."""
    private = home / "dev"
    private.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(private))
    for name in ("null", "urandom", *nodes):
        status = Path("/dev", name).stat()
        os.mknod(private / name, status.st_mode, status.st_rdev)
    run("mount", "--move", str(private), "/dev")


@pytest.mark.parametrize("nodes", [("loop-control",), ()])
def test_missing_nodes_are_made(storage: Storage, container: Container, nodes: tuple[str, ...]) -> None:
    container.call(empty_dev, storage.home, *nodes)
    outcome = container.call(storage.converge)
    assert container.call(Path(outcome.facts["device"]).is_block_device)
    assert container.call(storage.converge).actions == []


def test_check_mode_makes_no_nodes(storage: Storage, container: Container) -> None:
    container.call(empty_dev, storage.home)
    container.call(storage.converge, check=True)
    assert sorted(container.call(names, Path("/dev"))) == ["null", "urandom"]


def test_without_the_privilege_to_mount_nothing_is_begun(storage: Storage, container: Container) -> None:
    container.call(drop_capability, "CAP_SYS_ADMIN")
    for strategy in ("auto", "loop", "overlay"):
        with pytest.raises(DindError, match=r"no privilege to mount .*--privileged"):
            container.call(storage.but(strategy=strategy).converge)
    assert list(storage.home.iterdir()) == []
    container.call(storage.but(strategy="vfs").converge)


def test_without_the_privilege_to_unmount(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call(drop_capability, "CAP_SYS_ADMIN")
    with pytest.raises(DindError, match=r"no privilege to mount .*--privileged"):
        container.call(storage.but(state="absent").converge)


def forbid_devices(home: Path) -> None:
    """/dev/loop-control cannot be opened, as without the device cgroup's leave."""
    run("mount", "-t", "tmpfs", "-o", "nodev", "tmpfs", str(home))
    os.mknod(home / "loop-control", Path("/dev/loop-control").stat().st_mode, Path("/dev/loop-control").stat().st_rdev)
    run("mount", "--bind", str(home / "loop-control"), "/dev/loop-control")


def test_without_leave_for_devices_nothing_is_begun(storage: Storage, container: Container) -> None:
    (storage.home / "nodev").mkdir()
    container.call(forbid_devices, storage.home / "nodev")
    with pytest.raises(DindError, match=r"loop-control cannot be opened: Permission denied; .*--privileged"):
        container.call(storage.converge)
    assert names(storage.home) == ["nodev"]


def test_a_busy_data_root_says_so(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call(os.chdir, storage.data_root)
    with pytest.raises(DindError, match=r"unmount .* busy.*; stop the engine"):
        container.call(storage.but(state="absent").converge)


def test_the_data_root_fits_dockerd(storage: Storage, container: Container) -> None:
    container.call(storage.converge)
    assert container.call(permissions, storage.data_root) == 0o710
    container.call(storage.data_root.chmod, 0o711)
    assert container.call(storage.converge).actions == []
    container.call(storage.data_root.chmod, 0o755)
    assert container.call(storage.converge).actions == [f"set the permissions of {storage.data_root} to 0710"]


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@FSTYPES
def test_mount_options(storage: Storage, container: Container, fstype: str) -> None:
    container.call(storage.but(fstype=fstype, mount_options=["noatime"]).converge)
    options = container.call(run, "findmnt", "-n", "-o", "OPTIONS", str(storage.data_root)).strip().split(",")
    assert "noatime" in options
    assert "discard" not in options


# The choice


def test_overlay_is_chosen_where_it_works(storage: Storage, container: Container) -> None:
    storage = storage.but(strategy="auto")
    outcome = container.call(storage.converge)
    assert (outcome.facts["strategy"], outcome.facts["storage_driver"]) == ("overlay", "overlay2")
    assert "two lower layers, a write and a whiteout were tried" in outcome.facts["reason"]
    assert outcome.facts["persistent"]
    assert names(storage.home) == ["root"]
    assert names(storage.data_root) == []
    (storage.data_root / "overlay2/l").mkdir(parents=True)
    again, commands = container.call(storage.converge_counting)
    assert (again.actions, commands) == ([], [])
    assert again.facts["strategy"] == "overlay"


def on_overlay(home: Path) -> None:
    for name in ("lower", "upper", "work", "root"):
        (home / name).mkdir()
    options = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    run("mount", "-t", "overlay", "-o", options, "overlay", str(home / "root"))


def without_d_type(home: Path) -> None:
    with (home / "old.img").open("wb") as file:
        file.truncate(32 * MIB)
    run("mkfs.ext4", "-q", "-O", "^filetype", str(home / "old.img"))
    (home / "root").mkdir()
    run("mount", "-o", "loop", str(home / "old.img"), str(home / "root"))


def read_only(home: Path) -> None:
    (home / "root").mkdir()
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home / "root"))


@pytest.mark.parametrize(
    ("place", "why"), [(on_overlay, "upperdir|wrong fs type"), (without_d_type, "d_type"), (read_only, "Read-only")]
)
def test_the_image_is_chosen_where_overlay_does_not_work(
    storage: Storage, container: Container, place: Callable[[Path], None], why: str
) -> None:
    container.call(place, storage.home)
    for strategy in ("overlay", "aufs"):
        with pytest.raises(DindError, match="does not work on"):
            container.call(storage.but(strategy=strategy).converge)
    assert {".mesos-dind-probe"}.isdisjoint(container.call(names, storage.data_root))
    outcome = container.call(storage.but(strategy="auto").converge)
    assert (outcome.facts["strategy"], outcome.facts["storage_driver"]) == ("loop", "overlay2")
    assert re.search(why, outcome.facts["reason"])
    assert container.call(storage.but(strategy="auto").converge).actions == []


def test_aufs_says_what_is_missing(storage: Storage, container: Container) -> None:
    with pytest.raises(DindError, match=r"AUFS does not work on .*: the kernel has no AUFS and "):
        container.call(storage.but(strategy="aufs").converge)
    assert list(storage.home.iterdir()) == []


def leave_a_probe(data_root: Path) -> None:
    """As a run leaves it that is killed while it tries."""
    at = data_root / overlay_probe.NAME
    for name in ("lower1", "lower2", "upper", "work", "merged"):
        (at / name).mkdir(parents=True)
    options = f"lowerdir={at}/lower1:{at}/lower2,upperdir={at}/upper,workdir={at}/work"
    run("mount", "-t", "overlay", "-o", options, "overlay", str(at / "merged"))


def test_what_a_killed_probe_left_is_swept(storage: Storage, container: Container) -> None:
    storage.data_root.mkdir()
    container.call(leave_a_probe, storage.data_root)
    assert container.call(storage.but(strategy="auto").converge).facts["strategy"] == "overlay"
    assert names(storage.data_root) == []
    assert container.call(mounts_below, storage.home) == []


@pytest.mark.parametrize(
    ("data", "driver", "strategy"),
    [
        ("overlay2/l", "overlay2", "overlay"),
        ("vfs/dir/a", "vfs", "vfs"),
        ("100000.100000/vfs/dir/a", "vfs", "vfs"),
        ("containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1", "overlayfs", "overlay"),
        ("containerd/io.containerd.snapshotter.v1.native/snapshots/1", "native", "vfs"),
        ("rootfs/overlayfs/a", "overlayfs", "overlay"),
    ],
)
def test_data_keeps_its_driver(storage: Storage, container: Container, data: str, driver: str, strategy: str) -> None:
    (storage.data_root / data).mkdir(parents=True)
    with pytest.raises(DindError, match=f"strategy loop was asked for, but .* holds data of {driver}"):
        container.call(storage.converge)
    outcome = container.call(storage.but(strategy="auto").converge)
    assert (outcome.facts["storage_driver"], outcome.facts["strategy"]) == (driver, strategy)


def test_data_in_an_image_keeps_its_driver(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call((storage.data_root / "vfs/dir/a").mkdir, parents=True)
    assert container.call(storage.converge).facts["storage_driver"] == "vfs"


def test_an_image_and_data_beside_it_need_a_decision(storage: Storage, container: Container) -> None:
    unmounted(storage, container)
    (storage.data_root / "overlay2/l").mkdir(parents=True)
    with pytest.raises(DindError, match=r"there is an image, and .* holds data of overlay2 as well; say which"):
        container.call(storage.but(strategy="auto").converge)
    assert container.call(storage.but(strategy="loop").converge).facts["strategy"] == "loop"


def test_an_image_is_recognised_before_anything_is_tried(storage: Storage, container: Container) -> None:
    unmounted(storage, container)
    outcome, commands = container.call(storage.but(strategy="auto").converge_counting)
    assert outcome.facts["strategy"] == "loop"
    assert [command.argv[:3] for command in commands] == [("mount", "-t", "ext4")]


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


def test_backing_files_are_told(storage: Storage, container: Container) -> None:
    outcome = container.call(storage.converge)
    number = int(outcome.facts["device"].removeprefix("/dev/loop"))
    assert loop_device.backing_file(number) == loop_device.FileId.of(storage.image.stat())
    container.kill()
    assert is_detached(storage.home)
