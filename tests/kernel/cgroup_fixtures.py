# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Containers made of nothing but groups and namespaces, and hierarchies that the machine does not have mounted.

The processes of a container end when the test's process does, however it ends. Groups and mounted hierarchies outlive
it then; the next run removes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from in_child import call_in_child

from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts import core as cgroup_mounts
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.journal import Journal
from ansible_collections.mesos.dind.plugins.module_utils._cgroup_mounts.plan import Desired
from ansible_collections.mesos.dind.plugins.module_utils._kernel import mountinfo, namespaces
from ansible_collections.mesos.dind.plugins.module_utils._kernel.cgroups import hierarchy_names
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

T = TypeVar("T")
ROOT = Path("/sys/fs/cgroup")
PREFIX = "mesos-dind-test"
FLAGS = "nosuid,nodev,noexec"
LIBC = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def v1_mounts() -> dict[str, Path]:
    """The host's mounted v1 hierarchies by their names, ``cpu,cpuacct`` or ``name=systemd``; root groups only."""
    known = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]}
    found = {}
    for mount in mountinfo.of_this_process().mounts:
        if mount.fstype == "cgroup" and mount.root == "/":
            found[",".join(hierarchy_names(mount, known))] = Path(mount.mount_point)
    return found


def v2_mount() -> Path | None:
    mounts = mountinfo.of_this_process().mounts
    return next((Path(mount.mount_point) for mount in mounts if mount.fstype == "cgroup2"), None)


def groups_of_tests() -> set[Path]:
    """All groups on the host that a test, or the module in one, has made."""
    roots = [*v1_mounts().values(), *filter(None, [v2_mount()])]
    tops = [top for root in roots for top in (*root.glob(f"{PREFIX}-*"), *root.glob("mesos-dind"))]
    return {Path(folder) for top in tops for folder, _, _ in os.walk(top)}


def remove_group(group: Path) -> None:
    """With all groups below it."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()


def is_stale(path: Path) -> bool:
    """Whether it is of a test that died: what tests make has the number of their process in its name."""
    owner = next((part.split("-")[3] for part in reversed(path.parts) if part.startswith(PREFIX)), None)
    return owner is not None and not Path("/proc", owner).exists()


def remove_what_is_stale() -> None:
    """Groups, and then hierarchies, of tests that died."""
    for group in sorted(groups_of_tests(), key=lambda path: len(path.parts), reverse=True):
        if is_stale(group):
            group.rmdir()
    for names, mount_point in v1_mounts().items():
        if is_stale(mount_point):
            give_up(f"none,{names}" if names.startswith("name=") else names, mount_point)
            mount_point.rmdir()


def give_up(options: str, mount_point: Path) -> None:
    """Unmount a hierarchy, and wait until the kernel has given it up.

    It does so some time after the last unmount, but not at all when a group of it was still dying then.
    """
    run("umount", str(mount_point))
    deadline = time.monotonic() + 60
    while not soon(lambda: not is_a_hierarchy(options), 2):
        assert time.monotonic() < deadline, f"the hierarchy {options} outlives its test"
        run("mount", "-t", "cgroup", "-o", options, "none", str(mount_point))
        run("umount", str(mount_point))


@contextlib.contextmanager
def hierarchy(options: str) -> Iterator[Path]:
    """A v1 hierarchy that the host did not have, such as ``net_cls,net_prio`` or ``none,name=x``."""
    for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, number, *_ = line.split()
        if name in options.split(",") and number != "0":
            pytest.skip(f"the controller {name} is in use on this machine")
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-{os.getpid()}-") as folder:
        run("mount", "-t", "cgroup", "-o", options, "none", folder)
        try:
            yield Path(folder)
        finally:
            give_up(options, Path(folder))


def soon(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def is_a_hierarchy(options: str) -> bool:
    names = set(options.removeprefix("none,").split(","))
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return any(names.intersection(line.split(":")[1].split(",")) for line in lines)


@dataclass
class Container:
    """A process 1 in groups, a mount namespace, a pid namespace and, unless it is the host's, a cgroup namespace.

    ``groups`` are directories on the host, one a hierarchy. ``init`` is process 1, as the host sees it.
    """

    groups: Sequence[Path]
    init: int
    has_cgroup_namespace: bool

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``function`` called in a new process of the container, as ``docker exec`` makes one."""

        def join_and_call() -> T:
            for choices in doors:
                join(choices)
            return function(*args, **kwargs)

        def enter_and_call() -> T:
            self._enter()
            # Only a child of the process that has entered is in the pid namespace.
            return call_in_child(join_and_call)

        doors = [self._doors(group) for group in self.groups]
        try:
            return call_in_child(enter_and_call)
        finally:
            for door in itertools.chain.from_iterable(doors):
                os.close(door)

    def _doors(self, group: Path) -> list[int]:
        """Open cgroup.procs of the group and of the one that process 1 is in now, as runc has for `docker exec`."""
        below = [Path(folder) for folder, _, _ in os.walk(group)]
        now = [path for path in below if str(self.init) in _processes(path)]
        return [os.open(path / "cgroup.procs", os.O_WRONLY) for path in (group, *now)]

    def _enter(self) -> None:
        """Move this process into the container's namespaces; for the pid namespace, its children."""
        for kind, flag in {"cgroup": 0x02000000, "pid": 0x20000000, "mnt": 0x00020000}.items():
            with open(f"/proc/{self.init}/ns/{kind}") as namespace:  # noqa: PTH123 - for its descriptor
                if LIBC.setns(namespace.fileno(), flag):
                    raise OSError(ctypes.get_errno(), f"setns {kind}")
        os.chdir("/")


