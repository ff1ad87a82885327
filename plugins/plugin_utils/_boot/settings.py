# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The environment of the container, read once: what a variable may say, and which role variable it becomes.

Nothing else reads the environment. The entry point turns the result into extra variables of the boot playbook.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import parse_offset
from ansible_collections.mesos.dind.plugins.module_utils._engine.user_settings import flag_names
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import parse_size

AGENTS = ("mesos-slave", "mesos-agent")

# Flags of dockerd that the roles set themselves; given a second time they would contradict the boot.
OWNED_FLAGS = {
    "--bip": "DOCKER_NETWORK_OFFSET",
    "--bridge": "DOCKER_NETWORK_OFFSET",
    "-b": "DOCKER_NETWORK_OFFSET",
    "--fixed-cidr": "DOCKER_NETWORK_OFFSET",
    "--default-gateway": "MESOS_DIND_GATEWAY",
    "--data-root": "a volume mounted at /var/lib/docker",
    "-g": "a volume mounted at /var/lib/docker",
    "--graph": "a volume mounted at /var/lib/docker",
    "--storage-driver": "MESOS_DIND_STORAGE",
    "-s": "MESOS_DIND_STORAGE",
    "--config-file": "a daemon.json mounted at /etc/docker/daemon.json",
    "--containerd": "",
    "--exec-root": "",
    "--pidfile": "",
    "-p": "",
    "--live-restore": "",
}


# What it sets itself where MESOS_DIND_IPV6_RANGE is given, and a user may set otherwise.
IPV6_FLAGS = ("--bip6", "--default-gateway-v6", "--fixed-cidr-v6", "--ipv6")


class SettingError(DindError):
    """A variable with a wrong value: the entry point ends with status 64."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(allowed)
        # After the base class has taken line breaks out of what it is given: a value is shown as it is, escaped.
        self.cause = f"{variable}={value!r} is refused: {self.cause}"


@dataclass(frozen=True)
class Variable:
    """One variable of the environment.

    ``parse`` turns its text into the value of ``role_variable`` (None: the boot itself uses it), or raises
    ValueError with what is allowed. An empty text is the same as none.
    """

    name: str
    role_variable: str
    default: Any
    parse: Callable[[str], Any]


def one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"allowed is one of {', '.join(allowed)}")
        return text

    return parse


def flag(text: str) -> bool:
    return one_of("0", "1")(text) == "1"


def prefix_length(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= 30:
        raise ValueError("allowed is a prefix length from 1 to 30, as in 24")
    return int(text)


def mtu(text: str) -> int:
    """As the kernel's bounds for a veth (include/linux/if_ether.h: ETH_MIN_MTU, ETH_MAX_MTU)."""
    if not re.fullmatch(r"[0-9]{2,5}", text) or not 68 <= int(text) <= 65535:
        raise ValueError("allowed is a number of bytes from 68 to 65535")
    return int(text)


def device(text: str) -> str:
    if not re.fullmatch(r"[^\s/:]{1,15}", text) or text in (".", ".."):
        raise ValueError("allowed is the name of a network device (at most 15 characters, no space, slash or colon)")
    return text


def ipv4_ranges(text: str) -> list[str]:
    try:
        return [str(ipaddress.IPv4Network(word)) for word in re.split(r"[,\s]+", text.strip(", \t\n"))]
    except ValueError as error:
        raise ValueError(
            f"allowed are ranges with commas between, as in 172.17.2.0/24,172.17.3.0/24 ({error})"
        ) from None


def ipv6_range(text: str) -> str:
    try:
        return str(ipaddress.IPv6Network(text))
    except ValueError as error:
        raise ValueError(f"allowed is an IPv6 range, as in fd00:17::/64 ({error})") from None


def seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 3600:
        raise ValueError("allowed is whole seconds from 1 to 3600")
    return int(text)


