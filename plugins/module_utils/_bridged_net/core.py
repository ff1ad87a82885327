# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inner containers on the outer network: the container's uplink becomes a port of the inner engine's bridge.

Bridged mode is on when there is an offset; without one the engine has its own network, whose subnets are chosen
so that they meet no outer route.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import default_pools, dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.dns import ROUTE_LOCALNET
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in as drop_ins
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Persistence
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.plan import (
    SYSCTLS,
    Desired,
    Roots,
    bip,
    bridge_mtu,
    carve,
    carve_ipv6,
    dns,
    gateway_of,
    mode_of,
    originals,
    own_ipv6,
    plan,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import (
    BRIDGE,
    DEFAULT,
    PROXY_ARP,
    Move,
    Record,
    State,
    Survey,
    leaving,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown as _ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host import resolver as _resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp, iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel import links as _links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome, Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

__all__ = ["Desired", "RangeError", "Roots", "core", "inspect", "require"]

SURVEY_SECONDS = 0.05
SURVEYED_ADDRESSES = 1024
# asm-generic/socket.h, since Linux 5.14: a number that no other network namespace of this boot has or will have.
SO_NETNS_COOKIE = 71


def core(params: Mapping[str, Any], runner: Runner, check: bool, roots: Roots | None = None) -> Outcome:
    """What the module does; see its documentation."""
    desired, roots = Desired.of(params), roots or Roots()
    surveys: list[Survey] = []

    def look() -> State:
        state = inspect(desired, runner, roots)
        if desired.is_bridged and not state.is_port and (state.record is None or not state.record.verified):
            surveys[:] = surveys or [survey(desired, state)]
            state = replace(state, survey=surveys[0])
        if state.record is None and mode_of(desired, state) == PROXY_ARP:
            state = replace(state, rules=iptables.read(runner))
        return state

    with undisturbed():
        switch = "" if check else _prove_nat(desired, runner)
        done = _plan.converge(look, lambda state: plan(desired, state, roots), runner, check=check)
    left = _left_behind(done.before, runner) if _moved_anew(done.steps) else []
    return Outcome(
        actions=[*([switch] if switch else []), *done.actions],
        before=_described(done.before),
        after=_described(done.after),
        facts=facts(desired, done.after),
        warnings=[*_warnings(desired, surveys, done.before), *left],
    )


def _prove_nat(desired: Desired, runner: Runner) -> str:
    """Before an engine is started: where the bridge is there, one was, or this has been seen to already."""
    is_first = desired.bridge not in (name for _index, name in socket.if_nameindex())
    return iptables.prove(runner) if desired.state == "present" and is_first and iptables.is_installed() else ""


def require(roots: Roots | None = None, **params: Any) -> dict[str, Any]:
    """Raises ParameterError for what can't be had here: a range, a device, an MTU. Looks only.

    ``params`` are the module's, and the answer is what it would give in mode `bridge` where the mode is `auto`: to
    find out whether the link carries foreign MAC addresses takes questions to the neighbours.
    """
    desired = Desired.of(params)
    return facts(desired, inspect(desired, Runner(), roots or Roots(), with_rules=False))


@contextmanager
def undisturbed() -> Iterator[None]:
    """A lost terminal or connection doesn't stop a move half-way; it arrives when all is done or undone."""
    ending = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# Inspecting


def inspect(desired: Desired, runner: Runner, roots: Roots, *, with_rules: bool = True) -> State:
    """The network namespace as it is; three forks at most. No facts are made of the rules."""
    network = _links.read(runner)
    namespace = namespace_id(roots.proc)
    record = read_record(roots.record, namespace, network)
    drop_in = roots.drop_in.read_text() if roots.drop_in.exists() else ""
    noted = drop_ins.Noted.of(drop_in)
    own_files = {**networkd_files.own_files(roots.folders), **roots.ifupdown.own_files()}
    persisted_uplink = networkd_files.uplink_of(own_files) or noted.uplink
    uplink = choose_uplink(desired, network, record, persisted_uplink)
    names = {name.format(device) for name in SYSCTLS for device in (uplink, desired.bridge)}
    values = {name: _sysctl(roots.proc, name) for name in sorted(names)}
    known = {name: value for name, value in values.items() if value is not None}
    there = dockerd_networks.addresses(Path(desired.data_root), desired.bridge)
    resolver = _resolver.find(roots.resolv_conf, roots.proc)
    has_rules = resolver or known.get(ROUTE_LOCALNET) == "1" or record or drop_in or own_files
    # Given back, a machine may have lost iptables again.
    is_given_back = desired.state == "absent" and record is None and not iptables.is_installed()
    rules = iptables.read(runner) if with_rules and has_rules and not is_given_back else ()
    state = State(
        namespace,
        uplink,
        desired.bridge,
        network,
        known,
        record,
        engine_addresses=there,
        engine_bridges=frozenset() if desired.is_bridged else dockerd_networks.bridges(Path(desired.data_root)),
        rules=rules,
        resolver=resolver,
        persistence=_persistence(desired, network, uplink, roots),
        ifupdown=_ifupdown.read(roots.ifupdown, uplink, desired.bridge, runner, with_options=desired.persist != "none"),
        drop_in=drop_in,
        has_systemd=(roots.run / "systemd/system").is_dir(),  # sd_booted(3)
    )
    if record is None and noted.uplink == uplink and noted.mode == PROXY_ARP and drop_in:  # as after a reboot
        remembered = replace(originals(state), mode=PROXY_ARP, sysctls=noted.sysctls, verified=True)
        return replace(state, record=remembered)
    return state


def _persistence(desired: Desired, network: Network, uplink: str, roots: Roots) -> Persistence:
    links = [link for link in map(network.link, (uplink, desired.bridge)) if link]
    is_ours = desired.persist != "none" or roots.folders.marker.exists() or networkd_files.own_files(roots.folders)
    return networkd_files.read(roots.folders, [link.index for link in links]) if uplink and is_ours else Persistence()


def namespace_id(proc: Path) -> str:
    """What tells this network namespace from every other, also of other boots.

    The inode alone would not do: a restarted container may well get the same one again.
    """
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    inode = (proc / "self/ns/net").stat().st_ino
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    except OSError:
        cookie = 0
    return f"{boot}/{inode}/{cookie}"


def read_record(path: Path, namespace: str, network: Network) -> Record | None:
    try:
        record = Record.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    uplink = network.link(record.uplink)
    is_same = uplink is not None and (uplink.index, uplink.mac) == (record.index, record.mac)
    return record if is_same and record.namespace == namespace else None


def _sysctl(proc: Path, name: str) -> str | None:
    try:
        return (proc / "sys" / name).read_text().strip()
    except OSError:
        return None


def choose_uplink(desired: Desired, network: Network, record: Record | None, persisted: str = "") -> str:
    """The device that leads out: the one asked for, the one already moved (``persisted`` by the files of an earlier
    run), or the default route's.

    Empty in default mode where nothing leads out.
    """
    if desired.uplink:
        if network.link(desired.uplink) is None:
            there = ", ".join(link.name for link in network.links if not link.is_loopback)
            raise ParameterError(f"there is no network device {desired.uplink!r}, only {there or 'none'}", "uplink")
        return desired.uplink
    if record:
        return record.uplink
    if network.link(persisted):
        return persisted
    defaults = [route for route in network.routes if route.is_default and route.device]
    if defaults:
        return _behind(desired.bridge, min(defaults, key=lambda route: (route.family, route.metric)).device, network)
    candidates = [
        link.name
        for link in network.links
        if link.up and not link.is_loopback and link.name != desired.bridge and leaving(link)
    ]
    if not desired.is_bridged:
        return next(iter(candidates), "")
    if len(candidates) != 1:
        found = ", ".join(candidates) or "none"
        raise DindError(
            f"without a default route the uplink is not clear (candidates: {found})", cure="name the uplink"
        )
    return candidates[0]


def _behind(bridge: str, device: str, network: Network) -> str:
    """The port that gave ``device`` its address, where ``device`` is the bridge itself."""
    link = network.link(bridge)
    if device != bridge or link is None:
        return device
    ports = [port.name for port in network.links if port.master == bridge and port.mac == link.mac]
    if len(ports) != 1:
        raise DindError(f"the default route is on {bridge} already and its uplink is not clear", cure="name the uplink")
    return ports[0]


def survey(desired: Desired, state: State) -> Survey:
    """Ask the neighbours, who cannot be this machine's own containers as long as the uplink is no port: who has an
    address of the range, and does the link carry foreign MAC addresses?"""
    found = carve(desired, state)
    uplink = state.uplink_link
    if not uplink.up:
        return Survey()
    addresses = [str(address) for address in found[:SURVEYED_ADDRESSES]]
    gateway = gateway_of(originals(state), 4)
    asks_foreign = bool(gateway) and desired.mode == "auto"
    stranger = _strangers_mac()
    own, foreign = [(uplink.mac, address) for address in addresses], [(stranger, gateway)] if asks_foreign else []
    heard = arp.answering(uplink.name, own + foreign, arp.ANYBODY, SURVEY_SECONDS)
    taken = tuple(address for mac, address in own if (mac, address) in heard)
    seconds = min(1.0, desired.verify_timeout)

    def answers(mac: str) -> bool:
        """Once more, with patience: a MAC address that is dropped is not to be mistaken for a slow gateway."""
        return bool(arp.answering(uplink.name, [(mac, gateway)], arp.ANYBODY, seconds))

    carried = heard.issuperset(foreign) or answers(stranger) or not answers(uplink.mac)
    return Survey(taken, foreign_mac=carried)


def _strangers_mac() -> str:
    """Locally administered, so nobody's own, and another one each time: several may be asking at once, and what is
    between them and the gateway learns where a MAC address is."""
    return f"02:{os.urandom(5).hex(':')}"


# Answering


def facts(desired: Desired, state: State) -> dict[str, Any]:
    """What the engine's configuration needs."""
    mode = mode_of(desired, state)
    mac = state.uplink_link.mac if state.uplink else ""
    base = {"bridge": desired.bridge, "mode": mode, "mac": mac, "mtu": bridge_mtu(desired, state)}
    base |= {"fixed_cidr": "", "fixed_cidr_v6": "", "bip_v6": "", "gateway": "", "gateway_v6": "", "address_pools": []}
    base |= {"masquerade": mode != PROXY_ARP, "uplink": state.uplink}
    if desired.state == "absent":
        return base | {"bip": "", "dns": [], "dns_options": []}
    base |= {"bip": bip(desired, state), "dns": dns(desired, state)}
    base |= {"dns_options": list(state.resolver.options) if state.resolver else []}
    if mode == DEFAULT:
        pools = default_pools.pools(state.network, desired.bridge, state.uplink, state.engine_bridges)[1:]
        return base | {"address_pools": [dataclasses.asdict(pool) for pool in pools]}
    record, found = replace(originals(state), mode=mode), carve(desired, state)
    base |= {
        "fixed_cidr": str(found),
        "fixed_cidr_v6": carve_ipv6(desired, record),
        "bip_v6": own_ipv6(desired, record),
    }
    outer = desired.gateway == "outer" and mode == BRIDGE
    return base | {
        "gateway": gateway_of(record, 4) if outer else "",
        "gateway_v6": gateway_of(record, 6) if outer else "",
    }


def _described(state: State) -> dict[str, Any]:
    """The part of ``state`` that a person compares."""
    links = [link for link in map(state.network.link, (state.uplink, state.bridge)) if link]
    names = {link.name for link in links}
    return {
        "links": [dataclasses.asdict(link) for link in links],
        "routes": [dataclasses.asdict(route) for route in state.network.routes if route.device in names],
        "neighbours": [dataclasses.asdict(entry) for entry in state.network.neighbours if entry.device in names],
        "sysctls": dict(state.sysctls),
        "record": dataclasses.asdict(state.record) if state.record else None,
        "engine_addresses": list(state.engine_addresses),
        "rules": [str(rule) for rule in sorted(state.rules, key=lambda rule: rule.table)],
        "files": {
            path: text.splitlines() for path, text in {**state.persistence.files, **state.ifupdown.files}.items()
        },
        "drop_in": state.drop_in.splitlines(),
    }


def _moved_anew(steps: Sequence[Step[State]]) -> bool:
    return any(isinstance(step, Move) and step.reversible for step in steps)


def _left_behind(before: State, runner: Runner) -> list[str]:
    """What names the uplink, by which nothing is routed in or out any more."""
    bound = [bound.what for bound in before.network.bound if bound.device == before.uplink]
    bound += [f"`{rule}`" for rule in iptables.naming(before.uplink, runner)]
    shown = ", ".join(bound[:5]) + (", ..." if len(bound) > 5 else "")
    return [f"of {before.uplink} still, and of no effect there: {shown}; have it name {before.bridge}"] if bound else []


def _warnings(desired: Desired, surveys: Sequence[Survey], before: State) -> list[str]:
    warnings = []
    for taken in (found.taken for found in surveys if found.taken):
        shown = ", ".join(taken[:5]) + (", ..." if len(taken) > 5 else "")
        warnings.append(f"{len(taken)} address(es) of the range answer on {before.uplink} already: {shown}")
    moved = before.uplink_link.addresses if desired.is_bridged else ()
    leased = [address.cidr for address in moved if address.is_leased]
    if leased and desired.persist == "none":
        warnings.append(
            f"{', '.join(leased)} of {before.uplink} had a lifetime; on {desired.bridge} it stays for good, and to "
            "renew it there is for the machine's own network configuration"
        )
    return warnings
