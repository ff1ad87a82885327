# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The choice of a strategy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from storage_fixtures import (
    MIB,
    Container,
    Storage,
    mounts_below,
    names,
    run,
)
from storage_situations import mounted, unmounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import overlay_probe


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
    with pytest.raises(DindError, match=r"there is an image, and .* holds data of overlay2 as well; choose one"):
        container.call(storage.but(strategy="auto").converge)
    assert container.call(storage.but(strategy="loop").converge).facts["strategy"] == "loop"


def test_an_image_is_recognised_before_anything_is_tried(storage: Storage, container: Container) -> None:
    unmounted(storage, container)
    outcome, commands = container.call(storage.but(strategy="auto").converge_counting)
    assert outcome.facts["strategy"] == "loop"
    assert [command.argv[:3] for command in commands] == [("mount", "-t", "ext4")]
