# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What there is around an uplink and its bridge, and the changes that can be made to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Persistence
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp, atomic_file, iptables
from ansible_collections.mesos.dind.plugins.module_utils._kernel import links as _links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

BRIDGE, PROXY_ARP, DEFAULT = "bridge", "proxy_arp", "default"


@dataclass(frozen=True)
class Record:
    """What the uplink had before anything was changed: enough to complete the move, or to take it back.

    It is bound to one network namespace of one boot and to one device in it, because the file outlives both.
    """

    namespace: str
    uplink: str
    index: int
    mac: str
    bridge: str
    mode: str
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    bridge_before: Link | None = None
    sysctls: Mapping[str, str] = dataclasses.field(default_factory=dict)
    verified: bool = False

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Record:
        """Raises ValueError for what is no record of this version."""
        try:
            fields: dict[str, Any] = json.loads(text)
            before = fields["bridge_before"]
            fields["addresses"] = tuple(Address(**each) for each in fields["addresses"])
            fields["routes"] = tuple(_route(each) for each in fields["routes"])
            fields["neighbours"] = tuple(Neighbour(**each) for each in fields["neighbours"])
            fields["bridge_before"] = None if before is None else _link(before)
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None


def _link(fields: Mapping[str, Any]) -> Link:
    return Link(**{**fields, "addresses": tuple(Address(**each) for each in fields["addresses"])})


def _route(fields: Mapping[str, Any]) -> Route:
    words = {name: tuple(fields[name]) for name in ("options", "foreign")}
    return Route(**{**fields, **words})


@dataclass(frozen=True)
class Survey:
    """What the neighbours on the uplink said before anything was changed."""

    taken: tuple[str, ...] = ()  # addresses of the range that somebody has already
    foreign_mac: bool = True  # whether frames of another MAC address than the uplink's pass


@dataclass(frozen=True)
class State:
    namespace: str
    uplink: str
    bridge: str
    network: Network
    sysctls: Mapping[str, str]
    record: Record | None = None
    survey: Survey = Survey()
    engine_addresses: tuple[str, ...] = ()  # of the bridge, in dockerd's own record
    engine_bridges: frozenset[str] = frozenset()  # of its networks, in the same; looked up in default mode
    rules: tuple[Rule, ...] = ()  # ours
    resolver: Resolver | None = None  # the outer engine's, where it is on a loopback address
    persistence: Persistence = dataclasses.field(default_factory=Persistence)
    ifupdown: Ifupdown = dataclasses.field(default_factory=Ifupdown)
    drop_in: str = ""  # ours for docker.service; empty without one
    has_systemd: bool = False  # as PID 1

    @property
    def uplink_link(self) -> Link:
        link = self.network.link(self.uplink)
        if link is None:
            raise DindError(f"there is no network device {self.uplink!r}", cure="name the uplink")
        return link

    @property
    def is_port(self) -> bool:
        """Whether the uplink is a port of the bridge."""
        return self.uplink_link.master == self.bridge

    @property
    def bridge_link(self) -> Link | None:
        return self.network.link(self.bridge)

    @property
    def is_half_done(self) -> bool:
        """Whether a run was killed before what it arranged was found good."""
        return self.record is not None and not self.record.verified

    def rules_of(self, table: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.table == table)

    @property
    def letting_through(self) -> tuple[Rule, ...]:
        """Those by which passes what the engine may drop otherwise."""
        return tuple(rule for rule in self.rules if "ACCEPT" in rule.words)


def with_link(network: Network, link: Link) -> Network:
    """``network`` with ``link`` in the place of the one of its name, or added."""
    others = tuple(other for other in network.links if other.name != link.name)
    return replace(network, links=(*others, link))


def on(network: Network, device: str) -> tuple[Route, ...]:
    """The routes through ``device`` that the kernel did not make by itself."""
    link = network.link(device)
    addresses = link.addresses if link else ()
    return tuple(route for route in network.routes if route.device == device and not route.is_kernels(addresses))


def missing_routes(record: Record, network: Network, device: str) -> list[Route]:
    """Which of the remembered routes do not lead through ``device``.

    One advertised route stands for all to its destination: the kernel keeps its own account of those.
    """
    there = on(network, device)
    alike = {replace(route, device=record.uplink) for route in there}
    advertised = {(route.family, route.dst) for route in there if route.family == 6}
    missing: list[Route] = []
    for route in sorted(record.routes, key=lambda route: bool(route.gateway)):
        if route.is_advertised and (route.family, route.dst) in advertised:
            continue
        if route not in alike:
            missing.append(route)
            advertised.add((route.family, route.dst))
    return missing


