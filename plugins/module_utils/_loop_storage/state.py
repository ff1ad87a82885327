# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What there is: the data root, the image and the loop device between them, looked at without changing anything."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_files
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock, filesystem, loop_device, mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.loop_device import FileId
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

BLANK = "nothing"
NO_FILE = "no regular file"

# What a storage driver's data looks like in a data root: a directory that is not empty. The engine's own drivers
# first, then the containerd image store's (Docker 29's default), under dockerd's own containerd or one by itself.
DRIVER_DATA = {
    "overlay2": ("overlay2",),
    "aufs": ("aufs/diff",),
    "vfs": ("vfs/dir",),
    "overlayfs": ("rootfs/overlayfs", "{store}.overlayfs/snapshots"),
    "native": ("rootfs/native", "{store}.native/snapshots"),
    "btrfs": ("btrfs/subvolumes",),
    "zfs": ("zfs",),
    "fuse-overlayfs": ("fuse-overlayfs",),
    "devicemapper": ("devicemapper/metadata",),
}
_STORES = ("containerd/io.containerd.snapshotter.v1", "containerd/daemon/io.containerd.snapshotter.v1")

_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24  # linux/capability.h


@dataclass(frozen=True)
class Roots:
    """Where the machine's own files are looked for."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")


@dataclass(frozen=True)
class DataRoot:
    """``mode`` are its permissions, None where there is none. ``drivers`` are those whose data is seen in it.

    ``held_by`` says who uses it without an image: ``us``, ``another`` or ``nobody``.
    """

    mode: int | None
    drivers: tuple[str, ...] = ()
    held_by: str = "nobody"


@dataclass(frozen=True)
class Image:
    """The image file. ``content`` is its file system, or what it holds instead of one; ``full`` says whether the
    file system takes all of it, ``locked`` whether another container uses it, ``half_grown`` whether a run died while
    the file system grew. ``size`` is in bytes.
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
    """``leftovers`` are files beside the image that a run which died has left. ``may_mount`` and
    ``may_grow_mounted_ext4`` are privileges, CAP_SYS_ADMIN and CAP_SYS_RESOURCE; ``has_xfs_quota`` and ``has_aufs``
    are the kernel's.
    """

    data_root: DataRoot
    image: Image | None = None
    leftovers: tuple[str, ...] = ()
    mount: Mount | None = None
    may_mount: bool = True
    may_grow_mounted_ext4: bool = True
    has_xfs_quota: bool = True
    has_aufs: bool = False

    def shown(self) -> dict[str, Any]:
        """For a diff: what can change, and permissions as people read them."""
        mode = self.data_root.mode
        return {
            "data_root": {**asdict(self.data_root), "mode": None if mode is None else f"{mode:04o}"},
            "image": asdict(self.image) if self.image else None,
            "leftovers": list(self.leftovers),
            "mount": asdict(self.mount) if self.mount else None,
        }


def making(image: Path) -> Path:
    """The name under which an image is made, before it takes its own."""
    return image.with_name(image.name + ".making")


def undo(image: Path) -> Path:
    """What e2undo needs to take a repair of the image back."""
    return image.with_name(image.name + ".undo")


def growing(image: Path) -> Path:
    """The same for a growth; while it is there, that is unfinished."""
    return image.with_name(image.name + ".growing")


def inspect(data_root: Path, image: Path, roots: Roots, runner: Runner) -> State:
    """Read the state. No process is started, unless the image holds what has to be given a name for an error."""
    capabilities = _capabilities(roots.proc)
    status = _status(image)
    mount = _mount(data_root, status, roots)
    return State(
        data_root=_data_root(data_root, roots, mounted=mount is not None),
        image=_image(image, status, data_root, mount, runner) if status else None,
        leftovers=_leftovers(image, image_is_there=status is not None),
        mount=mount,
        may_mount=bool(capabilities >> _CAP_SYS_ADMIN & 1),
        may_grow_mounted_ext4=bool(capabilities >> _CAP_SYS_RESOURCE & 1),
        has_xfs_quota=filesystem.has_xfs_quota(roots.proc),
        has_aufs="aufs" in (roots.proc / "filesystems").read_text().split(),
    )


def _leftovers(image: Path, *, image_is_there: bool) -> tuple[str, ...]:
    useless = [path for path in (making(image), undo(image)) if _is_abandoned(path)]
    if not image_is_there and growing(image).exists():
        useless.append(growing(image))
    return tuple(map(str, useless))


def _capabilities(proc: Path) -> int:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", (proc / "self/status").read_text(), re.MULTILINE)
    return int(match[1], 16) if match else 0


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _mount(data_root: Path, image: os.stat_result | None, roots: Roots) -> Mount | None:
    mount = mountinfo.mounted_at(mountinfo.of_this_process(roots.proc), str(data_root))
    if image is None or mount is None or mount.device[0] != loop_device.MAJOR:
        return None
    number = mount.device[1]
    if loop_device.backing_file(number, roots.dev) != FileId.of(image):
        return None
    return Mount(str(loop_device.node(number, roots.dev)), loop_device.capacity(number, roots.sys))


def _data_root(path: Path, roots: Roots, *, mounted: bool) -> DataRoot:
    status = _status(path)
    if status is None:
        return DataRoot(None)
    mode = stat.S_IMODE(status.st_mode)
    folders = dockerd_files.roots(path)
    drivers = tuple(driver for driver in DRIVER_DATA if any(_has_data(folder, driver) for folder in folders))
    return DataRoot(mode, drivers, "nobody" if mounted else _held_by(path, roots.proc))


def _held_by(path: Path, proc: Path) -> str:
    if file_lock.holder(path, proc) is not None:
        return "us"
    return "another" if file_lock.is_locked(path) else "nobody"


def _is_abandoned(path: Path) -> bool:
    """Whether there is one that nobody works on. Whoever does may give it its final name at any moment."""
    try:
        return not file_lock.is_locked(path)
    except FileNotFoundError:
        return False


def _has_data(folder: Path, driver: str) -> bool:
    places = {place.format(store=store) for place in DRIVER_DATA[driver] for store in _STORES}
    return any(_is_filled(folder / place) for place in places)


def _is_filled(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _image(path: Path, status: os.stat_result, data_root: Path, mount: Mount | None, runner: Runner) -> Image:
    if not stat.S_ISREG(status.st_mode):
        return Image(status.st_size, NO_FILE)
    superblock = filesystem.superblock_of(Path(mount.device) if mount else path)
    if superblock is None:
        return Image(
            status.st_size,
            _signature(path, runner) if _has_bytes(path) else BLANK,
            locked=file_lock.is_locked(path, file_lock.PATIENCE),
        )
    if mount:
        size = filesystem.KINDS[superblock.fstype].mounted_size(str(data_root), Path(mount.device))
        full = status.st_size - size < superblock.slack
        return Image(status.st_size, superblock.fstype, clean=True, full=full)
    return Image(
        size=status.st_size,
        content=superblock.fstype,
        clean=superblock.clean,
        full=superblock.fills(status.st_size),
        locked=file_lock.is_locked(path, file_lock.PATIENCE),
        half_grown=growing(path).exists(),
    )


def _signature(path: Path, runner: Runner) -> str:
    """Of a file system or partition table that we do not make; blkid(8) answers 2 for none and 8 for several."""
    said = runner.run("blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", str(path), ok=(0, 2, 8))
    return said.stdout.strip() or "unknown data"


def _has_bytes(path: Path) -> bool:
    """Whether anything was ever written to the file: a hole from end to end surely holds nothing."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.lseek(file, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    else:
        return True
    finally:
        os.close(file)
