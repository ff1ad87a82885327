# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where in its data root an engine keeps what is its own."""

from __future__ import annotations

from pathlib import Path


def of(data_root: Path) -> tuple[Path, ...]:
    """The data root and, of engines with `userns-remap`, folders in it by the name of the ids that root becomes (moby,
    daemon/daemon_unix.go: setupDaemonRoot)."""
    return data_root, *data_root.glob("[0-9]*.[0-9]*")
