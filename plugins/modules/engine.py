# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
short_description: Runs containerd and dockerd as supervised services
version_added: 0.1.0
description:
  - Writes the configuration of the engine, starts C(containerd) and C(dockerd) as supervised services, and waits until
    both are ready.
  - In an agent container, s6 supervises the services. On a machine, systemd does, with the distribution's own units and
    a drop-in.
  - Restarts a service whose configuration has changed. Containers survive that.
author:
  - The mesos.dind Authors (@mesos-dind)
options:
  state:
    description: V(absent) stops the engine and removes the files of this module, except
      C(/var/lib/mesos-dind/engine-before.json). That file tells the engine's former state; remove it once you have
      restored that state. Needs O(supervisor=systemd).
    type: str
    choices: [present, absent]
    default: present
  supervisor:
    description: The supervisor of the services. V(s6) is for an agent container, V(systemd) for a machine.
    type: str
    choices: [s6, systemd]
    default: s6
  data_root:
    description: The folder of images, containers and volumes.
    type: path
    default: /var/lib/docker
  storage_driver:
    description: The storage driver, as M(mesos.dind.loop_storage) returns it. If it is empty, the engine chooses.
    type: str
    default: ""
  network:
    description:
      - The answer of M(mesos.dind.bridged_net), as registered. The module ignores keys that are not listed here.
      - Without an answer, the engine chooses its bridge and subnets.
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
          - The port of the bridge in mode V(bridge); without effect in other modes.
          - With O(supervisor=systemd), the engine does not start before the bridge has that port and the address
            O(network.bip).
          - With O(supervisor=s6), frames between ports of the bridge skip iptables, unless C(icc) or
            C(userland-proxy) of C(dockerd) is V(false).
        type: str
        default: ""
      bip:
        description: Address and prefix length of the bridge.
        type: str
        default: ""
      fixed_cidr:
        description: The range of inner containers' addresses.
        type: str
        default: ""
      gateway:
        description: The gateway of inner containers, if it is not the bridge.
        type: str
        default: ""
      bip_v6:
        description: IPv6 address and prefix length of the bridge.
        type: str
        default: ""
      fixed_cidr_v6:
        description:
          - The IPv6 range of inner containers' addresses. If it is empty, the user's C(daemon.json) configures IPv6.
          - Before Docker 28, it must be the whole network of O(network.bip_v6); since then, a part of that network.
        type: str
        default: ""
      gateway_v6:
        description: The IPv6 gateway of inner containers, if it is not the bridge.
        type: str
        default: ""
      address_pools:
        description: The pools of the subnets of further inner networks.
        type: list
        elements: dict
        default: []
      masquerade:
        description: Whether inner containers reach other networks with the bridge's address as source.
        type: bool
        default: true
      dns:
        description: The nameservers of inner containers. If it is empty, the engine uses this host's nameservers,
          except loopback addresses.
        type: list
        elements: str
        default: []
      dns_options:
        description: The resolver options of inner containers. If it is empty, the engine uses this host's options.
        type: list
        elements: str
        default: []
      mtu:
        description: The MTU of inner containers. With V(0), the engine chooses.
        type: int
        default: 0
  had_bridge:
    description: Whether the machine had a bridge before its first change. The default is whether it has a bridge now.
      Needs O(supervisor=systemd).
    type: bool
  cgroup_parent:
    description: The parent control group of inner containers.
    type: str
    default: ""
  args:
    description: Further flags of C(dockerd).
    type: list
    elements: str
    default: []
  log:
    description: Destination of the engine's log, in addition to the files under C(/var/log/mesos-dind).
    type: str
    choices: [stdio, file]
    default: stdio
  debug:
    description: Log debug messages, too; otherwise only warnings and errors.
    type: bool
    default: false
  user_config:
    description: The user's C(daemon.json), which the module merges into the generated file.
    type: path
    default: /etc/docker/daemon.json
attributes:
  check_mode:
    support: full
    description: Predicts the actions without making them.
  diff_mode:
    support: full
    description: Shows the state before and after.
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

- name: Run the engine on another bridge
  mesos.dind.engine:
    storage_driver: overlay2
    network:
      bip: 172.17.0.2/16
      fixed_cidr: 172.17.1.0/24
      gateway: 172.17.0.1
"""

RETURN = r"""
actions:
  description: The steps that the module did or, in check mode, would do; one text each.
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
  description: The engine's version. Empty in check mode if the engine does not run.
  returned: success
  type: str
  sample: 26.1.5
was_active:
  description: Whether the service ran before this module first changed it.
  returned: with O(supervisor=systemd)
  type: bool
  sample: true
was_enabled:
  description: Whether the service started with the machine before this module first changed it.
  returned: with O(supervisor=systemd)
  type: bool
  sample: true
had_bridge:
  description: Whether the machine had a bridge before this module's first change, or O(had_bridge).
  returned: with O(supervisor=systemd)
  type: bool
  sample: false
api_version:
  description: The newest API version of the engine. Empty in check mode if the engine does not run.
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
