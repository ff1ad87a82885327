# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bridge in ifupdown's own terms (interfaces(5)), so that it is there after a reboot without anybody's help.

The uplink's stanzas stay as they are, and stay in use: a mapping has the uplink brought up by a stanza of ours, as the
bridge's port, which then brings up the bridge by the uplink's stanzas (``ifup docker0=eth0``). Nothing of this happens
on the running machine, which is arranged already; ifupdown's state is made to say so, as ifupdown itself writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import (
    MADE_BY,
    MADE_OF,
    Bridging,
    difference,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown as _ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Places
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import FOREVER, Address
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

IFUPDOWN = "ifupdown"
PORT = "mesos-dind-"  # and the uplink's name: the stanza for the port
FORWARD = "echo 1 >/proc/sys/net/ipv4/ip_forward"
IPV6 = "/proc/sys/net/ipv6/conf"
CURE = "set persist: none for a bridge that is gone after a reboot"

PLAIN_NAME = re.compile(r"[\w.-]+")
PLAIN_KINDS = frozenset({"", "veth"})  # a physical device has none
COMMANDS = frozenset({"pre-up", "up", "post-up", "pre-down", "down", "post-down"})
# Of interfaces(5) and resolvconf(8), what is about addresses and names. Whatever else a stanza has is about the device,
# and would be done to the bridge.
ADDRESS_OPTIONS = COMMANDS | {
    "accept-ra", "address", "autoconf", "broadcast", "client", "dad-attempts", "dad-interval", "description",
    "dns-domain", "dns-nameserver", "dns-nameservers", "dns-options", "dns-search", "dns-sortlist", "gateway",
    "hostname", "leasehours", "leasetime", "ll-attempts", "ll-interval", "metric", "mtu", "netmask", "network",
    "preferred-lifetime", "privext", "scope", "vendor",
}  # fmt: skip


def port(uplink: str) -> str:
    return f"{PORT}{uplink}"


def refuse_what_cannot_last(state: State, is_leased: bool, places: Places) -> None:
    """Raises DindError for what ifupdown would not bring up in our way."""
    uplink, kind, found = state.uplink, state.uplink_link.kind, state.ifupdown
    if not PLAIN_NAME.fullmatch(uplink) or kind not in PLAIN_KINDS:
        what = f"a {kind}" if kind else "a name with special characters"
        raise DindError(f"{uplink} is {what}, and with ifupdown only a plain device can be persisted", cure=CURE)
    if found.has_dhcpv6 or (is_leased and not found.leasing):
        what = "by DHCPv6" if found.has_dhcpv6 else "by DHCP, but no dhclient"
        raise DindError(f"{uplink} has an address {what}, which cannot be persisted with ifupdown", cure=CURE)
    if not found.is_sourced:
        raise DindError(
            f"{places.configuration} does not have ifupdown read {places.stanzas}",
            cure=f"add the line `source {places.stanzas.parent}/*`",
        )
    if found.logical[uplink] not in (uplink, port(uplink)):
        raise DindError(f"{uplink} was brought up by the stanza {found.logical[uplink]}, not by its own", cure=CURE)
    for name, value in found.options:
        if name.lower().replace("_", "-") not in ADDRESS_OPTIONS:
            raise DindError(f"the stanza of {uplink} has {name!r}, which would be done to the bridge", cure=CURE)
        if name in COMMANDS and uplink in re.split(r"[^\w.-]+", value):
            raise DindError(
                f"the stanza of {uplink} has `{name} {value}`, which names the device",
                cure="write $IFACE, which then is the bridge",
            )


def wanted_states(uplink: str, bridge: str) -> dict[str, str]:
    return {uplink: port(uplink), bridge: uplink}


def is_ours(state: State) -> bool:
    """Whether ifupdown has something to give back."""
    return bool(state.ifupdown.files) or state.ifupdown.logical.get(state.uplink) == port(state.uplink)


def lasting(address: Address, state: State) -> Address:
    """A lease by dhclient as if it were for good: it gives the address its lifetime when it renews the lease."""
    is_its = address.family == 4 and state.ifupdown.leasing
    return replace(address, valid=FOREVER, preferred=FOREVER) if is_its else address


def keeps_forwarding(state: State) -> bool:
    return any(FORWARD in text for text in state.ifupdown.files.values())


def wanted_files(bridging: Bridging, places: Places) -> dict[str, str]:
    """By path; what refers to another comes last."""
    made_of = MADE_OF.format(uplink=bridging.uplink, bridge=bridging.bridge, original=places.configuration)
    mapping = [
        "#!/bin/sh",
        MADE_BY,
        "# Another device of this name is brought up by its own stanzas.",
        f'if [ "$(cat "/sys/class/net/$1/address")" = {bridging.mac} ]; then echo "{PORT}$1"; else echo "$1"; fi',
    ]
    files = {places.mapping: mapping, places.stanzas: [MADE_BY, made_of, *_stanzas(bridging, places)]}
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
class WriteStanzas(Step[State]):
    """What refers to another file is removed first and written last."""

    places: Places
    before: Mapping[str, str]
    after: Mapping[str, str]

    def __str__(self) -> str:
        return difference(self.before, self.after)

    def effect(self, state: State) -> State:
        return replace(state, ifupdown=replace(state.ifupdown, files=dict(self.after)))

    def do(self, runner: Runner) -> None:
        self._change(self.before, self.after)

    def undo(self, runner: Runner) -> None:
        self._change(self.after, self.before)

    def _change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        for path in reversed([path for path in before if path not in after]):
            Path(path).unlink(missing_ok=True)
        for path, text in after.items():
            self._write(Path(path), text)

    def _write(self, path: Path, text: str) -> None:
        # Beside the mapping's script: in interfaces.d ifupdown would read what is unfinished as well.
        unfinished = self.places.mapping.with_name(f"{self.places.mapping.name}.new")
        mode = 0o755 if path == self.places.mapping else 0o644
        atomic_file.write_lasting(path, text, mode=mode, unfinished=unfinished)


@dataclass(frozen=True)
class SetStates(Step[State]):
    """Have ifupdown's state say how the devices are arranged. What is not up has no name."""

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
        _ifupdown.set_states(self.path, self.after)

    def undo(self, runner: Runner) -> None:
        _ifupdown.set_states(self.path, self.before)


@dataclass(frozen=True)
class MoveClient(Step[State]):
    """The same lease goes on with another device: it has the same MAC address, and with the file of leases dhclient
    finds its DUID. The new one is there before the old one is gone, lest nobody remembers that there was one."""

    places: Places
    source: str
    target: str
    stanza: str

    def __str__(self) -> str:
        return f"have dhclient go on with {self.target}"

    def effect(self, state: State) -> State:
        return replace(state, ifupdown=replace(state.ifupdown, leasing=(self.target,)))

    def do(self, runner: Runner) -> None:
        self._move(self.source, self.target, runner)

    def undo(self, runner: Runner) -> None:
        self._move(self.target, self.source, runner)

    def start(self, source: str, target: str, runner: Runner) -> None:
        leases = self.places.leases(source).read_text().replace(f'interface "{source}"', f'interface "{target}"')
        self.places.leases(target).write_text(leases)
        _ifupdown.start_client(target, self.stanza, runner)

    def _move(self, source: str, target: str, runner: Runner) -> None:
        if not _ifupdown.is_alive(self.places.client(target)):
            self.start(source, target, runner)
        _ifupdown.kill_client(self.places.client(source))
        if source != self.stanza:  # the bridge
            self.places.leases(source).unlink(missing_ok=True)
