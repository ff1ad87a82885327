# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The propagation of mounts."""

from __future__ import annotations

from pathlib import Path

from cgroup_fixtures import (
    Container,
    converge,
)

from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo


def test_root_becomes_shared_and_every_mount_gets_its_propagation_back(box: Container, tmp_path: Path) -> None:
    def propagation() -> list[tuple[str, bool]]:
        tree = mountinfo.of_this_process()
        # An engine's own mounts, in the copy of the host's table, come and go.
        points = [mount.mount_point for mount in tree.mounts if mount.mount_point.startswith(("/sys", "/proc", "/dev"))]
        tops = [top for point in ("/", *points) if (top := tree.at(point)) is not None]
        return [(mount.mount_point, mount.is_shared) for mount in tops]

    before = box.call(propagation)
    assert not any(shared for _, shared in before)
    outcome = box.call(converge, tmp_path / "journal", propagation=None)
    assert outcome.actions[-1] == "make / and all mounts below shared"
    assert all(shared for _, shared in box.call(propagation))
    assert box.call(converge, tmp_path / "journal", propagation=None).actions == []
    box.call(converge, tmp_path / "journal", present=False)
    assert box.call(propagation) == before
