# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps that change storage. Each locks what it works on for itself, so that between two of them nothing is held
and a death anywhere leaks nothing."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, filesystem, loop_device, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import data_root_in_use, image_in_use
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    DataRoot,
    Image,
    Mount,
    State,
    growing,
    making,
    undo,
)
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# As dockerd makes it, and as it may have been left by one with user namespaces.
ROOT_MODE = 0o710
ROOT_MODES = (0o710, 0o711, 0o701)
SECTOR = 512

T = TypeVar("T")


def _present(thing: T | None) -> T:
    """What a step's plan has found, or made by an earlier step."""
    if thing is None:
        raise AssertionError("a step runs after those that it depends on")
    return thing


def _mount_on(data_root: Path) -> mountinfo.MountPoint:
    return _present(mountinfo.of_this_process().at(str(data_root)))


@contextmanager
def _locked_image(image: Path) -> Iterator[int]:
    try:
        with file_lock.locked(image, patience=file_lock.PATIENCE) as file:
            yield file
    except BlockingIOError:
        raise image_in_use(image) from None


def _allocate(file: int, image: Path, size: int, *, preallocate: bool) -> None:
    """Let the file be ``size`` bytes long, with the disk's blocks behind them if ``preallocate``."""
    length = os.fstat(file).st_size
    try:
        if preallocate:
            os.posix_fallocate(file, length, size - length)
        else:
            os.truncate(file, size)
    except OSError as error:
        os.truncate(file, length)
        raise _no_room(image, size, error) from None


def _no_room(image: Path, size: int, error: OSError) -> DindError:
    if error.errno == errno.EFBIG:
        return DindError(f"{image} cannot become {format_size(size)} there: {error.strerror}", cure="use less")
    return DindError(
        f"no room for {format_size(size)} at {image}: {error.strerror}",
        cure="free some disk space, ask for a smaller size or put the image elsewhere",
    )


@dataclass(frozen=True)
class MakeDataRoot(Step[State]):
    data_root: Path

    def __str__(self) -> str:
        return f"make the directory {self.data_root}"

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
class RemoveLeftovers(Step[State]):
    """What a run that died has left beside the image."""

    image: Path

    def __str__(self) -> str:
        return f"remove what an interrupted run left beside {self.image}"

    def effect(self, state: State) -> State:
        return replace(state, leftovers=())

    def do(self, runner: Runner) -> None:
        with suppress(FileNotFoundError), _locked_image(making(self.image)):
            making(self.image).unlink()
        undo(self.image).unlink(missing_ok=True)
        if not self.image.exists():
            growing(self.image).unlink(missing_ok=True)


