# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module engine: the same engine under the one supervisor or the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def core(
    params: Mapping[str, Any], runner: Runner, check: bool, services: Sequence[str] = ("containerd", "dockerd")
) -> _plan.Outcome:
    """The module ``mesos.dind.engine``; with s6 of ``services`` only, where containerd is to run before all is known
    that dockerd wants to know."""
    params = {**params, "ipv6": ipv6.of(params, runner)}
    # Only the one that is of use is loaded: at the boot of a container every file counts.
    if params["supervisor"] == "systemd":
        from ansible_collections.mesos.dind.plugins.module_utils._engine import systemd

        return systemd.core(params, runner, check)
    from ansible_collections.mesos.dind.plugins.module_utils._engine import s6

    return s6.core(params, runner, check, services)
