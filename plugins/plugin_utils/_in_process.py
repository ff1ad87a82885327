# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A module of this collection without the cost of a module: the core is called in Ansible's own process.

An ordinary module task costs a fifth of a second and more, for packing sources, starting Python and compiling them.
Where the module would run on this very machine, by this very Python, as this very user, nothing but the time differs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as OrdinaryModule

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import head_start


class InProcessModule(OrdinaryModule):  # type: ignore[misc]
    """Same arguments and same results as the ordinary module of the same name, which it falls back to."""

    MODULE: ClassVar[str]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            arguments = self.validate_argument_spec(argument_spec=_argument_specs.ARGUMENT_SPECS[self.MODULE])[1]
        except AnsibleActionFail:
            arguments = None  # let the ordinary module refuse them, in its own words
        if arguments is None or not self._is_here(task_vars or {}):
            ordinary: dict[str, Any] = super().run(tmp, task_vars)
            return ordinary
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        invocation = {"invocation": {"module_args": arguments}} if _tells_arguments(task_vars or {}) else {}
        return {**result, **invocation, **self._answer(arguments)}

    def _answer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not self._task.check_mode:
            found = head_start.take(self.MODULE, arguments)
            if found:
                return {**found.answer, "head_start": {"began": found.began, "ended": found.ended}}
        try:
            return _argument_specs.core(self.MODULE)(arguments, Runner(), self._task.check_mode).answer
        except DindError as error:
            return {"failed": True, "msg": str(error)}

    def _is_here(self, task_vars: dict[str, Any]) -> bool:
        """Whether the ordinary module would run as this user, by this Python, with this environment, and be awaited."""
        return (
            self._connection.transport == "local"
            and self._connection.become is None
            and not any(self._task.environment or ())
            and not self._task.async_val
            and _is_this_python(constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars))
        )


def _tells_arguments(task_vars: dict[str, Any]) -> bool:
    """Whether a module's answer holds the arguments that it was given: always, before ansible-core 2.21."""
    setting = "INJECT_INVOCATION"
    return not hasattr(constants, setting) or constants.config.get_config_value(setting, variables=task_vars)


def _is_this_python(interpreter: str) -> bool:
    """Of a virtual environment, the folder is what counts: all of them link to the same program."""
    ours, theirs = Path(sys.executable), Path(interpreter)
    return theirs.parent == ours.parent and theirs.exists() and theirs.samefile(ours)
