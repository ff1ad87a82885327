# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The kernel's network settings, by their paths below /proc/sys: a device's name may have dots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

IP_FORWARD = "net/ipv4/ip_forward"
PROXY_ARP = "net/ipv4/conf/{}/proxy_arp"
PROXY_DELAY = "net/ipv4/neigh/{}/proxy_delay"  # up to 0.8 s by default, to spread the answers of many hosts
DISABLE_IPV6 = "net/ipv6/conf/{}/disable_ipv6"
ACCEPT_RA = "net/ipv6/conf/{}/accept_ra"
# For all devices, because dockerd makes bridges later: its default one, and one for each user-defined network.
ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"


def read(proc: Path, devices: Iterable[str]) -> dict[str, str]:
    """The settings that the kernel has, for these devices."""
    of_devices = (PROXY_ARP, PROXY_DELAY, DISABLE_IPV6, ACCEPT_RA)
    names = {IP_FORWARD, ROUTE_LOCALNET, *(name.format(device) for name in of_devices for device in devices)}
    values = {name: _value(proc / "sys" / name) for name in sorted(names)}
    return {name: value for name, value in values.items() if value is not None}


def _value(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def set_all(
    state: State, wanted: Mapping[str, str], proc: Path, before: Mapping[str, str] | None = None
) -> list[Step[State]]:
    """``before`` has values for the undoing, of settings that a killed run may have changed already."""
    known = before or {}
    return [
        SetSysctl(proc, name, value, known.get(name, state.sysctls.get(name)))
        for name, value in wanted.items()
        if state.sysctls.get(name) != value or name in known
    ]


@dataclass(frozen=True)
class SetSysctl(Step[State]):
    proc: Path
    name: str
    value: str
    before: str | None

    def __str__(self) -> str:
        return f"set {self.name} to {self.value}"

    def effect(self, state: State) -> State:
        return replace(state, sysctls={**state.sysctls, self.name: self.value})

    def do(self, runner: Runner) -> None:
        self._write(self.value)

    def undo(self, runner: Runner) -> None:
        if self.before is not None:
            self._write(self.before)

    def _write(self, value: str) -> None:
        (self.proc / "sys" / self.name).write_text(f"{value}\n")
