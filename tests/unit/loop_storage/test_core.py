# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""loop_storage without a machine: arguments, the choice, the plan, superblocks and refused ioctls."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._argument_specs import ARGUMENT_SPECS
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import loop_device, overlay_probe
from ansible_collections.mesos.dind.plugins.module_utils._kernel.filesystem import EXT4, XFS, has_xfs_quota
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage import state as loop_storage_state
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.choice import DRIVERS, Choice, choose, driver
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.core import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    BLANK,
    DRIVER_DATA,
    NO_FILE,
    DataRoot,
    Image,
    Mount,
    State,
)
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.steps import ROOT_MODE
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

MIB = 1 << 20
ROOT = Path("/var/lib/docker")
IMAGE = Path("/volume/docker.img")
WANTED = Desired(ROOT, IMAGE, 512 * MIB, strategy="loop")
PARAMS: dict[str, Any] = {
    "data_root": str(ROOT),
    "image": str(IMAGE),
    "size": "5",
    "fstype": "ext4",
    "strategy": "auto",
    "preallocate": False,
    "hold": True,
    "mount_options": None,
    "state": "present",
    "purge": False,
    "force": False,
}


def described(desired: Desired, state: State) -> list[str]:
    """The plan's steps by their first words."""
    return [type(step).__name__ for step in plan(desired, state)]


# The idempotence law

SIZES = st.sampled_from([64 * MIB, 320 * MIB, 512 * MIB, 512 * MIB + 4096, 5 << 30])
IMAGES = st.builds(
    Image,
    size=SIZES,
    content=st.sampled_from(["ext4", "xfs", BLANK, NO_FILE, "swap"]),
    clean=st.booleans(),
    full=st.booleans(),
    locked=st.booleans(),
    half_grown=st.booleans(),
)
DATA_ROOTS = st.builds(
    DataRoot,
    mode=st.sampled_from([None, 0o755, 0o710, 0o711]),
    drivers=st.lists(st.sampled_from(list(DRIVER_DATA)), unique=True, max_size=2).map(tuple),
    held_by=st.sampled_from(["us", "another", "nobody"]),
)
STATES = st.builds(
    State,
    data_root=DATA_ROOTS,
    image=st.none() | IMAGES,
    leftovers=st.lists(st.just("/volume/docker.img.making"), max_size=1).map(tuple),
    mount=st.none() | st.builds(Mount, device=st.just("/dev/loop3"), size=SIZES),
    may_mount=st.booleans(),
    may_grow_mounted_ext4=st.booleans(),
    has_xfs_quota=st.booleans(),
    has_aufs=st.booleans(),
)
DESIRED = st.builds(
    Desired,
    data_root=st.just(ROOT),
    image=st.just(IMAGE),
    size=SIZES,
    fstype=st.sampled_from(["ext4", "xfs"]),
    strategy=st.sampled_from(
        [other for other in ARGUMENT_SPECS["loop_storage"]["strategy"]["choices"] if other != "auto"]
    ),
    preallocate=st.booleans(),
    mount_options=st.none() | st.just(("noatime",)),
    present=st.booleans(),
    purge=st.booleans(),
    force=st.booleans(),
)


def is_possible(state: State) -> bool:
    """A mount has its image, with a file system that nobody else uses; a held data root exists; only an ext4 is ever
    half grown (GrowUnmounted)."""
    image, mount = state.image, state.mount
    if image and image.half_grown and image.content != "ext4":
        return False
    if mount and (image is None or not image.has_filesystem or image.locked or image.half_grown or not image.clean):
        return False
    if mount and (state.data_root.held_by != "nobody" or state.data_root.mode is None):
        return False
    return not (state.data_root.mode is None and (state.data_root.held_by != "nobody" or state.data_root.drivers))


@given(DESIRED, STATES.filter(is_possible))
def test_a_plan_leaves_nothing_to_plan(desired: Desired, state: State) -> None:
    try:
        steps = plan(desired, state)
    except DindError:
        assume(False)
    reached = expected(state, steps)
    assert plan(desired, reached) == []
    assert all(str(step) for step in steps)
    if desired.present:
        assert reached.data_root.mode is not None
        assert (reached.mount is not None) or desired.strategy != "loop"
        assert desired.strategy == "loop" or reached.data_root.held_by == "us"
        assert not (reached.mount and reached.image and reached.image.half_grown)
    else:
        assert reached.mount is None
        assert reached.data_root.held_by != "us" or state.mount


