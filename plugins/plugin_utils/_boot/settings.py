# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The parser of the container's environment: each variable's allowed values, default and role variable.

Nothing else reads the environment. The entry point turns the result into extra variables of the boot playbook.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._argument_specs import ARGUMENT_SPECS
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import parse_offset
from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import net_device
from ansible_collections.mesos.dind.plugins.module_utils._loop_storage.size import check_size

AGENTS = ("mesos-slave", "mesos-agent")

T = TypeVar("T")


class SettingError(DindError):
    """A variable with a wrong value: the entry point ends with status 64."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(allowed)
        # Here, since the base class joins the cause's lines: a value must appear as it is, escaped.
        self.cause = f"{variable}={value!r} is refused: {self.cause}"


@dataclass(frozen=True)
class Variable:
    """One variable of the environment.

    ``parse`` turns the text into the value of ``role_variable``, or raises ValueError with the allowed values. An empty
    text gives ``default``.
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


def choice(module: str, parameter: str) -> Callable[[str], str]:
    return one_of(*ARGUMENT_SPECS[module][parameter]["choices"])


def flag(text: str) -> bool:
    return one_of("0", "1")(text) == "1"


def number(
    pattern: str, convert: Callable[[str], T], is_allowed: Callable[[T], bool], allowed: str
) -> Callable[[str], T]:
    """A parser that converts a text of this pattern, if ``is_allowed`` is true for the result."""

    def parse(text: str) -> T:
        if re.fullmatch(pattern, text) and is_allowed(value := convert(text)):
            return value
        raise ValueError(f"allowed {allowed}")

    return parse


prefix_length = number("[0-9]{1,2}", int, lambda bits: 1 <= bits <= 30, "is a prefix length from 1 to 30, as in 24")
mtu = number("[0-9]{2,5}", int, net_device.is_mtu, f"is {net_device.ALLOWED_MTU}")
seconds = number("[0-9]{1,4}", int, lambda whole: 1 <= whole <= 3600, "is whole seconds from 1 to 3600")
verify_timeout = number(
    r"[0-9]{1,3}(\.[0-9]{1,3})?",
    float,
    lambda any_part: 0 < any_part <= 300,
    "are seconds, more than 0 and at most 300, as in 0.5",
)


def device(text: str) -> str:
    if not net_device.is_name(text):
        raise ValueError(f"allowed is {net_device.ALLOWED_NAME}")
    return text


def ipv4_ranges(text: str) -> list[str]:
    allowed = "allowed are ranges with commas between, as in 172.17.2.0/24,172.17.3.0/24"
    return [_range(word, 4, allowed) for word in re.split(r"[,\s]+", text.strip(", \t\n"))]


def ipv6_range(text: str) -> str:
    return _range(text, 6, "allowed is an IPv6 range, as in fd00:17::/64")


def _range(text: str, version: int, allowed: str) -> str:
    """The network in CIDR notation, without host bits. Raises a ValueError that begins with ``allowed``."""
    # Loaded only here: a boot without these variables needs no netaddr.
    from netaddr import AddrFormatError, IPNetwork

    # netaddr also takes a prefix length such as "+24", and digits of any script.
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9.]+)?", text):
        raise ValueError(f"{allowed} ({text!r} is none)")
    try:
        network = IPNetwork(text)
    except (AddrFormatError, ValueError):
        raise ValueError(f"{allowed} ({text!r} is none)") from None
    if network.version != version:
        raise ValueError(f"{allowed} ({text!r} is IPv{network.version})")
    if network.ip != network.network:
        raise ValueError(f"{allowed} ({text!r} has host bits set)")
    return str(network)


def image_path(text: str) -> str:
    path = os.path.normpath(text)
    if not text.startswith("/") or text.endswith("/") or f"{path}/".startswith("/var/lib/docker/"):
        raise ValueError(
            "allowed is the absolute path of a file outside of /var/lib/docker, as in /var/lib/mesos-dind/docker.img"
        )
    return text


def offset(text: str) -> str:
    parse_offset(text)
    return text


