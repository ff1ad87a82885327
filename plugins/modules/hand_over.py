# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hand_over
short_description: Lets a program take the place of ansible-playbook
version_added: 0.1.0
description:
  - Names the program that the C(ansible-playbook) process becomes when the play has ended and no host has failed.
    The program keeps the process id, the standard streams and the working folder. No Ansible process is left.
  - The module is an action plugin that only checks its arguments. The callback plugin P(mesos.dind.hand_over#callback)
    execs the program. It must be listed in C(callbacks_enabled).
  - The program's environment is the one of the process that started C(ansible-playbook), plus O(environment).
author:
  - The mesos.dind Authors (@mesos-dind)
options:
  program:
    description: The executable file.
    type: path
    required: true
  argv:
    description: The argument vector, beginning with the program's name.
    type: list
    elements: str
    required: true
  environment:
    description: Variables to add to the program's environment.
    type: dict
    default: {}
  recovery:
    description:
      - Whether the program is a Mesos agent that may have to recover from the state in its work directory.
      - An agent cannot recover after its host name has changed. If it has changed, the agent starts as a new one. Only
        the link C(meta/slaves/latest) is removed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
extends_documentation_fragment: []
"""

EXAMPLES = r"""
- name: Become the agent
  mesos.dind.hand_over:
    program: /usr/sbin/mesos-agent
    argv: [mesos-slave, --no-systemd_enable_support]
    environment:
      MESOS_CONTAINERIZERS: docker,mesos
"""

RETURN = r"""
hand_over:
  description: The checked arguments, for the callback.
  returned: success
  type: dict
  sample:
    program: /usr/sbin/mesos-agent
    argv: [mesos-slave]
    environment: {}
    recovery: false
"""
