# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import net_device


@dataclass(frozen=True)
class Desired:
    """The module's parameters. ``uplink`` empty: the default route's device; ``mtu`` None: the uplink's."""

    uplink: str = ""
    bridge: str = "docker0"
    offset: str = ""
    size: int | None = None
    peers: tuple[str, ...] = ()
    gateway: str = "outer"
    mtu: int | None = None
    ipv6_range: str = ""
    data_root: str = "/var/lib/docker"
    mode: str = "auto"
    verify: bool = True
    verify_timeout: float = 5.0
    persist: str = "none"
    state: str = "present"

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Desired:
        """Raises DindError for a value that is wrong on every machine."""
        fields = dataclasses.fields(cls)
        given = {field.name: params[field.name] for field in fields if params.get(field.name) is not None}
        desired = cls(**{**given, "peers": tuple(given.get("peers", ()))})
        for name in filter(None, (desired.uplink, desired.bridge)):
            if not net_device.is_name(name):
                raise DindError(f"{name!r} is not allowed; allowed is {net_device.ALLOWED_NAME}")
        if desired.mtu is not None and not net_device.is_mtu(desired.mtu):
            raise DindError(f"mtu {desired.mtu} is not allowed; allowed is {net_device.ALLOWED_MTU}")
        if not 0 < desired.verify_timeout <= 300:
            raise DindError(f"verify_timeout {desired.verify_timeout:g} is not between 0 and 300 seconds")
        if desired.ipv6_range and desired.state == "present" and not desired.is_bridged:
            raise ParameterError("an IPv6 range is for bridged mode only, and there is no offset", "ipv6_range")
        return desired

    @property
    def is_bridged(self) -> bool:
        return self.state == "present" and bool(self.offset)
