# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import annotations

DOCUMENTATION = r"""
module: bridged_net
short_description: Put an inner engine's containers on the outer network, without NAT
version_added: 0.1.0
description:
  - Makes this machine's uplink a port of the bridge of an inner Docker engine, and moves the uplink's addresses, routes
    and permanent neighbours to the bridge in one batch. Containers of the inner engine then have addresses of the outer
    network, and are reached without NAT in both directions.
  - Each machine's containers get their own range of the outer network, carved by O(offset) and O(size).
  - Before the first change, a record keeps what the uplink had. If the gateway does not answer afterwards, the module
    undoes everything. If a run is killed, the next run completes the move.
  - Without O(offset), the uplink stays as it is (or gets back what was moved). The module then chooses inner subnets
    that meet no visible route but the default one.
  - If this machine is a container and its resolver is the outer Docker engine's, on a loopback address, inner
    containers reach that resolver at the bridge's address, see RV(dns). Neighbours still reach neither the resolver nor
    anything else on the loopback.
  - As long as there is no bridge, the module proves NAT with a rule that it removes at once. If the default backend of
    C(iptables) (nft or legacy) fails, it makes the other one the default by C(update-alternatives). It fails if neither
    works.
  - Run it before C(dockerd) starts, as root in the network namespace in question.
options:
  state:
    description: V(absent) gives the uplink back exactly what it had. Stop the inner engine first.
    type: str
    choices: [present, absent]
    default: present
  uplink:
    description: The network device that leads out. By default the default route's.
    type: str
    default: ""
  bridge:
    description: The bridge of the inner engine.
    type: str
    default: docker0
  offset:
    description:
      - The beginning of the range, counted from the outer network's own address, as a dotted quad (V(0.0.1.0)) or as an
        integer (V(256)).
      - V(auto) makes a range from the machine's own address. P is the outer prefix length, h the host number and S the
        O(size), by default P plus half of the rest, rounded up. The range is number h of that size. h must lie in the
        first range and not in the last. The ranges of several machines are disjoint as long as the outer network hands
        out addresses of the first range only, as after C(docker network create --subnet 10.9.0.0/16 --ip-range
        10.9.0.0/24).
      - Empty means default mode, in which the engine has its own network.
    type: str
    default: ""
  size:
    description:
      - Prefix length of the range. By default 24, or as O(offset=auto) derives it. At most 30 with O(mode=proxy_arp).
    type: int
  peers:
    description: Ranges of other machines, in CIDR notation, that this machine's range must not meet.
    type: list
    elements: str
    default: []
  gateway:
    description:
      - Whether inner containers route by the outer network's gateway (V(outer)) or by this machine (V(bridge)).
    type: str
    choices: [outer, bridge]
    default: outer
  data_root:
    description:
      - The engine's data root. C(dockerd) keeps a record of its bridge there. At its start it gives the bridge the
        address of that record, and removes the present address and with it the machine's routes. The module makes a
        record of another address harmless by changing one word of it.
    type: path
    default: /var/lib/docker
  mtu:
    description: MTU of the bridge. By default, and at most, the uplink's.
    type: int
  ipv6_range:
    description:
      - An IPv6 range for inner containers, in CIDR notation. It is one of the uplink's IPv6 networks, or a part of one.
      - Give an engine before Docker 28 the whole network, since it removes every IPv6 address but its own from the
        bridge. It makes container addresses of their MAC addresses, which follow from their IPv4 addresses, so they are
        disjoint as the IPv4 ranges are. Give Docker 28 and later a part; these know C(--bip6).
      - Refused without O(offset), and with proxy ARP, where the kernel answers for single IPv6 addresses only.
    type: str
    default: ""
  mode:
    description:
      - V(bridge) makes the uplink a port of the bridge.
      - V(proxy_arp) leaves the uplink as it is, and this machine answers ARP for the range. Use it on networks that
        drop frames of MAC addresses other than the machine's own, as most clouds do. The engine must not masquerade
        then.
      - V(auto) asks the gateway by ARP from another MAC address. It takes V(proxy_arp) if the gateway answers the
        machine's own MAC address only.
    type: str
    choices: [auto, bridge, proxy_arp]
    default: auto
  verify:
    description: Whether the gateway must answer ARP (or an IPv6 neighbour solicitation) after the move.
    type: bool
    default: true
  verify_timeout:
    description: Time limit of the gateway's answer, in seconds.
    type: float
    default: 5.0
  persist:
    description:
      - The program that makes the bridge again after a reboot. It must have configured the uplink.
      - V(networkd) writes three files, C(/etc/systemd/network/00-00-mesos-dind-*), for the bridge, its addresses and
        the uplink. C(systemd-networkd) follows them once the gateway has answered. The module makes them from the
        C(.network) file of the uplink and its drop-ins, which stay as they are, also if netplan makes them. When those
        change, the next run changes ours. C(/etc/sysctl.d/60-mesos-dind-bridged-net.conf) keeps IPv4 forwarding on if
        it was off.
      - V(ifupdown) writes C(/etc/network/interfaces.d/mesos-dind-bridged-net) and a script. With them C(ifup) brings up
        the uplink as the bridge's port, and the bridge by the uplink's own stanzas, which stay as they are and in use.
        C(dhclient) continues its lease on the bridge. The module refuses other DHCP clients, and stanzas with options
        about the device.
      - Both also write a drop-in for C(docker.service),
        C(/etc/systemd/system/docker.service.d/mesos-dind-bridged-net.conf). At each start of the engine it sets the
        rules that let containers on other inner networks out. V(ifupdown) writes it only if systemd runs.
      - V(auto) is V(networkd) if C(systemd-networkd) manages the uplink, and V(ifupdown) if C(ifup) brought it up. If
        neither did, the module refuses before the first change.
      - With proxy ARP, each of these values writes only the drop-in, with the settings as well, whoever manages the
        uplink. Refused if systemd does not run.
      - V(none) arranges the running machine only. It is refused if files of an earlier run exist; run O(state=absent)
        first.
      - O(state=absent) removes the files with every value, also after a reboot.
    type: str
    choices: [auto, networkd, ifupdown, none]
    default: none
requirements:
  - iproute2
  - iptables
  - netaddr (Python library)
attributes:
  check_mode:
    description: Predicts exactly the changes and the refusals of a run.
    support: full
  diff_mode:
    description: Shows links, addresses, routes, settings and files before and after.
    support: full
notes:
  - With O(persist=networkd), C(systemd-networkd) once removes the addresses from the bridge and adds them again. That
    took milliseconds when measured; a lease takes until the server has answered. The module adds addresses again that
    were added by hand. They are gone after a reboot, as they are without the bridge.
  - If C(systemd-networkd) does not have the addresses back within 20 seconds, the module undoes everything.
  - With O(persist=ifupdown), no address leaves the bridge. The module writes C(ifupdown)'s state in C(/run/network) as
    if C(ifupdown) had brought up the devices. A leased address has no lifetime until C(dhclient) renews the lease.
author:
  - The mesos.dind Authors (@mesos-dind)
"""

