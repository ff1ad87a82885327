# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Storage for an inner engine: the data root itself where overlay works on it, otherwise an image on a loop device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import filesystem, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.choice import Choice, RealTrials, choose, driver
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import image_in_use, not_privileged
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    BLANK,
    NO_FILE,
    Image,
    Mount,
    Roots,
    State,
    inspect,
)
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.steps import (
    ROOT_MODES,
    SECTOR,
    GrowDevice,
    GrowImage,
    GrowMounted,
    GrowUnmounted,
    HoldDataRoot,
    MakeDataRoot,
    MakeImage,
    MountImage,
    ReleaseDataRoot,
    RemoveImage,
    RemoveLeftovers,
    RepairImage,
    SetDataRootMode,
    TakeBackGrowth,
    Unmount,
)
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome, Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

_NOT_PERSISTENT = "{} lies in the container's own writable layer and goes with it; to keep it, mount a volume there"
_NO_QUOTA = "this kernel's XFS has no quota: the engine cannot limit a container's size"


@dataclass(frozen=True)
class Desired:
    """What is asked for. ``size`` is in bytes, whole blocks of 4096; paths are absolute and without symbolic links."""

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
            size=filesystem.check_size(params["size"], params["fstype"]),
            fstype=params["fstype"],
            strategy=params["strategy"],
            preallocate=params["preallocate"],
            hold=params["hold"],
            mount_options=None if options is None else tuple(options),
            present=params["state"] == "present",
            purge=params["purge"],
            force=params["force"],
        )

    def options_for(self, fstype: str, *, quota: bool) -> tuple[str, ...]:
        """``quota`` is whether the kernel's XFS has it, for the engine to limit a container's size.

        Of a preallocated image no block is to return to the host.
        """
        given = (() if self.preallocate else ("discard",)) if self.mount_options is None else self.mount_options
        wanted = fstype == "xfs" and quota and not {"prjquota", "pquota"} & set(given)
        return (*given, "prjquota") if wanted else given


def plan(desired: Desired, state: State) -> list[Step[State]]:
    """What is to be done; ``desired.strategy`` has been chosen by then. Raises DindError for what must not be done."""
    if not desired.present:
        return list(_plan_absent(desired, state))
    if desired.strategy == "loop":
        _refuse_loop(desired, state)
        return list(_plan_loop(desired, state))
    return list(_plan_direct(desired, state))


def core(params: Mapping[str, Any], runner: Runner, check: bool, roots: Roots | None = None) -> Outcome:
    """Inspect, choose, plan, apply. Raises DindError."""
    roots = roots or Roots()
    desired = Desired.of(params)
    choice = _choose(desired, inspect(desired.data_root, desired.image, roots, runner), runner)
    desired = replace(desired, strategy=choice.strategy)
    converged = _plan.converge(
        lambda: inspect(desired.data_root, desired.image, roots, runner),
        lambda state: plan(desired, state),
        runner,
        check=check,
    )
    facts, warnings = _facts(desired, choice, converged.after, roots) if desired.present else ({}, [])
    return Outcome(
        actions=converged.actions,
        before=converged.before.shown(),
        after=converged.after.shown(),
        facts=facts,
        warnings=warnings,
    )


def _absolute(name: str, text: str) -> Path:
    if not text.startswith("/") or text.strip("/") == "":
        raise DindError(f"{name}: {text!r} is not allowed", cure="give an absolute path other than /")
    return Path(os.path.realpath(text))


def _choose(desired: Desired, state: State, runner: Runner) -> Choice:
    if not desired.present:
        return Choice(desired.strategy, "")
    return choose(desired.strategy, state, desired.data_root, RealTrials(desired.data_root, runner))


