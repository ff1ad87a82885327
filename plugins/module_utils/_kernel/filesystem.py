# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The file systems that an image can have: how each is recognised, made, checked and grown."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import ClassVar, Protocol

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountPoint
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import format_size, parse_size
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

MIB = 1 << 20
BLOCK = 4096


@dataclass(frozen=True)
class Superblock:
    """What the file system says of itself. ``size`` is in bytes.

    ``slack`` is how many bytes at the end of a device mkfs and grow may leave unused, because they would make no
    group of their own. ``clean`` is whether it was unmounted and no error is recorded in it.
    """

    fstype: str
    size: int
    slack: int
    clean: bool

    def fills(self, size: int) -> bool:
        return size - self.size < self.slack


class FileSystem(Protocol):
    """One kind of file system, its numbers as class attributes."""

    name: ClassVar[str]
    minimum: ClassVar[int]
    mender: ClassVar[str]

    def superblock(self, start: bytes) -> Superblock | None:
        """From the first ``SUPERBLOCK_BYTES`` of a device; None if it has another file system or none."""

    def mounted_size(self, mount_point: str, device: Path) -> int:
        """Bytes that the mounted file system takes of its device."""

    def make(self, runner: Runner, image: str, *, discard: bool) -> None:
        """Make it on a file that holds nothing worth keeping; ``discard`` lets the file become sparse."""

    def grow_mounted(self, runner: Runner, mount: MountPoint) -> None:
        """Let the mounted file system fill its device."""


SUPERBLOCK_BYTES = 4096