EXAMPLES = r"""
- name: Put inner containers on the outer network, in a range made from this machine's own address
  mesos.dind.bridged_net:
    offset: auto
  register: network

- name: Put inner containers in 172.17.1.0/24 of an outer 172.17.0.0/16
  mesos.dind.bridged_net:
    offset: 0.0.1.0
    size: 24
    peers: [172.17.2.0/24, 172.17.3.0/24]

- name: Keep the bridge after a reboot
  mesos.dind.bridged_net:
    offset: 0.0.1.0
    persist: auto

- name: Choose inner subnets that meet no outer route
  mesos.dind.bridged_net:

- name: Give the uplink back what it had
  mesos.dind.bridged_net:
    state: absent
"""

RETURN = r"""
actions:
  description: The changes, or in check mode the predicted changes, in order.
  returned: success
  type: list
  elements: str
  sample: ["move addresses and routes of eth0 to docker0"]
uplink:
  description: The network device that leads out.
  returned: success
  type: str
  sample: eth0
bridge:
  description: The bridge of the inner engine.
  returned: success
  type: str
  sample: docker0
bip:
  description:
    - C(dockerd --bip). In mode V(bridge) the machine's own address, which is on the bridge; in default mode and with
      proxy ARP an inner address.
  returned: success
  type: str
  sample: 172.17.0.2/16
fixed_cidr:
  description: C(dockerd --fixed-cidr), the range; empty in default mode.
  returned: success
  type: str
  sample: 172.17.1.0/24
fixed_cidr_v6:
  description: C(dockerd --fixed-cidr-v6); empty without O(ipv6_range).
  returned: success
  type: str
  sample: fd00:17::100:0/112
bip_v6:
  description: C(dockerd --bip6), for Docker 28 and later; empty without O(ipv6_range).
  returned: success
  type: str
  sample: fd00:17::2/64
gateway:
  description: C(dockerd --default-gateway); empty if containers route by the bridge.
  returned: success
  type: str
  sample: 172.17.0.1
gateway_v6:
  description: C(dockerd --default-gateway-v6); empty if containers route by the bridge.
  returned: success
  type: str
  sample: fd00:17::1
address_pools:
  description:
    - C(default-address-pools) for the engine's further networks, in default mode. Always empty in bridged mode, where
      C(dockerd) would delete the bridge, and with it the uplink's addresses, over a stale record of its own.
  returned: success
  type: list
  elements: dict
  sample: [{"base": "172.19.0.0/16", "size": 16}]
dns:
  description: C(dockerd --dns), the bridge's address if the outer engine's resolver is behind it. Empty if inner
    containers reach this machine's nameservers themselves.
  returned: success
  type: list
  elements: str
  sample: [172.18.0.1]
dns_options:
  description:
    - C(dockerd --dns-opt). This machine's options without C(ndots:0), which the outer engine sets for itself. With it,
      the inner engine would not forward names without a dot. Empty if the engine may read the options itself.
  returned: success
  type: list
  elements: str
  sample: ["timeout:5"]
mtu:
  description: MTU for the bridge and for inner containers.
  returned: success
  type: int
  sample: 1500
mac:
  description: MAC address of the uplink, which the bridge has as well.
  returned: success
  type: str
  sample: 02:42:ac:11:00:02
mode:
  description: V(bridge), V(proxy_arp) or V(default).
  returned: success
  type: str
  sample: bridge
masquerade:
  description:
    - Whether C(dockerd) may masquerade (C(--ip-masq)). Not with proxy ARP, where inner containers keep their addresses.
  returned: success
  type: bool
"""

from ansible_collections.mesos.dind.plugins.module_utils import _module
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net


def main() -> None:
    _module.run("bridged_net", bridged_net.core)


if __name__ == "__main__":
    main()