def unleased(record: Record) -> Record:
    """``record`` without what comes and goes by leases and advertisements."""
    addresses = tuple(address for address in record.addresses if not address.is_leased)
    return replace(record, addresses=addresses, routes=tuple(r for r in record.routes if not r.is_dynamic))


def _missing_neighbours(record: Record, network: Network, device: str) -> Iterator[Neighbour]:
    there = {(entry.dst, entry.mac) for entry in network.neighbours if entry.device == device}
    return (entry for entry in record.neighbours if (entry.dst, entry.mac) not in there)


def _arrive(record: Record, device: str, there: Collection[Address]) -> Iterator[str]:
    """Lines that give ``device`` the remembered addresses.

    On the bridge they last: whoever renews a lease does so on the device that it left, and dockerd switches router
    advertisements off on its bridge (moby, setupDefaultSysctl).
    """
    for address in record.addresses:
        if address not in there:
            yield f"address replace {address.words(device, lasting=device == record.bridge)}"


def _connect(record: Record, network: Network, device: str) -> Iterator[str]:
    """Lines that lead the remembered routes and neighbours through ``device``; its addresses are there by then."""
    for route in missing_routes(record, network, device):
        yield f"route append {route.words(device, lasting=device == record.bridge)}"
    for entry in _missing_neighbours(record, network, device):
        yield f"neighbour replace {entry.words(device)}"


def _leave(network: Network, link: Link) -> Iterator[str]:
    """Lines that strip ``link``; the neighbours first, since some go with the last address."""
    for entry in network.neighbours:
        if entry.device == link.name:
            yield f"neighbour del {entry.dst} dev {link.name}"
    if leaving(link) or on(network, link.name):
        yield f"address flush dev {link.name}"
        yield f"route flush dev {link.name} table all"


def move_lines(record: Record, network: Network) -> tuple[str, ...]:
    """The batch that brings everything from the uplink to the bridge, from wherever it stands now."""
    uplink, bridge = network.link(record.uplink), network.link(record.bridge)
    if uplink is None:
        return ()
    lines = [f"link set dev {uplink.name} master {record.bridge}"] if uplink.master != record.bridge else []
    lines += _arrive(record, record.bridge, bridge.addresses if bridge else ())
    lines += _leave(network, uplink)
    return (*lines, *_connect(record, network, record.bridge))


def restore_lines(record: Record, network: Network) -> tuple[str, ...]:
    """The batch that gives the uplink back what it had, from wherever the move stands now."""
    uplink, bridge, before = network.link(record.uplink), network.link(record.bridge), record.bridge_before
    if uplink is None:
        return ()
    lines = [f"link set dev {uplink.name} nomaster"] if uplink.master == record.bridge else []
    lines += _arrive(record, uplink.name, uplink.addresses)
    if bridge and before is None:
        lines.append(f"link delete dev {bridge.name}")
    elif bridge and before and not _is_as_before(network, bridge, before):
        lines += _leave(network, bridge)
        lines += shape_lines(before)
        lines += [f"address replace {address.words(bridge.name, lasting=True)}" for address in before.addresses]
    return (*lines, *_connect(record, network, uplink.name))


def _is_as_before(network: Network, bridge: Link, before: Link) -> bool:
    return replace(bridge, addresses=leaving(bridge)) == before and not on(network, bridge.name)


def shape_lines(bridge: Link) -> Iterator[str]:
    """Lines that give the bridge that there is the form of ``bridge``."""
    yield f"link set dev {bridge.name} type bridge stp_state {bridge.stp:d} forward_delay {bridge.forward_delay}"
    yield f"link set dev {bridge.name} address {bridge.mac} mtu {bridge.mtu} {'up' if bridge.up else 'down'}"


def leaving(link: Link) -> tuple[Address, ...]:
    """The addresses of ``link`` that count: a port may have a link-local one of the kernel's making."""
    return tuple(address for address in link.addresses if not address.is_link_local)


