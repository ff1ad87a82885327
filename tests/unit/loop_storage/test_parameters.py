# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loop_storage.states import IMAGE, ROOT

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.plan import Desired

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