def _processes(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text().split()
    except OSError:  # a threaded group's are not listed
        return []


def join(doors: Sequence[int]) -> None:
    for door in doors:
        try:
            os.write(door, b"0")
        except OSError as error:
            refused = error
        else:
            return
    raise refused


def processes_started_by(function: Callable[[], object]) -> list[str]:
    """The audit events (docs.python.org) of the processes that ``function`` starts.

    Only ever called in a child: an audit hook is there for good.
    """
    starts = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen")
    seen: list[str] = []
    sys.addaudithook(lambda event, _: seen.append(event) if event in starts else None)
    function()
    return seen


def move(pid: int, groups: Sequence[Path]) -> None:
    for group in groups:
        (group / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def container(
    hierarchies: Sequence[Path], *, cgroup_namespace: bool = True, threaded: bool = False
) -> Iterator[Container]:
    """With a group of its own in each of these mounted hierarchies, and in the host's root group in all others."""
    name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
    groups = [mounted / name for mounted in hierarchies]
    with contextlib.ExitStack() as cleaning:
        for group in groups:
            group.mkdir()
            cleaning.callback(remove_group, group)
            seed(group)
            if threaded:
                (group / "cgroup.type").write_text("threaded")

        namespaces = ["--mount", "--pid", *(["--cgroup"] if cgroup_namespace else [])]
        process = subprocess.Popen(
            ["unshare", *namespaces, "--fork", "--mount-proc", "sh", "-c", "echo ready; exec cat"],
            preexec_fn=lambda: move(0, groups),  # noqa: PLW1509 - there are no threads
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it grumbles when its child is killed
        )
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        [init] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        # The group at that time is the namespace's root; in the container there is nobody of another pid namespace.
        move(process.pid, [group.parent for group in groups])
        # Process 1 is gone only after all others of its namespace.
        cleaning.callback(process.wait)
        cleaning.callback(os.kill, int(init), signal.SIGKILL)
        yield Container(groups, int(init), cgroup_namespace)


def seed(group: Path) -> None:
    """A cpuset takes no process before it has CPUs and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (group / file).exists():
            (group / file).write_text((group.parent / file).read_text())


def mount_as_an_engine_does() -> None:
    """runc: fresh mounts in a cgroup namespace of its own, otherwise binds of the container's groups."""
    groups = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    whole = {names: mounted for names, mounted in v1_mounts().items() if names in groups}
    aside = Path("/mnt")
    run("mount", "-t", "tmpfs", "tmpfs", str(aside))
    run("mount", "-t", "tmpfs", "-o", f"{FLAGS},mode=755", "tmpfs", str(aside))
    for names, mounted in (whole or dict.fromkeys(set(groups) - {""}, Path())).items():
        target = aside / names.removeprefix("name=")
        target.mkdir()
        if groups[names] == "/":
            run("mount", "-t", "cgroup", "-o", f"{FLAGS},{options(names)}", "cgroup", str(target))
        else:
            run("mount", "--bind", f"{mounted}{groups[names]}", str(target))
    run("umount", "--recursive", str(ROOT))
    run("mount", "--move", str(aside), str(ROOT))
    run("umount", str(aside))
    run("mount", "--make-private", "/")


def options(names: str) -> str:
    return f"none,{names}" if names.startswith("name=") else names


def converge(file: Path, *, check: bool = False, runner: Runner | None = None, **wishes: Any) -> Outcome:
    wishes = {"propagation": False, **wishes}
    desired = Desired(Journal(file, namespaces.mount_id(Path("/proc"))), **wishes)
    return cgroup_mounts.converge(desired, str(ROOT), runner or Runner(), check=check)


def mounts(under: str = "/sys") -> list[tuple[str, str, str, tuple[str, ...], tuple[str, ...]]]:
    """The identity of each mount, without its numbers."""
    return [
        (mount.mount_point, mount.root, mount.fstype, mount.options, mount.super_options)
        for mount in mountinfo.of_this_process().mounts
        if mount.mount_point.startswith(under)
    ]


def entries() -> dict[str, str]:
    return {entry.name: str(Path(entry).readlink()) if entry.is_symlink() else "" for entry in os.scandir(ROOT)}


def mount_v2() -> None:
    run("umount", "--recursive", str(ROOT))
    run("mount", "-t", "cgroup2", "-o", FLAGS, "cgroup2", str(ROOT))


def bind_v2() -> None:
    """The host's whole hierarchy: mounted again from the host's cgroup namespace it would lose its options."""
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", str(v2_mount()), "/mnt")
    run("umount", "--recursive", str(ROOT))
    run("mount", "--move", "/mnt", str(ROOT))
