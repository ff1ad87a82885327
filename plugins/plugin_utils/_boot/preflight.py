# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The checks that need no change, which the boot makes before it changes anything."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._engine import user_settings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import capabilities, namespaces
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot.settings import (
    AGENTS,
    SettingError,
    Settings,
    of_role,
    variable_of,
)

NEEDED_CAPABILITIES = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_MKNOD")

CLUSTERD_PACKAGES = ("aventer-mesos", "clusterd")
ASK_TIMEOUT = 5.0  # seconds

NO_AGENT = (
    "bring a Mesos into the image: build it with --build-context mesos=DIR (or docker-image://NAME), "
    "or with --build-arg MESOS_DEB_URL=... --build-arg MESOS_DEB_SHA256=..., or on a BASE_IMAGE that has one, "
    "or mount one at run time (-v DIR:/usr/local:ro, with --build-arg MESOS_PACKAGES=... for the libraries it needs)"
)


class CommandNotFoundError(DindError):
    """The command of the container does not exist: status 127, as in a shell."""


class EngineConfigError(DindError):
    """The user's daemon.json has a wrong setting: status 64, as for a wrong variable."""

    def __init__(self, path: Path, beside: str, cause: DindError) -> None:
        also = f" (beside {beside})" if beside else ""
        super().__init__(f"{path}{also} is refused: {cause}")


def find_command(settings: Settings, environ: Mapping[str, str]) -> str:
    """The path of the program to hand over to.

    ``mesos-slave`` and ``mesos-agent`` are two names of one program; each stands for the other. Raises DindError
    without an agent, and CommandNotFoundError without any other command.
    """
    search = environ.get("PATH", os.defpath)
    name = settings.command[0]
    names = (name, *(other for other in AGENTS if other != name)) if name in AGENTS else (name,)
    for candidate in names:
        found = shutil.which(candidate, path=search)
        if found:
            return found
    if settings.is_agent:
        raise DindError(f"there is no {' or '.join(names)} here", step="agent", cure=NO_AGENT)
    raise CommandNotFoundError(f"{name}: command not found")


def require_privileges(proc: Path = Path("/proc")) -> None:
    """Raise DindError without the capabilities that mounts, loop devices and bridges need."""
    missing = capabilities.missing(NEEDED_CAPABILITIES, proc)
    if missing:
        raise DindError(
            f"the container is not privileged ({', '.join(missing)} missing)",
            step="preflight",
            cure="start it with `docker run --privileged`",
        )


def require_own_processes(proc: Path = Path("/proc")) -> None:
    """Raise DindError if other containers or the host share the pid namespace: the stop ends every process in it.

    Only the host's pid namespace has kernel threads, with kthreadd as number 2 (kernel/init: rest_init). In the pid
    namespace of another container, or of a pod, the first process has another mount namespace. Reading that namespace
    needs the right to trace the process, which a privileged container has (ptrace(2), PTRACE_MODE_READ).
    """
    shared = _shares_processes_with(proc)
    if shared:
        raise DindError(
            f"the container shares the pid namespace of {shared}, and its stop would end the processes there",
            step="preflight",
            cure="start it without --pid, and in a pod without shareProcessNamespace",
        )


def _shares_processes_with(proc: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        if (proc / "2/comm").read_text().strip() == "kthreadd":
            return "the host"
    try:
        own = namespaces.shares_mounts("1", proc)
    except PermissionError:
        own = False
    return "" if own else "another container"


def require_engine_settings(
    settings: Settings, environ: Mapping[str, str], runner: Runner, path: Path = user_settings.USER_CONFIG
) -> None:
    """Check the user's settings of the engine, in DOCKER_DAEMON_ARGS and in a daemon.json.

    Raises SettingError or EngineConfigError. A storage driver that does not fit the data root shows only later.
    """
    args = settings.role_variables["engine_args"]
    try:
        config = user_settings.read(path)
        user_settings.require_no_owned(config, path, user_settings.OWNED_KEYS)
        if args or config:
            user_settings.require_valid(args, runner)
            user_settings.require_cgroupfs(args, config)
        if user_settings.wants_image_store(user_settings.arranged(args, config)[1]):
            user_settings.require_image_store(runner)
    except DindError as error:
        if args and not config:
            raise SettingError("DOCKER_DAEMON_ARGS", environ["DOCKER_DAEMON_ARGS"], str(error)) from None
        beside = f"DOCKER_DAEMON_ARGS={environ['DOCKER_DAEMON_ARGS']!r}" if args else ""
        raise EngineConfigError(path, beside, error) from None


def require_network(settings: Settings, environ: Mapping[str, str], path: Path = user_settings.USER_CONFIG) -> None:
    """Check that this network can have the settings of bridged mode, such as the range. Changes nothing.

    Raises SettingError if not, and EngineConfigError if the user's daemon.json contradicts the settings.
    """
    wanted = of_role("network", settings.role_variables)
    if not any(wanted[name] for name in ("offset", "ipv6_range", "uplink", "mtu")):
        return
    # Imported here: only bridged mode needs netaddr, whose import is a tenth of the entry point's time.
    from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
    from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6 as engine_ipv6

    try:
        network = bridged_net.require(**wanted)
        ipv6 = engine_ipv6.config(network["fixed_cidr_v6"], network["bip_v6"], network["gateway_v6"], Runner())
    except ParameterError as error:
        name = variable_of(f"network_{error.parameter}")
        raise SettingError(name, environ.get(name, ""), str(error)) from None
    try:
        user_settings.require_no_owned(user_settings.read(path), path, ipv6)
    except DindError as error:
        raise EngineConfigError(path, f"MESOS_DIND_IPV6_RANGE={wanted['ipv6_range']!r}", error) from None


def persists(folder: Path, root: Path = Path("/")) -> bool:
    """Whether a folder outlives the container: the folder, or one above it, is a mount of another device."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.stat().st_dev != root.stat().st_dev


def is_pure_v2(cgroups: Path = Path("/sys/fs/cgroup")) -> bool:
    """Whether the host has cgroup v2 alone: only the root of a cgroup2 mount has this file.

    The source is Documentation/admin-guide/cgroup-v2.rst.
    """
    return (cgroups / "cgroup.controllers").exists()


def knows_cgroup_v2(program: str, runner: Runner) -> bool:
    """Whether this agent is clusterd; False if neither its package nor its ``--version`` says so within seconds.

    The package is the sure sign (CMakeLists.txt of m3scluster/clusterd: CPACK_PACKAGE_FILE_NAME). Up to 0.10,
    clusterd's ``--version`` is upstream's, "mesos 1.11.0" (src/slave/main.cpp).
    """
    with contextlib.suppress(DindError, OSError):
        owners = runner.run("dpkg-query", "--search", program, ok=(0, 1), timeout=ASK_TIMEOUT).stdout
        if any(line.partition(":")[0] in CLUSTERD_PACKAGES for line in owners.splitlines()):
            return True
        return "clusterd" in runner.run(program, "--version", ok=range(256), timeout=ASK_TIMEOUT).stdout.lower()
    return False


NOT_ON_V2 = (
    "agent     warning: this host has pure cgroup v2, where upstream Mesos (up to 1.11), "
    "other than the fork clusterd, runs no Docker task"
)
