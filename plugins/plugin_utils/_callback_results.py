# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A callback's arguments, in the same form for every version of ansible-core."""

from __future__ import annotations

from typing import Any


def task_and_answer(result: Any) -> tuple[Any, dict[str, Any]]:
    """The task and its result. ansible-core 2.23 removes the underscored names; 2.17 and 2.18 have only them."""
    if hasattr(result, "task"):
        return result.task, result.result
    return result._task, result._result


def role(task: Any) -> str:
    """The short name of the task's role. A task outside roles has its own name."""
    return str(task._role.get_name(include_role_fqcn=False)) if task._role else str(task.get_name())
