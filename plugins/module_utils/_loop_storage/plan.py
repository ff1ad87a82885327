# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps that bring the storage to the desired state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import SECTOR
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage import data_root_steps, image_steps
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import image_in_use, not_privileged
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import check_size, format_size
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import BLANK, NO_FILE, Image, Mount, State
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step


@dataclass(frozen=True)
class Desired:
    """``size`` is in bytes, whole blocks of 4096; paths are absolute and without symbolic links."""

    data_root: Path
    image: Path
    size: int
    fstype: str = "ext4"
    strategy: str = "auto"
    preallocate: bool = False
    hold: bool = True
    mount_options: tuple[str, ...] | None = None
    present: bool = True
    purge: bool = False
    force: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Desired:
        """Raises DindError for a value that is not allowed."""
        options = params["mount_options"]
        data_root, image = (_absolute(name, params[name]) for name in ("data_root", "image"))
        if image.is_relative_to(data_root):
            raise DindError(f"image: {image} lies in the data root {data_root}", cure="put it elsewhere")
        return cls(
            data_root=data_root,
            image=image,
            size=check_size(params["size"], params["fstype"]),
            mount_options=None if options is None else tuple(options),
            present=params["state"] == "present",
            **{name: params[name] for name in ("fstype", "strategy", "preallocate", "hold", "purge", "force")},
        )

    def options_for(self, fstype: str, *, quota: bool) -> tuple[str, ...]:
        """The mount options. ``quota`` says that the kernel's XFS has quotas, by which the engine limits a container.

        A preallocated image returns no block to the host.
        """
        given = (() if self.preallocate else ("discard",)) if self.mount_options is None else self.mount_options
        wanted = fstype == "xfs" and quota and not {"prjquota", "pquota"} & set(given)
        return (*given, "prjquota") if wanted else given


def _absolute(name: str, text: str) -> Path:
    if not text.startswith("/") or text.strip("/") == "":
        raise DindError(f"{name}: {text!r} is not allowed", cure="give an absolute path other than /")
    return Path(os.path.realpath(text))


def plan(desired: Desired, state: State) -> list[Step[State]]:
    """The steps, for a strategy other than ``auto``. Raises DindError for a forbidden change."""
    if not desired.present:
        return list(_absent(desired, state))
    if desired.strategy == "loop":
        _refuse_loop(desired, state)
        return list(_loop(desired, state))
    return list(_direct(desired, state))


def _absent(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.mount and not state.may_mount:
        raise not_privileged()
    if state.mount:
        yield data_root_steps.Unmount(desired.data_root)
    if state.data_root.held_by == "us" and not state.mount:
        yield data_root_steps.ReleaseDataRoot(desired.data_root)
    if state.leftovers:
        yield image_steps.RemoveLeftovers(desired.image)
    if desired.purge and state.image:
        if state.image.locked:
            raise image_in_use(desired.image)
        yield image_steps.RemoveImage(desired.image)


def _direct(desired: Desired, state: State) -> Iterator[Step[State]]:
    yield from _data_root(desired, state)
    if state.leftovers and not (state.image and state.image.locked):
        yield image_steps.RemoveLeftovers(desired.image)
    if desired.hold and state.data_root.held_by != "us":
        yield data_root_steps.HoldDataRoot(desired.data_root)


def _data_root(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.data_root.mode is None:
        yield data_root_steps.MakeDataRoot(desired.data_root)
    elif state.data_root.mode not in data_root_steps.ROOT_MODES:
        yield data_root_steps.SetDataRootMode(desired.data_root)


def _refuse_loop(desired: Desired, state: State) -> None:
    if state.data_root.held_by == "us":
        raise DindError(
            f"{desired.data_root} is in use here without an image",
            cure="stop the engine and ask for state absent first",
        )
    if state.image:
        _refuse_image(desired, state.image)
        if _grows_mounted_ext4(desired, state, state.image) and not state.may_grow_mounted_ext4:
            raise DindError(
                f"growing the ext4 on {desired.data_root} while it is mounted takes CAP_SYS_RESOURCE",
                cure="restart the container with the new size: the file system then grows before it is mounted",
            )


def _refuse_image(desired: Desired, image: Image) -> None:
    if image.locked:
        raise image_in_use(desired.image)
    if image.content == NO_FILE:
        raise DindError(f"{desired.image} is no regular file", cure="name another image")
    if not image.has_filesystem and image.content != BLANK and not desired.force:
        raise DindError(
            f"{desired.image} holds {image.content}, no ext4 or xfs; it is not formatted",
            cure="name another image, move this file away, or force its replacement",
        )
    if image.has_filesystem and desired.size < image.size:
        raise DindError(
            f"size: {desired.image} has {format_size(image.size)} already and is not shrunk to"
            f" {format_size(desired.size)}",
            cure=f"ask for {format_size(image.size)} or more, or name another image",
        )


def _grows_mounted_ext4(desired: Desired, state: State, image: Image) -> bool:
    return bool(state.mount) and image.content == "ext4" and (desired.size > image.size or not image.full)


def _loop(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.leftovers:
        yield image_steps.RemoveLeftovers(desired.image)
    if state.mount or state.data_root.mode is None:  # a mount will cover any other directory
        yield from _data_root(desired, state)
    image = state.image
    if image is None or not image.has_filesystem:
        replaces = image is not None
        yield image_steps.MakeImage(desired.image, desired.size, desired.fstype, desired.preallocate, replaces=replaces)
        image = Image(desired.size, desired.fstype)
    if state.mount is None:
        yield from _mount(desired, image, quota=state.has_xfs_quota)
    if state.mount or image.content == "xfs":
        yield from _growth_of_mounted(desired, image, state.mount)


def _mount(desired: Desired, image: Image, *, quota: bool) -> Iterator[Step[State]]:
    """Check an ext4 before any change to it, then mount. The mount itself checks and mends an xfs."""
    if image.content == "ext4":
        grows = image.half_grown or not image.full or image.size < desired.size
        if image.half_grown:
            yield image_steps.TakeBackGrowth(desired.image)
        if grows or not image.clean:
            yield image_steps.RepairImage(desired.image, thorough=grows)
        if image.size < desired.size:
            yield image_steps.GrowImage(desired.image, desired.size, desired.preallocate)
        if grows:
            yield image_steps.GrowUnmounted(desired.image)
    options = desired.options_for(image.content, quota=quota)
    yield data_root_steps.MountImage(desired.image, desired.data_root, image.content, options)


def _growth_of_mounted(desired: Desired, image: Image, mount: Mount | None) -> Iterator[Step[State]]:
    size = max(image.size, desired.size)
    if image.size < desired.size:
        yield image_steps.GrowImage(desired.image, desired.size, desired.preallocate)
    if (mount.size if mount else image.size // SECTOR * SECTOR) < size // SECTOR * SECTOR:
        yield data_root_steps.GrowDevice(desired.data_root)
    if image.size < desired.size or not image.full:
        yield data_root_steps.GrowMounted(desired.data_root, image.content)
