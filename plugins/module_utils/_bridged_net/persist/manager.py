# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bridge's manager: who makes the bridge again at the next boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import Bridging
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.ifupdown import CURE, IfupdownManager
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd import NetworkdManager
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, PROXY_ARP, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.sysctls import IP_FORWARD
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step


class Manager(Protocol):
    """A program that configures the machine's network at boot. Its files keep the bridge."""

    @property
    def name(self) -> str:
        """The value of the parameter ``persist``."""

    @property
    def program(self) -> str:
        """The name for people."""

    def manages(self, state: State) -> bool:
        """Whether it has configured the uplink."""

    def is_used(self, state: State) -> bool:
        """Whether it has files or a state of ours."""

    def keeps_forwarding(self, state: State) -> bool:
        """Whether our files say that IPv4 forwarding was off."""

    def refuse(self, state: State, record: Record) -> None:
        """Raises DindError if it cannot keep the bridge."""

    def files(self, bridging: Bridging, state: State) -> Mapping[str, str]:
        """The files that keep the bridge, by path; none if somebody else's do. Raises DindError."""

    def keep(
        self, state: State, record: Record, files: Mapping[str, str], verification: Sequence[Step[State]]
    ) -> list[Step[State]]:
        """Keep the bridge of a verified move with ``files``."""

    def give_back(self, state: State, record: Record, verification: Sequence[Step[State]]) -> list[Step[State]]:
        """Give the uplink back to its own configuration, without our files."""


def managers(roots: Roots) -> tuple[Manager, ...]:
    """In order of preference."""
    return NetworkdManager(roots.folders), IfupdownManager(roots.ifupdown)


def choose(target: Target, state: State, record: Record, roots: Roots) -> Manager | None:
    """The manager that ``persist`` asks for; None if it asks for none. Raises DindError without such a manager."""
    persist = target.desired.persist
    refuse_files(target, state, roots)
    allowed = [manager for manager in managers(roots) if persist in ("auto", manager.name)]
    manager = next((manager for manager in allowed if manager.manages(state)), None)
    if manager is None and allowed:
        programs = [manager.program for manager in allowed]
        who = f"neither {' nor '.join(programs)} manages" if len(programs) > 1 else f"{programs[0]} does not manage"
        raise DindError(
            f"{who} {state.uplink} ({state.persistence.found}), so the bridge cannot be persisted", cure=CURE
        )
    if manager:
        manager.refuse(state, record)
    return manager


def refuse_files(target: Target, state: State, roots: Roots) -> None:
    """Raises DindError for our files of another mode, and for files that ``persist`` does not want."""
    drop_ins = {drop_in.Noted.of(state.drop_in).mode: [str(roots.drop_in)]} if state.drop_in else {}
    persisted = {
        "a bridge": (BRIDGE, [*state.files, *drop_ins.get(BRIDGE, [])]),
        "proxy ARP": (PROXY_ARP, drop_ins.get(PROXY_ARP, [])),
    }
    for what, (mode, files) in persisted.items():
        wrong = f"the mode is {target.mode}" if mode != target.mode else "persist is none"
        if files and (mode != target.mode or target.desired.persist == "none"):
            raise DindError(f"{what} is persisted in {', '.join(files)}, and {wrong}", cure="run state: absent first")


def files_for(manager: Manager | None, target: Target, state: State, record: Record) -> Mapping[str, str]:
    """The manager's files for the target's bridge; none without a manager."""
    if manager is None:
        return {}
    forwarding = manager.keeps_forwarding(state) or record.sysctls.get(IP_FORWARD) == "0"
    mtus = (target.mtu, state.uplink_link.mtu)
    return manager.files(Bridging(record.uplink, record.bridge, record.mac, *mtus, forwarding), state)
