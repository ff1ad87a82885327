# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The log of a boot: one line a step, with its time, on stderr; the same for a machine in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_log
type: stdout
short_description: A boot in a dozen readable lines
description:
  - Prints a line for each step that did or found something, with the seconds it took, on stderr, and a line that
    names the step, the cause and the cure where one failed. Stdout stays with the program that the boot hands over to.
  - Writes the same as JSON. Of each step, C(at) is when it began and C(told) when Ansible had its answer, in seconds
    since the process was started, and C(ahead) whether it was done while Ansible was still being loaded.
options:
  report:
    description: Where the JSON goes.
    type: path
    default: /run/mesos-dind/boot.json
    ini:
      - section: callback_boot_log
        key: report
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.mesos.dind.plugins.plugin_utils._results import role, task_and_answer


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "mesos.dind.boot_log"

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[dict[str, Any]] = []
        self._started = self._marked = process_start()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._record("ansible", ["ready"])

    def v2_runner_on_ok(self, result: Any) -> None:
        task, answer = task_and_answer(result)
        for warning in answer.get("warnings") or ():
            self._say(f"{role(task):<9} warning: {warning}")
        if "actions" in answer:
            self._record(role(task), answer["actions"] or ["nothing to do"], answer.get("head_start"))
        elif "hand_over" in answer:
            self._record("agent", [f"handing over to {answer['hand_over']['argv'][0]}"])

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        task, answer = task_and_answer(result)
        self._say(f"{role(task)}: {answer.get('msg') or task.get_name()}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        report = {"steps": self._steps, "seconds": round(now() - self._started, 3)}
        Path(self.get_option("report")).write_text(json.dumps(report, indent=2) + "\n")

    def _record(self, step: str, actions: list[str], head_start: dict[str, float] | None = None) -> None:
        """A step's time is from the end of the one before it, so that nothing of the boot is left out; or, where it
        was done while Ansible was still being loaded, its own."""
        began, self._marked = self._marked, now()
        ended = self._marked
        if head_start:
            began, ended = head_start["began"], head_start["ended"]
        seconds = ended - began
        times = {"at": began - self._started, "seconds": seconds, "told": self._marked - self._started}
        rounded = {name: round(value, 3) for name, value in times.items()}
        self._steps.append({"step": step, **rounded, "ahead": head_start is not None, "actions": actions})
        self._say(f"{step:<9} {seconds:5.2f} s  {'; '.join(actions)}")

    def _say(self, line: str) -> None:
        self._display.display(f"mesos-dind: {line}", stderr=True)


def now() -> float:
    """Seconds of CLOCK_BOOTTIME, the clock of process_start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start() -> float:
    """When this process was started, in seconds of CLOCK_BOOTTIME: field 22 of proc_pid_stat(5)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
