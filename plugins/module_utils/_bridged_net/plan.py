# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The plan: from the target and the state to the steps. Pure: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import (
    bridge,
    dns,
    neighbours,
    proxy_arp,
    rules,
    sysctls,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import (
    Forget,
    Remember,
    Restore,
    restore_lines,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.manager import managers
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import originals
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def plan(target: Target, state: State, roots: Roots) -> list[Step[State]]:
    """Raises DindError if this machine cannot have the target."""
    first = [*dns.plan(target, state, roots.proc), *_disarm(target, state)]
    if target.record is None:
        return [*first, *_give_back(target, state, roots)]
    mode = bridge if target.mode == BRIDGE else proxy_arp
    arrange = mode.plan(target, target.record, state, roots)
    remember = [step for step in arrange[:1] if isinstance(step, Remember)]  # before the first change
    return [*remember, *first, *arrange[len(remember) :]]


def _disarm(target: Target, state: State) -> list[Step[State]]:
    is_stale = target.bip and any(address != target.bip for address in state.engine_addresses)
    return [Disarm(Path(target.desired.data_root), state.bridge, target.bip)] if is_stale else []


def _give_back(target: Target, state: State, roots: Roots) -> list[Step[State]]:
    """Give the uplink back what it had, for default mode and `absent`."""
    forget_rules = [*rules.replace_all(state, Purpose.FORWARD, ()), *drop_in.set_to("", state, roots)]
    user = next((manager for manager in managers(roots) if manager.is_used(state)), None)
    if user:
        record = _record_to_give_back(state, any(manager.keeps_forwarding(state) for manager in managers(roots)))
        verification = neighbours.verification(target.desired, record, state.uplink)
        steps = [Remember(roots.record, record, otherwise=state.record), *user.give_back(state, record, verification)]
    elif state.record:
        record = state.record
        steps = _restore(record, state, roots)
    else:
        return forget_rules
    return [*steps, *forget_rules, *sysctls.set_all(state, record.sysctls, roots.proc), Forget(roots.record)]


def _restore(record: Record, state: State, roots: Roots) -> list[Step[State]]:
    lines = restore_lines(record, state.network) if record.mode == BRIDGE else ()
    unsettled = replace(record, verified=False)
    remember = [Remember(roots.record, unsettled, otherwise=record)] if record.verified else []
    return [*remember, Restore(unsettled, lines)] if lines else []


def _record_to_give_back(state: State, was_forwarding_off: bool) -> Record:
    """The record; after a reboot there is none, and our files tell the rest."""
    record = replace(originals(state), verified=False)
    if state.record:
        return record
    return replace(record, bridge_before=None, sysctls={sysctls.IP_FORWARD: "0"} if was_forwarding_off else {})


@dataclass(frozen=True)
class Disarm(Step[State]):
    """Have dockerd ignore its records of addresses other than ``bip``."""

    data_root: Path
    bridge: str
    bip: str

    def __str__(self) -> str:
        return f"keep dockerd from giving {self.bridge} an address of an earlier boot"

    def effect(self, state: State) -> State:
        return replace(state, engine_addresses=tuple(a for a in state.engine_addresses if a == self.bip))

    def do(self, runner: Runner) -> None:
        dockerd_networks.disarm(self.data_root, self.bridge, self.bip)
