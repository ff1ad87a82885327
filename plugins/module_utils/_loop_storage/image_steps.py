# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps of an image file's life: made, checked, grown, removed.

Each step takes its own lock: between two steps no lock is held, and a death leaks none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, filesystem
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.errors import image_in_use
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    Image,
    State,
    growing,
    making,
    present,
    undo,
)
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


@dataclass(frozen=True)
class RemoveLeftovers(Step[State]):
    """Remove the files that a killed run has left beside the image."""

    says = "remove what an interrupted run left beside {self.image}"
    image: Path

    def effect(self, state: State) -> State:
        return replace(state, leftovers=())

    def do(self, runner: Runner) -> None:
        with suppress(FileNotFoundError), locked(self.image, making(self.image)):
            making(self.image).unlink()
        undo(self.image).unlink(missing_ok=True)
        if not self.image.exists():
            growing(self.image).unlink(missing_ok=True)


@dataclass(frozen=True)
class MakeImage(Step[State]):
    """Make the image under a temporary name until it is whole and on the disk.

    ``replaces`` allows the replacement of a file without a file system of ours.
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
        with locked(self.image, temporary, os.O_RDWR | os.O_CREAT) as file:
            try:
                self._fill(file, temporary, runner)
                self._give_name(temporary)
            except BaseException:  # without the lock, the name may be another run's
                temporary.unlink(missing_ok=True)
                raise
        self._settle()

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
        with locked(self.image) if self.replaces else nullcontext():
            may_go = self.replaces and filesystem.superblock_of(self.image) is None
            if self.image.exists() and not may_go:  # another container was faster
                raise image_in_use(self.image)
            temporary.rename(self.image)

    def _settle(self) -> None:
        """Write the new name to the disk."""
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
        return replace(state, image=replace(present(state.image), size=self.size, full=False))

    def do(self, runner: Runner) -> None:
        # No lock: while the image is mounted, our loop device holds it.
        with self.image.open("r+b", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < self.size:
                _allocate(file.fileno(), self.image, self.size, preallocate=self.preallocate)
                os.fsync(file.fileno())


@dataclass(frozen=True)
class TakeBackGrowth(Step[State]):
    """Take back the growth of an unmounted ext4 whose resize2fs was killed half-way."""

    says = "take back the interrupted growth of the file system in {self.image}"
    image: Path

    def effect(self, state: State) -> State:
        return replace(state, image=replace(present(state.image), half_grown=False, full=False))

    def do(self, runner: Runner) -> None:
        with locked(self.image) as file:
            filesystem.EXT4.take_back(runner, self.image, growing(self.image))
            os.fsync(file)
            growing(self.image).unlink()


@dataclass(frozen=True)
class RepairImage(Step[State]):
    says = "check the file system in {self.image}"
    image: Path
    thorough: bool

    def effect(self, state: State) -> State:
        return replace(state, image=replace(present(state.image), clean=True))

    def do(self, runner: Runner) -> None:
        with locked(self.image):
            filesystem.EXT4.repair(runner, self.image, undo(self.image), thorough=self.thorough)


@dataclass(frozen=True)
class GrowUnmounted(Step[State]):
    says = "grow the file system in {self.image}"
    image: Path

    def effect(self, state: State) -> State:
        return replace(state, image=replace(present(state.image), full=True))

    def do(self, runner: Runner) -> None:
        with locked(self.image) as file:
            filesystem.EXT4.grow_unmounted(runner, self.image, growing(self.image))
            os.fsync(file)
            growing(self.image).unlink(missing_ok=True)


@dataclass(frozen=True)
class RemoveImage(Step[State]):
    says = "remove the image {self.image}"
    image: Path

    def effect(self, state: State) -> State:
        return replace(state, image=None)

    def do(self, runner: Runner) -> None:
        with locked(self.image):
            self.image.unlink()
            growing(self.image).unlink(missing_ok=True)


@contextmanager
def locked(image: Path, file: Path | None = None, flags: int = os.O_RDWR) -> Iterator[int]:
    """The image, or a file beside it, open and locked. Raises DindError if another container uses the image."""
    try:
        with file_lock.locked(file or image, flags, file_lock.PATIENCE) as descriptor:
            yield descriptor
    except BlockingIOError:
        raise image_in_use(image) from None


def _allocate(file: int, image: Path, size: int, *, preallocate: bool) -> None:
    """Make the file ``size`` bytes long, with blocks of the disk behind them if ``preallocate``."""
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