class Ext4(FileSystem):
    """ext4 (and its ancestors, which the same driver mounts), after linux/fs/ext4/ext4.h."""

    name = "ext4"
    minimum = 64 * MIB
    mender = "e2fsck"

    _MAGIC = 0xEF53
    _STATE_CLEAN = 0x1
    _STATE_ERRORS = 0x2
    _INCOMPAT_RECOVER = 0x4
    _INCOMPAT_64BIT = 0x80
    _SMALL_DESCRIPTOR = 32
    # resize2fs and mke2fs drop a last group with fewer than 50 blocks beside its own tables; those take two bitmaps
    # and a superblock, as well as what is counted below.
    _SPARE_BLOCKS = 53
    # Exit statuses of e2fsck(8) are sums; from these on errors were left, or it could not work at all.
    _FSCK_ERRORS_LEFT = 4
    _FSCK_CANNOT = 8

    def superblock(self, start: bytes) -> Superblock | None:
        block = start[1024:2048]
        magic, state = struct.unpack_from("<HH", block, 56)
        if magic != self._MAGIC:
            return None
        incompat = self._u32(block, 96)
        wide = bool(incompat & self._INCOMPAT_64BIT)
        blocks = self._u32(block, 4) + ((self._u32(block, 336) << 32) if wide else 0)
        block_size = 1024 << self._u32(block, 24)
        clean = bool(state & self._STATE_CLEAN) and not state & self._STATE_ERRORS
        return Superblock(
            fstype=self.name,
            size=blocks * block_size,
            slack=self._group_overhead(block, blocks, block_size, wide=wide) * block_size,
            clean=clean and not incompat & self._INCOMPAT_RECOVER,
        )

    def mounted_size(self, mount_point: str, device: Path) -> int:
        # The driver keeps its superblock in the device's page cache, so that what is read here is current.
        superblock = self.superblock(_start_of(device))
        if superblock is None:
            raise DindError(f"{device}, mounted on {mount_point}, has no ext4 on it any more")
        return superblock.size

    def make(self, runner: Runner, image: str, *, discard: bool) -> None:
        extended = "lazy_itable_init=1,lazy_journal_init=1" + ("" if discard else ",nodiscard")
        runner.run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", extended, image)

    def grow_mounted(self, runner: Runner, mount: MountPoint) -> None:
        runner.run("resize2fs", mount.source)

    def grow_unmounted(self, runner: Runner, image: Path, undo: Path) -> None:
        """Let it fill the image; ``repair`` must have been thorough before.

        resize2fs may be killed anywhere: what it overwrites goes to the file ``undo`` first, which stays then.
        """
        runner.run("resize2fs", "-z", str(undo), str(image))

    def take_back(self, runner: Runner, image: Path, undo: Path) -> None:
        """Undo what a killed resize2fs has begun.

        e2undo refuses (1) where the undo file is still empty or the superblock is not of the same moment; nothing
        but the superblock has been changed then.
        """
        runner.run("e2undo", str(undo), str(image), ok=(0, 1))

    def repair(self, runner: Runner, image: Path, undo: Path, *, thorough: bool) -> None:
        """Look without touching anything, then mend what can be mended safely.

        Raises DindError, with the image as it was, when that does not mend all of it. ``undo`` is a file to make
        and remove. ``thorough`` looks at all of one that says it is clean, too.
        """
        options = ("-f", str(image)) if thorough else (str(image),)
        looked = runner.run("e2fsck", "-n", *options, ok=range(256))
        if looked.status >= self._FSCK_CANNOT:
            raise self._beyond_repair(image, looked)
        undo.unlink(missing_ok=True)
        start = _start_of(image)
        mended = runner.run("e2fsck", "-p", "-z", str(undo), *options, ok=range(256))
        if mended.status >= self._FSCK_ERRORS_LEFT:
            self._restore(runner, image, undo, start)
            raise self._beyond_repair(image, mended)
        undo.unlink(missing_ok=True)

    def _restore(self, runner: Runner, image: Path, undo: Path, start: bytes) -> None:
        """By force, since the half-mended superblock is not the undo file's, and nobody else has changed anything.

        e2undo leaves its own mark in the superblock, which goes as well.
        """
        if undo.exists() and undo.stat().st_size:
            runner.run("e2undo", "-f", str(undo), str(image))
        with image.open("r+b") as file:
            file.write(start)
        undo.unlink(missing_ok=True)

    def _beyond_repair(self, image: Path, command: Command) -> DindError:
        return DindError(
            f"the file system in {image} is damaged beyond what can be mended safely: {_gist(command)}",
            cure=f"nothing was changed; copy the file, then look at the copy with e2fsck {image.name}",
        )

    def _group_overhead(self, block: bytes, blocks: int, block_size: int, *, wide: bool) -> int:
        blocks_per_group, inodes_per_group = self._u32(block, 32), self._u32(block, 40)
        inode_size, reserved = self._u16(block, 88), self._u16(block, 206)
        descriptor = self._u16(block, 254) if wide else self._SMALL_DESCRIPTOR
        descriptors = -(-blocks // blocks_per_group) * descriptor
        return (
            self._SPARE_BLOCKS + reserved + -(-descriptors // block_size) + inodes_per_group * inode_size // block_size
        )

    @staticmethod
    def _u32(block: bytes, offset: int) -> int:
        return int.from_bytes(block[offset : offset + 4], "little")

    @staticmethod
    def _u16(block: bytes, offset: int) -> int:
        return int.from_bytes(block[offset : offset + 2], "little")


class Xfs(FileSystem):
    """XFS, after linux/fs/xfs/libxfs/xfs_format.h and xfs_fs.h."""

    name = "xfs"
    minimum = 300 * MIB  # mkfs.xfs refuses less since 5.19
    mender = "xfs_repair"

    _SLACK = 16 * MIB  # XFS_AG_MIN_BYTES: mkfs makes no smaller last allocation group
    # _IOR('X', 100, struct xfs_fsop_geom_v1): eight 32-bit words, the first of them the block size, then the blocks.
    _GEOMETRY = struct.Struct("=8IQ72x")
    _FSGEOMETRY_V1 = 2 << 30 | _GEOMETRY.size << 16 | ord("X") << 8 | 100

    def superblock(self, start: bytes) -> Superblock | None:
        magic, block_size, blocks = struct.unpack_from(">4sIQ", start)
        if magic != b"XFSB":
            return None
        # Mounting replays the log: there is nothing to be done, and no telling, before.
        return Superblock(self.name, blocks * block_size, self._SLACK, clean=True)

    def mounted_size(self, mount_point: str, device: Path) -> int:
        root = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            answer = bytearray(self._GEOMETRY.size)
            ioctl(root, self._FSGEOMETRY_V1, answer)
        finally:
            os.close(root)
        words = self._GEOMETRY.unpack(answer)
        return int(words[0] * words[8])

    def make(self, runner: Runner, image: str, *, discard: bool) -> None:
        discarding = () if discard else ("-K",)
        runner.run("mkfs.xfs", "-q", "-f", *discarding, *self._features(os.uname().release), image)

    def grow_mounted(self, runner: Runner, mount: MountPoint) -> None:
        runner.run("xfs_growfs", "-d", mount.mount_point)

    def _features(self, release: str, presets: Path = Path("/usr/share/xfsprogs/mkfs")) -> tuple[str, ...]:
        """Where mkfs.xfs is newer than the kernel, as in a container: the preset for the kernel.

        By itself it makes what an older kernel cannot mount.
        """
        kernel = _version(release)
        known = sorted((_version(path.stem.removeprefix("lts_")), str(path)) for path in presets.glob("lts_*.conf"))
        if not known or kernel >= known[-1][0]:
            return ()
        fitting = [path for version, path in known if version <= kernel] or [known[0][1]]
        return ("-c", f"options={fitting[-1]}")


EXT4, XFS = Ext4(), Xfs()
KINDS: dict[str, FileSystem] = {kind.name: kind for kind in (EXT4, XFS)}


def is_known(fstype: str, proc: Path) -> bool:
    """Whether the kernel has this file system, built in or loaded."""
    known = proc / "filesystems"
    return known.exists() and fstype in known.read_text().split()


def has_xfs_quota(proc: Path) -> bool:
    """Whether the kernel's XFS has quotas; taken for granted while it is not loaded."""
    return not (proc / "fs/xfs").exists() or (proc / "fs/xfs/xqmstat").exists()


def superblock_of(path: Path) -> Superblock | None:
    """Of an image or device that nothing has mounted; None where there is no file system that we make."""
    start = _start_of(path)
    return next((found for kind in KINDS.values() if (found := kind.superblock(start))), None)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as device:
        return device.read(SUPERBLOCK_BYTES).ljust(SUPERBLOCK_BYTES, b"\0")


def _gist(command: Command) -> str:
    """What e2fsck found, without what it says about its undo file."""
    said = (command.stderr + command.stdout).splitlines()
    return " ".join(line for line in said if line and "e2undo" not in line and "undo file" not in line)[-300:]


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def check_size(text: str, fstype: str) -> int:
    """Bytes, in whole blocks. Raises DindError for what is no size or too small for the file system."""
    try:
        size = parse_size(text) // BLOCK * BLOCK
    except ValueError as error:
        raise DindError(f"size: {error}") from None
    minimum = KINDS[fstype].minimum
    if size < minimum:
        raise DindError(
            f"size: {text} is too small for {fstype}, which needs at least {format_size(minimum)}",
            cure="ask for more" if fstype == "ext4" else "ask for more, or use ext4",
        )
    return size
