# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The move of addresses, routes and neighbours from the uplink to the bridge, and back: the lines and the steps.

Each batch of lines starts from wherever an earlier run was killed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import BRIDGE, Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import own_addresses, own_routes
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file, links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Neighbour, Network, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


def missing_routes(record: Record, network: Network, device: str) -> list[Route]:
    """The remembered routes that do not lead through ``device``.

    One advertised route stands for all to its destination: the kernel keeps its own account of those.
    """
    there = own_routes(network, device)
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


def _missing_neighbours(record: Record, network: Network, device: str) -> Iterator[Neighbour]:
    there = {(entry.dst, entry.mac) for entry in network.neighbours if entry.device == device}
    return (entry for entry in record.neighbours if (entry.dst, entry.mac) not in there)


# The lines of `ip`


def move_lines(record: Record, network: Network) -> tuple[str, ...]:
    """The batch that moves everything from the uplink to the bridge."""
    uplink, bridge = network.link(record.uplink), network.link(record.bridge)
    if uplink is None:
        return ()
    lines = [f"link set dev {uplink.name} master {record.bridge}"] if uplink.master != record.bridge else []
    lines += _arrive(record, record.bridge, bridge.addresses if bridge else ())
    lines += _leave(network, uplink)
    return (*lines, *_connect(record, network, record.bridge))


def restore_lines(record: Record, network: Network) -> tuple[str, ...]:
    """The batch that gives everything back to the uplink."""
    uplink, bridge, before = network.link(record.uplink), network.link(record.bridge), record.bridge_before
    if uplink is None:
        return ()
    lines = [f"link set dev {uplink.name} nomaster"] if uplink.master == record.bridge else []
    lines += _arrive(record, uplink.name, uplink.addresses)
    if bridge and before is None:
        lines.append(f"link delete dev {bridge.name}")
    elif bridge and before and not _is_as_before(network, bridge, before):
        lines += _leave(network, bridge)
        lines += _form_lines(before)
        lines += [f"address replace {address.words(bridge.name, lasting=True)}" for address in before.addresses]
    return (*lines, *_connect(record, network, uplink.name))


def shape_lines(state: State, record: Record, mtu: int, is_new: bool) -> tuple[str, ...]:
    """The batch that gives the bridge its form.

    Nothing is set twice: even the same MAC address set again empties the kernel's neighbour table.
    """
    bridge, form = state.bridge_link, Link(record.bridge, 0, record.mac, mtu, up=True)
    if bridge is None:
        # A bridge follows the smallest MTU of its ports until it is set to another value (net/bridge/br_if.c).
        made = f"link add dev {record.bridge} address {record.mac} mtu {mtu - 1} type bridge"
        return (made, *_form_lines(form))
    there = (bridge.mac, bridge.mtu, bridge.up, bridge.stp)
    lines = [] if there == (form.mac, form.mtu, form.up, form.stp) else [*_form_lines(form)]
    leftovers = own_addresses(bridge) if is_new else ()
    return (*lines, *(f"address del {a.cidr} dev {bridge.name}" for a in leftovers if a not in record.addresses))


def _form_lines(form: Link) -> Iterator[str]:
    yield f"link set dev {form.name} type bridge stp_state {form.stp:d} forward_delay {form.forward_delay}"
    yield f"link set dev {form.name} address {form.mac} mtu {form.mtu} {'up' if form.up else 'down'}"


def _arrive(record: Record, device: str, there: Collection[Address]) -> Iterator[str]:
    """Lines that give ``device`` the remembered addresses.

    On the bridge they are permanent. A DHCP client renews its lease on the uplink, and dockerd switches router
    advertisements off on its bridge (moby, setupDefaultSysctl).
    """
    for address in record.addresses:
        if address not in there:
            yield f"address replace {address.words(device, lasting=device == record.bridge)}"


def _connect(record: Record, network: Network, device: str) -> Iterator[str]:
    """Lines that lead the remembered routes and neighbours through ``device``, which has its addresses by then."""
    for route in missing_routes(record, network, device):
        yield f"route append {route.words(device, lasting=device == record.bridge)}"
    for entry in _missing_neighbours(record, network, device):
        yield f"neighbour replace {entry.words(device)}"


