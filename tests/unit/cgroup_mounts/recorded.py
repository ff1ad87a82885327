# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Recorded machines, to inspect in place of this one; data/README.md says where each comes from."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.inspect import inspect
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import (
    Journal,
)
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired, plan
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.state import State
from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo
from ansible_collections.mesos.dind.plugins.module_utils._kernel.mountinfo import MountTree

SAMPLES = Path(__file__).parent / "data"

ROOT = "/sys/fs/cgroup"

ID = "3f1c9a5e7b20"

NOWHERE = Journal(Path("/nonexistent/cgroup_mounts.json"), "nobody")

# The propagation of mounts has tests of its own.
DESIRED = Desired(NOWHERE, propagation=False)

VERSIONS = {
    "machine-v1-with-unused-v2": "v1",
    "docker-v1-private-namespace": "v1",
    "docker-v1-host-namespace": "v1",
    "docker-v1-host-namespace-misc": "v1",
    "systemd-hybrid": "hybrid",
    "runit-v1-with-unused-v2": "v1",
    "docker-desktop-v1-unprivileged": "v1",
    "docker-desktop-v2-unprivileged": "v2",
    "kubernetes-v1-privileged": "v1",
    "kubernetes-v2-host-namespace": "v2",
    "podman-v2-privileged": "v2",
    "podman-v2-mount-of-outer-namespace": "v2",
    "podman-v1-systemd-inside": "v1",
    "wsl2-v1": "v1",
    "wsl2-v2": "v2",
    "lxc-v1-mixed": "v1",
    "v2-with-net_cls": "v2",
    "v2-mounted-twice": "v2",
}

CONTROLLERS = "cpuset cpu io memory pids"


class Machine:
    """A file system tree with a recorded machine's files, to inspect in place of ``/``."""

    def __init__(self, base: Path, sample: str) -> None:
        self.base = base
        self.write("proc/self/mountinfo", (SAMPLES / f"{sample}.mountinfo").read_text())
        self.write("proc/self/cgroup", (SAMPLES / f"{sample}.cgroup").read_text())
        self.write("proc/self/status", "Name:\tpython3\nCapEff:\t000001ffffffffff\n")
        self.write("proc/self/uid_map", "         0          0 4294967295\n")
        self.write("proc/1/comm", "tini\n")
        self.in_namespaces(pid="pid:[4026532258]", cgroup="cgroup:[4026532328]")
        for mount in MountTree(self.mounts).directly_in(ROOT):
            (base / mount.mount_point.lstrip("/")).mkdir(parents=True, exist_ok=True)

    @property
    def mounts(self) -> tuple[mountinfo.MountPoint, ...]:
        return mountinfo.parse((self.base / "proc/self/mountinfo").read_text())

    def write(self, file: str, text: str) -> None:
        path = self.base / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def in_namespaces(self, **names: str) -> None:
        for kind, name in names.items():
            link = self.base / "proc/self/ns" / kind
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(name)

    def on_the_host(self) -> None:
        self.in_namespaces(pid="pid:[4026531836]", cgroup="cgroup:[4026531835]")

    def group(
        self, path: str, *, controllers: str = "", delegated: str = "", procs: str = "", kind: str = "domain"
    ) -> None:
        self.write(f"{path}/cgroup.type", f"{kind}\n")
        self.write(f"{path}/cgroup.controllers", f"{controllers}\n")
        self.write(f"{path}/cgroup.subtree_control", f"{delegated}\n")
        self.write(f"{path}/cgroup.procs", procs)

    def inspect(self, journal: Journal = NOWHERE) -> State:
        return inspect(ROOT, "mesos-dind", journal, self.base)

    def plan(self, desired: Desired = DESIRED) -> list[str]:
        return [str(step) for step in plan(desired, self.inspect(desired.journal))]


def without(machine: Machine, *points: str) -> None:
    lines = (machine.base / "proc/self/mountinfo").read_text().splitlines()
    kept = [line for line in lines if line.split()[4] not in points]
    machine.write("proc/self/mountinfo", "\n".join(kept) + "\n")
