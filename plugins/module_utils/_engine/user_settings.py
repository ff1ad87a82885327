# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The user's own settings of the engine, in a daemon.json and in flags of dockerd."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

USER_CONFIG = Path("/etc/docker/daemon.json")


@dataclass(frozen=True)
class Owned:
    """A setting of dockerd that the boot makes itself.

    ``flags`` are the setting's names on dockerd's command line. ``instead`` is the variable or mount that the user may
    use, if any. ``same`` is the value that a user's daemon.json may repeat. A setting that is not ``in_file`` has no
    fixed place in daemon.json.
    """

    flags: tuple[str, ...]
    instead: str = ""
    same: object = None
    in_file: bool = True


OWNED: Mapping[str, Owned] = {
    "bip": Owned(("--bip",), "DOCKER_NETWORK_OFFSET"),
    "bridge": Owned(("--bridge", "-b"), "DOCKER_NETWORK_OFFSET"),
    "config-file": Owned(("--config-file",), "a daemon.json mounted at /etc/docker/daemon.json", in_file=False),
    "containerd": Owned(("--containerd",)),
    "data-root": Owned(("--data-root", "-g", "--graph"), "a volume mounted at /var/lib/docker", "/var/lib/docker"),
    "default-gateway": Owned(("--default-gateway",), "MESOS_DIND_GATEWAY"),
    "exec-root": Owned(("--exec-root",)),
    "fixed-cidr": Owned(("--fixed-cidr",), "DOCKER_NETWORK_OFFSET"),
    "live-restore": Owned(("--live-restore",), same=True),
    "pidfile": Owned(("--pidfile", "-p")),
    # daemon.json may name the driver of the data root, which only the boot knows.
    "storage-driver": Owned(("--storage-driver", "-s"), "MESOS_DIND_STORAGE", in_file=False),
}
OWNED_KEYS: Mapping[str, object] = {key: owned.same for key, owned in OWNED.items() if owned.in_file}
OWNED_FLAGS: Mapping[str, str] = {flag: owned.instead for owned in OWNED.values() for flag in owned.flags}

# Flags without a value, of any dockerd from 20.10 to 28 (`dockerd --help`).
BOOLEANS = frozenset((
    "--allow-direct-routing", "--cri-containerd", "--debug", "-D", "--experimental", "--help", "-h", "--icc", "--init",
    "--ip-forward", "--ip-forward-no-drop", "--ip-masq", "--ip6tables", "--iptables", "--ipv6", "--live-restore",
    "--no-new-privileges", "--raw-logs", "--rootless", "--selinux-enabled", "--tls", "--tlsverify", "--userland-proxy",
    "--validate", "--version", "-v",
))  # fmt: skip

# Flags with which dockerd does something else than to start. `--validate=false` would start it during the validation.
NOT_TO_START = ("--help", "-h", "--validate", "--version", "-v")
VALID = "configuration OK"
UNKNOWN_VALIDATE = "unknown flag: --validate"
VALIDATION_TIMEOUT = 20.0  # seconds; dockerd takes 0.05 s on an idle machine

IMAGE_STORE = "containerd-snapshotter"
IMAGE_STORE_SINCE = 23  # the major version of Docker; 20.10 is the release before


def read(path: Path = USER_CONFIG) -> dict[str, Any]:
    """The user's own daemon.json; empty without a file. Raises DindError if the file is not a JSON object."""
    try:
        config = json.loads(path.read_text() or "{}")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DindError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise DindError(f"{path} is not a JSON object")
    if not isinstance(config.get("features", {}), dict):
        raise DindError(f"{path}: features is not a JSON object")
    return config


def require_no_owned(config: Mapping[str, Any], path: object, owned: Mapping[str, Any]) -> None:
    """Raise DindError for a key of ``config`` that has another value in ``owned``, the boot's own keys."""
    contradicted = [key for key, value in config.items() if key in owned and value != owned[key]]
    if contradicted:
        raise DindError(
            f"{path} sets {', '.join(sorted(contradicted))}, which the boot sets itself",
            cure="remove it from that file",
        )


