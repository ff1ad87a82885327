# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps that make, hold and mount the data root.

Each step takes its own lock: between two steps no lock is held, and a death leaks none.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, filesystem, loop_device, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import SECTOR
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import data_root_in_use
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.image_steps import locked
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import DataRoot, Mount, State, present
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# The permissions that dockerd gives its data root, and that a dockerd with user namespaces may have left.
ROOT_MODE = 0o710
ROOT_MODES = (0o710, 0o711, 0o701)


@dataclass(frozen=True)
class MakeDataRoot(Step[State]):
    says = "make the directory {self.data_root}"
    data_root: Path

    def effect(self, state: State) -> State:
        return replace(state, data_root=DataRoot(ROOT_MODE))

    def do(self, runner: Runner) -> None:
        self.data_root.mkdir(mode=ROOT_MODE, parents=True, exist_ok=True)


@dataclass(frozen=True)
class SetDataRootMode(Step[State]):
    data_root: Path

    def __str__(self) -> str:
        return f"set the permissions of {self.data_root} to {ROOT_MODE:04o}"

    def effect(self, state: State) -> State:
        return replace(state, data_root=replace(state.data_root, mode=ROOT_MODE))

    def do(self, runner: Runner) -> None:
        self.data_root.chmod(ROOT_MODE)


@dataclass(frozen=True)
class HoldDataRoot(Step[State]):
    """Start a process that holds a lock on the directory until the container ends.

    The engine's own processes would pass the descriptor on to every container's shim.
    """

    says = "hold the lock on {self.data_root}"
    data_root: Path

    def effect(self, state: State) -> State:
        return replace(state, data_root=replace(state.data_root, held_by="us"))

    def do(self, runner: Runner) -> None:
        directory = os.open(self.data_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            runner.leave_behind("sleep", "infinity", lock=directory, patience=file_lock.PATIENCE)
        except BlockingIOError:
            raise data_root_in_use(self.data_root) from None
        finally:
            os.close(directory)


@dataclass(frozen=True)
class ReleaseDataRoot(Step[State]):
    says = "release the lock on {self.data_root}"
    data_root: Path

    def effect(self, state: State) -> State:
        return replace(state, data_root=replace(state.data_root, held_by="nobody"))

    def do(self, runner: Runner) -> None:
        holder = file_lock.holder(self.data_root)
        if holder is None:
            return
        process = os.pidfd_open(holder)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [])
        finally:
            os.close(process)


@dataclass(frozen=True)
class MountImage(Step[State]):
    """Attach a loop device and mount it in one step: an unused device detaches itself."""

    says = "mount the image {self.image} on {self.data_root}"
    image: Path
    data_root: Path
    fstype: str
    options: tuple[str, ...]

    def effect(self, state: State) -> State:
        size = present(state.image).size // SECTOR * SECTOR
        return replace(state, mount=Mount("a free loop device", size), data_root=DataRoot(ROOT_MODE))

    def do(self, runner: Runner) -> None:
        with locked(self.image) as file, loop_device.attached(file, str(self.image)) as device:
            self._mount(device, runner)
        if self.data_root.stat().st_mode & 0o7777 not in ROOT_MODES:
            self.data_root.chmod(ROOT_MODE)

    def _mount(self, device: Path, runner: Runner) -> None:
        options = ("-o", ",".join(self.options)) if self.options else ()
        try:
            runner.run("mount", "-t", self.fstype, *options, str(device), str(self.data_root))
        except DindError as error:
            raise DindError(
                error.cause,
                cure=f"see the kernel's log (dmesg) and the mount options; if {self.fstype} is damaged, copy"
                f" {self.image} and mend the copy with {filesystem.KINDS[self.fstype].mender}",
            ) from None


@dataclass(frozen=True)
class GrowDevice(Step[State]):
    says = "let the loop device on {self.data_root} become as large as its image"
    data_root: Path

    def effect(self, state: State) -> State:
        size = present(state.image).size // SECTOR * SECTOR
        return replace(state, mount=replace(present(state.mount), size=size))

    def do(self, runner: Runner) -> None:
        loop_device.set_capacity(_mount_on(self.data_root).device[1])


@dataclass(frozen=True)
class GrowMounted(Step[State]):
    says = "grow the file system mounted on {self.data_root}"
    data_root: Path
    fstype: str

    def effect(self, state: State) -> State:
        return replace(state, image=replace(present(state.image), full=True))

    def do(self, runner: Runner) -> None:
        filesystem.KINDS[self.fstype].grow_mounted(runner, _mount_on(self.data_root))


@dataclass(frozen=True)
class Unmount(Step[State]):
    says = "unmount {self.data_root}, which detaches its loop device"
    data_root: Path

    def effect(self, state: State) -> State:
        return replace(state, mount=None)

    def do(self, runner: Runner) -> None:
        try:
            runner.run("umount", str(self.data_root))
        except DindError as error:
            raise DindError(error.cause, cure="stop the engine and every other user of it first") from None


def _mount_on(data_root: Path) -> mountinfo.MountPoint:
    return present(mountinfo.of_this_process().at(str(data_root)))
