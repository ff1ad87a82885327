# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The storage strategy that fits: existing data decides, otherwise a trial."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd
from ansible_collections.mesos.dind.plugins.module_utils._kernel import loop_device, overlay_probe
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import data_root_in_use, not_privileged
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import DataRoot, State
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Strategy to the drivers it serves, the driver for new data first.
DRIVERS = {
    "overlay": ("overlay2", "overlayfs", "fuse-overlayfs"),
    "aufs": ("aufs",),
    "vfs": ("vfs", "native"),
    "loop": ("overlay2", "overlayfs", "aufs", "vfs", "native"),
}
_FIRST_ENGINE_WITHOUT_AUFS = 24  # https://docs.docker.com/engine/release-notes/24.0/


@dataclass(frozen=True)
class Choice:
    strategy: str
    reason: str


class Trials:
    """The questions that only a trial answers, on the data root or where it will be made.

    Each answer is None for "it works", otherwise the reason why not.
    """

    def __init__(self, data_root: Path, runner: Runner) -> None:
        self._place = next(path for path in (data_root, *data_root.parents) if path.is_dir())
        self._runner = runner

    def overlay(self) -> str | None:
        return overlay_probe.overlay(self._place, self._runner)

    def aufs(self) -> str | None:
        return overlay_probe.aufs(self._place, self._runner)

    def engine(self) -> str | None:
        """Whether the engine has AUFS."""
        if shutil.which("dockerd") is None:
            return "there is no engine"
        version = dockerd.version(self._runner)
        if version.major < _FIRST_ENGINE_WITHOUT_AUFS:
            return None
        return f"the engine has no AUFS any more (Docker {version.text})"

    def loop(self) -> None:
        """Raises DindError on a machine without loop devices."""
        loop_device.require()


def choose(strategy: str, state: State, data_root: Path, trials: Trials) -> Choice:
    """The strategy to use, for a given one or ``auto``.

    Raises DindError for a strategy that does not work here, or that does not fit the existing data.
    """
    if state.mount:
        return _keep_mounted(strategy, data_root)
    if state.data_root.held_by == "another":
        raise data_root_in_use(data_root)
    if strategy != "vfs" and not state.may_mount:
        raise not_privileged()
    if strategy == "auto":
        choice = _keep(state, data_root)
    else:
        _refuse_other_data(strategy, state, data_root)
        choice = Choice(strategy, f"strategy {strategy} was asked for")
    if choice:
        _insist(choice.strategy, state, data_root, trials)
    else:
        choice = _try(state, data_root, trials)
    if choice.strategy == "loop":
        trials.loop()
    return choice


def driver(strategy: str, data_root: DataRoot) -> str:
    """The engine's storage driver: the existing data's, or the strategy's own."""
    fitting = [found for found in data_root.drivers if found in DRIVERS[strategy]]
    return [*fitting, DRIVERS[strategy][0]][0]


def _keep_mounted(strategy: str, data_root: Path) -> Choice:
    if strategy not in ("auto", "loop"):
        raise DindError(
            f"strategy {strategy} was asked for, but {data_root} is mounted from an image",
            cure="ask for state absent first, or leave the strategy at auto",
        )
    return Choice("loop", f"the image is mounted on {data_root} already")


def _keep(state: State, data_root: Path) -> Choice | None:
    """The strategy of the existing image or data, if any."""
    drivers = state.data_root.drivers
    if state.image and state.image.has_filesystem:
        if drivers:
            raise DindError(
                f"there is an image, and {data_root} itself holds data of {' and '.join(drivers)} as well",
                cure="choose one by the strategy: loop or overlay",
            )
        return Choice("loop", "there is an image already")
    if not drivers:
        return None
    strategy = next((name for name, served in DRIVERS.items() if drivers[0] in served), None)
    if strategy is None:
        raise DindError(
            f"{data_root} holds data of the storage driver {drivers[0]}, which is not supported here",
            cure="use an empty data root",
        )
    return Choice(strategy, f"{data_root} holds data of the storage driver {drivers[0]} already")


def _try(state: State, data_root: Path, trials: Trials) -> Choice:
    without_overlay = trials.overlay()
    if without_overlay is None:
        return Choice("overlay", f"overlay works on {data_root}: two lower layers, a write and a whiteout were tried")
    # If the kernel has no AUFS, the engine need not be asked.
    if state.has_aufs and _aufs_flaw(state, trials) is None:
        return Choice("aufs", f"overlay does not work on {data_root} ({without_overlay}), AUFS does")
    return Choice("loop", f"overlay does not work on {data_root} ({without_overlay})")


def _insist(strategy: str, state: State, data_root: Path, trials: Trials) -> None:
    """Raises DindError if the given strategy does not work. Our own data root is in use and is not tried again."""
    if strategy not in ("overlay", "aufs") or state.data_root.held_by == "us":
        return
    flaw = trials.overlay() if strategy == "overlay" else _aufs_flaw(state, trials)
    if flaw:
        raise DindError(
            f"{'AUFS' if strategy == 'aufs' else strategy} does not work on {data_root}: {flaw}",
            cure="put a volume of another file system there, or use strategy loop",
        )


def _aufs_flaw(state: State, trials: Trials) -> str | None:
    kernel = None if state.has_aufs else "the kernel has no AUFS"
    return " and ".join(filter(None, (kernel, trials.engine()))) or trials.aufs()


def _refuse_other_data(strategy: str, state: State, data_root: Path) -> None:
    drivers = state.data_root.drivers
    hidden = strategy == "loop" and not (state.image and state.image.has_filesystem)
    strange = strategy != "loop" and not set(drivers) & set(DRIVERS[strategy])
    if drivers and (hidden or strange):
        raise DindError(
            f"strategy {strategy} was asked for, but {data_root} holds data of {' and '.join(drivers)}",
            cure="leave the strategy at auto, or move that data away",
        )