def daemon_args(text: str) -> list[str]:
    """The words of dockerd's command line, split as a shell splits. Raises ValueError for a flag that the boot sets."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"allowed are words that a shell can split ({error})") from None
    other = user_settings.not_to_start(words)
    if other:
        raise ValueError(f"allowed are flags of dockerd except {other}, with which dockerd does not start")
    for name in user_settings.flag_names(words):
        if name in user_settings.OWNED_FLAGS:
            instead = user_settings.OWNED_FLAGS[name]
            hint = f"use {instead} instead" if instead else "there is no other way to set it"
            raise ValueError(f"allowed are flags of dockerd except {name}, which the boot sets itself ({hint})")
    return words


VARIABLES = (
    Variable("DOCKER_NETWORK_OFFSET", "network_offset", "", offset),
    Variable("DOCKER_NETWORK_SIZE", "network_size", None, prefix_length),
    Variable("VAR_LIB_DOCKER_SIZE", "storage_size", "5", str),
    Variable("DOCKER_DAEMON_ARGS", "engine_args", [], daemon_args),
    Variable("LOG", "engine_log", "stdio", choice("engine", "log")),
    Variable("MESOS_DIND_STORAGE", "storage_strategy", "auto", choice("loop_storage", "strategy")),
    Variable("MESOS_DIND_FILESYSTEM", "storage_fstype", "ext4", choice("loop_storage", "fstype")),
    Variable("MESOS_DIND_IMAGE", "storage_image", "/var/lib/mesos-dind/docker.img", image_path),
    Variable("MESOS_DIND_GATEWAY", "network_gateway", "outer", choice("bridged_net", "gateway")),
    Variable("MESOS_DIND_NETWORK_MODE", "network_mode", "auto", choice("bridged_net", "mode")),
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
    """The settings from the environment and the command line."""

    command: tuple[str, ...]
    role_variables: Mapping[str, Any]

    @property
    def is_agent(self) -> bool:
        """True where the command is a Mesos agent under either of its names, with or without a path."""
        return self.command[0].rpartition("/")[2] in AGENTS


def of_role(role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of one role, without the prefix of the role's name."""
    prefix = f"{role}_"
    return {name.removeprefix(prefix): value for name, value in variables.items() if name.startswith(prefix)}


def variable_of(role_variable: str) -> str:
    """The variable of the environment that becomes ``role_variable``."""
    (name,) = (variable.name for variable in VARIABLES if variable.role_variable == role_variable)
    return name


def read(environ: Mapping[str, str], command: Sequence[str]) -> Settings:
    """Parse the whole environment. Raises SettingError for the first wrong variable."""
    values = {variable.role_variable: _value(variable, environ.get(variable.name, "")) for variable in VARIABLES}
    _require_room(values, environ)
    _require_ipv6_once(values, environ)
    _require_known(environ)
    return Settings(tuple(command), values)


def _value(variable: Variable, text: str) -> Any:
    try:
        return variable.parse(text) if text else variable.default
    except ValueError as error:
        raise SettingError(variable.name, text, str(error)) from None


def _require_room(values: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Refuse a text that is no size, and a size that is too small for the file system of the loop image."""
    try:
        check_size(values["storage_size"], values["storage_fstype"])
    except DindError as error:
        raise SettingError("VAR_LIB_DOCKER_SIZE", environ.get("VAR_LIB_DOCKER_SIZE", ""), str(error)) from None


def _require_ipv6_once(values: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Refuse flags of dockerd that MESOS_DIND_IPV6_RANGE sets."""
    flags = [f"--{key}" for key in ipv6.KEYS]
    if values["network_ipv6_range"] and set(flags).intersection(user_settings.flag_names(values["engine_args"])):
        allowed = f"allowed beside MESOS_DIND_IPV6_RANGE are flags of dockerd except {', '.join(flags)}, which it sets"
        raise SettingError("DOCKER_DAEMON_ARGS", environ["DOCKER_DAEMON_ARGS"], allowed)


def _require_known(environ: Mapping[str, str]) -> None:
    """Refuse a variable that begins with MESOS_DIND_ and has no parser, such as a misspelt one."""
    ours = sorted(variable.name for variable in VARIABLES if variable.name.startswith("MESOS_DIND_"))
    for name, text in environ.items():
        if name.startswith("MESOS_DIND_") and name not in ours:
            raise SettingError(name, text, f"there is no such variable; allowed are {', '.join(ours)}")
