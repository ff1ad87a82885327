# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The folders in which dockerd keeps its own files."""

from __future__ import annotations

from pathlib import Path


def roots(data_root: Path) -> tuple[Path, ...]:
    """The data root and the roots in it of engines with `userns-remap`.

    Such a root has the name of the ids that container's root gets (moby, daemon/daemon_unix.go: setupDaemonRoot).
    """
    return data_root, *data_root.glob("[0-9]*.[0-9]*")
