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

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import PROC, MountPoint
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

MIB = 1 << 20
SUPERBLOCK_BYTES = 4096


@dataclass(frozen=True)
class Superblock:
    """The file system's own record. ``size`` is in bytes.

    ``slack`` is how many bytes at the end of a device mkfs and grow may leave unused, because they would make no
    group of their own. ``clean`` says that the file system was unmounted and records no error.
    """

    fstype: str
    size: int
    slack: int
    clean: bool

    def fills(self, size: int) -> bool:
        return size - self.size < self.slack


class Ext4:
    """ext4 (and its ancestors, which the same driver mounts), after linux/fs/ext4/ext4.h."""

    name = "ext4"
    minimum = 64 * MIB
    mender = "e2fsck"

    # struct ext4_super_block: s_blocks_count_lo, s_log_block_size, s_blocks_per_group, s_inodes_per_group, s_magic,
    # s_state, s_inode_size, s_feature_incompat, s_reserved_gdt_blocks, s_desc_size, s_blocks_count_hi.
    _SUPERBLOCK = struct.Struct("<4xI16xI4xI4xI12xHH28xH6xI106xH46xH80xI")
    _MAGIC = 0xEF53
    _STATE_CLEAN = 0x1
    _STATE_ERRORS = 0x2
    _INCOMPAT_RECOVER = 0x4
    _INCOMPAT_64BIT = 0x80
    _SMALL_DESCRIPTOR = 32
    # resize2fs and mke2fs drop a last group with fewer than 50 blocks beside its own tables. These tables are two
    # bitmaps, a superblock, and the blocks counted in superblock().
    _SPARE_BLOCKS = 53
    # Exit statuses of e2fsck(8) are sums: from 4 on errors were left, from 8 on e2fsck could not work at all.
    _FSCK_ERRORS_LEFT = 4
    _FSCK_CANNOT = 8

    def superblock(self, start: bytes) -> Superblock | None:
        """From the first ``SUPERBLOCK_BYTES`` of a device; None for another file system or none."""
        (
            low, log_size, blocks_per_group, inodes_per_group, magic, state, inode_size, incompat, reserved, descriptor,
            high,
        ) = self._SUPERBLOCK.unpack_from(start, 1024)  # fmt: skip
        if magic != self._MAGIC:
            return None
        if not incompat & self._INCOMPAT_64BIT:
            high, descriptor = 0, self._SMALL_DESCRIPTOR
        blocks, block_size = low + (high << 32), 1024 << log_size
        descriptors = -(-blocks // blocks_per_group) * descriptor
        tables = reserved + -(-descriptors // block_size) + inodes_per_group * inode_size // block_size
        return Superblock(
            fstype=self.name,
            size=blocks * block_size,
            slack=(self._SPARE_BLOCKS + tables) * block_size,
            clean=state & (self._STATE_CLEAN | self._STATE_ERRORS) == self._STATE_CLEAN
            and not incompat & self._INCOMPAT_RECOVER,
        )

    def mounted_size(self, mount_point: str, device: Path) -> int:
        """Bytes that the mounted file system takes of its device."""
        # The driver keeps its superblock in the device's page cache, so that the one read here is current.
        superblock = self.superblock(_start_of(device))
        if superblock is None:
            raise DindError(f"{device}, mounted on {mount_point}, has no ext4 on it any more")
        return superblock.size

    def make(self, runner: Runner, image: str, *, discard: bool) -> None:
        """Make the file system on a file without valuable data; ``discard`` lets the file become sparse."""
        # A lazily initialised inode table is zeroed some seconds after the mount, by holes in the image.
        tables = "lazy_itable_init=1" if discard else "lazy_itable_init=0,nodiscard"
        runner.run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", f"{tables},lazy_journal_init=1", image)

    def grow_mounted(self, runner: Runner, mount: MountPoint) -> None:
        """Let the mounted file system fill its device."""
        runner.run("resize2fs", mount.source)

    def grow_unmounted(self, runner: Runner, image: Path, undo: Path) -> None:
        """Let the file system fill the image; ``repair`` must have been thorough before.

        resize2fs may be killed anywhere. It first saves the blocks that it overwrites in the file ``undo``, which
        then stays.
        """
        runner.run("resize2fs", "-z", str(undo), str(image))

    def take_back(self, runner: Runner, image: Path, undo: Path) -> None:
        """Undo the work of a killed resize2fs.

        e2undo refuses (1) where the undo file is still empty or the superblock is of another moment; nothing
        but the superblock has changed then.
        """
        runner.run("e2undo", str(undo), str(image), ok=(0, 1))

    def repair(self, runner: Runner, image: Path, undo: Path, *, thorough: bool) -> None:
        """Look without a change, then mend as far as that is safe.

        Raises DindError, with the image as it was, if errors remain. ``undo`` is a file to make and remove.
        ``thorough`` also looks at all of a file system that says that it is clean.
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
        """Put the image back as it was, with the superblock that e2undo marks.

        By force: the half-mended superblock is not the undo file's, and no other process has changed anything.
        """
        if undo.exists() and undo.stat().st_size:
            runner.run("e2undo", "-f", str(undo), str(image))
        with image.open("r+b") as file:
            file.write(start)
        undo.unlink(missing_ok=True)

    def _beyond_repair(self, image: Path, command: Command) -> DindError:
        said = (command.stderr + command.stdout).splitlines()
        gist = " ".join(line for line in said if line and "e2undo" not in line and "undo file" not in line)[-300:]
        return DindError(
            f"the file system in {image} is damaged beyond what can be mended safely: {gist}",
            cure=f"nothing was changed; copy the file, then look at the copy with e2fsck {image.name}",
        )


class Xfs:
    """XFS, after linux/fs/xfs/libxfs/xfs_format.h and xfs_fs.h. The methods are described in Ext4."""

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
        # A mount replays the log; before the mount there is nothing to do, and no way to tell.
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
        """The preset for a kernel older than mkfs.xfs, as in a container: by default mkfs.xfs makes a file system
        that an older kernel cannot mount."""
        kernel = _version(release)
        known = sorted((_version(path.stem.removeprefix("lts_")), str(path)) for path in presets.glob("lts_*.conf"))
        if not known or kernel >= known[-1][0]:
            return ()
        fitting = [path for version, path in known if version <= kernel] or [known[0][1]]
        return ("-c", f"options={fitting[-1]}")


EXT4, XFS = Ext4(), Xfs()
KINDS: dict[str, Ext4 | Xfs] = {"ext4": EXT4, "xfs": XFS}


def is_known(fstype: str, proc: Path = PROC) -> bool:
    """Whether the kernel has this file system, built in or loaded."""
    known = proc / "filesystems"
    return known.exists() and fstype in known.read_text().split()


def has_xfs_quota(proc: Path = PROC) -> bool:
    """Whether the kernel's XFS has quotas; true while XFS is not loaded."""
    return not (proc / "fs/xfs").exists() or (proc / "fs/xfs/xqmstat").exists()


def superblock_of(path: Path) -> Superblock | None:
    """The superblock of an unmounted image or device; None without an ext4 or xfs."""
    start = _start_of(path)
    return EXT4.superblock(start) or XFS.superblock(start)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as device:
        return device.read(SUPERBLOCK_BYTES).ljust(SUPERBLOCK_BYTES, b"\0")


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
