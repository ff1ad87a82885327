# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run a core as an ordinary Ansible module; the core's errors become the module's failure."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mesos.dind.plugins.module_utils._argument_specs import ARGUMENT_SPECS, Core
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def run(name: str, core: Core) -> None:
    """Run ``core(params, runner, check)`` as the module ``name``, and end the process with its answer.

    The core is a parameter, and not looked up by its name, since Ansible packs the files that a module imports.
    """
    module = AnsibleModule(argument_spec=ARGUMENT_SPECS[name], supports_check_mode=True)
    try:
        outcome = core(module.params, Runner(), module.check_mode)
    except DindError as error:
        module.fail_json(msg=str(error))
        return  # not reached: fail_json ends the process
    answer = outcome.answer
    # exit_json(warnings=) is deprecated (ansible-core 2.19).
    for warning in answer.pop("warnings"):
        module.warn(warning)
    module.exit_json(**answer)
