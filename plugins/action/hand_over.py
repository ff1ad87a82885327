# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The task half of the hand-over: check the arguments. The callback of the same name execs the program.

An action plugin runs in a forked worker, detached since ansible-core 2.19. An exec here would leave the parent
waiting for ever. The callback sees this task's result in the main process and execs there.
"""

from __future__ import annotations

import os
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

CALLBACK = "mesos.dind.hand_over"


class ActionModule(ActionBase):  # type: ignore[misc]
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("program", "argv", "environment", "recovery"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.validate_argument_spec(
            argument_spec={
                "program": {"type": "path", "required": True},
                "argv": {"type": "list", "elements": "str", "required": True},
                "environment": {"type": "dict", "default": {}},
                "recovery": {"type": "bool", "default": False},
            }
        )[1]
        if CALLBACK not in constants.config.get_config_value("CALLBACKS_ENABLED"):
            # Without the callback, the play would succeed and no agent would run.
            raise AnsibleActionFail(f"the callback {CALLBACK} is not enabled; add it to callbacks_enabled")
        if not arguments["argv"]:
            raise AnsibleActionFail("argv is empty; it must name at least the program")
        for name, value in arguments["environment"].items():
            if not isinstance(value, str):
                raise AnsibleActionFail(f"environment: {name}={value!r} is not text; quote it")
        if not os.access(arguments["program"], os.X_OK):
            raise AnsibleActionFail(f"{arguments['program']} is not an executable file")
        return {**result, "changed": False, "hand_over": arguments}