@dataclass(frozen=True)
class MakeImage(Step[State]):
    """Under a temporary name until it is whole and on the disk. ``replaces`` allows what has no file system of ours
    to be replaced.
    """

    image: Path
    size: int
    fstype: str
    preallocate: bool
    replaces: bool

    def __str__(self) -> str:
        allocation = "preallocated" if self.preallocate else "sparse"
        return f"make the image {self.image} ({format_size(self.size)}, {allocation}, {self.fstype})"

    def effect(self, state: State) -> State:
        return replace(state, image=Image(self.size, self.fstype))

    def do(self, runner: Runner) -> None:
        temporary = making(self.image)
        temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with file_lock.locked(temporary, os.O_RDWR | os.O_CREAT, file_lock.PATIENCE) as file:
                try:
                    self._fill(file, temporary, runner)
                    self._give_name(temporary)
                except BaseException:  # afterwards the name may be another run's
                    temporary.unlink(missing_ok=True)
                    raise
            self._settle()
        except BlockingIOError:
            raise image_in_use(self.image) from None

    def _fill(self, file: int, temporary: Path, runner: Runner) -> None:
        os.truncate(file, 0)
        _allocate(file, self.image, self.size, preallocate=self.preallocate)
        try:
            filesystem.KINDS[self.fstype].make(runner, str(temporary), discard=not self.preallocate)
            os.fsync(file)
        except (DindError, OSError) as error:
            free = os.statvfs(temporary.parent).f_bavail
            if free:
                raise
            raise _no_room(self.image, self.size, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error

    def _give_name(self, temporary: Path) -> None:
        if self.replaces:
            with _locked_image(self.image):
                if filesystem.superblock_of(self.image):  # another container was faster
                    raise image_in_use(self.image)
                temporary.rename(self.image)
        elif self.image.exists():
            raise image_in_use(self.image)
        else:
            temporary.rename(self.image)

    def _settle(self) -> None:
        """Have the new name on the disk."""
        directory = os.open(self.image.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@dataclass(frozen=True)
class GrowImage(Step[State]):
    image: Path
    size: int
    preallocate: bool

    def __str__(self) -> str:
        return f"grow the image {self.image} to {format_size(self.size)}"

    def effect(self, state: State) -> State:
        return replace(state, image=replace(_present(state.image), size=self.size, full=False))

    def do(self, runner: Runner) -> None:
        # Without the lock: where the image is mounted, it is the loop device that has it, for us.
        file = os.open(self.image, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(file).st_size < self.size:
                _allocate(file, self.image, self.size, preallocate=self.preallocate)
                os.fsync(file)
        finally:
            os.close(file)


@dataclass(frozen=True)
class TakeBackGrowth(Step[State]):
    """Of an unmounted ext4: resize2fs is not made to be killed."""

    image: Path

    def __str__(self) -> str:
        return f"take back the interrupted growth of the file system in {self.image}"

    def effect(self, state: State) -> State:
        return replace(state, image=replace(_present(state.image), half_grown=False, full=False))

    def do(self, runner: Runner) -> None:
        with _locked_image(self.image) as file:
            filesystem.EXT4.take_back(runner, self.image, growing(self.image))
            os.fsync(file)
            growing(self.image).unlink()


@dataclass(frozen=True)
class RepairImage(Step[State]):
    image: Path
    thorough: bool

    def __str__(self) -> str:
        return f"check the file system in {self.image}"

    def effect(self, state: State) -> State:
        return replace(state, image=replace(_present(state.image), clean=True))

    def do(self, runner: Runner) -> None:
        with _locked_image(self.image):
            filesystem.EXT4.repair(runner, self.image, undo(self.image), thorough=self.thorough)


@dataclass(frozen=True)
class GrowUnmounted(Step[State]):
    image: Path

    def __str__(self) -> str:
        return f"grow the file system in {self.image}"

    def effect(self, state: State) -> State:
        return replace(state, image=replace(_present(state.image), full=True))

    def do(self, runner: Runner) -> None:
        with _locked_image(self.image) as file:
            filesystem.EXT4.grow_unmounted(runner, self.image, growing(self.image))
            os.fsync(file)
            growing(self.image).unlink(missing_ok=True)


@dataclass(frozen=True)
class MountImage(Step[State]):
    """Attach a loop device and mount it, in one, because the device lasts only as long as it is in use."""

    image: Path
    data_root: Path
    fstype: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"mount the image {self.image} on {self.data_root}"

    def effect(self, state: State) -> State:
        size = _present(state.image).size // SECTOR * SECTOR
        return replace(state, mount=Mount("a free loop device", size), data_root=DataRoot(ROOT_MODE))

    def do(self, runner: Runner) -> None:
        with _locked_image(self.image) as file, loop_device.attached(file, str(self.image)) as device:
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
    data_root: Path

    def __str__(self) -> str:
        return f"let the loop device on {self.data_root} be as large as its image"

    def effect(self, state: State) -> State:
        size = _present(state.image).size // SECTOR * SECTOR
        return replace(state, mount=replace(_present(state.mount), size=size))

    def do(self, runner: Runner) -> None:
        loop_device.set_capacity(_mount_on(self.data_root).device[1])


@dataclass(frozen=True)
class GrowMounted(Step[State]):
    data_root: Path
    fstype: str

    def __str__(self) -> str:
        return f"grow the file system mounted on {self.data_root}"

    def effect(self, state: State) -> State:
        return replace(state, image=replace(_present(state.image), full=True))

    def do(self, runner: Runner) -> None:
        filesystem.KINDS[self.fstype].grow_mounted(runner, _mount_on(self.data_root))


@dataclass(frozen=True)
class HoldDataRoot(Step[State]):
    """A process of its own keeps a lock on the directory until the container ends: the engine's own processes would
    hand the descriptor on to every container's shim.
    """

    data_root: Path

    def __str__(self) -> str:
        return f"hold the lock on {self.data_root}"

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
    data_root: Path

    def __str__(self) -> str:
        return f"release the lock on {self.data_root}"

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
class Unmount(Step[State]):
    data_root: Path

    def __str__(self) -> str:
        return f"unmount {self.data_root}, which detaches its loop device"

    def effect(self, state: State) -> State:
        return replace(state, mount=None)

    def do(self, runner: Runner) -> None:
        try:
            runner.run("umount", str(self.data_root))
        except DindError as error:
            raise DindError(error.cause, cure="stop the engine and whatever else uses it first") from None


@dataclass(frozen=True)
class RemoveImage(Step[State]):
    image: Path

    def __str__(self) -> str:
        return f"remove the image {self.image}"

    def effect(self, state: State) -> State:
        return replace(state, image=None)

    def do(self, runner: Runner) -> None:
        with _locked_image(self.image):
            self.image.unlink()
            growing(self.image).unlink(missing_ok=True)
