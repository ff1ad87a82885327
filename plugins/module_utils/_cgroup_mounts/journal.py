# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The record of the changes made in this mount namespace, and the steps that keep it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import changes
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.delegation import Delegate
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Change, State
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

CHANGES: Mapping[str, type[Change]] = {
    kind.__name__: kind
    for kind in (
        changes.MountDirectory,
        changes.MountHierarchy,
        changes.UnmountHierarchy,
        changes.Link,
        changes.Remount,
        changes.SeedCpuset,
        changes.MountUnified,
        Delegate,
        changes.ShareMounts,
        changes.MountSecurityfs,
    )
}


@dataclass(frozen=True)
class Journal:
    """The changes made so far, in a file. The file counts only in the mount namespace that ``owner`` names: it
    outlives a container's restart, the mounts do not."""

    file: Path
    owner: str

    def read(self) -> tuple[Change, ...]:
        try:
            found = json.loads(self.file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return ()
        if found["owner"] != self.owner:
            return ()
        return tuple(CHANGES[entry.pop("kind")](**_tupled(entry)) for entry in found["changes"])

    def append(self, change: Change) -> None:
        self._write((*_without(change, self.read()), change))

    def remove(self, change: Change) -> None:
        self._write(_without(change, self.read()))

    def _write(self, made: tuple[Change, ...]) -> None:
        if not made:
            self.file.unlink(missing_ok=True)
            return
        entries = [{"kind": type(change).__name__, **vars(change)} for change in made]
        atomic_file.write(self.file, json.dumps({"owner": self.owner, "changes": entries}, indent=2) + "\n")


@dataclass(frozen=True)
class Make(_plan.Step[State]):
    """Write a change down, then make it: a journal that knew less than was done could not undo it.

    A change made again, after somebody else undid it, becomes the journal's last.
    """

    says = "{self.change}"
    change: Change
    journal: Journal

    def effect(self, state: State) -> State:
        journal = (*_without(self.change, state.journal), self.change)
        return dataclasses.replace(self.change.after(state, made=True), journal=journal)

    def do(self, runner: Runner) -> None:
        self.journal.append(self.change)
        self.change.do(runner)

    def undo(self, runner: Runner) -> None:
        self.change.undo(runner)
        self.journal.remove(self.change)


@dataclass(frozen=True)
class TakeBack(_plan.Step[State]):
    says = "take back: {self.change}"
    change: Change
    journal: Journal

    def effect(self, state: State) -> State:
        journal = _without(self.change, state.journal)
        return dataclasses.replace(self.change.after(state, made=False), journal=journal)

    def do(self, runner: Runner) -> None:
        self.change.undo(runner)
        self.journal.remove(self.change)


def _without(change: Change, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(other for other in changes if other != change)


def _tupled(value: Any) -> Any:
    """JSON has lists for tuples."""
    if isinstance(value, dict):
        return {name: _tupled(item) for name, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
