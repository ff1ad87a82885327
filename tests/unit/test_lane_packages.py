# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests that, without root, a lane that needs root is skipped with a message, and fails in CI."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/lane-packages"


@pytest.mark.parametrize(("ci", "status"), [({}, 75), ({"CI": "true"}, 1)])
def test_without_root_it_is_not_taken_for_passed(tmp_path: Path, ci: dict[str, str], status: int) -> None:
    program = tmp_path / "id"
    program.write_text("#!/bin/sh\necho 1000\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **ci}
    done = subprocess.run([TOOL, "util-linux"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith("SKIPPED, NOT PASSED: ")