@given(DESIRED, STATES.filter(is_possible))
def test_a_file_system_is_never_made_over_another(desired: Desired, state: State) -> None:
    try:
        steps = [type(step).__name__ for step in plan(desired, state)]
    except DindError:
        assume(False)
    if state.image and state.image.has_filesystem:
        assert "MakeImage" not in steps
    if "RemoveImage" in steps:
        assert desired.purge
        assert not desired.present
    if "MountImage" in steps:
        assert steps.index("MountImage") == max(
            steps.index("MountImage"), *map(steps.index, {*steps} & BEFORE_MOUNT), 0
        )
    if state.image and state.image.locked:
        assert not {*steps} & {"MountImage", "RemoveImage", "GrowUnmounted", "RepairImage"}


BEFORE_MOUNT = {"MakeDataRoot", "MakeImage", "TakeBackGrowth", "RepairImage", "GrowUnmounted", "RemoveLeftovers"}


# The plan, by example


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (State(DataRoot(None)), ["MakeDataRoot", "MakeImage", "MountImage"]),
        (State(DataRoot(0o755)), ["MakeImage", "MountImage"]),
        (State(DataRoot(ROOT_MODE), Image(512 * MIB, "ext4")), ["MountImage"]),
        (State(DataRoot(ROOT_MODE), Image(512 * MIB, "ext4", clean=False)), ["RepairImage", "MountImage"]),
        (
            State(DataRoot(ROOT_MODE), Image(320 * MIB, "ext4")),
            ["RepairImage", "GrowImage", "GrowUnmounted", "MountImage"],
        ),
        (
            State(DataRoot(ROOT_MODE), Image(512 * MIB, "ext4", full=False)),
            ["RepairImage", "GrowUnmounted", "MountImage"],
        ),
        (
            State(DataRoot(ROOT_MODE), Image(512 * MIB, "ext4", half_grown=True)),
            ["TakeBackGrowth", "RepairImage", "GrowUnmounted", "MountImage"],
        ),
        (
            State(DataRoot(ROOT_MODE), Image(320 * MIB, "xfs")),
            ["MountImage", "GrowImage", "GrowDevice", "GrowMounted"],
        ),
        (State(DataRoot(ROOT_MODE), Image(512 * MIB, "xfs", full=False)), ["MountImage", "GrowMounted"]),
        (State(DataRoot(ROOT_MODE), Image(512 * MIB, "xfs"), mount=Mount("/dev/loop3", 512 * MIB)), []),
        (
            State(DataRoot(ROOT_MODE), Image(512 * MIB, "xfs"), mount=Mount("/dev/loop3", 320 * MIB)),
            ["GrowDevice"],
        ),
        (
            State(DataRoot(0o755), Image(320 * MIB, "ext4"), mount=Mount("/dev/loop3", 320 * MIB)),
            ["SetDataRootMode", "GrowImage", "GrowDevice", "GrowMounted"],
        ),
        (State(DataRoot(ROOT_MODE), leftovers=("x",)), ["RemoveLeftovers", "MakeImage", "MountImage"]),
    ],
)
def test_loop(state: State, steps: list[str]) -> None:
    assert described(WANTED, state) == steps


