# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The shell between the core and an ordinary Ansible module: the one place that catches the core's errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

Core = Callable[[Mapping[str, Any], Runner, bool], Outcome]


def run(module: AnsibleModule, core: Core) -> None:
    """Run ``core(params, runner, check)`` and answer as a module does."""
    try:
        outcome = core(module.params, Runner(), module.check_mode)
    except DindError as error:
        module.fail_json(msg=str(error))
        return  # not reached: fail_json ends the process
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(
        changed=bool(outcome.actions),
        actions=list(outcome.actions),
        diff={"before": dict(outcome.before), "after": dict(outcome.after)},
        **outcome.facts,
    )
