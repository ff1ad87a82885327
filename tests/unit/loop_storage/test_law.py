# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Properties of every plan, whatever the state."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from loop_storage.states import DATA_ROOTS, IMAGE, IMAGES, ROOT, SIZES

from ansible_collections.mesos.dind.plugins.module_utils._argument_specs import ARGUMENT_SPECS
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    Mount,
    State,
)
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected

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


BEFORE_MOUNT = {"MakeDataRoot", "MakeImage", "TakeBackGrowth", "RepairImage", "GrowUnmounted", "RemoveLeftovers"}


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
