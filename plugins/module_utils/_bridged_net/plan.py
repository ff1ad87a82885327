# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""From what is wanted and what there is to what is to be done. Pure: no I/O, no clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import default_pools, ranges
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import dns as names
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.dockerd_networks import Disarm
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in as drop_ins
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import ifupdown, networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd import (
    Follow,
    GiveBack,
    WriteFiles,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import (
    BRIDGE,
    DEFAULT,
    PROXY_ARP,
    Announce,
    AskGateway,
    Forget,
    LetThrough,
    Move,
    Record,
    Remember,
    Restore,
    SetSysctl,
    ShapeBridge,
    State,
    leaving,
    missing_routes,
    move_lines,
    on,
    restore_lines,
    rules_that_let_in,
    rules_that_let_out,
    shape_lines,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown as _ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp, links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step

if TYPE_CHECKING:
    from netaddr import IPNetwork

IP_FORWARD = "net/ipv4/ip_forward"
PROXY_ARP_OF = "net/ipv4/conf/{}/proxy_arp"
PROXY_DELAY_OF = "net/ipv4/neigh/{}/proxy_delay"  # up to 0.8 s by default, for a herd that is not there
DISABLE_IPV6 = "net/ipv6/conf/{}/disable_ipv6"
ACCEPT_RA = "net/ipv6/conf/{}/accept_ra"
# What is looked at below /proc/sys, with the device's name in its place.
SYSCTLS = (IP_FORWARD, PROXY_ARP_OF, PROXY_DELAY_OF, DISABLE_IPV6, ACCEPT_RA, names.ROUTE_LOCALNET)
SMALLEST_IPV6_MTU = 1280
SMALLEST_ROUTED = 30  # the prefix length of a network with two hosts
LONGEST_LABEL = 15  # linux/if.h: IFNAMSIZ, with the zero at its end
ETHERNET_MTU = 1500


@dataclass(frozen=True)
class Roots:
    """Where the kernel, the record and the machine's own configuration are found."""

    proc: Path = Path("/proc")
    resolv_conf: Path = Path("/etc/resolv.conf")
    record: Path = Path("/run/mesos-dind/bridged_net.json")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    usr: Path = Path("/usr")
    var: Path = Path("/var")

    @property
    def folders(self) -> networkd_files.Folders:
        return networkd_files.Folders(self.etc, self.run, self.usr, marker=self.record.with_name("networkd-reads"))

    @property
    def ifupdown(self) -> _ifupdown.Places:
        return _ifupdown.Places(self.etc, self.run, self.var)

    @property
    def drop_in(self) -> Path:
        return self.etc / drop_ins.DROP_IN


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
        """Raises DindError for what no machine could have."""
        given = {field.name: params[field.name] for field in dataclasses.fields(cls) if field.name in params}
        given = {name: value for name, value in given.items() if value is not None}
        desired = cls(**{**given, "peers": tuple(given.get("peers", ()))})
        for name in filter(None, (desired.uplink, desired.bridge)):
            _require_device_name(name)
        if desired.mtu is not None and not 68 <= desired.mtu <= 65535:
            raise DindError(f"mtu {desired.mtu} is not from 68 to 65535")
        if not 0 < desired.verify_timeout <= 300:
            raise DindError(f"verify_timeout {desired.verify_timeout:g} is not between 0 and 300 seconds")
        if desired.ipv6_range and desired.state == "present" and not desired.is_bridged:
            raise ParameterError("an IPv6 range is of use in bridged mode only, and there is no offset", "ipv6_range")
        return desired

    @property
    def is_bridged(self) -> bool:
        return self.state == "present" and bool(self.offset)


def _require_device_name(name: str) -> None:
    """As the kernel's dev_valid_name (net/core/dev.c)."""
    if len(name) > 15 or name in (".", "..") or any(char.isspace() or char in "/:" for char in name):
        raise DindError(f"{name!r} is not a network device's name (at most 15 characters, no space, slash or colon)")


def originals(state: State) -> Record:
    """What the uplink had, or would have, without us: remembered, still on it, or both."""
    uplink, bridge = state.uplink_link, state.bridge_link
    if state.record:
        record = _renewed(state, state.record)
        sources = (record.addresses, leaving(uplink)), (record.routes, _at_home(state, uplink))
    else:
        adopted = bridge if bridge and state.is_port else None
        record = Record(state.namespace, uplink.name, uplink.index, uplink.mac, state.bridge, BRIDGE)
        before = bridge and replace(bridge, addresses=() if adopted else leaving(bridge))
        record = replace(record, bridge_before=before, neighbours=_neighbours(state))
        sources = (
            (uplink.addresses, adopted.addresses if adopted else ()),
            (
                _at_home(state, uplink),
                _at_home(state, adopted) if adopted else (),
            ),
        )
    addresses, routes = (tuple(dict.fromkeys((*first, *second))) for first, second in sources)
    return replace(record, addresses=addresses, routes=routes)


def _renewed(state: State, record: Record) -> Record:
    """``record`` with the leases that there are now: with our files they are renewed on the bridge."""
    bridge = state.bridge_link
    by_networkd = state.persistence.files and state.persistence.is_followed
    if bridge is None or not (by_networkd or state.bridge in state.ifupdown.leasing):
        return record
    leased = [address for address in bridge.addresses if address.is_leased and not address.is_link_local]
    learnt = [route for route in _at_home(state, bridge) if route.is_dynamic]
    addresses = [a for a in record.addresses if not a.is_leased or a in bridge.addresses]
    routes = [route for route in record.routes if not route.is_dynamic or route in learnt]
    return replace(
        record,
        addresses=tuple(dict.fromkeys((*addresses, *leased))),
        routes=tuple(dict.fromkeys((*routes, *learnt))),
    )


def _at_home(state: State, link: Link) -> tuple[Route, ...]:
    """The routes through ``link``, as they were when the uplink had them."""
    return tuple(replace(route, device=state.uplink) for route in on(state.network, link.name))


def _neighbours(state: State) -> tuple[links.Neighbour, ...]:
    devices = {state.uplink, state.bridge} if state.is_port else {state.uplink}
    return tuple(replace(e, device=state.uplink) for e in state.network.neighbours if e.device in devices)


def own_address(record: Record) -> Address:
    """The IPv4 address by which the outer network knows this machine.

    Of several it is the one the default route prefers, then the one in the gateway's network, then the first.
    """
    candidates = [a for a in record.addresses if a.family == 4 and a.scope == "global"]
    if not candidates:
        raise RangeError(f"{record.uplink} has no IPv4 address, so there is no outer network to carve a range from")
    default = _default_route(record, 4)
    if default is None:
        return candidates[0]
    preferred = [a for a in candidates if a.local in default.options]
    gateway = default.gateway
    near = [a for a in candidates if gateway and ranges.network(gateway) in ranges.network(a.cidr)]
    return next(iter((*preferred, *near, *candidates)))


def _default_route(record: Record, family: int) -> Route | None:
    defaults = (route for route in record.routes if route.is_default and route.family == family)
    return min(defaults, key=lambda route: route.metric, default=None)


def gateway_of(record: Record, family: int) -> str:
    default = _default_route(record, family)
    return default.gateway if default and " " not in default.gateway else ""


def carve(desired: Desired, state: State) -> IPNetwork:
    """The range of this machine. Raises RangeError."""
    record = originals(state)
    own = own_address(record)
    subnet, gateway = ranges.network(own.cidr), gateway_of(record, 4)
    peers = [ranges.network(peer, "peers") for peer in desired.peers]
    found = ranges.carve(
        subnet, subnet.ip, desired.offset, desired.size, ranges.network(gateway).ip if gateway else None, peers
    )
    for address in record.addresses:
        if address.family == 4 and ranges.network(address.local) in found:
            raise RangeError(f"the range {found} holds {address.local}, which {record.uplink} has as well")
    if mode_of(desired, state) == PROXY_ARP and found.prefixlen > SMALLEST_ROUTED:
        raise RangeError(
            f"with proxy ARP the range {found} has no room for the bridge and a container; allowed are sizes up to "
            f"{SMALLEST_ROUTED}",
            "size",
        )
    return found


def carve_ipv6(desired: Desired, record: Record) -> str:
    """The IPv6 range, found to be one of the uplink's networks or to lie in one. Raises RangeError.

    A whole network is fine, since dockerd knows the bridge's own addresses and gives containers addresses made of
    their MAC addresses then.
    """
    if not desired.ipv6_range:
        return ""
    if record.mode == PROXY_ARP:
        raise RangeError("with proxy ARP there is no IPv6 range: the kernel answers for single addresses", "ipv6_range")
    wanted = ranges.network(desired.ipv6_range, "ipv6_range")
    addresses = [ranges.network(a.cidr) for a in record.addresses if a.family == 6 and not a.is_link_local]
    homes = [address for address in addresses if wanted.version == 6 and wanted in address]
    if not homes:
        known = ", ".join(str(address.cidr) for address in addresses) or "none"
        raise RangeError(
            f"the IPv6 range {wanted} lies in no IPv6 network of {record.uplink} (it has: {known})", "ipv6_range"
        )
    if wanted.ip != wanted.network:
        raise RangeError(f"the IPv6 range {wanted} has host bits set", "ipv6_range")
    gateway = gateway_of(record, 6)
    reserved = [address.ip for address in addresses] + ([ranges.network(gateway).ip] if gateway else [])
    held = [str(address) for address in (*reserved, *(home.network for home in homes)) if address in wanted]
    if held and wanted not in [home.cidr for home in homes]:
        raise RangeError(f"the IPv6 range {wanted} holds {held[0]}", "ipv6_range")
    return str(wanted)


def own_ipv6(desired: Desired, record: Record) -> str:
    """The uplink's address in the network of the IPv6 range, with its prefix length."""
    if not desired.ipv6_range:
        return ""
    wanted = ranges.network(desired.ipv6_range)
    return next((a.cidr for a in record.addresses if a.family == 6 and wanted in ranges.network(a.cidr)), "")


def mode_of(desired: Desired, state: State) -> str:
    if not desired.is_bridged:
        return DEFAULT
    remembered = state.record.mode if state.record else ""
    chosen = desired.mode if desired.mode != "auto" else BRIDGE if state.survey.foreign_mac else PROXY_ARP
    if remembered and desired.mode not in ("auto", remembered):
        raise DindError(
            f"{state.uplink} is arranged in mode {remembered}, not {desired.mode}", cure="run state: absent first"
        )
    return remembered or chosen


def bip(desired: Desired, state: State) -> str:
    """The address that dockerd has on the bridge, with its prefix length."""
    mode = mode_of(desired, state)
    if mode == BRIDGE:
        return own_address(originals(state)).cidr
    if mode == PROXY_ARP:
        found = carve(desired, state)
        return f"{found[1]}/{found.prefixlen}"
    return default_pools.first_address(
        default_pools.pools(state.network, state.bridge, state.uplink, state.engine_bridges)[0]
    )


def plan(desired: Desired, state: State, roots: Roots) -> list[Step[State]]:
    """What is to be done. Pure: no I/O, no clock."""
    if desired.state == "absent":
        return names.plan((), state, roots.proc) + _plan_absent(desired, state, roots)
    mode = mode_of(desired, state)
    steps = names.plan(_redirection(desired, state), state, roots.proc) + _plan_engine(desired, state)
    if mode == DEFAULT:
        return [*steps, *_plan_absent(desired, state, roots)]
    found = carve(desired, state)
    record = replace(originals(state), mode=mode)
    carve_ipv6(desired, record)
    if mode == PROXY_ARP:
        arrange = _plan_proxy(desired, state, record, str(found), roots)
    else:
        arrange = _plan_bridge(desired, state, record, str(found), roots)
    remember = [step for step in arrange[:1] if isinstance(step, Remember)]  # before anything is changed
    return [*remember, *steps, *arrange[len(remember) :]]


def dns(desired: Desired, state: State) -> list[str]:
    """The nameservers that inner containers are to be told; none where they reach this machine's themselves."""
    return [bip(desired, state).partition("/")[0]] if state.resolver else []


def _redirection(desired: Desired, state: State) -> tuple[Rule, ...]:
    if state.resolver is None:
        return ()
    (address,) = dns(desired, state)
    return names.redirection(state.resolver, address, _outside(desired, state))


def _outside(desired: Desired, state: State) -> tuple[str, ...]:
    """What tells packets of others from those of inner containers, in the words of `iptables`."""
    if mode_of(desired, state) == BRIDGE:
        return ("!", "-s", str(carve(desired, state)), "-i", state.bridge)
    return ("-i", state.uplink) if state.uplink else ()


def _plan_engine(desired: Desired, state: State) -> list[Step[State]]:
    own = bip(desired, state)
    is_stale = any(address != own for address in state.engine_addresses)
    return [Disarm(Path(desired.data_root), state.bridge, own)] if is_stale else []


def _plan_absent(desired: Desired, state: State, roots: Roots) -> list[Step[State]]:
    if state.persistence.files or not state.persistence.is_followed:
        return _plan_forgotten(desired, state, roots)
    if ifupdown.is_ours(state):
        return _plan_forgotten_by_ifupdown(state, roots)
    record = state.record
    if record is None:
        return _let_go(state, roots)
    lines = restore_lines(record, state.network) if record.mode == BRIDGE else ()
    unsettled = replace(record, verified=False)
    steps: list[Step[State]] = []
    if lines:
        steps += [Remember(roots.record, unsettled, otherwise=record)] if record.verified else []
        steps.append(Restore(unsettled, lines))
    return [*steps, *_let_go(state, roots), *_sysctls(state, record.sysctls, roots), Forget(roots.record)]


def _plan_forgotten(desired: Desired, state: State, roots: Roots) -> list[Step[State]]:
    """Back to the original, which networkd follows again. After a reboot there is no record, only our files."""
    persistence = state.persistence
    if persistence.original is None:
        raise DindError(
            f"the .network file that {state.uplink} had is gone, so it would be left without an address",
            cure="put it back (our own files name it), or write another one and remove ours",
        )
    record = state.record or replace(_remembering_files(state, roots), bridge_before=None)
    current = replace(originals(state), bridge_before=record.bridge_before, sysctls=record.sysctls, verified=False)
    steps: list[Step[State]] = [Remember(roots.record, current, otherwise=state.record)]
    if persistence.files:
        steps.append(WriteFiles(roots.folders, current, persistence.files, {}, persistence.original))
    steps.append(Follow(roots.folders, current, persistence.original, is_bridged=False))
    if persistence.is_used:  # and so gives the uplink its addresses; else it is a port until the next step
        steps += _question(desired, current, state.uplink)
    steps.append(GiveBack(current, (), has_followed=persistence.is_used))
    return [*steps, *_let_go(state, roots), *_sysctls(state, record.sysctls, roots), Forget(roots.record)]


def _plan_forgotten_by_ifupdown(state: State, roots: Roots) -> list[Step[State]]:
    """Back to what there was, as by ifupdown's own hand. After a reboot there is no record, only our files."""
    record = state.record or replace(_remembering_files(state, roots), bridge_before=None)
    current = replace(originals(state), bridge_before=record.bridge_before, sysctls=record.sysctls, verified=False)
    current = replace(current, addresses=tuple(ifupdown.lasting(address, state) for address in current.addresses))
    lines, there = restore_lines(current, state.network), state.ifupdown
    before = {device: there.logical.get(device, "") for device in (state.uplink, state.bridge)}
    given_back = {state.uplink: state.uplink, state.bridge: ""}
    steps: list[Step[State]] = [Remember(roots.record, current, otherwise=state.record)]
    steps += [ifupdown.WriteStanzas(roots.ifupdown, there.files, {})] if there.files else []
    steps += [Restore(current, lines)] if lines else []
    if set(there.leasing) - {state.uplink}:
        steps.append(ifupdown.MoveClient(roots.ifupdown, state.bridge, state.uplink, state.uplink))
    steps += [ifupdown.SetStates(roots.ifupdown.states, before, given_back)] if before != given_back else []
    return [*steps, *_let_go(state, roots), *_sysctls(state, record.sysctls, roots), Forget(roots.record)]


def _remembering_files(state: State, roots: Roots) -> Record:
    """What a record would hold that a reboot has taken away."""
    was_off = str(roots.folders.forwarding) in state.persistence.files or ifupdown.keeps_forwarding(state)
    return replace(originals(state), sysctls={IP_FORWARD: "0"} if was_off else {})


def _plan_proxy(desired: Desired, state: State, record: Record, found: str, roots: Roots) -> list[Step[State]]:
    _refuse_what_cannot_last_without_the_bridge(desired, state, roots)
    wanted = {
        IP_FORWARD: "1",
        PROXY_ARP_OF.format(state.uplink): "1",
        PROXY_DELAY_OF.format(state.uplink): "0",
    }
    goal = replace(_remembering(state, record, wanted), verified=True)
    remember = [Remember(roots.record, goal, otherwise=state.record)] if state.record != goal else []
    rules = rules_that_let_in(record.uplink, record.bridge, found)
    steps = [*remember, *_sysctls(state, wanted, roots), *_let_through(state, rules)]
    noted = drop_ins.Noted(record.uplink, PROXY_ARP, goal.sysctls)
    drop_in = "" if desired.persist == "none" else drop_ins.wanted(noted, rules, wanted)
    return [*steps, *_have_drop_in(state, drop_in, roots)]


def _have_drop_in(state: State, text: str, roots: Roots) -> list[Step[State]]:
    return [] if text == state.drop_in else [drop_ins.SetDropIn(roots.drop_in, state.drop_in, text)]


def _let_go(state: State, roots: Roots) -> list[Step[State]]:
    """The rules by which passes what the engine may drop, here and after a reboot."""
    return [*_let_through(state, ()), *_have_drop_in(state, "", roots)]


def _let_through(state: State, rules: tuple[Rule, ...]) -> list[Step[State]]:
    there = state.letting_through
    before = () if state.is_half_done else there
    if set(rules) == set(there) and there == before:
        return []
    is_out = any("--ctstate" in rule.words for rule in (*rules, *there))
    way = "other inner networks send out by" if is_out else f"{state.uplink} forwards to"
    return [LetThrough(f"what {way} {state.bridge}", there, rules, before)]


def _plan_bridge(desired: Desired, state: State, record: Record, found: str, roots: Roots) -> list[Step[State]]:
    _refuse_what_cannot_move(desired, state, record)
    manager = _lasting_manager(desired, state, record, roots)
    wanted = {IP_FORWARD: "1"}
    record = _remembering(state, record, wanted)
    lasting = _lasting_files(manager, desired, state, record, roots)
    is_new = not (state.record.verified if state.record else _is_adopted(state, record))
    is_known = is_new or state.record is not None
    # ifupdown may be there without systemd, which then starts no engine either.
    brings_rules = bool(lasting) and state.has_systemd
    steps: list[Step[State]] = []
    if is_new or (state.record and state.record != record):
        otherwise = None if is_new else state.record
        steps.append(Remember(roots.record, replace(record, verified=not is_new), otherwise))
    mtu = bridge_mtu(desired, state)
    shape = _shape_lines(state, record, mtu, is_new)
    if is_new or (state.record and shape):
        steps.append(ShapeBridge(record, shape, is_new, mac=record.mac, mtu=mtu))
    wanted |= _bridge_sysctls(state) if is_known else {}
    steps += _sysctls(state, wanted, roots, record.sysctls if is_new else {})
    # What somebody else has arranged is left as it is. After a reboot what we have arranged is known by our files only.
    rules = rules_that_let_out(record.bridge, found) if is_known or brings_rules else ()
    steps += _let_through(state, rules) if rules or state.drop_in else []
    lines = move_lines(record if is_new else _without_link_local(record), state.network)
    if is_new or lines:
        steps += [Move(record, lines, is_new), *_announcement(record)]
    if is_new:
        steps += _question(desired, record, record.bridge)
    steps += _plan_lasting(manager, lasting, desired, state, record, roots)
    noted = drop_ins.Noted(record.uplink, BRIDGE)
    steps += _have_drop_in(state, drop_ins.wanted(noted, rules, {}) if brings_rules else "", roots)
    return [*steps, Remember(roots.record, replace(record, verified=True))] if is_new else steps


def _lasting_files(manager: str, desired: Desired, state: State, record: Record, roots: Roots) -> dict[str, str]:
    """Those of the uplink's manager by which the bridge is there at the next boot; none where nobody is to have it, or
    somebody else has seen to that."""
    if manager == networkd_files.NETWORKD:
        was_off = str(roots.folders.forwarding) in state.persistence.files
        return networkd_files.wanted(_bridging(desired, state, record, was_off), state.persistence, roots.folders)
    if manager == ifupdown.IFUPDOWN:
        was_off = ifupdown.keeps_forwarding(state)
        return ifupdown.wanted_files(_bridging(desired, state, record, was_off), roots.ifupdown)
    return {}


def _plan_lasting(
    manager: str, wanted: Mapping[str, str], desired: Desired, state: State, record: Record, roots: Roots
) -> list[Step[State]]:
    """What makes it outlast a reboot; after the move is known to be good."""
    if manager == networkd_files.NETWORKD:
        return _plan_files(wanted, desired, state, record, roots)
    return _plan_stanzas(wanted, state, record, roots) if manager == ifupdown.IFUPDOWN else []


def _plan_files(
    wanted: Mapping[str, str], desired: Desired, state: State, record: Record, roots: Roots
) -> list[Step[State]]:
    persistence, folders = state.persistence, roots.folders
    same = wanted == persistence.files
    write = [] if same else [WriteFiles(folders, record, persistence.files, wanted, persistence.original)]
    if not write and persistence.is_followed:
        return []
    return [
        *write,
        Follow(folders, record, persistence.original, is_bridged=True),
        *_question(desired, record, record.bridge),
    ]


def _plan_stanzas(wanted: Mapping[str, str], state: State, record: Record, roots: Roots) -> list[Step[State]]:
    """On the running machine in ifupdown's files and its state only."""
    there, places = state.ifupdown, roots.ifupdown
    up = ifupdown.wanted_states(record.uplink, record.bridge)
    before = {device: there.logical.get(device, "") for device in up}
    steps: list[Step[State]] = []
    steps += [ifupdown.WriteStanzas(places, there.files, wanted)] if wanted != there.files else []
    if set(there.leasing) - {record.bridge}:
        steps.append(ifupdown.MoveClient(places, record.uplink, record.bridge, record.uplink))
    steps += [ifupdown.SetStates(places.states, before, up)] if before != up else []
    return steps


def _bridging(desired: Desired, state: State, record: Record, was_off: bool) -> networkd_files.Bridging:
    """``was_off``: our files say that IPv4 forwarding was."""
    forwarding = was_off or record.sysctls.get(IP_FORWARD) == "0"
    mtu, uplink_mtu = bridge_mtu(desired, state), state.uplink_link.mtu
    return networkd_files.Bridging(record.uplink, record.bridge, record.mac, mtu, uplink_mtu, forwarding)


def _is_adopted(state: State, record: Record) -> bool:
    """Somebody else has made the uplink a port of this bridge, and nothing is left to move."""
    return state.is_port and not move_lines(_without_link_local(record), state.network)


def _without_link_local(record: Record) -> Record:
    """dockerd takes link-local addresses off its bridge when it does IPv6, and puts its own there."""
    return replace(record, addresses=tuple(a for a in record.addresses if not a.is_link_local))


def _remembering(state: State, record: Record, wanted: Mapping[str, str]) -> Record:
    """``record`` with the present value of every setting that is going to change and was not remembered yet."""
    changing = {name: state.sysctls[name] for name, value in wanted.items() if state.sysctls.get(name, value) != value}
    return replace(record, sysctls={**changing, **record.sysctls})


def _refuse_what_cannot_move(desired: Desired, state: State, record: Record) -> None:
    uplink, bridge = state.uplink_link, state.bridge_link
    if uplink.is_loopback or uplink.name == state.bridge:
        raise DindError(f"{uplink.name} cannot be the uplink", cure="name another uplink")
    if uplink.master not in ("", state.bridge):
        raise DindError(f"{uplink.name} belongs to {uplink.master} already", cure="name that one as the bridge")
    if bridge and bridge.kind != "bridge":
        raise DindError(f"{bridge.name} is there and is no bridge but {bridge.kind or 'a device'}", cure="name another")
    for route in record.routes:
        if route.foreign:
            raise DindError(
                f"the route to {route.dst} has what cannot be moved: {', '.join(route.foreign)}",
                cure="remove the route, or name another uplink",
            )
    for address in record.addresses:
        if address.alias and len(record.bridge + address.alias) > LONGEST_LABEL:
            raise DindError(
                f"{address.local} would have the label {record.bridge}{address.alias} on the bridge, which is longer "
                f"than {LONGEST_LABEL} characters",
                cure="shorten its label, or the bridge's name",
            )
    _refuse_unreachable_gateways(state, record)
    mtu = bridge_mtu(desired, state)
    if mtu < SMALLEST_IPV6_MTU and any(a.family == 6 and not a.is_link_local for a in record.addresses):
        raise ParameterError(f"mtu {mtu} is below {SMALLEST_IPV6_MTU}, which IPv6 on {uplink.name} needs", "mtu")


def _refuse_unreachable_gateways(state: State, record: Record) -> None:
    """A route stays when what made its gateway a neighbour goes, but cannot be made again (fib_check_nh)."""
    for route in missing_routes(record, state.network, record.bridge):
        if not _has_neighbouring_gateway(route, record):
            raise DindError(
                f"the route to {route.dst} could not be made again: no address of {record.uplink} and no route of its "
                f"own leads to the gateway {route.gateway} any more",
                cure="remove the route, or give it `onlink`",
            )


def _has_neighbouring_gateway(route: Route, record: Record) -> bool:
    if not route.gateway or "onlink" in route.options:
        return True
    gateway = ip_address(route.gateway.rpartition(" ")[2])
    prefixes = [address.prefix for address in record.addresses if not address.noprefixroute]
    prefixes += [other.prefix for other in record.routes if other.leads_to_neighbours]
    return (gateway.version == 6 and gateway.is_link_local) or any(gateway in prefix for prefix in prefixes)


def _lasting_manager(desired: Desired, state: State, record: Record, roots: Roots) -> str:
    """Who is to have the bridge at the next boot; empty if nobody is. Raises DindError where it cannot be had."""
    persistence, stanzas = state.persistence, state.ifupdown
    own_files = _persisting_the_bridge(state, roots)
    if state.drop_in and str(roots.drop_in) not in own_files:
        raise DindError(
            f"proxy ARP is persisted in {roots.drop_in}, and the mode is {BRIDGE}", cure="run state: absent first"
        )
    if desired.persist == "none":
        if own_files:
            raise DindError(
                f"the bridge is persisted in {', '.join(own_files)}, and persist is none",
                cure="run state: absent first",
            )
        return ""
    allowed = {networkd_files.NETWORKD, ifupdown.IFUPDOWN} if desired.persist == "auto" else {desired.persist}
    if networkd_files.NETWORKD in allowed and persistence.manager == networkd_files.NETWORKD:
        return networkd_files.NETWORKD
    if ifupdown.IFUPDOWN in allowed and state.uplink in stanzas.logical:
        is_leased = any(address.is_leased and address.family == 4 for address in record.addresses)
        ifupdown.refuse_what_cannot_last(state, is_leased, roots.ifupdown)
        return ifupdown.IFUPDOWN
    who = {"auto": "neither systemd-networkd nor ifupdown manages", "networkd": "systemd-networkd does not manage"}
    raise DindError(
        f"{who.get(desired.persist, 'ifupdown does not manage')} {state.uplink} ({persistence.found}), so the bridge "
        "cannot be persisted",
        cure=ifupdown.CURE,
    )


def _persisting_the_bridge(state: State, roots: Roots) -> list[str]:
    is_bridges = drop_ins.Noted.of(state.drop_in).mode == BRIDGE
    return [*state.persistence.files, *state.ifupdown.files, *([str(roots.drop_in)] if is_bridges else [])]


def _refuse_what_cannot_last_without_the_bridge(desired: Desired, state: State, roots: Roots) -> None:
    own_files = _persisting_the_bridge(state, roots)
    if own_files:
        raise DindError(
            f"a bridge is persisted in {', '.join(own_files)}, and the mode is {PROXY_ARP}",
            cure="run state: absent first",
        )
    if desired.persist == "none" and state.drop_in:
        raise DindError(
            f"proxy ARP is persisted in {roots.drop_in}, and persist is none", cure="run state: absent first"
        )
    if desired.persist != "none" and not state.has_systemd:
        raise DindError(
            "proxy ARP is persisted with docker.service of systemd, which does not run here",
            cure="set persist: none for what is gone after a reboot",
        )


def bridge_mtu(desired: Desired, state: State) -> int:
    largest = state.uplink_link.mtu if state.uplink else ETHERNET_MTU
    mtu = desired.mtu or largest
    if mtu > largest:
        raise ParameterError(f"mtu {mtu} is larger than that of {state.uplink or 'Ethernet'}, {largest}", "mtu")
    return mtu


def _shape_lines(state: State, record: Record, mtu: int, is_new: bool) -> tuple[str, ...]:
    """The batch that brings the bridge into its form.

    Nothing is set twice: even the same MAC address set again empties the kernel's neighbour table.
    """
    bridge, shape = state.bridge_link, Link(record.bridge, 0, record.mac, mtu, up=True)
    if bridge is None:
        # A bridge follows the smallest MTU of its ports until one is set that differs (net/bridge/br_if.c).
        made = f"link add dev {record.bridge} address {record.mac} mtu {mtu - 1} type bridge"
        return (made, *shape_lines(shape))
    there = (bridge.mac, bridge.mtu, bridge.up, bridge.stp)
    lines = [] if there == (shape.mac, shape.mtu, shape.up, shape.stp) else [*shape_lines(shape)]
    leftovers = leaving(bridge) if is_new else ()
    return (*lines, *(f"address del {a.cidr} dev {bridge.name}" for a in leftovers if a not in record.addresses))


def _bridge_sysctls(state: State) -> dict[str, str]:
    """IPv6 on the bridge as it is on the uplink.

    Where the kernel learns nothing from routers, it would on a bridge, until networkd or dockerd arranges that.
    """
    disabled = state.sysctls.get(DISABLE_IPV6.format(state.uplink))
    wanted = {} if disabled is None else {DISABLE_IPV6.format(state.bridge): disabled}
    is_deaf = state.sysctls.get(ACCEPT_RA.format(state.uplink)) == "0"
    return {**wanted, ACCEPT_RA.format(state.bridge): "0"} if is_deaf else wanted


def _sysctls(
    state: State, wanted: Mapping[str, str], roots: Roots, before: Mapping[str, str] | None = None
) -> list[Step[State]]:
    """``before`` is what an undoing gives back, also what a killed run has set already."""
    known = before or {}
    return [
        SetSysctl(roots.proc, name, value, known.get(name, state.sysctls.get(name)))
        for name, value in wanted.items()
        if state.sysctls.get(name) != value or name in known
    ]


def _announcement(record: Record) -> list[Step[State]]:
    addresses = tuple(address.local for address in record.addresses if not address.is_link_local)
    return [Announce(record.bridge, record.mac, addresses)] if addresses else []


def _question(desired: Desired, record: Record, device: str) -> list[Step[State]]:
    gateways = tuple(filter(None, (gateway_of(record, 4), gateway_of(record, 6))))
    if not (desired.verify and gateways):
        return []
    return [AskGateway(device, record.mac, _sender(record), gateways, desired.verify_timeout)]


def _sender(record: Record) -> str:
    """Who asks an IPv4 gateway. A lease may have gone; then it is nobody, as in a probe (RFC 5227)."""
    try:
        return own_address(record).local
    except RangeError:
        return arp.ANYBODY
