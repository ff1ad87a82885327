#!/usr/bin/python
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Arranges control groups for a container engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cgroup_mounts
short_description: Arranges control groups for a container engine
version_added: 0.1.0
description:
  - Prepares the control groups (cgroups) of a container, or of a machine without systemd, for a container engine. The
    engine's containers stay within the limits of the container around the engine.
  - On cgroup v1 and hybrid hosts, mounts every hierarchy of C(/proc/self/cgroup), writable and under the names of its
    controllers. A named hierarchy goes under its bare name. Each mount shows only the container's own group.
  - On cgroup v1 and hybrid hosts, unmounts hierarchies in which the container has no group of its own, as C(misc) and
    C(rdma) with old runtimes. A group that an engine makes there is never removed from the host.
  - On cgroup v2 hosts, moves the processes of the container's own group to a leaf of that group. Delegates all
    controllers of the group to its other children.
  - In a container, also mounts C(securityfs) and makes C(/) shared.
  - Changes nothing where systemd is process 1, because systemd owns the control groups.
options:
  state:
    description:
      - V(present) arranges the control groups.
      - V(absent) takes back exactly the changes that V(present) made in this mount namespace. Stop the engine first.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory of the control groups.
    type: path
    default: /sys/fs/cgroup
  systemd_hierarchy:
    description:
      - Whether to make the named hierarchy C(name=systemd), which some programs need, on a cgroup v1 host without
        systemd.
      - All containers of the host share such a hierarchy.
    type: bool
    default: false
  delegate:
    description:
      - Whether to move the processes to a leaf and to delegate the controllers on a cgroup v2 host.
      - V(auto) delegates in a container, unless systemd is process 1 there.
      - V(always) delegates everywhere, also under systemd.
      - V(never) leaves all processes where they are.
    type: str
    choices: [auto, always, never]
    default: auto
  leaf:
    description: The name of the leaf, a group below the container's own.
    type: str
    default: mesos-dind
  propagation:
    description:
      - Whether to make C(/) and all mounts below shared, so that containers can have mounts that propagate.
      - The default is to do so in a container only.
    type: bool
author:
  - The mesos.dind Authors (@mesos-dind)
requirements:
  - Linux with control groups, root with CAP_SYS_ADMIN (as in C(docker run --privileged))
notes:
  - C(/run/mesos-dind/cgroup_mounts.json) records the changes made.
attributes:
  check_mode:
    support: full
    description: Predicts the changes.
  diff_mode:
    support: full
    description: Returns the state before and after.
"""

EXAMPLES = r"""
- name: Arrange the control groups of this container
  mesos.dind.cgroup_mounts:
  register: cgroups

- name: Configure an engine whose containers stay in the group of this container
  ansible.builtin.copy:
    content: "{{ {'cgroup-parent': cgroups.cgroup_parent} | to_json }}"
    dest: /etc/docker/daemon.json
    mode: "0644"
  when: cgroups.cgroup_parent != ""

- name: Take every change back
  mesos.dind.cgroup_mounts:
    state: absent
"""

RETURN = r"""
version:
  description:
    - Which version of control groups an engine finds, V(v1), V(v2) or V(hybrid).
    - A v2 hierarchy beside v1 hierarchies makes a host hybrid only if a process uses it.
  returned: success
  type: str
  sample: v1
mounts:
  description: The mounted hierarchies.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The mount point.
      type: str
      sample: /sys/fs/cgroup/cpu,cpuacct
    fstype:
      description: V(cgroup) or V(cgroup2).
      type: str
      sample: cgroup
    group:
      description: The group that the mount shows, seen from the cgroup namespace.
      type: str
      sample: /
    controllers:
      description: The controllers of the hierarchy, or its name.
      type: list
      elements: str
      sample: [cpu, cpuacct]
    read_only:
      description: Whether it is mounted read-only.
      type: bool
      sample: false
controllers:
  description: The controllers that an engine can use for its containers.
  returned: success
  type: list
  elements: str
  sample: [blkio, cpu, cpuacct, cpuset, devices, freezer, memory, pids]
leaf:
  description: The leaf with the container's processes, seen from the cgroup namespace. Empty without a leaf.
  returned: success
  type: str
  sample: /mesos-dind
cgroup_parent:
  description:
    - The engine's C(cgroup-parent), by which its containers stay in the group of the container.
    - Empty where the engine's default has the same effect.
  returned: success
  type: str
  sample: /docker/0f3c1a
cpus:
  description: The number of processors that the container's groups allow; null for all of the machine's.
  returned: success
  type: float
  sample: 1.5
memory:
  description: The bytes of memory that the container's groups allow; null for all of the machine's.
  returned: success
  type: int
  sample: 2147483648
actions:
  description: The changes made or, in check mode, predicted.
  returned: success
  type: list
  elements: str
  sample: [mount memory on /sys/fs/cgroup/memory]
"""

from ansible_collections.mesos.dind.plugins.module_utils import _module
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import core as cgroup_mounts


def main() -> None:
    _module.run("cgroup_mounts", cgroup_mounts.core)


if __name__ == "__main__":
    main()