@pytest.mark.parametrize(
    ("desired", "state", "steps"),
    [
        (WANTED, State(DataRoot(ROOT_MODE), Image(MIB, "ext4"), mount=Mount("/dev/loop3", MIB)), ["Unmount"]),
        (
            replace(WANTED, purge=True),
            State(DataRoot(ROOT_MODE), Image(MIB, "ext4"), mount=Mount("/dev/loop3", MIB)),
            ["Unmount", "RemoveImage"],
        ),
        (WANTED, State(DataRoot(ROOT_MODE, held_by="us")), ["ReleaseDataRoot"]),
        (WANTED, State(DataRoot(ROOT_MODE, held_by="another")), []),
        (WANTED, State(DataRoot(None)), []),
    ],
)
def test_absent(desired: Desired, state: State, steps: list[str]) -> None:
    assert described(replace(desired, present=False), state) == steps


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (State(DataRoot(ROOT_MODE), Image(512 * MIB, "ext4", locked=True)), "in use by another container.*; give each"),
        (State(DataRoot(ROOT_MODE), Image(5 << 30, "ext4")), "has 5G already and is not shrunk to 512M; ask for 5G"),
        (State(DataRoot(ROOT_MODE), Image(MIB, "swap")), "holds swap, no ext4 or xfs; it is not formatted; name"),
        (State(DataRoot(ROOT_MODE), Image(MIB, NO_FILE)), "is no regular file; name another"),
        (State(DataRoot(ROOT_MODE, held_by="us")), "in use here without an image; stop the engine"),
        (
            State(
                DataRoot(ROOT_MODE),
                Image(320 * MIB, "ext4"),
                mount=Mount("/dev/loop3", 320 * MIB),
                may_grow_mounted_ext4=False,
            ),
            "takes CAP_SYS_RESOURCE; restart the container",
        ),
    ],
)
def test_refusals(state: State, refusal: str) -> None:
    with pytest.raises(DindError, match=refusal):
        plan(WANTED, state)


def test_mount_options() -> None:
    assert WANTED.options_for("ext4", quota=True) == ("discard",)
    assert WANTED.options_for("xfs", quota=True) == ("discard", "prjquota")
    assert WANTED.options_for("xfs", quota=False) == ("discard",)
    assert replace(WANTED, preallocate=True).options_for("ext4", quota=True) == ()
    assert replace(WANTED, mount_options=("noatime", "pquota")).options_for("xfs", quota=True) == ("noatime", "pquota")


# Arguments


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"size": "five"}, "size: 'five' is not a size; allowed is"),
        ({"size": "63M"}, "size: 63M is too small for ext4, which needs at least 64M; ask for more"),
        ({"size": "299M", "fstype": "xfs"}, "size: 299M is too small for xfs, .* 300M; ask for more, or use ext4"),
        ({"data_root": "docker"}, "data_root: 'docker' is not allowed; give an absolute path"),
        ({"data_root": "/"}, "data_root: '/' is not allowed"),
        ({"image": ""}, "image: '' is not allowed"),
        ({"image": f"{ROOT}/docker.img"}, "image: .* lies in the data root"),
    ],
)
def test_arguments_that_are_refused(params: dict[str, Any], refusal: str) -> None:
    with pytest.raises(DindError, match=refusal):
        Desired.of({**PARAMS, **params})


def test_a_size_is_in_whole_blocks() -> None:
    assert Desired.of({**PARAMS, "size": "1.0000001"}).size == 1 << 30


def test_symbolic_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Desired.of({**PARAMS, "data_root": str(tmp_path / "link/root")}).data_root == tmp_path / "real/root"


# The choice


@dataclass
class Told:
    """Trials whose results are given; ``tried`` collects which were asked for."""

    results: dict[str, str | None]
    tried: list[str] = field(default_factory=list)

    def _try(self, name: str) -> str | None:
        self.tried.append(name)
        return self.results.get(name)

    def overlay(self) -> str | None:
        return self._try("overlay")

    def aufs(self) -> str | None:
        return self._try("aufs")

    def engine(self) -> str | None:
        return self._try("engine")

    def loop(self) -> None:
        if flaw := self._try("loop"):
            raise DindError(flaw)


EMPTY = DataRoot(ROOT_MODE)
IMAGED = Image(512 * MIB, "ext4")


@pytest.mark.parametrize(
    ("strategy", "state", "results", "chosen", "tried"),
    [
        ("auto", State(EMPTY), {}, "overlay", ["overlay"]),
        ("auto", State(EMPTY), {"overlay": "no"}, "loop", ["overlay", "loop"]),
        ("auto", State(EMPTY, has_aufs=True), {"overlay": "no"}, "aufs", ["overlay", "engine", "aufs"]),
        ("auto", State(EMPTY, has_aufs=True), {"overlay": "no", "engine": "26"}, "loop", ["overlay", "engine", "loop"]),
        ("auto", State(EMPTY, IMAGED), {}, "loop", ["loop"]),
        ("auto", State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)), {}, "loop", []),
        ("loop", State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)), {}, "loop", []),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "overlay", ["overlay"]),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",), "us")), {}, "overlay", []),
        ("auto", State(DataRoot(ROOT_MODE, ("overlayfs",), "us")), {}, "overlay", []),
        ("auto", State(DataRoot(ROOT_MODE, ("vfs",))), {}, "vfs", []),
        ("auto", State(DataRoot(ROOT_MODE, ("aufs",)), has_aufs=True), {}, "aufs", ["engine", "aufs"]),
        ("overlay", State(EMPTY, IMAGED), {}, "overlay", ["overlay"]),
        ("vfs", State(EMPTY, may_mount=False), {}, "vfs", []),
        ("loop", State(DataRoot(ROOT_MODE, ("overlay2",)), IMAGED), {}, "loop", ["loop"]),
    ],
)
def test_choices(strategy: str, state: State, results: dict[str, str | None], chosen: str, tried: list[str]) -> None:
    trials = Told(results)
    choice = choose(strategy, state, ROOT, trials)
    assert (choice.strategy, trials.tried) == (chosen, tried)
    assert choice.reason


