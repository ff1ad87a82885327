# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Run the module cgroup_mounts in Ansible's own process if that makes no difference; else as a module."""

from __future__ import annotations

from ansible_collections.mesos.dind.plugins.plugin_utils._in_process import InProcessModule


class ActionModule(InProcessModule):
    MODULE = "cgroup_mounts"
