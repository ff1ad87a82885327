# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""ifupdown (interfaces(5)) as the bridge's manager.

The uplink's stanzas stay as they are and in use. A mapping has `ifup` bring up the uplink by a stanza of ours, as the
bridge's port. That stanza brings up the bridge by the uplink's stanzas (``ifup docker0=eth0``). The running machine has
all of this already, so we only write ifupdown's state, as ifupdown does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Restore, restore_lines
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import MADE_BY, Bridging
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.write_files import WriteFiles
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Places
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import FOREVER, Address
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

PORT = "mesos-dind-"  # with the uplink's name, the name of the port's stanza
FORWARD = "echo 1 >/proc/sys/net/ipv4/ip_forward"
IPV6 = "/proc/sys/net/ipv6/conf"
CURE = "set persist: none for a bridge until the next reboot"

PLAIN_NAME = re.compile(r"[\w.-]+")
PLAIN_KINDS = frozenset({"", "veth"})  # a physical device has none
COMMANDS = frozenset({"pre-up", "up", "post-up", "pre-down", "down", "post-down"})
# Options of interfaces(5) and resolvconf(8) about addresses and names. All others are about the device, and ifupdown
# would apply them to the bridge.
ADDRESS_OPTIONS = COMMANDS | {
    "accept-ra", "address", "autoconf", "broadcast", "client", "dad-attempts", "dad-interval", "description",
    "dns-domain", "dns-nameserver", "dns-nameservers", "dns-options", "dns-search", "dns-sortlist", "gateway",
    "hostname", "leasehours", "leasetime", "ll-attempts", "ll-interval", "metric", "mtu", "netmask", "network",
    "preferred-lifetime", "privext", "scope", "vendor",
}  # fmt: skip


@dataclass(frozen=True)
class IfupdownManager:
    """See `manager.Manager`."""

    places: Places
    name: str = "ifupdown"
    program: str = "ifupdown"

    def manages(self, state: State) -> bool:
        return state.uplink in state.ifupdown.logical

    def is_used(self, state: State) -> bool:
        return bool(state.ifupdown.files) or state.ifupdown.logical.get(state.uplink) == port(state.uplink)

    def keeps_forwarding(self, state: State) -> bool:
        return any(FORWARD in text for text in state.ifupdown.files.values())

    def refuse(self, state: State, record: Record) -> None:
        _refuse_device(state, any(address.is_leased and address.family == 4 for address in record.addresses))
        if not state.ifupdown.is_sourced:
            raise DindError(
                f"{self.places.configuration} does not have ifupdown read {self.places.stanzas}",
                cure=f"add the line `source {self.places.stanzas.parent}/*`",
            )
        _refuse_stanzas(state)

    def files(self, bridging: Bridging, state: State) -> Mapping[str, str]:
        return _files(bridging, self.places)

    def keep(
        self, state: State, record: Record, files: Mapping[str, str], verification: Sequence[Step[State]]
    ) -> list[Step[State]]:
        there = state.ifupdown
        return [
            *([WriteStanzas(there.files, files, self.places)] if files != there.files else []),
            *self._move_client(state, record.uplink, record.bridge),
            *self._set_states(state, {record.uplink: port(record.uplink), record.bridge: record.uplink}),
        ]

    def give_back(self, state: State, record: Record, verification: Sequence[Step[State]]) -> list[Step[State]]:
        there = state.ifupdown
        record = replace(record, addresses=tuple(_permanent(address, state) for address in record.addresses))
        lines = restore_lines(record, state.network)
        return [
            *([WriteStanzas(there.files, {}, self.places)] if there.files else []),
            *([Restore(record, lines)] if lines else []),
            *self._move_client(state, state.bridge, state.uplink),
            *self._set_states(state, {state.uplink: state.uplink, state.bridge: ""}),
        ]

    def _move_client(self, state: State, source: str, target: str) -> list[Step[State]]:
        is_needed = set(state.ifupdown.leasing) - {target}
        return [MoveClient(self.places, source, target, stanza=state.uplink)] if is_needed else []

    def _set_states(self, state: State, wanted: Mapping[str, str]) -> list[Step[State]]:
        before = {device: state.ifupdown.logical.get(device, "") for device in wanted}
        return [SetStates(self.places.states, before, wanted)] if before != wanted else []


def port(uplink: str) -> str:
    """The name of the port's stanza."""
    return f"{PORT}{uplink}"


def _permanent(address: Address, state: State) -> Address:
    """A lease by dhclient without its lifetime, which dhclient sets when it renews the lease."""
    is_dhclients = address.family == 4 and state.ifupdown.leasing
    return replace(address, valid=FOREVER, preferred=FOREVER) if is_dhclients else address


def _refuse_device(state: State, is_leased: bool) -> None:
    uplink, kind, found = state.uplink, state.uplink_link.kind, state.ifupdown
    if not PLAIN_NAME.fullmatch(uplink) or kind not in PLAIN_KINDS:
        what = f"a {kind}" if kind else "a name with special characters"
        raise DindError(f"{uplink} is {what}, and with ifupdown only a plain device can be persisted", cure=CURE)
    if found.has_dhcpv6 or (is_leased and not found.leasing):
        what = "by DHCPv6" if found.has_dhcpv6 else "by DHCP, but no dhclient"
        raise DindError(f"{uplink} has an address {what}, which ifupdown cannot persist", cure=CURE)


