# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""States of the storage, for every test of its plan and its choice."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.data_root_steps import ROOT_MODE
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.state import (
    BLANK,
    DRIVER_DATA,
    NO_FILE,
    DataRoot,
    Image,
)

MIB = 1 << 20

ROOT = Path("/var/lib/docker")

IMAGE = Path("/volume/docker.img")

EMPTY = DataRoot(ROOT_MODE)

IMAGED = Image(512 * MIB, "ext4")

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
