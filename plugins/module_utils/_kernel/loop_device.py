# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Loop devices by their ioctls (loop(4), linux/loop.h), with the backing file's identity kept as device and inode.

losetup is no substitute: it opens a descriptor of its own. The device holds a flock(2) on the very descriptor that
configures it until it is detached.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import ioctl
from io import FileIO
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError

MAJOR = 7
SECTOR = 512  # bytes
DEV = Path("/dev")

PRIVILEGE = "run the container with --privileged (on a machine of its own: as root)"

_LOOP_GET_STATUS64 = 0x4C05
_LOOP_SET_CAPACITY = 0x4C07
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_AUTOCLEAR = 4
_CONTROL_NUMBER = os.makedev(10, 237)
# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encrypt type, key size, flags; three names;
# init[2]. struct loop_config: fd, block size, loop_info64, eight reserved words.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s8Q")
# Each lost race for a free device is another container's start: a bound on simultaneous starts.
_ATTEMPTS = 256


@dataclass(frozen=True)
class FileId:
    """A file's identity, the same for every path and container. Loop devices and stat(2) number devices alike, for
    all majors below 4096 (huge_encode_dev() of linux/kdev_t.h, gnu_dev_makedev(3))."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileId:
        return cls(status.st_dev, status.st_ino)


def require(dev: Path = DEV) -> None:
    """Raises DindError on a machine without loop devices. Leaves nothing behind."""
    control = dev / "loop-control"
    was_there = control.exists()
    try:
        _open_control(control).close()
    finally:
        if not was_there:
            control.unlink(missing_ok=True)


def node(number: int, dev: Path = DEV) -> Path:
    """The device's node, made if this container's ``/dev`` lacks it: a snapshot of the host's (moby#27886)."""
    path = dev / f"loop{number}"
    with suppress(FileExistsError):
        os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(MAJOR, number))
    return path


def backing_file(number: int) -> FileId | None:
    """The file behind ``/dev/loop<number>``; None for a free device."""
    answer = bytearray(_INFO.size)
    with _open_device(node(number)) as device:
        try:
            ioctl(device, _LOOP_GET_STATUS64, answer)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
    return FileId(*_INFO.unpack(answer)[:2])


def capacity(number: int) -> int:
    """The device's size in bytes."""
    return int(Path(f"/sys/block/loop{number}/size").read_text()) * SECTOR


def set_capacity(number: int) -> None:
    """Make the device as large as its backing file has become."""
    with _open_device(node(number)) as device:
        ioctl(device, _LOOP_SET_CAPACITY)


@contextmanager
def attached(file: int, name: str, dev: Path = DEV) -> Iterator[Path]:
    """A loop device on the open file, for as long as this context lasts or, once mounted, as long as the mount.

    The device detaches itself (autoclear) at its last close, so that a death at any point leaks nothing.
    ``losetup`` shows ``name``. Raises DindError without loop-control, free device or privilege.
    """
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, os.fsencode(name)[:63], b"", b"", 0, 0)
    config = _CONFIG.pack(file, 0, info, *[0] * 8)
    for _attempt in range(_ATTEMPTS):
        path = node(_free_number(dev), dev)
        with _open_device(path) as device:
            if _configure(device, config):
                yield path
                return
    raise DindError(
        f"{_ATTEMPTS} times another process took the free loop device first",
        cure="start fewer containers at once",
    )


def _configure(device: FileIO, config: bytes) -> bool:
    """Attach the file; False if another process has taken the device."""
    try:
        ioctl(device, _LOOP_CONFIGURE, config)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            raise DindError(
                f"this kernel cannot set up a loop device for the image ({error.strerror})",
                cure="it takes Linux 5.8 or newer, and a file system under the image that loop devices work on",
            ) from None
        raise _refused("a loop device could not be set up", error) from None
    return True


def _free_number(dev: Path) -> int:
    with _open_control(dev / "loop-control") as control:
        try:
            return ioctl(control, _LOOP_CTL_GET_FREE)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise _refused("no free loop device was given", error) from None
            raise DindError(
                f"there is no free loop device ({error.strerror})",
                cure="detach some on the host (losetup -l, losetup -d), or raise the loop module's max_loop",
            ) from None


def _open_control(path: Path) -> FileIO:
    try:
        if not path.exists():
            os.mknod(path, stat.S_IFCHR | 0o660, _CONTROL_NUMBER)
        return FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC), "r+")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise DindError(
                f"the kernel has no loop devices: {path} cannot be opened ({error.strerror})",
                cure="load the module on the host: modprobe loop",
            ) from None
        raise _refused(f"{path} cannot be opened", error) from None


def _open_device(path: Path) -> FileIO:
    try:
        return FileIO(os.open(path, os.O_RDWR | os.O_CLOEXEC), "r+")
    except OSError as error:
        raise _refused(f"{path} cannot be opened", error) from None


def _refused(what: str, error: OSError) -> DindError:
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return DindError(f"{what}: {error.strerror}", cure=PRIVILEGE if denied else "see the kernel's log (dmesg)")
