# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The arrows of docs/development.md: which room of the plugins may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PREFIX = "ansible_collections.mesos.dind.plugins."
FRAME = {"_plan", "_runner", "_errors"}
SHARED = {"_kernel", "_host", *FRAME}
# The room, or the file of the frame, and those that it may import beside itself.
ALLOWED: dict[str, set[str]] = {
    "_errors": set(),
    "_runner": {"_kernel", *FRAME},
    "_plan": FRAME,
    "_argument_specs": FRAME,
    "_module": {"_argument_specs", *FRAME},
    "_kernel": FRAME,
    "_host": SHARED,
    "_bridged_net": SHARED,
    "_loop_storage": SHARED,
    "_cgroup_mounts": SHARED,
    "_engine": SHARED,
}


def imported(file: Path) -> Iterator[str]:
    """The modules of this collection that a file imports, below ``plugins``."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(PREFIX):
            module = f"{node.module}.".removeprefix(PREFIX)
            yield from (f"{module}{alias.name}" for alias in node.names)


FILES = sorted((PLUGINS / "module_utils").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PLUGINS)))
def test_a_room_imports_only_the_rooms_below(file: Path) -> None:
    room = file.relative_to(PLUGINS / "module_utils").parts[0].removesuffix(".py")
    for module in imported(file):
        kind, other = module.split(".")[:2]
        assert kind == "module_utils", module
        assert other in {room, *ALLOWED[room]}, module


@pytest.mark.parametrize("module", ["cgroup_mounts", "loop_storage", "bridged_net", "engine"])
def test_a_module_imports_only_its_core(module: str) -> None:
    found = set(imported(PLUGINS / f"modules/{module}.py"))
    assert {name.rpartition(".")[0] for name in found} <= {"module_utils", f"module_utils._{module}"}


def test_every_room_has_its_arrows() -> None:
    rooms = {path.name.removesuffix(".py") for path in (PLUGINS / "module_utils").iterdir()} - {"__pycache__"}
    assert rooms == set(ALLOWED)