def flag_names(words: Sequence[str]) -> Iterator[str]:
    """The names of the flags among dockerd's words, parsed as by https://pkg.go.dev/github.com/spf13/pflag.

    ``--label=a`` is ``--label``, ``-Dlwarn`` is ``-D`` and ``-l``, and ``--label -b`` is ``--label`` only.
    """
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, equals, _value = word.partition("=")
            yield name
            if not equals and name not in BOOLEANS:
                next(rest, None)
        elif word.startswith("-"):
            yield from _shorthands(word[1:], rest)


def not_to_start(words: Sequence[str]) -> str:
    """The first flag among dockerd's words with which dockerd would not start; empty without one.

    A long flag is found at any place: a newer dockerd may have flags without a value that BOOLEANS lacks.
    """
    long = [word.partition("=")[0] for word in words if word.startswith("--")]
    return next((name for name in [*long, *flag_names(words)] if name in NOT_TO_START), "")


def is_off(name: str, args: Sequence[str], config: Mapping[str, Any]) -> bool:
    """Whether the user's flags or file switch off a setting that is on by default."""
    said = [word.partition("=")[2] for word in args if word.startswith(f"--{name}=")]
    # As https://pkg.go.dev/strconv#ParseBool.
    return said[-1] in ("0", "f", "F", "false", "FALSE", "False") if said else config.get(name) is False


def _shorthands(letters: str, rest: Iterator[str]) -> Iterator[str]:
    for index, letter in enumerate(letters):
        yield f"-{letter}"
        if f"-{letter}" not in BOOLEANS:
            if index + 1 == len(letters):
                next(rest, None)
            return
        if letters[index + 1 : index + 2] == "=":
            return


def arranged(args: Sequence[str], config: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The user's flags and file, with features in the file and hosts in the flags, as the boot has them.

    dockerd refuses a setting in both places.
    """
    rest: list[str] = []
    features: dict[str, bool] = dict(config.get("features", {}))
    words = iter(args)
    for word in words:
        flag, _equals, value = word.partition("=")
        if flag == "--feature":  # since Docker 28
            name, _equals, state = (value or next(words, "")).partition("=")
            features[name] = state.lower() in ("", "1", "t", "true")
        else:
            rest.append(word)
    hosts = [f"--host={host}" for host in config.get("hosts", ())]
    kept = {key: value for key, value in config.items() if key not in ("features", "hosts")}
    return [*hosts, *rest], {**kept, **({"features": features} if features else {})}


def wants_image_store(config: Mapping[str, Any]) -> bool:
    return bool(config.get("features", {}).get(IMAGE_STORE))


def require_image_store(runner: Runner) -> None:
    """Raise DindError if the engine is too old for the containerd image store."""
    version = dockerd.version(runner)
    if version.major < IMAGE_STORE_SINCE:
        raise DindError(
            f"Docker {version.text} has no containerd image store (features: {IMAGE_STORE}), "
            f"which needs Docker {IMAGE_STORE_SINCE} or later",
            cure="remove that feature, or install a newer engine",
        )


def require_cgroupfs(args: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raise DindError for the cgroup driver that needs systemd: without systemd, no container starts."""
    options = config.get("exec-opts")
    asked = [*args, *(options if isinstance(options, list) else ())]  # dockerd itself refuses anything but a list
    if any(str(word).endswith("native.cgroupdriver=systemd") for word in asked):
        raise DindError(
            "native.cgroupdriver=systemd needs systemd, which does not run in the container",
            cure="remove it, or set cgroupfs",
        )


def require_valid(args: Sequence[str], runner: Runner) -> None:
    """Let dockerd validate flags and file without a change. Raises DindError with dockerd's message."""
    # The flag that keeps dockerd from starting comes first: a last flag that lacks its value would swallow it.
    answer = _asked(runner, "--validate", args)
    if UNKNOWN_VALIDATE in answer.stderr:
        answer = _asked(runner, "--help", args)  # Docker before 23 can only parse the flags
    elif not answer.status and VALID not in answer.stderr:
        raise DindError("with these flags, dockerd prints a text instead of starting")
    if answer.status:
        said = " ".join(answer.stderr.split())
        raise DindError(said.removeprefix("Status: ").partition(" See 'dockerd --help'.")[0])


def _asked(runner: Runner, first: str, args: Sequence[str]) -> Command:
    return runner.run("dockerd", first, *args, ok=range(256), timeout=VALIDATION_TIMEOUT)
