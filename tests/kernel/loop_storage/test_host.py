# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Device nodes, privileges, permissions and mount options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from storage_fixtures import (
    FSTYPES,
    Container,
    Storage,
    drop_capability,
    is_detached,
    names,
    run,
)
from storage_situations import mounted

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import loop_device


def empty_dev(home: Path, *nodes: str) -> None:
    """A container's /dev with no loop node but those named, as if made before the host had more."""
    private = home / "dev"
    private.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(private))
    for name in ("null", "urandom", *nodes):
        status = Path("/dev", name).stat()
        os.mknod(private / name, status.st_mode, status.st_rdev)
    run("mount", "--move", str(private), "/dev")


@pytest.mark.parametrize("nodes", [("loop-control",), ()])
def test_missing_nodes_are_made(storage: Storage, container: Container, nodes: tuple[str, ...]) -> None:
    container.call(empty_dev, storage.home, *nodes)
    outcome = container.call(storage.converge)
    assert container.call(Path(outcome.facts["device"]).is_block_device)
    assert container.call(storage.converge).actions == []


def test_check_mode_makes_no_nodes(storage: Storage, container: Container) -> None:
    container.call(empty_dev, storage.home)
    container.call(storage.converge, check=True)
    assert sorted(container.call(names, Path("/dev"))) == ["null", "urandom"]


def test_without_the_privilege_to_mount_nothing_is_begun(storage: Storage, container: Container) -> None:
    container.call(drop_capability, "CAP_SYS_ADMIN")
    for strategy in ("auto", "loop", "overlay"):
        with pytest.raises(DindError, match=r"no privilege to mount .*--privileged"):
            container.call(storage.but(strategy=strategy).converge)
    assert list(storage.home.iterdir()) == []
    container.call(storage.but(strategy="vfs").converge)


def test_without_the_privilege_to_unmount(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call(drop_capability, "CAP_SYS_ADMIN")
    with pytest.raises(DindError, match=r"no privilege to mount .*--privileged"):
        container.call(storage.but(state="absent").converge)


def forbid_devices(home: Path) -> None:
    """/dev/loop-control cannot be opened, as without the device cgroup's leave."""
    run("mount", "-t", "tmpfs", "-o", "nodev", "tmpfs", str(home))
    os.mknod(home / "loop-control", Path("/dev/loop-control").stat().st_mode, Path("/dev/loop-control").stat().st_rdev)
    run("mount", "--bind", str(home / "loop-control"), "/dev/loop-control")


def test_without_leave_for_devices_nothing_is_begun(storage: Storage, container: Container) -> None:
    (storage.home / "nodev").mkdir()
    container.call(forbid_devices, storage.home / "nodev")
    with pytest.raises(DindError, match=r"loop-control cannot be opened: Permission denied; .*--privileged"):
        container.call(storage.converge)
    assert names(storage.home) == ["nodev"]


def test_a_busy_data_root_says_so(storage: Storage, container: Container) -> None:
    mounted(storage, container)
    container.call(os.chdir, storage.data_root)
    with pytest.raises(DindError, match=r"unmount .* busy.*; stop the engine"):
        container.call(storage.but(state="absent").converge)


def test_the_data_root_fits_dockerd(storage: Storage, container: Container) -> None:
    container.call(storage.converge)
    assert container.call(permissions, storage.data_root) == 0o710
    container.call(storage.data_root.chmod, 0o711)
    assert container.call(storage.converge).actions == []
    container.call(storage.data_root.chmod, 0o755)
    assert container.call(storage.converge).actions == [f"set the permissions of {storage.data_root} to 0710"]


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@FSTYPES
def test_mount_options(storage: Storage, container: Container, fstype: str) -> None:
    container.call(storage.but(fstype=fstype, mount_options=["noatime"]).converge)
    options = container.call(run, "findmnt", "-n", "-o", "OPTIONS", str(storage.data_root)).strip().split(",")
    assert "noatime" in options
    assert "discard" not in options


def test_backing_files_are_told(storage: Storage, container: Container) -> None:
    outcome = container.call(storage.converge)
    number = int(outcome.facts["device"].removeprefix("/dev/loop"))
    assert loop_device.backing_file(number) == loop_device.FileId.of(storage.image.stat())
    container.kill()
    assert is_detached(storage.home)
