# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine of an agent container: containerd and dockerd as services under s6."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import api, daemon_json, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host.s6 import Service
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Seconds. Both answer within half a second on two cores; a slow disk that replays a journal takes longer.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Layout:
    """Where the engine's files are. The service directories' ``run`` files know the same paths."""

    run: Path = Path("/run/mesos-dind")
    services: Path = Path("/etc/mesos-dind/services")
    logs: Path = Path("/var/log/mesos-dind")
    exec_root: Path = Path("/run/docker")
    bridge_nf: Path = Path("/proc/sys/net/bridge")  # where the module br_netfilter is loaded
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
    """``files`` maps a path to its text; ``up`` names the services that run; ``leftovers`` says whether an engine
    of an earlier life of the container left anything in the exec root; ``filters`` names the settings by which frames
    that a bridge only passes on go through iptables."""

    files: Mapping[str, str]
    up: frozenset[str]
    leftovers: bool
    filters: frozenset[str] = frozenset()


@dataclass(frozen=True)
class WriteFile(_plan.Step[State]):
    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, files={**state.files, self.path: self.text})

    def do(self, runner: Runner) -> None:
        atomic_file.write(Path(self.path), self.text)


@dataclass(frozen=True)
class RemoveLeftovers(_plan.Step[State]):
    """Sockets, pid files and task folders of an engine that was killed with its containers, which a new one would trip
    over. Of one whose containers live on, they are what a new one finds them by."""

    exec_root: Path

    def __str__(self) -> str:
        return f"remove what a dead engine left in {self.exec_root}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, leftovers=False)

    def do(self, runner: Runner) -> None:
        shutil.rmtree(self.exec_root)


@dataclass(frozen=True)
class PassFrames(_plan.Step[State]):
    """What goes from one port of the bridge to another is none of the engine's filters' business, and they cost 8 % of
    the throughput (docs/network.md). Before dockerd starts, which switches on what it needs itself."""

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
    # Each boot begins without the files: where they are, the services have run in this very life.
    leftovers = not up and not files and layout.exec_root.exists()
    settings = [layout.bridge_nf / name for name in BRIDGE_FILTERS]
    filters = frozenset(path.name for path in settings if path.exists() and path.read_text().strip() != "0")
    return State(files, up, leftovers, filters)


def plan(
    desired: Mapping[str, Mapping[str, str]], layout: Layout, state: State, *, passes_frames: bool = False
) -> list[_plan.Step[State]]:
    """What makes each service run with exactly its files (``desired``: service to path to text, in the order of start).

    A service whose own files change is started anew; containers survive that (live restore). ``passes_frames``: the
    bridge's ports need no filter between them.
    """
    changed = {
        name: [WriteFile(path, text) for path, text in files.items() if state.files.get(path) != text]
        for name, files in desired.items()
    }
    stop = [name for name in reversed(changed) if changed[name] and name in state.up]
    steps: list[_plan.Step[State]] = [StopService(layout.service(name)) for name in stop]
    if state.leftovers:
        steps.append(RemoveLeftovers(layout.exec_root))
    for writes in changed.values():
        steps += writes
    start = [name for name in changed if name not in state.up or name in stop]
    # Not while dockerd runs: what is on then, it may have switched on for a network (`enable_icc=false`).
    if passes_frames and state.filters and "dockerd" in start:
        steps.append(PassFrames(layout.bridge_nf, state.filters))
    return steps + [StartService(layout.service(name)) for name in start]


def needs_filters(args: Sequence[str], config: Mapping[str, Any]) -> bool:
    """Whether the user has told dockerd what takes iptables between the ports of a bridge: without `icc` to keep
    containers apart, without the userland proxy for the answers of ports published on it.

    Only since 27.3 does dockerd switch them on for the latter (https://github.com/moby/moby/pull/48685).
    """
    return any(user_settings.is_off(name, args, config) for name in ("icc", "userland-proxy"))


def desired_files(
    params: Mapping[str, Any], user_config: Mapping[str, Any], layout: Layout
) -> dict[str, dict[str, str]]:
    """The text of every file that each service is started with, by service and path.

    ``params`` are the module's and, as "ipv6", what _engine_ipv6.of has made of them.
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
    # No pid file: s6 knows the pid, and a stale one, whose number is in use again, stops the next start (moby:
    # pkg/pidfile). In the file an empty one would mean the default.
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
    """What bash's ``mapfile -d ''`` reads back as the same words, whatever they hold."""
    return "".join(f"{argument}\0" for argument in arguments)


def core(params: Mapping[str, Any], runner: Runner, check: bool, services: Sequence[str]) -> _plan.Outcome:
    """The module ``mesos.dind.engine`` where its supervisor is s6."""
    if params["state"] == "absent":
        raise DindError("state absent needs supervisor systemd", cure="a container's engine goes with the container")
    layout = Layout()
    args, user_config = user_settings.arranged(params["args"], user_settings.read(Path(params["user_config"])))
    if user_settings.wants_image_store(user_config) or params["storage_driver"] in daemon_json.SNAPSHOTTERS.values():
        user_settings.require_image_store(runner)
    files = desired_files({**params, "args": args}, user_config, layout)
    desired = {name: files[name] for name in services}
    paths = [path for texts in desired.values() for path in texts]
    # The uplink is named where it is a port of the bridge.
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
