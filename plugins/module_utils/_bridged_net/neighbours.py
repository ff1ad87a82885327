# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Questions to the neighbours on the uplink before the move, and to the gateway after it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import uplink
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State, Survey
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.target import Target
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import addresses, arp
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Link
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

SURVEY_SECONDS = 0.05
SURVEYED_ADDRESSES = 1024


def surveyed(target: Target, state: State) -> Survey:
    """Ask the neighbours who has an address of the range, and whether the link carries foreign MAC addresses.

    Containers of this machine do not answer as long as the uplink is not a port of the bridge.
    """
    link = state.uplink_link
    if not link.up or target.record is None:
        return Survey()
    candidates = addresses.network(target.fixed_cidr)[:SURVEYED_ADDRESSES]
    own = [(link.mac, str(candidate)) for candidate in candidates]
    gateway = target.record.gateway(4)
    foreign = [(_strangers_mac(), gateway)] if gateway and target.desired.mode == "auto" else []
    heard = arp.answering(link.name, own + foreign, arp.ANYBODY, SURVEY_SECONDS)
    taken = tuple(address for mac, address in own if (mac, address) in heard)
    seconds = min(1.0, target.desired.verify_timeout)
    return Survey(taken, foreign_mac=heard.issuperset(foreign) or _is_carried(link, *foreign[0], seconds))


def _is_carried(link: Link, stranger: str, gateway: str, seconds: float) -> bool:
    """Whether the gateway answers the stranger too. A slow gateway is no dropped MAC address, so this waits longer."""

    def answers(mac: str) -> bool:
        return bool(arp.answering(link.name, [(mac, gateway)], arp.ANYBODY, seconds))

    return answers(stranger) or not answers(link.mac)


def _strangers_mac() -> str:
    """A locally administered MAC address, another one each time.

    Several machines may ask at once, and the switches on the way learn the place of each MAC address.
    """
    return f"02:{os.urandom(5).hex(':')}"


def announcement(record: Record) -> list[Step[State]]:
    announced = tuple(address.local for address in record.without_link_local.addresses)
    return [Announce(record.bridge, record.mac, announced)] if announced else []


def verification(desired: Desired, record: Record, device: str) -> list[Step[State]]:
    """Check that the gateways answer on ``device``; nothing without a gateway."""
    gateways = tuple(filter(None, (record.gateway(4), record.gateway(6))))
    if not (desired.verify and gateways):
        return []
    return [AskGateway(device, record.mac, _sender(record), gateways, desired.verify_timeout)]


def _sender(record: Record) -> str:
    """The IPv4 address that asks. Without an address, as after a lost lease, it is that of a probe (RFC 5227)."""
    try:
        return uplink.own_address(record).local
    except RangeError:
        return arp.ANYBODY


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
        return f"check that {' and '.join(self.gateways)} answers through {self.device}"

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