def _refuse_stanzas(state: State) -> None:
    uplink, stanza = state.uplink, state.ifupdown.logical[state.uplink]
    if stanza not in (uplink, port(uplink)):
        raise DindError(f"{uplink} was brought up by the stanza {stanza}, not by its own", cure=CURE)
    for name, value in state.ifupdown.options:
        if name.lower().replace("_", "-") not in ADDRESS_OPTIONS:
            raise DindError(f"the stanza of {uplink} has {name!r}, which ifupdown would do to the bridge", cure=CURE)
        if name in COMMANDS and uplink in re.split(r"[^\w.-]+", value):
            raise DindError(
                f"the stanza of {uplink} has `{name} {value}`, which names the device",
                cure="write $IFACE, which then is the bridge",
            )


def _files(bridging: Bridging, places: Places) -> dict[str, str]:
    mapping = [
        "#!/bin/sh",
        MADE_BY,
        "# Another device of this name is brought up by its own stanzas.",
        f'if [ "$(cat "/sys/class/net/$1/address")" = {bridging.mac} ]; then echo "{PORT}$1"; else echo "$1"; fi',
    ]
    stanzas = [MADE_BY, bridging.made_of(places.configuration), *_stanzas(bridging, places)]
    files = {places.mapping: mapping, places.stanzas: stanzas}
    return {str(path): "\n".join(lines) + "\n" for path, lines in files.items()}


def _stanzas(bridging: Bridging, places: Places) -> Iterator[str]:
    uplink, bridge = bridging.uplink, bridging.bridge
    yield from ("", f"mapping {uplink}", f"    script {places.mapping}", "")
    yield f"iface {port(uplink)} inet manual"
    commands = [("pre-up", FORWARD)] if bridging.forwarding else []
    commands += [
        ("pre-up", f"test -e /sys/class/net/{bridge} || ip link add dev {bridge} type bridge"),
        ("pre-up", f"ip link set dev {bridge} address {bridging.mac} type bridge stp_state 0 forward_delay 0"),
        ("pre-up", f"test ! -e {IPV6} || cat {IPV6}/{uplink}/disable_ipv6 >{IPV6}/{bridge}/disable_ipv6"),
        ("pre-up", f"ip link set dev {uplink} mtu {bridging.uplink_mtu} master {bridge}"),
        ("up", f"ip link set dev {uplink} up"),
        ("up", f"ifup --no-mappings {bridge}={uplink}"),
        ("up", f"ip link set dev {bridge} mtu {bridging.mtu}"),
        ("down", f"ifdown {bridge}"),
        ("post-down", f"ip link delete dev {bridge}"),
    ]
    yield from (f"    {when} {command}" for when, command in commands)


@dataclass(frozen=True)
class WriteStanzas(WriteFiles):
    places: Places

    def effect(self, state: State) -> State:
        return replace(state, ifupdown=replace(state.ifupdown, files=dict(self.after)))

    def write(self, path: Path, text: str) -> None:
        # Beside the mapping's script: in interfaces.d, ifupdown would read an unfinished file too.
        unfinished = self.places.mapping.with_name(f"{self.places.mapping.name}.new")
        mode = 0o755 if path == self.places.mapping else 0o644
        atomic_file.write_lasting(path, text, mode=mode, unfinished=unfinished)


@dataclass(frozen=True)
class SetStates(Step[State]):
    """Write into ifupdown's state by which stanza each device is up; the name is empty for a device that is down."""

    path: Path
    before: Mapping[str, str]
    after: Mapping[str, str]

    def __str__(self) -> str:
        told = (f"{device} is {f'up as {name}' if name else 'down'}" for device, name in self.after.items())
        return f"tell ifupdown that {' and '.join(told)}"

    def effect(self, state: State) -> State:
        logical = {device: name for device, name in {**state.ifupdown.logical, **self.after}.items() if name}
        return replace(state, ifupdown=replace(state.ifupdown, logical=logical))

    def do(self, runner: Runner) -> None:
        ifupdown.set_states(self.path, self.after)

    def undo(self, runner: Runner) -> None:
        ifupdown.set_states(self.path, self.before)


@dataclass(frozen=True)
class MoveClient(Step[State]):
    """Continue dhclient's lease on another device with the same MAC address.

    dhclient finds its DUID in the file of leases. The new client starts before the old one ends: after a kill, one of
    them still shows that there was a lease.
    """

    places: Places
    source: str
    target: str
    stanza: str

    def __str__(self) -> str:
        return f"have dhclient continue on {self.target}"

    def effect(self, state: State) -> State:
        return replace(state, ifupdown=replace(state.ifupdown, leasing=(self.target,)))

    def do(self, runner: Runner) -> None:
        self._move(self.source, self.target, runner)

    def undo(self, runner: Runner) -> None:
        self._move(self.target, self.source, runner)

    def start(self, source: str, target: str, runner: Runner) -> None:
        leases = self.places.leases(source).read_text().replace(f'interface "{source}"', f'interface "{target}"')
        self.places.leases(target).write_text(leases)
        ifupdown.start_client(target, self.stanza, runner)

    def _move(self, source: str, target: str, runner: Runner) -> None:
        if not ifupdown.is_alive(self.places.client(target)):
            self.start(source, target, runner)
        ifupdown.kill_client(self.places.client(source))
        if source != self.stanza:  # the bridge
            self.places.leases(source).unlink(missing_ok=True)
