# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The data root, the image and the mount between them, read without a change."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd
from ansible_collections.mesos.dind.plugins.module_utils._kernel import (
    capabilities,
    file_lock,
    filesystem,
    loop_device,
    mountinfo,
)
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import FileId
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

BLANK = "nothing"
NO_FILE = "no regular file"

_STORES = ("containerd/io.containerd.snapshotter.v1", "containerd/daemon/io.containerd.snapshotter.v1")
# The directories in a data root that a storage driver fills. The engine's own drivers come first, then the snapshotters
# of the containerd image store (Docker 29's default), under dockerd's own containerd or a separate one.
DRIVER_DATA = {
    "overlay2": ("overlay2",),
    "aufs": ("aufs/diff",),
    "vfs": ("vfs/dir",),
    "overlayfs": ("rootfs/overlayfs", *(f"{store}.overlayfs/snapshots" for store in _STORES)),
    "native": ("rootfs/native", *(f"{store}.native/snapshots" for store in _STORES)),
    "btrfs": ("btrfs/subvolumes",),
    "zfs": ("zfs",),
    "fuse-overlayfs": ("fuse-overlayfs",),
    "devicemapper": ("devicemapper/metadata",),
}

T = TypeVar("T")


@dataclass(frozen=True)
class DataRoot:
    """``mode`` are its permissions, None without a data root. ``drivers`` are those whose data lies in it.

    ``held_by`` says who uses it without an image: ``us``, ``another`` or ``nobody``.
    """

    mode: int | None
    drivers: tuple[str, ...] = ()
    held_by: str = "nobody"


@dataclass(frozen=True)
class Image:
    """The image file. ``size`` is in bytes. ``content`` is its file system, or what the file holds instead.

    ``full`` says that the file system takes all of the file. ``locked`` says that another container uses the image.
    ``half_grown`` says that a run died while the file system grew.
    """

    size: int
    content: str
    clean: bool = True
    full: bool = True
    locked: bool = False
    half_grown: bool = False

    @property
    def has_filesystem(self) -> bool:
        return self.content in filesystem.KINDS


@dataclass(frozen=True)
class Mount:
    """The image, mounted on the data root. ``size`` is the loop device's, in bytes."""

    device: str
    size: int


@dataclass(frozen=True)
class State:
    """``leftovers`` are files beside the image that a killed run has left.

    ``under_data_root`` and ``under_image`` are the types of the file systems that they lie on. ``may_mount`` and
    ``may_grow_mounted_ext4`` are privileges, CAP_SYS_ADMIN and CAP_SYS_RESOURCE; ``has_xfs_quota`` and ``has_aufs``
    are the kernel's.
    """

    data_root: DataRoot
    image: Image | None = None
    leftovers: tuple[str, ...] = ()
    mount: Mount | None = None
    under_data_root: str | None = None
    under_image: str | None = None
    may_mount: bool = True
    may_grow_mounted_ext4: bool = True
    has_xfs_quota: bool = True
    has_aufs: bool = False

    def shown(self) -> dict[str, Any]:
        """For a diff: everything that can change, with permissions in octal."""
        mode = self.data_root.mode
        return {
            "data_root": {**asdict(self.data_root), "mode": None if mode is None else f"{mode:04o}"},
            "image": asdict(self.image) if self.image else None,
            "leftovers": list(self.leftovers),
            "mount": asdict(self.mount) if self.mount else None,
        }


def present(thing: T | None) -> T:
    """A thing that the plan has found, or that an earlier step has made."""
    if thing is None:
        raise AssertionError("a step runs after the steps that it depends on")
    return thing


def making(image: Path) -> Path:
    """The name of an unfinished image."""
    return image.with_name(image.name + ".making")


def undo(image: Path) -> Path:
    """The file by which e2undo takes a repair of the image back."""
    return image.with_name(image.name + ".undo")


def growing(image: Path) -> Path:
    """The file by which e2undo takes a growth back. While the file exists, the growth is unfinished."""
    return image.with_name(image.name + ".growing")