def verify_timeout(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= 300:
        raise ValueError("allowed are seconds, more than 0 and at most 300, as in 0.5")
    return float(text)


def image_path(text: str) -> str:
    path = os.path.normpath(text)
    if not text.startswith("/") or text.endswith("/") or f"{path}/".startswith("/var/lib/docker/"):
        raise ValueError(
            "allowed is the absolute path of a file outside of /var/lib/docker, as in /var/lib/mesos-dind/docker.img"
        )
    return text


def size(text: str) -> str:
    """Checked here, handed on as it was written: the module says sizes the way the user did."""
    parse_size(text)
    return text


def offset(text: str) -> str:
    parse_offset(text)
    return text


def daemon_args(text: str) -> list[str]:
    """Split as a shell splits words; no expansion, no operators. Refuses what the roles set themselves."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"allowed are words that a shell could split ({error})") from None
    for name in flag_names(words):
        if name in OWNED_FLAGS:
            instead = OWNED_FLAGS[name]
            hint = f"use {instead} instead" if instead else "there is no other way to set it"
            raise ValueError(f"allowed are flags of dockerd but {name}, which the boot sets itself ({hint})")
    return words


VARIABLES = (
    Variable("DOCKER_NETWORK_OFFSET", "network_offset", "", offset),
    Variable("DOCKER_NETWORK_SIZE", "network_size", None, prefix_length),
    Variable("VAR_LIB_DOCKER_SIZE", "storage_size", "5", size),
    Variable("DOCKER_DAEMON_ARGS", "engine_args", [], daemon_args),
    Variable("LOG", "engine_log", "stdio", one_of("stdio", "file")),
    Variable("MESOS_DIND_STORAGE", "storage_strategy", "auto", one_of("auto", "overlay", "loop", "aufs", "vfs")),
    Variable("MESOS_DIND_FILESYSTEM", "storage_fstype", "ext4", one_of("ext4", "xfs")),
    Variable("MESOS_DIND_IMAGE", "storage_image", "/var/lib/mesos-dind/docker.img", image_path),
    Variable("MESOS_DIND_GATEWAY", "network_gateway", "outer", one_of("outer", "bridge")),
    Variable("MESOS_DIND_NETWORK_MODE", "network_mode", "auto", one_of("auto", "bridge", "proxy_arp")),
    Variable("MESOS_DIND_PEERS", "network_peers", [], ipv4_ranges),
    Variable("MESOS_DIND_IPV6_RANGE", "network_ipv6_range", "", ipv6_range),
    Variable("MESOS_DIND_UPLINK", "network_uplink", "", device),
    Variable("MESOS_DIND_MTU", "network_mtu", None, mtu),
    Variable("MESOS_DIND_VERIFY", "network_verify", True, flag),
    Variable("MESOS_DIND_VERIFY_TIMEOUT", "network_verify_timeout", 5.0, verify_timeout),
    Variable("MESOS_DIND_DEBUG", "engine_debug", False, flag),
    Variable("MESOS_DIND_STOP_TIMEOUT", "agent_stop_timeout", 8, seconds),
)


@dataclass(frozen=True)
class Settings:
    """What the environment and the command line ask for."""

    command: tuple[str, ...]
    role_variables: Mapping[str, Any]

    @property
    def is_agent(self) -> bool:
        """True where the command is a Mesos agent under either of its names, with or without a path."""
        return self.command[0].rpartition("/")[2] in AGENTS


def of_role(role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of one role, without its name before them."""
    prefix = f"{role}_"
    return {name.removeprefix(prefix): value for name, value in variables.items() if name.startswith(prefix)}


def variable_of(role_variable: str) -> str:
    """The variable of the environment that becomes ``role_variable``."""
    (name,) = (variable.name for variable in VARIABLES if variable.role_variable == role_variable)
    return name


def read(environ: Mapping[str, str], command: Sequence[str]) -> Settings:
    """Parse the whole environment. Raises SettingError for the first wrong variable."""
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = environ.get(variable.name, "")
        try:
            values[variable.role_variable] = variable.parse(text) if text else variable.default
        except ValueError as error:
            raise SettingError(variable.name, text, str(error)) from None
    twice = set(IPV6_FLAGS).intersection(flag_names(values["engine_args"])) if values["network_ipv6_range"] else ()
    if twice:
        allowed = (
            f"allowed beside MESOS_DIND_IPV6_RANGE are flags of dockerd but {', '.join(IPV6_FLAGS)}, which it sets"
        )
        raise SettingError("DOCKER_DAEMON_ARGS", environ["DOCKER_DAEMON_ARGS"], allowed)
    known = {variable.name for variable in VARIABLES}
    for name in environ:
        if name.startswith("MESOS_DIND_") and name not in known:
            ours = sorted(other for other in known if other.startswith("MESOS_DIND_"))
            raise SettingError(name, environ[name], f"there is no such variable, only {', '.join(ours)}")
    return Settings(tuple(command), values)
