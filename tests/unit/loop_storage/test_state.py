# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The inspection of the storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._loop_storage import state as loop_storage_state


def test_an_image_that_gets_its_name_at_this_moment_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: True)
    assert loop_storage_state._leftovers(tmp_path / "docker.img", image_is_there=True) == ()
