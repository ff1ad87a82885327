# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A trial of a union file system (overlay, AUFS) on top of a directory."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.file_lock import locked
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

NAME = ".mesos-dind-probe"

_DIRECTORIES = ("lower1", "lower2", "upper", "work", "merged")


def overlay(root: Path, runner: Runner) -> str | None:
    """None if overlay works on ``root``, otherwise the reason why not.

    The trial covers the needs of the engine's driver: two lower layers (moby's overlayutils), a write and a whiteout.
    The file system must also tell the types of its directory entries (d_type). Nothing is left behind.
    """
    return _trial(root, runner, "overlay", _overlay_options)


def aufs(root: Path, runner: Runner) -> str | None:
    """The same for AUFS."""
    return _trial(root, runner, "aufs", lambda at: f"br={at}/upper=rw:{at}/lower1=ro+wh:{at}/lower2=ro+wh")


def _overlay_options(at: Path) -> str:
    return f"lowerdir={at}/lower1:{at}/lower2,upperdir={at}/upper,workdir={at}/work"


def _trial(root: Path, runner: Runner, fstype: str, options: Callable[[Path], str]) -> str | None:
    try:
        with _workshop(root, runner) as at:
            (at / "lower1/first").write_text("first")
            (at / "lower2/second").write_text("second")
            mounting = runner.run("mount", "-t", fstype, "-o", options(at), fstype, f"{at}/merged", ok=range(256))
            return _last_words(mounting) if mounting.status else _flaw(at, fstype)
    except BlockingIOError:
        raise DindError(f"{root} is being looked at by another container", cure="give each its own") from None
    except OSError as error:
        return str(error)


def _last_words(mounting: Command) -> str:
    """The message of mount(8) in one line, without its hint at the kernel's log and without our temporary names."""
    said = mounting.stderr.partition("dmesg(1)")[0].partition("merged: ")[2] or mounting.stderr
    return " ".join(said.split()).rstrip(".")


def _flaw(at: Path, fstype: str) -> str | None:
    """The fault of the union mounted on ``merged``, if any. Raises OSError where the union refuses to work."""
    merged = at / "merged"
    if _names(merged) != {"first", "second"}:
        return "the layers are not merged"
    (merged / "first").write_text("changed")
    (merged / "second").unlink()
    if (at / "upper/first").read_text() != "changed" or (at / "lower1/first").read_text() != "first":
        return "a write does not stay in the upper layer"
    if _names(merged) != {"first"}:
        return "a removed file is still there"
    if fstype == "overlay" and not stat.S_ISCHR((at / "upper/second").stat().st_mode):
        return "a removed file leaves no whiteout"
    if not _tells_type(at / "upper/first"):
        return "the file system does not tell the types of directory entries (no d_type)"
    return None


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _tells_type(file: Path) -> bool:
    """Whether a directory listing tells the type of its entry, a regular file. Removes the file.

    Python asks lstat(2) for a type that the listing does not tell. For a file that is gone, the answer is then "no".
    """
    with os.scandir(file.parent) as entries:
        [entry] = (entry for entry in entries if entry.name == file.name)
    file.unlink()
    return entry.is_file(follow_symlinks=False)


@contextmanager
def _workshop(root: Path, runner: Runner) -> Iterator[Path]:
    """A directory in ``root``, removed afterwards, even if an earlier probe died over it.

    Raises BlockingIOError while another container uses the directory.
    """
    at = root / NAME
    # Not exist_ok, which raises all the same if the directory is removed at this moment.
    with suppress(FileExistsError):
        at.mkdir()
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(at, os.O_RDONLY))
        except FileNotFoundError:
            raise BlockingIOError(f"{at} was removed meanwhile") from None
        try:
            _clear(at, runner)
            for name in _DIRECTORIES:
                (at / name).mkdir()
            yield at
        finally:
            _clear(at, runner)
            at.rmdir()


def _clear(at: Path, runner: Runner) -> None:
    if (at / "merged").is_mount():
        runner.run("umount", f"{at}/merged")
    for path in at.iterdir():
        shutil.rmtree(path)
