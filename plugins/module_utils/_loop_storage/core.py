# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Storage for an inner engine: the data root itself where overlay works on it, otherwise an image on a loop device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import SECTOR
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.choice import Choice, Trials, choose, driver
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import Image, State, inspect
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def core(params: Mapping[str, Any], runner: Runner, check: bool) -> _plan.Outcome:
    """Inspect, choose, plan, apply. Raises DindError."""
    desired = Desired.of(params)
    found = inspect(desired.data_root, desired.image, runner)
    choice = _choose(desired, found, runner)
    desired = replace(desired, strategy=choice.strategy)
    converged = _plan.converge(
        lambda: inspect(desired.data_root, desired.image, runner),
        lambda state: plan(desired, state),
        runner,
        check=check,
        found=found,
    )
    after = converged.after
    image = after.image if choice.strategy == "loop" else None
    return _plan.Outcome(
        actions=converged.actions,
        before=converged.before.shown(),
        after=after.shown(),
        facts=_facts(desired, choice, after, image) if desired.present else {},
        warnings=list(_warnings(desired, after, image)) if desired.present else [],
    )


def _choose(desired: Desired, state: State, runner: Runner) -> Choice:
    if not desired.present:
        return Choice(desired.strategy, "")
    return choose(desired.strategy, state, desired.data_root, Trials(desired.data_root, runner))


def _facts(desired: Desired, choice: Choice, state: State, image: Image | None) -> dict[str, Any]:
    return {
        "storage_driver": driver(choice.strategy, state.data_root),
        "strategy": choice.strategy,
        "reason": choice.reason,
        "device": state.mount.device if state.mount else None,
        "image": str(desired.image) if image else None,
        "size": image.size if image else None,
        "mountpoint": str(desired.data_root),
        "fstype": image.content if image else state.under_data_root,
        "mount_options": list(desired.options_for(image.content, quota=state.has_xfs_quota)) if image else [],
        "persistent": _is_persistent(state, image),
    }


def _is_persistent(state: State, image: Image | None) -> bool:
    return (state.under_image if image else state.under_data_root) not in ("overlay", "aufs", "tmpfs", "ramfs")


def _warnings(desired: Desired, state: State, image: Image | None) -> Iterator[str]:
    if image and image.content != desired.fstype:
        yield f"{desired.image} has {image.content} and keeps it; {desired.fstype} would be for a new image"
    if image and (missing := _shortfall(desired.image, image)) > 0:
        yield (
            f"{desired.image} may grow to {format_size(image.size)}, for which the disk under it is"
            f" {missing >> 20} MiB short"
        )
    if not _is_persistent(state, image):
        yield (
            f"{desired.image if image else desired.data_root} lies in the container's own writable layer and goes with"
            " it; to keep it, mount a volume there"
        )
    if image and image.content == "xfs" and not state.has_xfs_quota:
        yield "this kernel's XFS has no quota: the engine cannot limit a container's size"


def _shortfall(path: Path, image: Image) -> int:
    """Bytes that the disk lacks for a sparse image to reach its full size."""
    disk = os.statvfs(next(directory for directory in path.parents if directory.is_dir()))
    allocated = path.stat().st_blocks * SECTOR if path.exists() else 0
    return image.size - allocated - disk.f_bavail * disk.f_frsize