def _leave(network: Network, link: Link) -> Iterator[str]:
    """Lines that strip ``link``; the neighbours first, since some go with the last address."""
    for entry in network.neighbours:
        if entry.device == link.name:
            yield f"neighbour del {entry.dst} dev {link.name}"
    if own_addresses(link) or own_routes(network, link.name):
        yield f"address flush dev {link.name}"
        yield f"route flush dev {link.name} table all"


def _is_as_before(network: Network, bridge: Link, before: Link) -> bool:
    return replace(bridge, addresses=own_addresses(bridge)) == before and not own_routes(network, bridge.name)


# The steps


@dataclass(frozen=True)
class Remember(Step[State]):
    """``otherwise`` is the record after undoing this step."""

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
        """A record of something that could not be given back stays, for the next run or `absent`."""
        if self.otherwise:
            self._write(self.otherwise)
        elif self.record.mode != BRIDGE or not restore_lines(self.record, links.read(runner)):
            self.path.unlink(missing_ok=True)

    def _write(self, record: Record) -> None:
        atomic_file.write(self.path, record.dumps())


@dataclass(frozen=True)
class Forget(Step[State]):
    path: Path

    def __str__(self) -> str:
        return "remove the record"

    def effect(self, state: State) -> State:
        return replace(state, record=None)

    def do(self, runner: Runner) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Reversible(Step[State]):
    """A batch whose undoing gives the uplink everything in the record, from whatever the batch left.

    After a verified move ``reversible`` is False: a repair that fails must not tear the move down.
    """

    record: Record
    lines: tuple[str, ...]
    reversible: bool

    def do(self, runner: Runner) -> None:
        links.change(runner, self.lines)

    def undo(self, runner: Runner) -> None:
        if self.reversible:
            links.change(runner, restore_lines(self.record, links.read(runner)), all_the_same=True)


@dataclass(frozen=True)
class ShapeBridge(Reversible):
    mtu: int

    def __str__(self) -> str:
        return f"make the bridge {self.record.bridge} (address {self.record.mac}, mtu {self.mtu})"

    def effect(self, state: State) -> State:
        mac = self.record.mac
        link = state.bridge_link or Link(self.record.bridge, 0, mac, self.mtu, up=True, kind="bridge")
        kept = tuple(a for a in link.addresses if not self.reversible or a.is_link_local or a in self.record.addresses)
        shaped = replace(link, mac=mac, mtu=self.mtu, up=True, stp=False, forward_delay=0, addresses=kept)
        return replace(state, network=_with(state.network, shaped))


@dataclass(frozen=True)
class Move(Reversible):
    def __str__(self) -> str:
        return f"move addresses and routes of {self.record.uplink} to {self.record.bridge}"

    def effect(self, state: State) -> State:
        if state.bridge_link is None:
            raise DindError(f"there is no bridge {self.record.bridge!r}")
        uplink = replace(state.uplink_link, master=self.record.bridge, addresses=())
        return replace(state, network=_arrived(self.record, state.network, uplink, state.bridge_link))


@dataclass(frozen=True)
class Restore(Step[State]):
    record: Record
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"give {self.record.uplink} back its addresses and routes"

    def effect(self, state: State) -> State:
        bridge, before = state.bridge_link, self.record.bridge_before
        network = _arrived(self.record, state.network, bridge and before, replace(state.uplink_link, master=""))
        if before is None:
            network = replace(network, links=tuple(link for link in network.links if link.name != self.record.bridge))
        return replace(state, network=network)

    def do(self, runner: Runner) -> None:
        links.change(runner, self.lines, all_the_same=True)


def _arrived(record: Record, network: Network, left: Link | None, there: Link) -> Network:
    """``network`` with everything of the record on ``there``, and ``left`` as it is then."""
    arrived = tuple(address for address in record.addresses if address not in there.addresses)
    source = record.bridge if there.name == record.uplink else record.uplink
    routes = tuple(replace(route, device=there.name) for route in missing_routes(record, network, there.name))
    entries = tuple(replace(e, device=there.name) for e in _missing_neighbours(record, network, there.name))
    network = _with(network, left, replace(there, addresses=(*there.addresses, *arrived)))
    kept = tuple(route for route in network.routes if route.device != source)
    static = tuple(entry for entry in network.neighbours if entry.device != source)
    return replace(network, routes=(*kept, *routes), neighbours=(*static, *entries))


def _with(network: Network, *changed: Link | None) -> Network:
    """``network`` with these links in the place of those of their names."""
    there = {link.name: link for link in (*network.links, *filter(None, changed))}
    return replace(network, links=tuple(there.values()))
