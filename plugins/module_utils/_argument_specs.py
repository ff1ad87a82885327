# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The argument spec of each module, and the function that loads a module's core.

The specs stand apart from the cores: a task that takes an answer of the head start loads no core. The documentation of
the arguments stands in plugins/modules; `ansible-test sanity` compares the two.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

Core = Callable[[Mapping[str, Any], Runner, bool], Outcome]

# In Ansible's own terms (`argument_spec`).
ARGUMENT_SPECS: Mapping[str, Mapping[str, Any]] = {
    "cgroup_mounts": {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "root": {"type": "path", "default": "/sys/fs/cgroup"},
        "systemd_hierarchy": {"type": "bool", "default": False},
        "delegate": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
        "leaf": {"type": "str", "default": "mesos-dind"},
        "propagation": {"type": "bool"},
    },
    "loop_storage": {
        "data_root": {"type": "path", "default": "/var/lib/docker"},
        "image": {"type": "path", "default": "/var/lib/mesos-dind/docker.img"},
        "size": {"type": "str", "default": "5"},
        "fstype": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
        "strategy": {"type": "str", "choices": ["auto", "overlay", "loop", "aufs", "vfs"], "default": "auto"},
        "preallocate": {"type": "bool", "default": False},
        "hold": {"type": "bool", "default": True},
        "mount_options": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "purge": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
    },
    "bridged_net": {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "uplink": {"type": "str", "default": ""},
        "bridge": {"type": "str", "default": "docker0"},
        "offset": {"type": "str", "default": ""},
        "size": {"type": "int"},
        "peers": {"type": "list", "elements": "str", "default": []},
        "gateway": {"type": "str", "choices": ["outer", "bridge"], "default": "outer"},
        "data_root": {"type": "path", "default": "/var/lib/docker"},
        "mtu": {"type": "int"},
        "ipv6_range": {"type": "str", "default": ""},
        "mode": {"type": "str", "choices": ["auto", "bridge", "proxy_arp"], "default": "auto"},
        "verify": {"type": "bool", "default": True},
        "verify_timeout": {"type": "float", "default": 5.0},
        "persist": {"type": "str", "choices": ["auto", "networkd", "ifupdown", "none"], "default": "none"},
    },
    "engine": {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "supervisor": {"type": "str", "choices": ["s6", "systemd"], "default": "s6"},
        "data_root": {"type": "path", "default": "/var/lib/docker"},
        "storage_driver": {"type": "str", "default": ""},
        "network": {"type": "dict", "default": {}},
        "had_bridge": {"type": "bool"},
        "cgroup_parent": {"type": "str", "default": ""},
        "args": {"type": "list", "elements": "str", "default": []},
        "log": {"type": "str", "choices": ["stdio", "file"], "default": "stdio"},
        "debug": {"type": "bool", "default": False},
        "user_config": {"type": "path", "default": "/etc/docker/daemon.json"},
    },
}


def core(module: str) -> Core:
    """The function ``core(params, runner, check)`` of a module, which raises DindError."""
    loaded: Core = importlib.import_module(f"{__package__}._{module}.core").core
    return loaded
