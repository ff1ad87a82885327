# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What can be known by looking, before the boot changes anything."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._engine import user_settings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import capabilities
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
    """The command that would take the agent's place does not exist: status 127, as a shell gives."""


class EngineConfigError(DindError):
    """A user's daemon.json that cannot be merged: as wrong as a variable, and refused like one."""


def find_command(settings: Settings, environ: Mapping[str, str]) -> str:
    """The path of the program to hand over to.

    ``mesos-slave`` and ``mesos-agent`` are one program under two names: whichever is there will do.
    Raises DindError where an agent is missing, CommandNotFoundError for any other command.
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
    """Raises DindError without the capabilities that mounts, loop devices and bridges need."""
    missing = capabilities.missing(NEEDED_CAPABILITIES, proc)
    if missing:
        raise DindError(
            f"the container is not privileged ({', '.join(missing)} missing)",
            step="preflight",
            cure="start it with `docker run --privileged`",
        )


def require_own_processes(proc: Path = Path("/proc")) -> None:
    """Raises DindError where the pid namespace has others' processes too: the stop ends every process that it sees.

    Only the host's has kernel threads, with kthreadd as number 2 (kernel/init: rest_init). In that of another
    container, or of a pod, the first process has mounts of its own. Looking at them takes the right to trace it, which
    a privileged container has for all that it sees (ptrace(2), PTRACE_MODE_READ).
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
        own = (proc / "1/ns/mnt").readlink() == (proc / "self/ns/mnt").readlink()
    except PermissionError:
        own = False
    return "" if own else "another container"


def require_engine_settings(
    settings: Settings, environ: Mapping[str, str], runner: Runner, path: Path = user_settings.USER_CONFIG
) -> None:
    """Look at what the user says to the engine, in DOCKER_DAEMON_ARGS and in a daemon.json.

    Raises SettingError or EngineConfigError. What of it contradicts the storage that will be found is not known yet.
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
        beside = f" (beside DOCKER_DAEMON_ARGS={environ['DOCKER_DAEMON_ARGS']!r})" if args else ""
        raise EngineConfigError(f"{path}{beside} is refused: {error}") from None


def require_network(settings: Settings, environ: Mapping[str, str], path: Path = user_settings.USER_CONFIG) -> None:
    """Carve the range of bridged mode, and look for all else that the network must give, without changing anything.

    Raises SettingError where it does not, and EngineConfigError where a user's daemon.json says otherwise.
    """
    wanted = of_role("network", settings.role_variables)
    if not any(wanted[name] for name in ("offset", "ipv6_range", "uplink", "mtu")):
        return
    # Imported here: only bridged mode needs netaddr, and its import is a tenth of the entry point's time.
    from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
    from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6 as engine_ipv6

    try:
        network = bridged_net.require(**wanted)
        ipv6 = engine_ipv6.config(network["fixed_cidr_v6"], network["bip_v6"], network["gateway_v6"], Runner())
    except ParameterError as error:
        name = variable_of(f"network_{error.parameter}")
        raise SettingError(name, environ.get(name, ""), str(error)) from None
    if not ipv6:
        return
    try:
        user_settings.require_no_owned(user_settings.read(path), path, ipv6)
    except DindError as error:
        beside = f"MESOS_DIND_IPV6_RANGE={wanted['ipv6_range']!r}"
        raise EngineConfigError(f"{path} (beside {beside}) is refused: {error}") from None


def persists(folder: Path, root: Path = Path("/")) -> bool:
    """Whether it is not in the container's own layer: what is mounted there, or above it, is another device."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.stat().st_dev != root.stat().st_dev


def is_pure_v2(cgroups: Path = Path("/sys/fs/cgroup")) -> bool:
    """The file is in the root of a cgroup2 mount only: Documentation/admin-guide/cgroup-v2.rst."""
    return (cgroups / "cgroup.controllers").exists()


def knows_cgroup_v2(program: str, runner: Runner) -> bool:
    """Whether this agent is clusterd, as far as can be told within seconds; never an error.

    By its package (CMakeLists.txt of m3scluster/clusterd: CPACK_PACKAGE_FILE_NAME), since up to 0.10 its ``--version``
    is upstream's, "mesos 1.11.0" (src/slave/main.cpp); by that where it should say more one day.
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
