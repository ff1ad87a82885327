# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The installed dockerd: its version, and where it keeps its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


@dataclass(frozen=True)
class Version:
    """A version of dockerd: ``26.1.5+dfsg1`` is ``text``, 26 is ``major``."""

    text: str
    major: int


def parse_version(said: str) -> Version:
    """The version in the output of ``dockerd --version``. Raises DindError where there is none.

    An example is "Docker version 20.10.24+dfsg1, build 5d6db84".
    """
    found = re.search(r"\bversion ((\d+)\.[^\s,]*)", said)
    if found is None:
        raise DindError(f"`dockerd --version` says no version but {said.strip()!r}")
    return Version(found[1], int(found[2]))


def version(runner: Runner) -> Version:
    """The version of the dockerd on the search path. Raises DindError without one."""
    return parse_version(runner.run("dockerd", "--version").stdout)


def data_folders(data_root: Path) -> tuple[Path, ...]:
    """The folders that may hold dockerd's data: the data root, and one below it for each remapping of user ids.

    An engine with ``userns-remap`` names that folder by the ids that root becomes (moby, daemon/daemon_unix.go:
    setupDaemonRoot).
    """
    return data_root, *data_root.glob("[0-9]*.[0-9]*")