@dataclass(frozen=True)
class Remember(Step[State]):
    """``otherwise`` is what is remembered when this is undone."""

    path: Path
    record: Record
    otherwise: Record | None = None

    def __str__(self) -> str:
        if self.record.verified:
            return f"note that {self.record.uplink} is arranged"
        return f"remember the addresses and routes of {self.record.uplink}"

    def effect(self, state: State) -> State:
        return replace(state, record=self.record)

    def do(self, runner: Runner) -> None:
        self._write(self.record)

    def undo(self, runner: Runner) -> None:
        """What could not be given back stays remembered: the next run, or `absent`, gives it back."""
        if self.otherwise:
            self._write(self.otherwise)
        elif self.record.mode != BRIDGE or not restore_lines(self.record, _links.read(runner)):
            self.path.unlink(missing_ok=True)

    def _write(self, record: Record) -> None:
        atomic_file.write(self.path, record.dumps())


@dataclass(frozen=True)
class Forget(Step[State]):
    path: Path

    def __str__(self) -> str:
        return "forget what was remembered"

    def effect(self, state: State) -> State:
        return replace(state, record=None)

    def do(self, runner: Runner) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class SetSysctl(Step[State]):
    """``name`` is the path below /proc/sys, because a device's name may have dots."""

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


@dataclass(frozen=True)
class _Reversible(Step[State]):
    """A change that is taken back by giving the uplink what the record holds, whatever stands by then.

    After a move that was found good once, ``reversible`` is False: a later repair must not tear it down.
    """

    record: Record
    lines: tuple[str, ...]
    reversible: bool

    def do(self, runner: Runner) -> None:
        _links.change(runner, self.lines)

    def undo(self, runner: Runner) -> None:
        if self.reversible:
            _links.change(runner, restore_lines(self.record, _links.read(runner)), all_the_same=True)


@dataclass(frozen=True)
class ShapeBridge(_Reversible):
    mac: str
    mtu: int

    def __str__(self) -> str:
        return f"make the bridge {self.record.bridge} (address {self.mac}, mtu {self.mtu})"

    def effect(self, state: State) -> State:
        link = state.bridge_link or Link(self.record.bridge, 0, self.mac, self.mtu, up=True, kind="bridge")
        kept = tuple(a for a in link.addresses if not self.reversible or a.is_link_local or a in self.record.addresses)
        shaped = replace(link, mac=self.mac, mtu=self.mtu, up=True, stp=False, forward_delay=0, addresses=kept)
        return replace(state, network=with_link(state.network, shaped))


@dataclass(frozen=True)
class Move(_Reversible):
    def __str__(self) -> str:
        return f"move addresses and routes of {self.record.uplink} to {self.record.bridge}"

    def effect(self, state: State) -> State:
        network, record = state.network, self.record
        uplink, bridge = state.uplink_link, state.bridge_link
        if bridge is None:
            raise DindError(f"there is no bridge {record.bridge!r}")
        arrived = tuple(address for address in record.addresses if address not in bridge.addresses)
        routes = tuple(replace(route, device=record.bridge) for route in missing_routes(record, network, record.bridge))
        entries = tuple(replace(e, device=record.bridge) for e in _missing_neighbours(record, network, record.bridge))
        network = with_link(network, replace(uplink, master=record.bridge, addresses=()))
        network = with_link(network, replace(bridge, addresses=(*bridge.addresses, *arrived)))
        kept = tuple(route for route in network.routes if route.device != record.uplink)
        static = tuple(entry for entry in network.neighbours if entry.device != record.uplink)
        return replace(state, network=replace(network, routes=(*kept, *routes), neighbours=(*static, *entries)))


@dataclass(frozen=True)
class Restore(Step[State]):
    record: Record
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"give {self.record.uplink} back its addresses and routes"

    def effect(self, state: State) -> State:
        network, record = state.network, self.record
        uplink, bridge = state.uplink_link, state.bridge_link
        arrived = tuple(address for address in record.addresses if address not in uplink.addresses)
        routes = tuple(missing_routes(record, network, record.uplink))
        entries = tuple(_missing_neighbours(record, network, record.uplink))
        network = with_link(network, replace(uplink, master="", addresses=(*uplink.addresses, *arrived)))
        if bridge and record.bridge_before is None:
            network = replace(network, links=tuple(link for link in network.links if link.name != bridge.name))
        elif bridge:
            network = with_link(network, record.bridge_before or bridge)
        kept = tuple(route for route in network.routes if route.device != record.bridge)
        static = tuple(entry for entry in network.neighbours if entry.device != record.bridge)
        return replace(state, network=replace(network, routes=(*kept, *routes), neighbours=(*static, *entries)))

    def do(self, runner: Runner) -> None:
        _links.change(runner, self.lines, all_the_same=True)


