# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Mode `proxy_arp`: the uplink stays as it is, and this machine answers ARP for the range."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import rules, sysctls
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Remember
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in, manager
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import PROXY_ARP, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step


def plan(target: Target, record: Record, state: State, roots: Roots) -> list[Step[State]]:
    """The steps from ``record``, which the target has. Raises DindError if proxy ARP cannot be persisted."""
    is_lasting = target.desired.persist != "none"
    manager.refuse_files(target, state, roots)
    if is_lasting and not state.has_systemd:
        raise DindError(
            "proxy ARP is persisted with docker.service of systemd, which does not run here",
            cure="set persist: none for proxy ARP until the next reboot",
        )
    settings = {
        sysctls.IP_FORWARD: "1",
        sysctls.PROXY_ARP.format(state.uplink): "1",
        sysctls.PROXY_DELAY.format(state.uplink): "0",
    }
    goal = replace(record.remembering(state.sysctls, settings), verified=True)
    accepted = rules.let_in(record.uplink, record.bridge, target.fixed_cidr)
    noted = drop_in.Noted(record.uplink, PROXY_ARP, goal.sysctls)
    return [
        *([Remember(roots.record, goal, otherwise=state.record)] if state.record != goal else []),
        *sysctls.set_all(state, settings, roots.proc),
        *rules.replace_all(state, Purpose.FORWARD, accepted),
        *drop_in.set_to(drop_in.text_of(noted, accepted, settings) if is_lasting else "", state, roots),
    ]
