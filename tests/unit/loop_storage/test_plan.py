# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The plan, by example."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loop_storage.states import IMAGE, MIB, ROOT

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.data_root_steps import ROOT_MODE
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    NO_FILE,
    DataRoot,
    Image,
    Mount,
    State,
)

WANTED = Desired(ROOT, IMAGE, 512 * MIB, strategy="loop")


def described(desired: Desired, state: State) -> list[str]:
    """The plan's steps by their first words."""
    return [type(step).__name__ for step in plan(desired, state)]


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


def test_a_machine_whose_service_manager_runs_one_engine_needs_no_process_that_holds_the_data_root() -> None:
    wanted = replace(WANTED, strategy="overlay", hold=False)
    state = State(DataRoot(0o710, drivers=("overlay2",)))
    assert plan(wanted, state) == []
    assert described(replace(wanted, hold=True), state) == ["HoldDataRoot"]