# dockerd keeps what it finds in this chain and asks it first.
USER_CHAIN = "DOCKER-USER"
LET = (*iptables.COMMENT, "-j", "ACCEPT")


def rules_that_let_in(uplink: str, bridge: str, containers: str) -> tuple[Rule, ...]:
    """To ``containers``, a range. Since Docker 28 the engine also drops, for each of them and before it is routed, what
    comes from another device than its bridge (moby, iptabler: filterDirectAccess). It appends those rules."""
    outside = ("!", "-s", "127.0.0.0/8", "-d", containers, "-i", uplink)  # others who pretend to be our loopback
    return (
        Rule("filter", ("-A", USER_CHAIN, "-i", uplink, "-o", bridge, *LET)),
        Rule("raw", ("-A", "PREROUTING", *outside, *LET)),
    )


def rules_that_let_out(bridge: str, containers: str) -> tuple[Rule, ...]:
    """The engine keeps its networks apart (chains DOCKER-ISOLATION-*), and takes all that is beyond a bridge with an
    uplink for one: let its other networks out to all but ``containers``, the bridge's own, and the answers in."""
    answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
    return (
        Rule("filter", ("-A", USER_CHAIN, "!", "-d", containers, "!", "-i", bridge, "-o", bridge, *LET)),
        Rule("filter", ("-A", USER_CHAIN, "-i", bridge, "!", "-o", bridge, *answers, *LET)),
    )


@dataclass(frozen=True)
class LetThrough(Step[State]):
    """``rules`` in the place of those that are ``there``, and ``before`` when this is undone. The engine may drop
    otherwise what they let through."""

    description: str
    there: tuple[Rule, ...]
    rules: tuple[Rule, ...]
    before: tuple[Rule, ...]

    def __str__(self) -> str:
        return f"{'accept' if self.rules else 'no longer accept'} {self.description}"

    def effect(self, state: State) -> State:
        others = tuple(rule for rule in state.rules if rule not in self.there)
        return replace(state, rules=(*self.rules, *others))

    def do(self, runner: Runner) -> None:
        self._change(runner, self.there, self.rules)

    def undo(self, runner: Runner) -> None:
        known = {*self.before, *self.there, *self.rules}
        self._change(runner, [rule for rule in iptables.read(runner) if rule in known], self.before)

    @staticmethod
    def _change(runner: Runner, there: Collection[Rule], wanted: Collection[Rule]) -> None:
        added = [rule for rule in wanted if rule not in there]
        if any(rule.chain == USER_CHAIN for rule in added):
            runner.run("iptables", "-w", "-N", USER_CHAIN, ok=(0, 1))  # 1: there already
        iptables.put_first(runner, added, [rule for rule in there if rule not in wanted])


@dataclass(frozen=True)
class Announce(Step[State]):
    device: str
    mac: str
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return f"announce {', '.join(self.addresses)} on {self.device}"

    def effect(self, state: State) -> State:
        return state

    def do(self, runner: Runner) -> None:
        arp.announce(self.device, self.mac, self.addresses)


@dataclass(frozen=True)
class AskGateway(Step[State]):
    """``sender`` is the IPv4 address that asks."""

    device: str
    mac: str
    sender: str
    gateways: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return f"see that {' and '.join(self.gateways)} answers through {self.device}"

    def effect(self, state: State) -> State:
        return state

    def do(self, runner: Runner) -> None:
        silent = [gateway for gateway in self.gateways if not self._answers(gateway)]
        if silent:
            raise DindError(
                f"the gateway {' and '.join(silent)} did not answer within {self.seconds:g} s, so all was undone",
                cure="if it never answers ARP, set verify to false",
            )

    def _answers(self, gateway: str) -> bool:
        if ":" in gateway:
            return arp.is_neighbour(self.device, self.mac, gateway, self.seconds)
        return bool(arp.answering(self.device, [(self.mac, gateway)], self.sender, self.seconds))