def _plan_absent(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.mount and not state.may_mount:
        raise not_privileged()
    if state.mount:
        yield Unmount(desired.data_root)
    if state.data_root.held_by == "us" and not state.mount:
        yield ReleaseDataRoot(desired.data_root)
    if state.leftovers:
        yield RemoveLeftovers(desired.image)
    if desired.purge and state.image:
        if state.image.locked:
            raise image_in_use(desired.image)
        yield RemoveImage(desired.image)


def _plan_direct(desired: Desired, state: State) -> Iterator[Step[State]]:
    yield from _plan_data_root(desired, state)
    if state.leftovers and not (state.image and state.image.locked):
        yield RemoveLeftovers(desired.image)
    if desired.hold and state.data_root.held_by != "us":
        yield HoldDataRoot(desired.data_root)


def _plan_data_root(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.data_root.mode is None:
        yield MakeDataRoot(desired.data_root)
    elif state.data_root.mode not in ROOT_MODES:
        yield SetDataRootMode(desired.data_root)


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
                cure="restart the container with the new size: it is grown before it is mounted then",
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


def _plan_loop(desired: Desired, state: State) -> Iterator[Step[State]]:
    if state.leftovers:
        yield RemoveLeftovers(desired.image)
    if state.mount or state.data_root.mode is None:  # what is mounted over does not matter
        yield from _plan_data_root(desired, state)
    image = state.image
    if image is None or not image.has_filesystem:
        yield MakeImage(desired.image, desired.size, desired.fstype, desired.preallocate, replaces=image is not None)
        image = Image(desired.size, desired.fstype)
    if state.mount is None:
        yield from _plan_mount(desired, image, quota=state.has_xfs_quota)
    if state.mount or image.content == "xfs":
        yield from _plan_growth_of_mounted(desired, image, state.mount)


def _plan_mount(desired: Desired, image: Image, *, quota: bool) -> Iterator[Step[State]]:
    """Nothing is changed of a damaged image before that is known. xfs finds out, and mends, when it is mounted."""
    if image.content == "ext4":
        grows = image.half_grown or not image.full or image.size < desired.size
        if image.half_grown:
            yield TakeBackGrowth(desired.image)
        if grows or not image.clean:
            yield RepairImage(desired.image, thorough=grows)
        if image.size < desired.size:
            yield GrowImage(desired.image, desired.size, desired.preallocate)
        if grows:
            yield GrowUnmounted(desired.image)
    options = desired.options_for(image.content, quota=quota)
    yield MountImage(desired.image, desired.data_root, image.content, options)


def _plan_growth_of_mounted(desired: Desired, image: Image, mount: Mount | None) -> Iterator[Step[State]]:
    size = max(image.size, desired.size)
    if image.size < desired.size:
        yield GrowImage(desired.image, desired.size, desired.preallocate)
    if (mount.size if mount else image.size // SECTOR * SECTOR) < size // SECTOR * SECTOR:
        yield GrowDevice(desired.data_root)
    if image.size < desired.size or not image.full:
        yield GrowMounted(desired.data_root, image.content)


def _facts(desired: Desired, choice: Choice, state: State, roots: Roots) -> tuple[dict[str, Any], list[str]]:
    mounts = mountinfo.of_this_process(roots.proc)
    image = state.image if desired.strategy == "loop" else None
    kept = desired.image if image else desired.data_root
    persistent = _is_persistent(mounts, kept)
    under = mounts.containing(str(desired.data_root))
    facts = {
        "storage_driver": driver(choice.strategy, state.data_root),
        "strategy": choice.strategy,
        "reason": choice.reason,
        "device": state.mount.device if state.mount else None,
        "image": str(desired.image) if image else None,
        "size": image.size if image else None,
        "mountpoint": str(desired.data_root),
        "fstype": image.content if image else under.fstype if under else None,
        "mount_options": list(desired.options_for(image.content, quota=state.has_xfs_quota)) if image else [],
        "persistent": persistent,
    }
    return facts, [
        *_warnings(desired, image),
        *(() if persistent else (_NOT_PERSISTENT.format(kept),)),
        *((_NO_QUOTA,) if image and image.content == "xfs" and not state.has_xfs_quota else ()),
    ]


def _is_persistent(mounts: mountinfo.MountTree, path: Path) -> bool:
    mount = mounts.containing(str(path))
    return mount is None or mount.fstype not in ("overlay", "aufs", "tmpfs", "ramfs")


def _warnings(desired: Desired, image: Image | None) -> Iterator[str]:
    if image and image.content != desired.fstype:
        yield f"{desired.image} has {image.content} and keeps it; {desired.fstype} would be for a new image"
    if image and (missing := _shortfall(desired.image, image)) > 0:
        yield (
            f"{desired.image} may grow to {format_size(image.size)}, for which the disk under it is"
            f" {missing >> 20} MiB short"
        )


def _shortfall(path: Path, image: Image) -> int:
    """Bytes that the disk lacks for the image to become as large as it may; sparse, it is not yet."""
    place = next(directory for directory in path.parents if directory.is_dir())
    disk = os.statvfs(place)
    allocated = path.stat().st_blocks * SECTOR if path.exists() else 0
    return image.size - allocated - disk.f_bavail * disk.f_frsize
