# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_ranges
short_description: Plan disjoint ranges of one network for the agents of many hosts
version_added: 0.1.0
description:
  - Gives each host one range or several ranges of the outer network. The offset of a range is for
    M(mesos.dind.bridged_net), the role C(mesos.dind.network) (C(network_offset)) or an agent's container
    (C(DOCKER_NETWORK_OFFSET)).
  - Serves the hosts in the order of the list. Each host gets the lowest free ranges. So a host that is added at the end
    moves no other host.
  - A host that is removed, or added before others, moves the hosts behind it. So does another number of O(agents).
    O(pinned) keeps hosts where they are.
  - No host gets the first range, which has the network's own address, or the last one, which has the broadcast address.
    The filter refuses wrong input in one line with the numbers.
positional: _input, network
options:
  _input:
    description: The hosts' names, each once, for example an inventory's group.
    type: list
    elements: str
    required: true
  network:
    description: The outer network, IPv4, in CIDR notation.
    type: str
    required: true
  size:
    description: Prefix length of each range.
    type: int
    default: 24
  agents:
    description:
      - Number of ranges a host, from 1 up. A number is for all hosts. A dictionary has a number for each host that it
        names; other hosts get one range.
    type: raw
    default: 1
  reserved:
    description:
      - Addresses that no range may contain, as addresses (V(10.20.0.1)), networks in CIDR notation (V(10.20.8.0/21)) or
        spans (V(10.20.4.10-10.20.5.99)).
      - Name the gateway, the hosts' own addresses and the pool of a DHCP server, unless they are in the first range.
        The filter cannot know them.
    type: list
    elements: str
    default: []
  pinned:
    description:
      - Offsets that hosts have already. Each host has an offset or a list of offsets, as dotted quads (V(0.0.3.0)) or
        as integers. They are the host's first ranges. The host gets further ranges only if O(agents) is greater.
      - No host gets the offsets of a host that is not in the list.
    type: dict
    default: {}
requirements:
  - netaddr (Python library, on the control host)
seealso:
  - module: mesos.dind.bridged_net
author:
  - The mesos.dind Authors (@mesos-dind)
"""

EXAMPLES = r"""
# In group_vars of the group mesos_agents: with the hosts a1, a2 and a3, a2 has the offset 0.0.2.0.
network_offset: "{{ (groups['mesos_agents'] | mesos.dind.fleet_ranges('10.20.0.0/16'))[inventory_hostname].offset }}"

# One agent on each host but four on a1, in ranges of 16 addresses, away from the gateway and a DHCP server's pool.
plan: >-
  {{ groups['mesos_agents'] | mesos.dind.fleet_ranges(
       '192.168.1.0/24', size=28, agents={'a1': 4}, reserved=['192.168.1.254', '192.168.1.100-192.168.1.149']) }}

# a3 keeps its range although a2 is gone.
plan_without_a2: "{{ ['a1', 'a3'] | mesos.dind.fleet_ranges('10.20.0.0/16', pinned={'a3': '0.0.3.0'}) }}"
"""

RETURN = r"""
_value:
  description:
    - Each host's first range, and in C(agents) all its ranges, including the first.
    - Each range has C(offset), a dotted quad from the network's own address. It also has C(size), the prefix length,
      and C(cidr), the range itself.
  type: dict
  sample:
    a1:
      offset: 0.0.1.0
      size: 24
      cidr: 10.20.1.0/24
      agents:
        - offset: 0.0.1.0
          size: 24
          cidr: 10.20.1.0/24
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import ranges as _ranges
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.plugin_utils._fleet import Fleet, plan

if TYPE_CHECKING:
    from netaddr import IPNetwork


def fleet_ranges(
    hosts: Iterable[str],
    network: str,
    size: int | str = _ranges.DEFAULT_SIZE,
    agents: int | str | Mapping[str, int | str] = 1,
    reserved: Iterable[str] = (),
    pinned: Mapping[str, object] | None = None,
) -> dict[str, dict[str, Any]]:
    """The ranges of each host; see DOCUMENTATION. Raises AnsibleFilterError."""
    try:
        fleet = _fleet(hosts, network, size, agents, reserved, {} if pinned is None else pinned)
        return {host: _described(fleet.subnet, ranges) for host, ranges in plan(fleet).items()}
    except DindError as error:
        raise AnsibleFilterError(f"fleet_ranges: {error}") from None


def _fleet(hosts: object, outer: object, size: object, agents: object, reserved: object, pinned: object) -> Fleet:
    names = _texts("hosts", hosts)
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise DindError(f"hosts: {', '.join(twice)} named more than once, in a list of {len(names)}")
    return Fleet(
        subnet=_ranges.network(str(outer)),
        size=_number("size", size),
        agents=_agents(names, agents),
        reserved=tuple(held for text in _texts("reserved", reserved) for held in _ranges.networks(text)),
        pinned={str(host): _offsets(offsets) for host, offsets in _mapping("pinned", pinned).items()},
    )


def _agents(hosts: Iterable[str], agents: object) -> dict[str, int]:
    if not isinstance(agents, Mapping):
        return dict.fromkeys(hosts, _number("agents", agents))
    found = dict.fromkeys(hosts, 1)
    unknown = [str(host) for host in agents if host not in found]
    if unknown:
        raise DindError(f"agents: {', '.join(unknown)}: not among the hosts")
    return found | {str(host): _number(f"agents of {host}", number) for host, number in agents.items()}


def _offsets(offsets: object) -> tuple[str, ...]:
    return (str(offsets),) if isinstance(offsets, str | int) else _texts("pinned", offsets)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise DindError(f"{name}: {str(value)!r} is not a list")
    return tuple(str(item) for item in value)


def _mapping(name: str, value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise DindError(f"{name}: {str(value)!r} is not a dictionary with host names as its keys")
    return value


def _number(name: str, value: object) -> int:
    """The number, which may be given as text: before ansible-core 2.19, a template's result is always text."""
    text = str(value)
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise DindError(f"{name}: {text!r} is not a whole number from 1 up")
    return int(text)


def _described(subnet: IPNetwork, ranges: list[IPNetwork]) -> dict[str, Any]:
    from netaddr import IPAddress

    agents = [
        {"offset": str(IPAddress(found.first - subnet.first, 4)), "size": found.prefixlen, "cidr": str(found.cidr)}
        for found in ranges
    ]
    return {**agents[0], "agents": agents}


class FilterModule:
    """The filters, as Ansible loads them."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_ranges": fleet_ranges}