def inspect(data_root: Path, image: Path, runner: Runner) -> State:
    """No process is started, unless blkid(8) must name the content of a file without a file system of ours."""
    lacks = capabilities.missing(["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"])
    tree = mountinfo.of_this_process()
    under_data_root, under_image = (tree.containing(str(path)) for path in (data_root, image))
    status = _status(image)
    mount = _mount(tree.at(str(data_root)), status)
    return State(
        data_root=_data_root(data_root, mounted=mount is not None),
        image=_image(image, status, data_root, mount, runner) if status else None,
        leftovers=_leftovers(image, image_is_there=status is not None),
        mount=mount,
        under_data_root=under_data_root.fstype if under_data_root else None,
        under_image=under_image.fstype if under_image else None,
        may_mount="CAP_SYS_ADMIN" not in lacks,
        may_grow_mounted_ext4="CAP_SYS_RESOURCE" not in lacks,
        has_xfs_quota=filesystem.has_xfs_quota(),
        has_aufs=filesystem.is_known("aufs"),
    )


def _leftovers(image: Path, *, image_is_there: bool) -> tuple[str, ...]:
    useless = [path for path in (making(image), undo(image)) if _is_abandoned(path)]
    if not image_is_there and growing(image).exists():
        useless.append(growing(image))
    return tuple(map(str, useless))


def _is_abandoned(path: Path) -> bool:
    """Whether the file exists and no run works on it. A run may give the file its final name at any moment."""
    try:
        return not file_lock.is_locked(path)
    except FileNotFoundError:
        return False


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _mount(mount: mountinfo.MountPoint | None, image: os.stat_result | None) -> Mount | None:
    if image is None or mount is None or mount.device[0] != loop_device.MAJOR:
        return None
    number = mount.device[1]
    if loop_device.backing_file(number) != FileId.of(image):
        return None
    return Mount(str(loop_device.node(number)), loop_device.capacity(number))


def _data_root(path: Path, *, mounted: bool) -> DataRoot:
    status = _status(path)
    if status is None:
        return DataRoot(None)
    folders = dockerd.data_folders(path)
    drivers = tuple(
        driver
        for driver, places in DRIVER_DATA.items()
        if any(_is_filled(folder / place) for folder in folders for place in places)
    )
    return DataRoot(stat.S_IMODE(status.st_mode), drivers, "nobody" if mounted else _held_by(path))


def _held_by(path: Path) -> str:
    if file_lock.holder(path) is not None:
        return "us"
    return "another" if file_lock.is_locked(path) else "nobody"


def _is_filled(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _image(path: Path, status: os.stat_result, data_root: Path, mount: Mount | None, runner: Runner) -> Image:
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        return Image(size, NO_FILE)
    superblock = filesystem.superblock_of(Path(mount.device) if mount else path)
    if superblock and mount:
        mounted_size = filesystem.KINDS[superblock.fstype].mounted_size(str(data_root), Path(mount.device))
        return Image(size, superblock.fstype, full=replace(superblock, size=mounted_size).fills(size))
    locked = file_lock.is_locked(path, file_lock.PATIENCE)
    if superblock is None:
        return Image(size, _signature(path, runner) if _has_bytes(path) else BLANK, locked=locked)
    return Image(
        size=size,
        content=superblock.fstype,
        clean=superblock.clean,
        full=superblock.fills(size),
        locked=locked,
        half_grown=growing(path).exists(),
    )


def _signature(path: Path, runner: Runner) -> str:
    """The name of another file system or partition table; blkid(8) answers 2 for none and 8 for several."""
    said = runner.run("blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", str(path), ok=(0, 2, 8))
    return said.stdout.strip() or "unknown data"


def _has_bytes(path: Path) -> bool:
    """Whether the file was ever written to: a hole from end to end surely holds nothing."""
    with path.open("rb", buffering=0) as file:
        try:
            file.seek(0, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
    return True
