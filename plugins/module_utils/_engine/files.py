# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The step that writes a file of the engine, under either supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


class HasFiles(Protocol):
    """A state that maps the path of each existing file to the file's text."""

    @property
    def files(self) -> Mapping[str, str]: ...

    def with_files(self, files: Mapping[str, str]) -> Self: ...


S = TypeVar("S", bound=HasFiles)


@dataclass(frozen=True)
class WriteFile(Step[S]):
    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"

    def effect(self, state: S) -> S:
        return state.with_files({**state.files, self.path: self.text})

    def do(self, runner: Runner) -> None:
        atomic_file.write(Path(self.path), self.text)


def changed(desired: Mapping[str, str], state: S) -> list[WriteFile[S]]:
    """The steps that write the files of ``desired`` (path to text) that ``state`` lacks or has with other text."""
    return [WriteFile(path, text) for path, text in desired.items() if state.files.get(path) != text]
