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
  - Makes the control groups (cgroups) of a container, or of a machine without systemd, such that a container engine
    works in it, and that its containers stay within the limits of the container around it.
  - 'On cgroup v1 and hybrid hosts: every hierarchy of C(/proc/self/cgroup) is mounted, writable, under its
    controllers'' names, named ones under their bare names. Of a hierarchy only the container''s own group is mounted.
    Hierarchies in which the container has no group of its own, as C(misc) and C(rdma) with old runtimes, are
    unmounted, because what an engine makes there is never removed from the host.'
  - 'On cgroup v2 hosts: the processes of the container''s own group move to a leaf of it, and all its controllers are
    delegated to its other children.'
  - In a container also C(securityfs) is mounted, and C(/) made shared.
  - Where systemd is process 1 it owns the control groups, and nothing is changed.
options:
  state:
    description:
      - V(present) arranges the control groups.
      - V(absent) takes back exactly what V(present) did in this mount namespace. The engine must not run then.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The directory of the control groups.
    type: path
    default: /sys/fs/cgroup
  systemd_hierarchy:
    description:
      - On a cgroup v1 host without systemd, also make the named hierarchy C(name=systemd), which some programs ask for.
      - All containers of the host share such a hierarchy.
    type: bool
    default: false
  delegate:
    description:
      - Whether the processes move to a leaf, and the controllers are delegated, on a cgroup v2 host.
      - V(auto) does so in a container, unless systemd is its process 1.
      - V(always) does so everywhere, also under systemd.
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
      - Whether C(/) and all mounts below become shared, so that containers can be given mounts that propagate.
      - By default they do in a container.
    type: bool
author:
  - The mesos.dind Authors (@mesos-dind)
requirements:
  - Linux with control groups, root with CAP_SYS_ADMIN (as in C(docker run --privileged))
notes:
  - What was done is written to C(/run/mesos-dind/cgroup_mounts.json).
attributes:
  check_mode:
    support: full
    description: Can run in check mode and says what it would do.
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

- name: Give everything back
  mesos.dind.cgroup_mounts:
    state: absent
"""

RETURN = r"""
version:
  description:
    - Which version of control groups an engine finds, V(v1), V(v2) or V(hybrid).
    - A v2 hierarchy that is mounted beside those of v1, but used by nobody, does not make a host hybrid.
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
  description: The leaf with the container's processes, seen from the cgroup namespace. Empty where there is none.
  returned: success
  type: str
  sample: /mesos-dind
cgroup_parent:
  description:
    - What to give the engine as C(cgroup-parent) so that its containers stay in the group of the container.
    - Empty where its default does that, too.
  returned: success
  type: str
  sample: /docker/0f3c1a
cpus:
  description: How many processors the groups of the container allow; null where that is all of the machine's.
  returned: success
  type: float
  sample: 1.5
memory:
  description: How many bytes of memory the groups of the container allow; null where that is all of the machine's.
  returned: success
  type: int
  sample: 2147483648
actions:
  description: What was done, or would be done in check mode.
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
