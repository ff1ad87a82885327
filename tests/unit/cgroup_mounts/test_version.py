# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The version of control groups that an engine finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroup_mounts.recorded import ROOT, SAMPLES, VERSIONS, Machine

from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import (
    decide_version,
    parse_memberships,
)
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountTree


@pytest.mark.parametrize(("sample", "version"), VERSIONS.items())
def test_the_version_of_recorded_hosts(sample: str, version: str, tmp_path: Path) -> None:
    assert Machine(tmp_path, sample).inspect().version == version


def test_every_sample_is_described_and_used() -> None:
    samples = {file.stem for file in SAMPLES.glob("*.mountinfo")}
    assert samples == set(VERSIONS) == {file.stem for file in SAMPLES.glob("*.cgroup")}
    described = {line.split(" | ")[0].removeprefix("| ") for line in (SAMPLES / "README.md").read_text().splitlines()}
    assert samples <= described


def test_nothing_mounted_is_what_proc_says() -> None:
    nothing = MountTree(())
    assert decide_version(parse_memberships("0::/\n"), nothing, ROOT) == "v2"
    assert decide_version(parse_memberships("1:name=systemd:/\n0::/\n"), nothing, ROOT) == "v2"
    assert decide_version(parse_memberships("1:memory:/\n0::/\n"), nothing, ROOT) == "v1"


def test_all_controllers_on_the_v2_side_of_a_hybrid() -> None:
    lines = (SAMPLES / "systemd-hybrid.mountinfo").read_text().splitlines()
    tree = MountTree(mountinfo.parse("\n".join(line for line in lines if "cgroup cgroup rw," not in line)))
    assert decide_version(parse_memberships("1:name=systemd:/x\n0::/x\n"), tree, ROOT) == "hybrid"
