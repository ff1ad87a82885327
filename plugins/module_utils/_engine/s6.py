# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine of an agent container: containerd and dockerd as services under s6."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import api, daemon_json, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._engine.files import changed
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host.s6 import Service
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Seconds. Both services start within half a second on two cores; a slow disk that replays a journal takes longer.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Layout:
    """The paths of the engine's files. The service directories' ``run`` files name the same paths."""

    run: Path = Path("/run/mesos-dind")
    services: Path = Path("/etc/mesos-dind/services")
    logs: Path = Path("/var/log/mesos-dind")
    exec_root: Path = Path("/run/docker")
    bridge_nf: Path = Path("/proc/sys/net/bridge")  # exists while the kernel module br_netfilter is loaded
    socket: Path = Path("/var/run/docker.sock")

    @property
    def config_file(self) -> Path:
        return self.run / "daemon.json"

    def arguments_file(self, service: str) -> Path:
        return self.run / f"{service}.args"

    @property
    def log_file(self) -> Path:
        return self.run / "log"

    def service(self, name: str) -> Service:
        return Service(
            name, self.services / name, self.run / f"{name}.notify", self.run / f"{name}.ended", self.logs / name
        )


SERVICES = ("containerd", "dockerd")  # in the order of their start
BRIDGE_FILTERS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")


@dataclass(frozen=True)
class State:
    """The services as s6 and the files show them.

    ``files`` maps a path to its text. ``up`` names the services that run. ``leftovers``: an engine of the container's
    earlier life left files in the exec root. ``filters`` names the br_netfilter settings that are on.
    """

    files: Mapping[str, str]
    up: frozenset[str]
    leftovers: bool
    filters: frozenset[str] = frozenset()

    def with_files(self, files: Mapping[str, str]) -> State:
        return dataclasses.replace(self, files=files)


@dataclass(frozen=True)
class RemoveLeftovers(_plan.Step[State]):
    """Remove the sockets, pid files and task folders of an engine that was killed with its containers.

    A new engine would fail on them. While containers live, a new engine finds them by these files.
    """

    exec_root: Path

    def __str__(self) -> str:
        return f"remove what a dead engine left in {self.exec_root}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, leftovers=False)

    def do(self, runner: Runner) -> None:
        shutil.rmtree(self.exec_root)


@dataclass(frozen=True)
class PassFrames(_plan.Step[State]):
    """Let frames between ports of the bridge skip iptables, which costs 8 % of the throughput (docs/network.md).

    This goes before dockerd's start: dockerd switches on the settings that it needs.
    """

    folder: Path
    filters: frozenset[str]

    def __str__(self) -> str:
        return "have frames that the bridge only passes on skip iptables"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, filters=frozenset())

    def do(self, runner: Runner) -> None:
        for name in sorted(self.filters):
            (self.folder / name).write_text("0\n")


@dataclass(frozen=True)
class StartService(_plan.Step[State]):
    service: Service

    def __str__(self) -> str:
        return f"start {self.service.name}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=state.up | {self.service.name})

    def do(self, runner: Runner) -> None:
        self.service.start(runner, START_TIMEOUT)


@dataclass(frozen=True)
class StopService(_plan.Step[State]):
    service: Service

    def __str__(self) -> str:
        return f"stop {self.service.name}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=state.up - {self.service.name})

    def do(self, runner: Runner) -> None:
        self.service.stop(runner, STOP_TIMEOUT)


def inspect(layout: Layout, paths: Sequence[str], runner: Runner) -> State:
    up = frozenset(name for name in SERVICES if layout.service(name).is_up(runner))
    files = {path: Path(path).read_text() for path in paths if Path(path).exists()}
    # Each boot begins without the files: if they exist, the services have run since this boot.
    leftovers = not up and not files and layout.exec_root.exists()
    return State(files, up, leftovers, _filters(layout.bridge_nf))


def _filters(folder: Path) -> frozenset[str]:
    settings = [folder / name for name in BRIDGE_FILTERS]
    return frozenset(path.name for path in settings if path.exists() and path.read_text().strip() != "0")


def plan(
    desired: Mapping[str, Mapping[str, str]], layout: Layout, state: State, *, passes_frames: bool = False
) -> list[_plan.Step[State]]:
    """The steps after which each service runs with exactly its files.

    ``desired`` maps a service to its files (path to text), in the order of the start. A service whose files change is
    restarted; containers survive that (live restore). ``passes_frames``: the bridge needs no filter between ports.
    """
    writes = {name: changed(files, state) for name, files in desired.items()}
    stop, start = _restarts(writes, state.up)
    skip = passes_frames and state.filters
    return [
        *(StopService(layout.service(name)) for name in stop),
        *([RemoveLeftovers(layout.exec_root)] if state.leftovers else []),
        *itertools.chain.from_iterable(writes.values()),
        # Not while dockerd runs: dockerd may have switched a setting on for a network (`enable_icc=false`).
        *([PassFrames(layout.bridge_nf, state.filters)] if skip and "dockerd" in start else []),
        *(StartService(layout.service(name)) for name in start),
    ]


