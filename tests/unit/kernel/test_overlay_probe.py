# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Two probes at the same time."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import overlay_probe
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def test_the_trial_of_another_that_ends_at_this_moment_is_no_flaw_of_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exists(*_given: object) -> None:
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr("os.mkdir", exists)
    with pytest.raises(DindError, match="is being looked at by another container"):
        overlay_probe.overlay(tmp_path, Runner())
