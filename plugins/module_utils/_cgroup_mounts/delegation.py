# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The delegation of a v2 group's controllers to the groups below it."""

from __future__ import annotations

import contextlib
import errno
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import Change, State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Seconds within which the group must become empty. A `docker exec` in a loop adds a process every 0.1 s or so.
TIMEOUT = 5.0


@dataclass(frozen=True)
class Delegate(Change):
    """Move all processes of a v2 group to a leaf of it, then open its controllers to its other children.

    A group with processes cannot have children with controllers (cgroup-v2.rst, "No Internal Process Constraint").
    ``controllers`` are those to enable; an empty tuple enables every controller.
    """

    directory: str
    leaf: str
    controllers: tuple[str, ...]

    @property
    def group(self) -> Path:
        return Path(self.directory)

    def __str__(self) -> str:
        which = " ".join(self.controllers) or "every controller"
        return f"move the processes of {self.directory} to its leaf {self.leaf} and delegate {which}"

    def after(self, state: State, *, made: bool) -> State:
        if state.unified is None:
            return state
        others = tuple(name for name in state.unified.delegated if name not in self.controllers)
        delegated = others + self.controllers if made else others
        unified = replace(state.unified, delegated=delegated, has_processes=not made, has_leaf=made)
        return replace(state, unified=unified)

    def do(self, runner: Runner) -> None:
        (self.group / self.leaf).mkdir(exist_ok=True)
        deadline = time.monotonic() + TIMEOUT
        # A process that enters the container meanwhile starts in the group and makes the kernel refuse.
        while not self._try():
            if time.monotonic() > deadline:
                left = _words(self.group / "cgroup.procs")
                raise DindError(
                    f"processes keep appearing in {self.group} (now there are {', '.join(left) or 'none'}; "
                    f"0 is one of another pid namespace), and its controllers cannot be delegated",
                    cure="stop what starts them, such as a health check or `docker exec` in a loop",
                )

    def _try(self) -> bool:
        move_processes(self.group, self.group / self.leaf)
        names = self.controllers or _words(self.group / "cgroup.controllers")
        # Without any controller, only the last look finds a process that has just appeared.
        return all(self._switch("+", name) for name in names) and not _words(self.group / "cgroup.procs")

    def _switch(self, sign: str, name: str) -> bool:
        """Enable (+) or disable (-) a controller for the children; False if processes or children prevent that."""
        try:
            (self.group / "cgroup.subtree_control").write_text(f"{sign}{name}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise DindError(f"the controller {name} cannot be delegated in {self.group}: {error.strerror}") from None
        return True

    def undo(self, runner: Runner) -> None:
        enabled = _words(self.group / "cgroup.subtree_control")
        for name in self.controllers or enabled:
            if name in enabled and not self._switch("-", name):
                children = sorted(child for child in self.group.iterdir() if child.is_dir())
                users = [str(child) for child in children if name in _words(child / "cgroup.subtree_control")]
                raise DindError(
                    f"the controller {name} is still in use below {self.group}, by {', '.join(users)}",
                    cure="stop the engine first",
                )
        leaf = self.group / self.leaf
        if leaf.exists():
            move_processes(leaf, self.group)
            leaf.rmdir()


def move_processes(source: Path, target: Path) -> None:
    """Move every process of a group, except processes of other pid namespaces, which are listed as 0."""
    for pid in _words(source / "cgroup.procs"):
        if pid != "0":
            # Gone already, or about to exec into a container of its own.
            with contextlib.suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(pid)


def _words(file: Path) -> tuple[str, ...]:
    return tuple(file.read_text().split())
