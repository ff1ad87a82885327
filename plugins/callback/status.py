# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The output of ``mesos-dind status``: what the roles find and would change, as one JSON document."""

from __future__ import annotations

DOCUMENTATION = r"""
name: status
type: stdout
short_description: Prints what each role of this collection found and would change, as JSON
description:
  - Prints one JSON document on stdout at the end of the play, and nothing else.
  - C(converged) is true if no role failed and no role has anything to change.
  - C(roles) has an entry for each role that ran. C(found) has the values that the role's module returns. C(changes) has
    one text a change, C(warnings) the warnings. C(error) is null unless the role failed.
  - Meant for check mode. In a real run, C(changes) are the changes that were made.
"""

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.mesos.dind.plugins.plugin_utils._callback_results import role, task_and_answer

# Keys of an answer that are not a module's findings.
ABOUT_THE_RUN = frozenset({"actions", "changed", "diff", "exception", "failed", "invocation", "msg", "warnings"})


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "mesos.dind.status"

    def __init__(self) -> None:
        super().__init__()
        self._roles: dict[str, dict[str, Any]] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        self._note(result, error=None)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._note(result, error=str(task_and_answer(result)[1].get("msg")))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        converged = all(not about["changes"] and about["error"] is None for about in self._roles.values())
        self._display.display(json.dumps({"converged": converged, "roles": self._roles}, indent=2, sort_keys=True))

    def _note(self, result: Any, error: str | None) -> None:
        task, answer = task_and_answer(result)
        self._roles[role(task)] = {
            "changes": answer.get("actions", []),
            "error": error,
            "found": {
                name: value
                for name, value in answer.items()
                if name not in ABOUT_THE_RUN and not name.startswith("_ansible")
            },
            "warnings": [str(warning) for warning in answer.get("warnings", [])],
        }
