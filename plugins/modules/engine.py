# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
short_description: Runs containerd and dockerd as supervised services
version_added: 0.1.0
description:
  - Writes the configuration of the engine and brings C(containerd) and C(dockerd) up, each as a supervised service,
    until each says that it is ready.
  - In an agent container s6 supervises them. On a machine systemd does, with the distribution's own units, to which a
    drop-in is added.
  - Starts a service anew where its configuration has changed. Containers survive that.
author:
  - The mesos.dind Authors (@mesos-dind)
options:
  state:
    description: V(absent) stops the engine and takes away what was written, but for
      C(/var/lib/mesos-dind/engine-before.json), which says how it was before and is to be removed when it is so again.
      Only with O(supervisor=systemd).
    type: str
    choices: [present, absent]
    default: present
  supervisor:
    description: What runs the services. V(s6) in an agent container, V(systemd) on a machine.
    type: str
    choices: [s6, systemd]
    default: s6
  data_root:
    description: Where images, containers and volumes are kept.
    type: path
    default: /var/lib/docker
  storage_driver:
    description: The storage driver, as M(mesos.dind.loop_storage) returns it. Empty leaves the choice to the engine.
    type: str
    default: ""
  network:
    description:
      - The answer of M(mesos.dind.bridged_net), as registered. Other keys than these are ignored.
      - Without it the engine makes a bridge and subnets of its own choice.
    type: dict
    default: {}
    suboptions:
      mode:
        description: The mode, as RV(mesos.dind.bridged_net#module:mode).
        type: str
        default: ""
      bridge:
        description: The engine's bridge.
        type: str
        default: docker0
      uplink:
        description:
          - The port that the bridge has in mode V(bridge); without effect in any other.
          - With O(supervisor=systemd), the engine does not start before the bridge has that port and the address
            O(network.bip).
          - With O(supervisor=s6), frames between ports of the bridge skip iptables, unless C(dockerd) is told V(icc)
            or V(userland-proxy) false.
        type: str
        default: ""
      bip:
        description: Address and prefix length of the bridge.
        type: str
        default: ""
      fixed_cidr:
        description: The range that inner containers get their addresses from.
        type: str
        default: ""
      gateway:
        description: The gateway of inner containers, where it is not the bridge.
        type: str
        default: ""
      bip_v6:
        description: IPv6 address and prefix length of the bridge.
        type: str
        default: ""
      fixed_cidr_v6:
        description:
          - The IPv6 range that inner containers get their addresses from. Empty leaves IPv6 to the user's
            C(daemon.json).
          - An engine before Docker 28 takes only the whole network of O(network.bip_v6), a later one only a part of it.
        type: str
        default: ""
      gateway_v6:
        description: The IPv6 gateway of inner containers, where it is not the bridge.
        type: str
        default: ""
      address_pools:
        description: The pools that further inner networks take their subnets from.
        type: list
        elements: dict
        default: []
      masquerade:
        description: Whether inner containers reach beyond their network under the bridge's address.
        type: bool
        default: true
      dns:
        description: The nameservers of inner containers. Empty leaves them to the engine, which takes this machine's
          but for loopback addresses.
        type: list
        elements: str
        default: []
      dns_options:
        description: The resolver options of inner containers. Empty leaves them to the engine, which takes this
          machine's.
        type: list
        elements: str
        default: []
      mtu:
        description: The MTU of inner containers. V(0) leaves it to the engine.
        type: int
        default: 0
  had_bridge:
    description: Whether there was a bridge before anything was done to this machine. Looked up where it is not given.
      Only with O(supervisor=systemd).
    type: bool
  cgroup_parent:
    description: The control group under which inner containers are put.
    type: str
    default: ""
  args:
    description: Further flags of C(dockerd).
    type: list
    elements: str
    default: []
  log:
    description: Where the engine logs, beside its files under C(/var/log/mesos-dind).
    type: str
    choices: [stdio, file]
    default: stdio
  debug:
    description: Log everything, not only from warnings up.
    type: bool
    default: false
  user_config:
    description: A C(daemon.json) of the user, which is merged into the generated one.
    type: path
    default: /etc/docker/daemon.json
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would do.
  diff_mode:
    support: full
    description: Says what changes.
"""

EXAMPLES = r"""
- name: Arrange the network
  mesos.dind.bridged_net:
    offset: 0.0.1.0
  register: network_result

- name: Run the engine on that network
  mesos.dind.engine:
    storage_driver: overlay2
    network: "{{ network_result }}"

- name: Run the engine on a bridge that was made otherwise
  mesos.dind.engine:
    storage_driver: overlay2
    network:
      bip: 172.17.0.2/16
      fixed_cidr: 172.17.1.0/24
      gateway: 172.17.0.1
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, one text a step.
  returned: success
  type: list
  elements: str
  sample: [start containerd, start dockerd]
socket:
  description: The engine's socket.
  returned: success
  type: str
  sample: /var/run/docker.sock
version:
  description: The engine's version. Empty in check mode where it does not run.
  returned: success
  type: str
  sample: 26.1.5
was_active:
  description: Whether the service ran before this module has first changed it.
  returned: with O(supervisor=systemd)
  type: bool
  sample: true
was_enabled:
  description: Whether it was started with the machine before this module has first changed it.
  returned: with O(supervisor=systemd)
  type: bool
  sample: true
had_bridge:
  description: Whether there was a bridge before this module has first changed anything, or O(had_bridge).
  returned: with O(supervisor=systemd)
  type: bool
  sample: false
api_version:
  description: The newest API version that the engine speaks. Empty in check mode where it does not run.
  returned: success
  type: str
  sample: "1.45"
"""

from ansible_collections.mesos.dind.plugins.module_utils import _module
from ansible_collections.mesos.dind.plugins.module_utils._engine import core as engine


def main() -> None:
    _module.run("engine", engine.core)


if __name__ == "__main__":
    main()
