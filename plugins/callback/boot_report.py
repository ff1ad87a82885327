# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The report of a boot as a JSON file, whichever callback writes the log."""

from __future__ import annotations

DOCUMENTATION = r"""
name: boot_report
type: notification
short_description: Writes the steps of a boot and their times, as JSON
description:
  - Writes C(steps) and the C(seconds) of the whole run.
  - A step began at C(at), and Ansible had the answer at C(told). Both are seconds since the start of the process.
  - C(ahead) is true if the step was done while Ansible was still loading.
requirements:
  - to be listed in C(callbacks_enabled), before P(mesos.dind.hand_over#callback), which does not return
options:
  report:
    description: The file to write.
    type: path
    default: /run/mesos-dind/boot.json
    ini:
      - section: callback_boot_report
        key: report
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ansible_collections.mesos.dind.plugins.plugin_utils._boot_steps import Clock, Step


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mesos.dind.boot_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._steps: list[Step] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._steps.append(self._clock.loaded())

    def v2_runner_on_ok(self, result: Any) -> None:
        step = self._clock.step(result)
        if step:
            self._steps.append(step)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        steps = [dataclasses.asdict(step) for step in self._steps]
        report = {"steps": steps, "seconds": round(self._clock.elapsed(), 3)}
        Path(self.get_option("report")).write_text(json.dumps(report, indent=2) + "\n")