@pytest.mark.parametrize(
    ("strategy", "state", "results", "refusal"),
    [
        ("overlay", State(EMPTY), {"overlay": "no d_type"}, "overlay does not work on .*: no d_type; put a volume"),
        (
            "aufs",
            State(EMPTY),
            {"engine": "not in 26"},
            "AUFS does not work on .*: the kernel has no AUFS and not in 26;",
        ),
        ("aufs", State(EMPTY), {}, "the kernel has no AUFS;"),
        ("aufs", State(EMPTY, has_aufs=True), {"engine": "not in 26"}, ": not in 26;"),
        (
            "vfs",
            State(EMPTY, IMAGED, mount=Mount("/dev/loop3", MIB)),
            {},
            "is mounted from an image; ask for state abs",
        ),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",)), IMAGED), {}, "there is an image, and .*; say which to use"),
        ("auto", State(DataRoot(ROOT_MODE, ("overlay2",))), {"overlay": "no"}, "overlay does not work"),
        ("auto", State(DataRoot(ROOT_MODE, ("btrfs",))), {}, "holds data of the storage driver btrfs, which is not"),
        ("vfs", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "holds data of overlay2; leave the strategy at auto"),
        ("loop", State(DataRoot(ROOT_MODE, ("overlay2",))), {}, "holds data of overlay2; leave the strategy at auto"),
        ("auto", State(DataRoot(ROOT_MODE, held_by="another")), {}, "data root .* in use by another container; give"),
        ("auto", State(EMPTY, may_mount=False), {}, "no privilege to mount .*; run the container with --privileged"),
        ("auto", State(EMPTY), {"overlay": "no", "loop": "no loop"}, "no loop"),
    ],
)
def test_choices_that_are_refused(strategy: str, state: State, results: dict[str, str | None], refusal: str) -> None:
    with pytest.raises(DindError, match=refusal):
        choose(strategy, state, ROOT, Told(results))


@given(
    DATA_ROOTS,
    st.none() | IMAGES,
    st.dictionaries(st.sampled_from(["overlay", "aufs", "engine"]), st.just("no")),
    st.booleans(),
)
def test_vfs_is_never_chosen_unasked(
    data_root: DataRoot, image: Image | None, results: dict[str, str | None], has_aufs: bool
) -> None:
    try:
        choice = choose("auto", State(data_root, image, has_aufs=has_aufs), ROOT, Told(results))
    except DindError:
        assume(False)
    assert choice.strategy != "vfs" or {"vfs", "native"} & {*data_root.drivers}
    assert isinstance(choice, Choice)


@pytest.mark.parametrize("strategy", list(DRIVERS))
def test_the_driver_is_the_data_s_or_the_strategy_s_own(strategy: str) -> None:
    own = DRIVERS[strategy][0]
    assert driver(strategy, EMPTY) == own
    assert {driver(strategy, DataRoot(ROOT_MODE, (found,))) for found in DRIVERS[strategy]} == {*DRIVERS[strategy]}
    assert driver(strategy, DataRoot(ROOT_MODE, ("btrfs",))) == own


# Superblocks


