# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The step that replaces our files for the bridge's manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


@dataclass(frozen=True)
class WriteFiles(Step[State]):
    """Replace our files ``before`` with those ``after``, by path.

    A file that refers to others comes last: it is written last and removed first. So a reboot in between finds no
    reference to a missing file.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]

    def __str__(self) -> str:
        written = [path for path, text in self.after.items() if self.before.get(path) != text]
        removed = [path for path in self.before if path not in self.after]
        changes = (("write", written), ("remove", removed))
        return " and ".join(f"{verb} {', '.join(paths)}" for verb, paths in changes if paths)

    def do(self, runner: Runner) -> None:
        self.change(self.before, self.after)

    def undo(self, runner: Runner) -> None:
        self.change(self.after, self.before)

    def change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        for path in reversed([path for path in before if path not in after]):
            Path(path).unlink(missing_ok=True)
        for path, text in after.items():
            if not Path(path).exists() or Path(path).read_text() != text:
                self.write(Path(path), text)

    def write(self, path: Path, text: str) -> None:
        raise NotImplementedError
