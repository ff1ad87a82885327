# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests that the collection's archive leaves out the files that git ignores."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_what_git_ignores_is_not_in_the_archive() -> None:
    left_out = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    for line in (ROOT / ".gitignore").read_text().split():
        # A pattern without a leading slash matches at any depth (gitignore(5)).
        path = line.strip("/") if line.startswith(("/", ".")) else f"some/folder/{line.strip('/')}"
        assert any(fnmatch(path, pattern) for pattern in left_out), line
