# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run a module's core in Ansible's own process, if the ordinary module would run on this host in the same way.

An ordinary module task packs sources, starts Python and compiles the sources, which takes at least 0.2 s. With the same
host, Python and user, only the time differs. meta/runtime.yml routes the collection's modules to this action plugin.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as OrdinaryModule

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import head_start


class ActionModule(OrdinaryModule):  # type: ignore[misc]
    """Gives the arguments and the results of the ordinary module, which also runs where the core cannot run here."""

    @property
    def _module_name(self) -> str:
        """The module's name without the collection's."""
        return str(self._task.action).rpartition(".")[2]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            arguments = self.validate_argument_spec(argument_spec=_argument_specs.ARGUMENT_SPECS[self._module_name])[1]
        except AnsibleActionFail:
            arguments = None  # the ordinary module refuses them in its own words
        if arguments is None or not self._is_here(task_vars or {}):
            ordinary: dict[str, Any] = super().run(tmp, task_vars)
            return ordinary
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        invocation = {"invocation": {"module_args": arguments}} if _tells_arguments(task_vars or {}) else {}
        return {**result, **invocation, **self._answer(arguments)}

    def _answer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not self._task.check_mode:
            found = head_start.take(self._module_name, arguments)
            if found:
                return {**found.answer, "head_start": {"began": found.began, "ended": found.ended}}
        try:
            return _argument_specs.core(self._module_name)(arguments, Runner(), self._task.check_mode).answer
        except DindError as error:
            return {"failed": True, "msg": str(error)}

    def _is_here(self, task_vars: dict[str, Any]) -> bool:
        """Whether the ordinary module would run here, as this user, with this Python and environment, and awaited."""
        return (
            self._connection.transport == "local"
            and self._connection.become is None
            and not any(self._task.environment or ())
            and not self._task.async_val
            and _is_this_python(constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars))
        )


def _tells_arguments(task_vars: dict[str, Any]) -> bool:
    """Whether an ordinary module's answer holds the module's arguments: always, before ansible-core 2.21."""
    setting = "INJECT_INVOCATION"
    return not hasattr(constants, setting) or constants.config.get_config_value(setting, variables=task_vars)


def _is_this_python(interpreter: str) -> bool:
    """Compare folder and program: the Pythons of several virtual environments link to the same program."""
    ours, theirs = Path(sys.executable), Path(interpreter)
    return theirs.parent == ours.parent and theirs.exists() and theirs.samefile(ours)
