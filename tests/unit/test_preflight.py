"""What is known by looking, before the boot changes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils import _preflight, _settings


@pytest.mark.parametrize(
    ("command", "is_v2", "warned"), [("mesos-agent", True, True), ("mesos-agent", False, False), ("bash", True, False)]
)
def test_an_agent_on_pure_v2_is_told_what_mesos_cannot_do(
    tmp_path: Path, command: str, is_v2: bool, warned: bool
) -> None:
    if is_v2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    told = _preflight.warnings(_settings.read({}, [command]), tmp_path)
    assert [("Docker task" in line) for line in told] == [True] * warned