def _restarts(writes: Mapping[str, Sequence[_plan.Step[State]]], up: frozenset[str]) -> tuple[list[str], list[str]]:
    """The services to stop and those to start, each in the order to do so."""
    stop = [name for name in reversed(list(writes)) if writes[name] and name in up]
    return stop, [name for name in writes if name not in up or name in stop]


def needs_filters(args: Sequence[str], config: Mapping[str, Any]) -> bool:
    """Whether the user's settings need iptables between the ports of a bridge.

    Without `icc`, iptables keeps containers apart. Without the userland proxy, iptables handles the answers of
    published ports; dockerd itself switches the filters on for this since 27.3
    (https://github.com/moby/moby/pull/48685).
    """
    return any(user_settings.is_off(name, args, config) for name in ("icc", "userland-proxy"))


def desired_files(
    params: Mapping[str, Any], user_config: Mapping[str, Any], layout: Layout
) -> dict[str, dict[str, str]]:
    """The text of each file, by service and path.

    ``params`` are the module's, with the network flattened (core.of_network) and the keys of ``ipv6.config`` as "ipv6".
    Raises DindError where the user's daemon.json contradicts the roles.
    """
    containerd = [
        "--config=/etc/mesos-dind/containerd.toml",
        f"--root={params['data_root']}/containerd/daemon",
        f"--state={layout.exec_root}/containerd/daemon",
        f"--address={layout.exec_root}/containerd/containerd.sock",
        f"--log-level={daemon_json.log_level(params)}",
    ]
    # -H here and not in the file: a further -H in DOCKER_DAEMON_ARGS beside "hosts" in the file would be refused.
    # No pid file: s6 knows the pid. A stale file whose number is in use again stops the next start (moby: pkg/pidfile).
    # In daemon.json an empty name would mean the default.
    dockerd = [f"--config-file={layout.config_file}", f"-Hunix://{layout.socket}", "--pidfile=", *params["args"]]
    places = {
        "exec-root": str(layout.exec_root),
        "containerd": f"{layout.exec_root}/containerd/containerd.sock",
    }
    return {
        "containerd": {
            str(layout.log_file): params["log"] + "\n",
            str(layout.arguments_file("containerd")): _nul_terminated(containerd),
        },
        "dockerd": {
            str(layout.config_file): daemon_json.text(params, user_config, places),
            str(layout.arguments_file("dockerd")): _nul_terminated(dockerd),
        },
    }


def _nul_terminated(arguments: Sequence[str]) -> str:
    """The text that bash's ``mapfile -d ''`` reads back as the same words, whatever they hold."""
    return "".join(f"{argument}\0" for argument in arguments)


def core(params: Mapping[str, Any], runner: Runner, check: bool, services: Sequence[str]) -> _plan.Outcome:
    """The module ``mesos.dind.engine`` with ``supervisor: s6``."""
    if params["state"] == "absent":
        raise DindError("state absent needs supervisor systemd", cure="a container's engine goes with the container")
    layout = Layout()
    args, user_config = user_settings.arranged(params["args"], user_settings.read(Path(params["user_config"])))
    if user_settings.wants_image_store(user_config) or params["storage_driver"] in daemon_json.SNAPSHOTTERS.values():
        user_settings.require_image_store(runner)
    files = desired_files({**params, "args": args}, user_config, layout)
    desired = {name: files[name] for name in services}
    paths = [path for texts in desired.values() for path in texts]
    # The uplink is named only where it is a port of the bridge.
    passes_frames = bool(params["uplink"]) and not needs_filters(args, user_config)
    done = _plan.converge(
        lambda: inspect(layout, paths, runner),
        lambda state: plan(desired, layout, state, passes_frames=passes_frames),
        runner,
        check=check,
    )
    return _plan.Outcome(
        actions=done.actions,
        before=_diffable(done.before),
        after=_diffable(done.after),
        facts=api.facts(layout.socket, is_running="dockerd" in (done.before.up if check else services)),
    )


def _diffable(state: State) -> dict[str, Any]:
    return {
        "files": dict(state.files),
        "up": sorted(state.up),
        "leftovers": state.leftovers,
        "filters": sorted(state.filters),
    }
