# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps of a boot and their times, for the log and the report."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.plugin_utils._callback_results import role, task_and_answer


@dataclass(frozen=True)
class Step:
    """A step and its ``actions``, which took ``seconds``.

    It began ``at`` seconds after the start of the process, and Ansible had the answer after ``told`` seconds. ``ahead``
    is true if the step was done while Ansible was still loading.
    """

    step: str
    at: float
    seconds: float
    told: float
    ahead: bool
    actions: list[str]


class Clock:
    """The times of this process's steps, one after the other."""

    def __init__(self) -> None:
        self._started = self._marked = process_start()

    def loaded(self) -> Step:
        """The step of loading Ansible. Call it when the play begins."""
        return self._step("ansible", ["ready"])

    def step(self, result: Any) -> Step | None:
        """The step that a task's result reports, or None."""
        task, answer = task_and_answer(result)
        if "actions" in answer:
            return self._step(role(task), answer["actions"] or ["nothing to do"], answer.get("head_start"))
        if "hand_over" in answer:
            return self._step("agent", [f"handing over to {answer['hand_over']['argv'][0]}"])
        return None

    def elapsed(self) -> float:
        """Seconds since the start of the process."""
        return now() - self._started

    def _step(self, name: str, actions: list[str], head_start: dict[str, float] | None = None) -> Step:
        """A step's time begins with the end of the step before it, so that no time of the boot is left out. A step that
        was done while Ansible was loading has its own time."""
        began, self._marked = self._marked, now()
        ended = self._marked
        if head_start:
            began, ended = head_start["began"], head_start["ended"]
        return Step(
            name,
            at=round(began - self._started, 3),
            seconds=round(ended - began, 3),
            told=round(self._marked - self._started, 3),
            ahead=head_start is not None,
            actions=actions,
        )


def now() -> float:
    """Seconds of CLOCK_BOOTTIME, the clock of process_start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start() -> float:
    """When this process was started, in seconds of CLOCK_BOOTTIME: field 22 of proc_pid_stat(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
