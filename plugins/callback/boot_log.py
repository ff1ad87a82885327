# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The log of a boot: one line a step, with the step's seconds, on stderr."""

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_log
type: stdout
short_description: Logs a boot in a dozen lines
description:
  - Prints a line on stderr for each step that did or found something, with the seconds that the step took.
  - If a step fails, prints a line with the step, the cause and the remedy.
  - Stdout belongs to the program that the boot hands over to.
"""

from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.mesos.dind.plugins.plugin_utils._boot_steps import Clock, Step
from ansible_collections.mesos.dind.plugins.plugin_utils._callback_results import role, task_and_answer


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "mesos.dind.boot_log"

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._tell(self._clock.loaded())

    def v2_runner_on_ok(self, result: Any) -> None:
        task, answer = task_and_answer(result)
        for warning in answer.get("warnings") or ():
            self._say(f"{role(task):<9} warning: {warning}")
        step = self._clock.step(result)
        if step:
            self._tell(step)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        task, answer = task_and_answer(result)
        self._say(f"{role(task)}: {answer.get('msg') or task.get_name()}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.v2_runner_on_failed(result)

    def _tell(self, step: Step) -> None:
        self._say(f"{step.step:<9} {step.seconds:5.2f} s  {'; '.join(step.actions)}")

    def _say(self, line: str) -> None:
        self._display.display(f"mesos-dind: {line}", stderr=True)
