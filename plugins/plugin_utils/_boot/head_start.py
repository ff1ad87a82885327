# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run the boot's modules while Ansible is still loading, which takes longer than most of the modules.

1. The entry point forks before it becomes ``ansible-playbook``.
2. The fork calls the modules' cores one after the other, with the arguments that the roles will give.
3. The fork writes each answer to a file.
4. A task of the boot playbook takes the answer, once, if the arguments are the same; otherwise the task runs the core.

So the playbook decides and reports. If the two ever disagree, the playbook is right.

The fork locks a file until the answer is in the file or the fork ends. A reader waits for the lock, never for a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import settings

FOLDER = Path("/run/mesos-dind/head-start")

Values = Mapping[str, Any]


def begin(variables: Values, folder: Path = FOLDER) -> None:
    """Start the work for the roles' ``variables`` in a process that is no child of this one; return at once."""
    folder.mkdir(parents=True)
    files = {module: _locked(folder / module) for module in _argument_specs.ARGUMENT_SPECS}
    middle = os.fork()
    if middle == 0:
        # The parent ends at once, so that init reaps the worker: the agent would not.
        if os.fork() == 0:
            try:
                with contextlib.suppress(DindError):  # the answer says it
                    HeadStart(variables, files).run()
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(middle, 0)
    for file in files.values():
        file.close()


def _locked(path: Path) -> BinaryIO:
    file = path.open("wb", buffering=0)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


# The roles of playbooks/tasks/converge.yml, and the module that each of them calls.
MODULES = {"cgroups": "cgroup_mounts", "storage": "loop_storage", "network": "bridged_net", "engine": "engine"}


class HeadStart:
    """Calls the cores in the order of playbooks/tasks/converge.yml, with the arguments that the roles give.

    A role's variables are the arguments of the role's module, prefixed with the role's name. The values that a role
    takes from another role's answer stand in the playbook and here; tests/unit/boot/test_head_start.py compares them.
    """

    def __init__(self, variables: Values, files: Mapping[str, BinaryIO]) -> None:
        self._variables = variables
        self._files = files

    def run(self) -> None:
        cgroups = self._do("cgroups", {})
        storage = self._do("storage", {})
        engine = {
            "data_root": storage["mountpoint"],
            "storage_driver": storage["storage_driver"],
            "cgroup_parent": cgroups["cgroup_parent"],
        }
        containerd = _Containerd(self._arguments("engine", engine))
        network = self._do("network", {})
        self._do("engine", {**engine, "network": network}, containerd)

    def _arguments(self, role: str, given: Values) -> Values:
        """All arguments of the role's module: the argument spec's defaults, the role's variables and ``given``."""
        spec = _argument_specs.ARGUMENT_SPECS[MODULES[role]]
        defaults = {name: about.get("default") for name, about in spec.items()}
        return {**defaults, **settings.of_role(role, self._variables), **given}

    def _do(self, role: str, given: Values, ahead: _Containerd | None = None) -> Values:
        """Call the core of the role's module and write the answer to the module's file. Returns the answer's facts.

        Raises DindError, after writing the failure to the file.
        """
        module, arguments = MODULES[role], self._arguments(role, given)
        began = ahead.began if ahead else _now()
        with self._files[module] as file:
            try:
                early = ahead.outcome() if ahead else None
                outcome = _argument_specs.core(module)(arguments, Runner(), False)
                if early:
                    actions = [*early.actions, *outcome.actions]
                    outcome = dataclasses.replace(outcome, actions=actions, before=early.before)
            except DindError as error:
                self._hand_out(file, arguments, {"failed": True, "msg": str(error)}, began)
                raise
            self._hand_out(file, arguments, outcome.answer, began)
            return outcome.facts

    @staticmethod
    def _hand_out(file: BinaryIO, arguments: Values, answer: Values, began: float) -> None:
        found = Found(arguments, answer, began, _now())
        file.write(json.dumps(dataclasses.asdict(found)).encode())


class _Containerd(threading.Thread):
    """Starts containerd, which needs no network, while the network waits for answers from other hosts."""

    def __init__(self, arguments: Values) -> None:
        super().__init__()
        self.began = _now()
        self._arguments = arguments
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        from ansible_collections.mesos.dind.plugins.module_utils._engine import core as _engine

        try:
            self._outcome = _engine.core(self._arguments, Runner(), False, ("containerd",))
        except BaseException as error:  # outcome() raises it
            self._error = error

    def outcome(self) -> Outcome | None:
        self.join()
        if self._error:
            raise self._error
        return self._outcome


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Found:
    """An answer of the head start. ``began`` and ``ended`` are seconds of CLOCK_BOOTTIME."""

    arguments: Values
    answer: Values
    began: float
    ended: float


def take(module: str, arguments: Values, folder: Path = FOLDER) -> Found | None:
    """The head start's answer of a module, if it had the same arguments; None otherwise.

    Waits until the module's work has ended. Each answer is given once: a second call wants a new look at the host.
    """
    path = folder / module
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        text = file.read()
    path.unlink()
    found = Found(**json.loads(text)) if text else None
    return found if found and _is_same(found.arguments, json.loads(json.dumps(dict(arguments)))) else None


def _is_same(done: Values, asked: Values) -> bool:
    """Whether a task's arguments are those of the work; a registered result may have further keys, from Ansible."""
    return done.keys() == asked.keys() and all(
        value.items() <= asked[name].items() if isinstance(value, dict) else value == asked[name]
        for name, value in done.items()
    )
