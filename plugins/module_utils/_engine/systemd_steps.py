# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of docker.service, and the steps that change it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._engine import api
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file, iptables
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

UNIT = "docker.service"
# systemd starts the service again at the next connection to the socket.
UNITS = (UNIT, "docker.socket")
# An engine whose data root was on a private mount has bound that folder to itself, and this file makes it unmount the
# folder when it stops (moby, daemon/daemon_unix.go: setupDaemonRootPropagation).
UNMOUNT_ON_SHUTDOWN = Path("/run/docker/unmount-on-shutdown")
START_TIMEOUT = 180.0  # seconds; systemd's own limit for a start is 90 by default


@dataclass(frozen=True)
class Bridge:
    """The engine's bridge, and the data root whose network database has to agree with the bridge.

    ``bip`` is the bridge's address and prefix length; empty where the database must name no bridge.
    """

    name: str
    bip: str
    data_root: Path

    def disarm(self) -> None:
        """Remove another address from the network database of a stopped engine; its next start would restore it."""
        dockerd_networks.disarm(self.data_root, self.name, self.bip)

    def disarming(self) -> AbstractContextManager[None]:
        """The context manager in which to restart the engine."""
        return dockerd_networks.disarming(self.data_root, self.name, self.bip)


@dataclass(frozen=True)
class State:
    """The service as systemd and the files show it.

    ``files`` maps a path to its text. ``is_outdated``: the service runs with older files or an older program.
    ``enabled``: systemd starts the service with the machine. ``has_bridge``: a bridge exists, whoever made it.
    """

    files: Mapping[str, str]
    up: bool
    enabled: bool
    has_bridge: bool = False
    is_outdated: bool = False

    def with_files(self, files: Mapping[str, str]) -> State:
        return dataclasses.replace(self, files=files, is_outdated=self.up)


@dataclass(frozen=True)
class RemoveFile(Step[State]):
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def effect(self, state: State) -> State:
        return state.with_files({path: text for path, text in state.files.items() if path != self.path})

    def do(self, runner: Runner) -> None:
        path = Path(self.path)
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


class UnseenStep(Step[State]):
    """A step whose effect is no part of the state."""

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True)
class EndLiveRestore(UnseenStep):
    """Switch live restore off, so that dockerd's stop ends each container with its own signal and time-out.

    With live restore, the containers would outlive the engine, and keep its data root and its bridge.
    """

    config_file: Path
    socket: Path

    def __str__(self) -> str:
        return f"have {UNIT} end its containers with it"

    def do(self, runner: Runner) -> None:
        config = json.loads(self.config_file.read_text())
        atomic_file.write(self.config_file, json.dumps({**config, "live-restore": False}))
        with api.reloading(self.socket):
            runner.run("systemctl", "reload", UNIT)


@dataclass(frozen=True)
class StopUnits(Step[State]):
    bridge: Bridge

    def __str__(self) -> str:
        return f"stop {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=False, is_outdated=False)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "stop", *UNITS)
        self.bridge.disarm()


@dataclass(frozen=True)
class EndMasquerading(UnseenStep):
    """Remove the rule that masquerades the bridge's former network.

    dockerd leaves that rule in place, also once the bridge has another network. The rule would masquerade packets that
    other hosts of that network send through this machine.
    """

    network: str
    bridge: str

    def __str__(self) -> str:
        return f"no longer masquerade {self.network}"

    def do(self, runner: Runner) -> None:
        if iptables.is_installed():
            rule = ("-s", self.network, "!", "-o", self.bridge, "-j", "MASQUERADE")
            runner.run("iptables", "-w", "-t", "nat", "-D", "POSTROUTING", *rule, ok=(0, 1))  # 1: there is no such rule


@dataclass(frozen=True)
class Reload(UnseenStep):
    """Let systemd read its unit files again."""

    def __str__(self) -> str:
        return "reload systemd"

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "daemon-reload")


@dataclass(frozen=True)
class Restart(Step[State]):
    """Restart the service, and wait until dockerd reports that it is ready (the unit's type is notify).

    A stop and a start would leave units that require the service stopped, and containers without the socket that they
    mount.
    """

    bridge: Bridge

    def __str__(self) -> str:
        return f"restart {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=True, is_outdated=False)

    def do(self, runner: Runner) -> None:
        # systemd refuses to start a service that has failed too often.
        runner.run("systemctl", "reset-failed", UNIT)
        # By now the role storage may have mounted the image there, and dockerd would unmount the image.
        UNMOUNT_ON_SHUTDOWN.unlink(missing_ok=True)
        try:
            with self.bridge.disarming():
                runner.run("systemctl", "restart", UNIT, timeout=START_TIMEOUT)
        except DindError:
            # Otherwise systemd tries again and again.
            runner.run("systemctl", "stop", *UNITS)
            raise DindError(f"{UNIT} did not start; {last_words(runner)}") from None


def last_words(runner: Runner, lines: int = 5) -> str:
    """The end of the service's log, on one line."""
    text = runner.run("journalctl", "--unit", UNIT, "--output", "cat", "--lines", str(lines)).stdout.strip()
    return f"its last log lines: {' | '.join(text.splitlines())}" if text else "it logged nothing"


@dataclass(frozen=True)
class SetEnabled(Step[State]):
    enabled: bool

    def __str__(self) -> str:
        return f"{self.verb} {UNIT}"

    @property
    def verb(self) -> str:
        return "enable" if self.enabled else "disable"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, enabled=self.enabled)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", self.verb, UNIT)