def ext4_start(blocks: int, *, state: int = 1, incompat: int = 0x80, magic: int = 0xEF53) -> bytes:
    start = bytearray(4096)
    struct.pack_into("<II", start, 1024, 81920, blocks & 0xFFFFFFFF)
    struct.pack_into("<I", start, 1024 + 24, 2)
    struct.pack_into("<IxxxxI", start, 1024 + 32, 32768, 8192)
    struct.pack_into("<HH", start, 1024 + 56, magic, state)
    struct.pack_into("<H", start, 1024 + 88, 256)
    struct.pack_into("<I", start, 1024 + 96, incompat)
    struct.pack_into("<H", start, 1024 + 206, 100)
    struct.pack_into("<H", start, 1024 + 254, 64)
    struct.pack_into("<I", start, 1024 + 336, blocks >> 32)
    return bytes(start)


@given(st.integers(16384, 1 << 40))
def test_ext4_superblock(blocks: int) -> None:
    found = EXT4.superblock(ext4_start(blocks))
    assert found is not None
    assert (found.fstype, found.size, found.clean) == ("ext4", blocks * 4096, True)
    assert found.fills(found.size)
    assert found.fills(found.size + found.slack - 1)
    assert not found.fills(found.size + found.slack)
    assert found.slack >= (53 + 100 + 512) * 4096


@pytest.mark.parametrize(("state", "incompat"), [(0, 0x80), (2, 0x80), (3, 0x80), (1, 0x84)])
def test_ext4_that_is_not_clean(state: int, incompat: int) -> None:
    found = EXT4.superblock(ext4_start(81920, state=state, incompat=incompat))
    assert found is not None
    assert not found.clean


def test_xfs_superblock() -> None:
    start = struct.pack(">4sIQ", b"XFSB", 4096, 81920).ljust(4096, b"\0")
    found = XFS.superblock(start)
    assert found is not None
    assert (found.fstype, found.size) == ("xfs", 320 * MIB)
    assert EXT4.superblock(start) is None


@given(st.binary(max_size=4096))
def test_other_data_is_no_file_system(data: bytes) -> None:
    start = data.ljust(4096, b"\0")
    assume(start[1080:1082] != b"\x53\xef")
    assume(start[:4] != b"XFSB")
    assert EXT4.superblock(start) is None
    assert XFS.superblock(start) is None


@pytest.mark.parametrize(
    ("presets", "release", "expected_preset"),
    [
        ((), "6.1.0-13-amd64", None),
        (("5.15", "6.1", "6.12"), "6.12.3", None),
        (("5.15", "6.1", "6.12"), "6.18.44-x", None),
        (("5.15", "6.1", "6.12"), "6.8.0-31-generic", "6.1"),
        (("5.15", "6.1", "6.12"), "5.15.0", "5.15"),
        (("5.15", "6.1", "6.12"), "5.10.0", "5.15"),
    ],
)
def test_mkfs_xfs_suits_the_kernel(
    tmp_path: Path, presets: tuple[str, ...], release: str, expected_preset: str | None
) -> None:
    for preset in presets:
        (tmp_path / f"lts_{preset}.conf").touch()
    options = ("-c", f"options={tmp_path}/lts_{expected_preset}.conf") if expected_preset else ()
    assert XFS._features(release, tmp_path) == options


def test_xfs_quota(tmp_path: Path) -> None:
    assert has_xfs_quota(tmp_path)
    (tmp_path / "fs/xfs").mkdir(parents=True)
    assert not has_xfs_quota(tmp_path)
    (tmp_path / "fs/xfs/xqmstat").touch()
    assert has_xfs_quota(tmp_path)


# Loop devices that cannot be had


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
    assert loop_device.FileId.of(status) == loop_device.FileId(loop_device.decode_device(encoded), 5)


def test_a_machine_whose_service_manager_runs_one_engine_needs_no_process_that_holds_the_data_root() -> None:
    wanted = replace(WANTED, strategy="overlay", hold=False)
    state = State(DataRoot(0o710, drivers=("overlay2",)))
    assert plan(wanted, state) == []
    assert described(replace(wanted, hold=True), state) == ["HoldDataRoot"]


def test_the_trial_of_another_that_ends_at_this_moment_is_no_flaw_of_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(*_given: object) -> None:
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr("os.mkdir", exists)
    with pytest.raises(DindError, match="is being looked at by another container"):
        overlay_probe.overlay(tmp_path, Runner())


def test_an_image_that_gets_its_name_at_this_moment_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: True)
    assert loop_storage_state._leftovers(tmp_path / "docker.img", image_is_there=True) == ()
