# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Loop devices that cannot be had."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import loop_device


def refusing(number: int) -> Any:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("number", "refusal"),
    [
        (errno.ENOENT, "the kernel has no loop devices: .*; load the module on the host: modprobe loop"),
        (errno.ENODEV, "the kernel has no loop devices: .*; load the module on the host: modprobe loop"),
        (errno.ENXIO, "the kernel has no loop devices: .*; load the module on the host: modprobe loop"),
        (errno.EPERM, "cannot be opened: Operation not permitted; run the container with --privileged"),
        (errno.EACCES, "cannot be opened: Permission denied; run the container with --privileged"),
    ],
)
def test_no_loop_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refusal: str) -> None:
    (tmp_path / "loop-control").touch()
    monkeypatch.setattr(os, "open", refusing(number))
    with pytest.raises(DindError, match=refusal):
        loop_device.require(tmp_path)


@pytest.mark.parametrize(
    ("number", "refusal"),
    [
        (errno.ENOSPC, "there is no free loop device .*; detach some on the host .*max_loop"),
        (errno.ENOMEM, "there is no free loop device"),
        (errno.EPERM, "no free loop device was given: .*--privileged"),
    ],
)
def test_no_free_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refusal: str) -> None:
    (tmp_path / "loop-control").touch()
    monkeypatch.setattr(loop_device, "ioctl", refusing(number))
    with pytest.raises(DindError, match=refusal), loop_device.attached(0, "image", tmp_path):
        pass


@pytest.mark.parametrize(
    ("number", "refusal"),
    [
        (errno.EBUSY, "times another process took the free loop device first; start fewer"),
        (errno.EINVAL, "cannot set up a loop device for the image .*; it takes Linux 5.8"),
        (errno.EPERM, "could not be set up: .*--privileged"),
        (errno.EIO, "could not be set up: .*; see the kernel's log"),
    ],
)
def test_a_device_that_is_not_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refusal: str
) -> None:
    for name in ("loop-control", "loop0"):
        (tmp_path / name).touch()
    monkeypatch.setattr(loop_device, "ioctl", lambda _, request, *__: 0 if request == 0x4C82 else refusing(number)())
    with pytest.raises(DindError, match=refusal), loop_device.attached(0, "image", tmp_path):
        pass


@given(st.integers(0, 4095), st.integers(0, (1 << 20) - 1))
def test_the_kernel_s_device_numbers_are_ours(major: int, minor: int) -> None:
    status = os.stat_result((0, 5, os.makedev(major, minor), 1, 0, 0, 0, 0, 0, 0))
    encoded = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    assert loop_device.FileId.of(status) == loop_device.FileId(encoded, 5)
