# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Reading the state of an uplink and its bridge, without changing anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import record as records
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import sysctls, uplink
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import stated
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.drop_in import Noted
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Persistence
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import PROXY_ARP
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_networks, ifupdown, resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel import iptables, links, namespaces
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def inspect(desired: Desired, runner: Runner, roots: Roots, *, with_rules: bool = True) -> State:
    """The network namespace; three forks at most. The module's return values do not depend on the rules."""
    network = links.read(runner)
    namespace = namespaces.network_id(roots.proc)
    record = records.read(roots.record, namespace, network)
    drop_in = roots.drop_in.read_text() if roots.drop_in.exists() else ""
    noted = Noted.of(drop_in)
    own_files = {**networkd_files.own_files(roots.folders), **roots.ifupdown.own_files()}
    chosen = uplink.choose(desired, network, record, stated(own_files)[0] or noted.uplink)
    data_root = Path(desired.data_root)
    state = State(
        namespace,
        chosen,
        desired.bridge,
        network,
        sysctls.read(roots.proc, (chosen, desired.bridge)),
        record,
        engine_addresses=dockerd_networks.addresses(data_root, desired.bridge),
        engine_bridges=frozenset() if desired.is_bridged else dockerd_networks.bridges(data_root),
        resolver=resolver.find(roots.resolv_conf, roots.proc),
        persistence=_persistence(desired, network, chosen, roots),
        ifupdown=ifupdown.read(roots.ifupdown, chosen, desired.bridge, runner, with_options=desired.persist != "none"),
        drop_in=drop_in,
        has_systemd=(roots.run / "systemd/system").is_dir(),  # sd_booted(3)
    )
    if with_rules and _may_have_rules(desired, state, bool(own_files)):
        state = replace(state, rules=iptables.read(runner))
    if record is None and drop_in and (noted.uplink, noted.mode) == (chosen, PROXY_ARP):  # as after a reboot
        remembered = replace(uplink.originals(state), mode=PROXY_ARP, sysctls=noted.sysctls, verified=True)
        return replace(state, record=remembered)
    return state


def _may_have_rules(desired: Desired, state: State, has_files: bool) -> bool:
    """Whether our rules may be there, as far as the rest tells."""
    is_open = state.sysctls.get(sysctls.ROUTE_LOCALNET) == "1"
    if not (state.resolver or is_open or state.record or state.drop_in or has_files):
        return False
    # After `absent`, iptables may be uninstalled again.
    return desired.state == "present" or state.record is not None or iptables.is_installed()


def _persistence(desired: Desired, network: Network, chosen: str, roots: Roots) -> Persistence:
    is_ours = desired.persist != "none" or roots.folders.marker.exists() or networkd_files.own_files(roots.folders)
    if not (chosen and is_ours):
        return Persistence()
    there = [link for link in map(network.link, (chosen, desired.bridge)) if link]
    return networkd_files.read(roots.folders, [link.index for link in there])
