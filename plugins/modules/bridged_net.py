# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import annotations

DOCUMENTATION = r"""
module: bridged_net
short_description: Put an inner engine's containers on the outer network, without NAT
version_added: 0.1.0
description:
  - Makes this machine's uplink a port of the bridge on which an inner Docker engine will place its containers, and
    moves the uplink's addresses, routes and permanent neighbours to the bridge in one batch. Containers of the inner
    engine then have addresses of the outer network and are reached without NAT, in both directions.
  - Each machine's containers get a range of the outer network of their own, carved by O(offset) and O(size).
  - What the uplink had is remembered first. If the gateway does not answer afterwards, all is undone; if the run is
    killed at any point, the next one completes the move.
  - Without an O(offset), the uplink is left alone (or gets back what was moved), and inner subnets are chosen that meet
    no visible route but the default one.
  - Where this machine is a container whose resolver is the outer Docker engine's own, on a loopback address, inner
    containers reach that resolver at the bridge's address, see RV(dns). Nobody outside is let in by this, neither to
    the resolver nor to anything else on the loopback.
  - As long as there is no bridge, NAT is proven with a rule that is gone at once. Where the backend of C(iptables) (nft
    or legacy) does not work, the other is made the default by C(update-alternatives); where neither does, it fails.
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
    description: The bridge that the inner engine will use.
    type: str
    default: docker0
  offset:
    description:
      - Where the range begins, counted from the outer network's own address, as a dotted quad (V(0.0.1.0)) or as an
        integer (V(256)).
      - V(auto) makes a range from the machine's own address. With the outer prefix length P and the host number h, and
        O(size) S (by default P plus half of the rest, rounded up), it is the range number h of that size. It needs h in
        the first range and not in the last. The ranges of several machines are disjoint as long as the outer network
        hands out addresses of the first range only, as after C(docker network create --subnet 10.9.0.0/16 --ip-range
        10.9.0.0/24).
      - Empty means the default mode, in which the engine has its own network.
    type: str
    default: ""
  size:
    description:
      - Prefix length of the range. By default 24, or what O(offset=auto) gives. At most 30 with O(mode=proxy_arp).
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
      - The engine's data root. C(dockerd) keeps a record of its bridge there, and at its start first gives the bridge
        the address of that record, taking away the one that is there and with it the machine's routes. A record of
        another address is made harmless here; only one word of it is changed.
    type: path
    default: /var/lib/docker
  mtu:
    description: MTU of the bridge. By default the uplink's, which it cannot exceed.
    type: int
  ipv6_range:
    description:
      - An IPv6 range for inner containers, in CIDR notation; one of the uplink's IPv6 networks as a whole, or a part of
        one.
      - An engine before Docker 28 takes every other IPv6 address than its own off the bridge, so give it the whole
        network. It makes container addresses of their MAC addresses then, which follow from their IPv4 addresses, and
        so are disjoint as the IPv4 ranges are. Docker 28 and later know C(--bip6), and are to be given a part.
      - Refused without an O(offset), and with proxy ARP, where the kernel answers for single IPv6 addresses only.
    type: str
    default: ""
  mode:
    description:
      - V(bridge) makes the uplink a port of the bridge.
      - V(proxy_arp) leaves the uplink as it is and has this machine answer ARP for the range. It is for networks that
        drop frames of other MAC addresses than the machine's own, as most clouds do. The engine must not masquerade
        then.
      - V(auto) asks the gateway by ARP from another MAC address, and takes V(proxy_arp) if it answers the machine's own
        only.
    type: str
    choices: [bridge, proxy_arp, auto]
    default: auto
  verify:
    description: Whether the gateway must answer ARP (or an IPv6 neighbour solicitation) after the move.
    type: bool
    default: true
  verify_timeout:
    description: How long to wait for the gateway's answer, in seconds.
    type: float
    default: 5.0
  persist:
    description:
      - By what it is there again after a reboot. Without it nothing is.
      - V(networkd) writes three files, C(/etc/systemd/network/00-00-mesos-dind-*), for the bridge, for what is on it
        and for the uplink, and has C(systemd-networkd) follow them once the gateway has answered. They are made of the
        C(.network) file that the uplink had and of its drop-ins, which stay as they are; when those change, the next
        run changes ours. That is so too where netplan makes that file. Where IPv4 forwarding was off,
        C(/etc/sysctl.d/60-mesos-dind-bridged-net.conf) keeps it on.
      - V(ifupdown) writes C(/etc/network/interfaces.d/mesos-dind-bridged-net), and a script that it uses, by which
        C(ifup) brings up the uplink as the bridge's port and the bridge by the uplink's own stanzas. Those stay as they
        are and in use. A lease goes on with the bridge where C(dhclient) has it; other DHCP clients are refused, as are
        stanzas with what is about the device.
      - Both write a drop-in for C(docker.service), C(/etc/systemd/system/docker.service.d/mesos-dind-bridged-net.conf),
        by which the rules that let containers on other inner networks out are there whenever that starts; V(ifupdown)
        only where systemd runs.
      - V(auto) is V(networkd) where C(systemd-networkd) manages the uplink, V(ifupdown) where that has brought it up,
        and refused before anything is changed where neither did.
      - With proxy ARP, whoever manages the uplink, each of these writes that drop-in only, with the settings as well.
        Refused where systemd does not run.
      - V(none) arranges the running machine only. Where files of an earlier run are there, it is refused; run
        O(state=absent) first.
      - O(state=absent) removes the files whatever is said here, also after a reboot.
    type: str
    choices: [auto, networkd, ifupdown, none]
    default: none
requirements:
  - iproute2
  - iptables
  - netaddr (Python library)
attributes:
  check_mode:
    description: Predicts exactly what a run would do, and refuses what a run would refuse.
    support: full
  diff_mode:
    description: Shows links, addresses, routes, settings and files before and after.
    support: full
notes:
  - With O(persist=networkd), C(systemd-networkd) takes the addresses off the bridge and puts them there again, once; it
    was milliseconds when measured, with a lease until the server has answered. What was added by hand is given again,
    but is not there after a reboot, as it would not be without the bridge.
  - Where C(systemd-networkd) does not have the addresses back within 20 seconds, everything is undone.
  - With O(persist=ifupdown) nothing is taken off the bridge. C(ifupdown) is told by its state in C(/run/network) that
    it has brought up the devices in this way. A leased address has no lifetime until C(dhclient) renews the lease.
author:
  - The mesos.dind Authors (@mesos-dind)
"""

EXAMPLES = r"""
- name: Put inner containers on the outer network, by a range made from this machine's own address
  mesos.dind.bridged_net:
    offset: auto
  register: network

- name: Put them in 172.17.1.0/24 of an outer 172.17.0.0/16
  mesos.dind.bridged_net:
    offset: 0.0.1.0
    size: 24
    peers: [172.17.2.0/24, 172.17.3.0/24]

- name: Do so on a machine, in a way that outlasts a reboot
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
  description: What was done, or in check mode would be done, in order.
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
  description: The bridge that the inner engine is to use.
  returned: success
  type: str
  sample: docker0
bip:
  description:
    - C(dockerd --bip). In bridged mode the machine's own address, which is on the bridge by then; in default mode and
      with proxy ARP an inner address.
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
  description: C(dockerd --dns), the bridge's address where the outer engine's resolver is behind it. Empty where inner
    containers reach this machine's nameservers themselves.
  returned: success
  type: list
  elements: str
  sample: [172.18.0.1]
dns_options:
  description:
    - C(dockerd --dns-opt). This machine's options but for C(ndots:0), which is the outer engine's own and would have
      the inner one keep names without a dot from its user-defined networks. Empty where the engine may read them
      itself.
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
