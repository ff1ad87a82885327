# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module engine: the engine under s6 in a container, or under systemd on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6
from ansible_collections.mesos.dind.plugins.module_utils._errors import ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# The keys of bridged_net's answer that an engine needs, with their values without an answer.
NO_NETWORK: Mapping[str, Any] = {
    "mode": "",
    "bridge": "docker0",
    "uplink": "",
    "bip": "",
    "fixed_cidr": "",
    "gateway": "",
    "bip_v6": "",
    "fixed_cidr_v6": "",
    "gateway_v6": "",
    "address_pools": [],
    "masquerade": True,
    "dns": [],
    "dns_options": [],
    "mtu": 0,
}
KINDS = {str: "a text", list: "a list", bool: "true or false", int: "a whole number"}


def core(
    params: Mapping[str, Any], runner: Runner, check: bool, services: Sequence[str] = ("containerd", "dockerd")
) -> _plan.Outcome:
    """The module ``mesos.dind.engine``.

    ``services`` names the services to start under s6: containerd can start before the network is known.
    """
    network = of_network(params["network"])
    ipv6_keys = ipv6.config(network["fixed_cidr_v6"], network["bip_v6"], network["gateway_v6"], runner)
    params = {**params, **network, "ipv6": ipv6_keys}
    # Load only the supervisor in use: each file costs time at the boot of a container.
    if params["supervisor"] == "systemd":
        from ansible_collections.mesos.dind.plugins.module_utils._engine import systemd

        return systemd.core(params, runner, check)
    from ansible_collections.mesos.dind.plugins.module_utils._engine import s6

    return s6.core(params, runner, check, services)


def of_network(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of bridged_net's answer that an engine needs; other keys are ignored.

    ``uplink`` is empty unless the bridge must have that port. ``mtu`` is None for the engine's own default. Raises
    ParameterError for a value of a wrong type.
    """
    network = {name: NO_NETWORK[name] if answer.get(name) is None else answer[name] for name in NO_NETWORK}
    for name, default in NO_NETWORK.items():
        kind = type(default)
        # Ansible's values are instances of subclasses. In Python, bool is a subclass of int.
        if not isinstance(network[name], kind) or isinstance(network[name], bool) != (kind is bool):
            raise ParameterError(f"network: {name} is {network[name]!r}, and allowed is {KINDS[kind]}", "network")
    return {
        **network,
        "uplink": network["uplink"] if network["mode"] == "bridge" else "",
        "mtu": network["mtu"] or None,
    }
