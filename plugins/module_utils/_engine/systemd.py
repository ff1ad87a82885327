# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine of a machine under systemd: the distribution's own units, with a drop-in and a configuration of ours.

The user's daemon.json stays as it is: its settings are merged into a file that only the drop-in names. So taking the
drop-in away gives the engine back as it was.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import api, daemon_json, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._engine import drop_in as engine_drop_in
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd_networks
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file, iptables
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

UNIT = "docker.service"
# systemd starts the service again whenever somebody talks to its socket.
UNITS = (UNIT, "docker.socket")
START_TIMEOUT = 180.0  # seconds; systemd's own limit for a start is 90 by default


@dataclass(frozen=True)
class Layout:
    """Where the files are, and the engine's socket, by which the machine's users reach it."""

    drop_in: Path = Path("/etc/systemd/system/docker.service.d/mesos-dind.conf")
    config_file: Path = Path("/etc/mesos-dind/daemon.json")
    await_bridge: Path = Path("/etc/mesos-dind/await-bridge")
    # How it was before us. It outlives the others: whoever gives the engine back still needs it, and removes it.
    note: Path = Path("/var/lib/mesos-dind/engine-before.json")
    socket: Path = Path("/run/docker.sock")
    devices: Path = Path("/sys/class/net")

    @property
    def files(self) -> tuple[Path, ...]:
        return self.note, self.config_file, self.await_bridge, self.drop_in


@dataclass(frozen=True)
class Bridge:
    """What the engine's own record of its bridge, in its data root, has to agree with: ``bip`` is the bridge's address
    and prefix length, or empty where no record of one is to be followed."""

    name: str
    bip: str
    data_root: Path

    def disarm(self) -> None:
        """Once the engine is stopped: it follows the record at its next start."""
        dockerd_networks.disarm(self.data_root, self.name, self.bip)

    def disarming(self) -> AbstractContextManager[None]:
        """In which the engine is restarted."""
        return dockerd_networks.disarming(self.data_root, self.name, self.bip)


@dataclass(frozen=True)
class State:
    """``files`` maps a path to its text. ``up``: the service runs; ``is_outdated``: with other files or another program
    than there are now; ``enabled``: it is started with the machine; ``has_bridge``: there is one, whoever has made it.
    """

    files: Mapping[str, str]
    up: bool
    enabled: bool
    has_bridge: bool = False
    is_outdated: bool = False


@dataclass(frozen=True)
class WriteFile(_plan.Step[State]):
    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, files={**state.files, self.path: self.text}, is_outdated=state.up)

    def do(self, runner: Runner) -> None:
        atomic_file.write(Path(self.path), self.text)


@dataclass(frozen=True)
class RemoveFile(_plan.Step[State]):
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def effect(self, state: State) -> State:
        files = {path: text for path, text in state.files.items() if path != self.path}
        return dataclasses.replace(state, files=files, is_outdated=state.up)

    def do(self, runner: Runner) -> None:
        path = Path(self.path)
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


@dataclass(frozen=True)
class EndLiveRestore(_plan.Step[State]):
    """With live restore, containers would outlive the engine, and keep its data root and its bridge. Without, dockerd
    ends them itself, each with its own signal and time-out.
    """

    config_file: Path
    socket: Path

    def __str__(self) -> str:
        return f"have {UNIT} end its containers with it"

    def effect(self, state: State) -> State:
        return state

    def do(self, runner: Runner) -> None:
        config = json.loads(self.config_file.read_text())
        atomic_file.write(self.config_file, json.dumps({**config, "live-restore": False}))
        with api.reloading(self.socket):
            runner.run("systemctl", "reload", UNIT)


@dataclass(frozen=True)
class StopUnits(_plan.Step[State]):
    bridge: Bridge

    def __str__(self) -> str:
        return f"stop {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=False, is_outdated=False)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "stop", *UNITS)
        self.bridge.disarm()


@dataclass(frozen=True)
class EndMasquerading(_plan.Step[State]):
    """Of the network that the bridge had by us. dockerd leaves that rule where it is, also one with another network,
    and what others there send through this machine would be masqueraded."""

    network: str
    bridge: str

    def __str__(self) -> str:
        return f"no longer masquerade {self.network}"

    def effect(self, state: State) -> State:
        return state

    def do(self, runner: Runner) -> None:
        if iptables.is_installed():
            rule = ("-s", self.network, "!", "-o", self.bridge, "-j", "MASQUERADE")
            runner.run("iptables", "-w", "-t", "nat", "-D", "POSTROUTING", *rule, ok=(0, 1))  # 1: it is not there


@dataclass(frozen=True)
class Reload(_plan.Step[State]):
    """systemd reads its unit files again."""

    def __str__(self) -> str:
        return "reload systemd"

    def effect(self, state: State) -> State:
        return state

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "daemon-reload")


@dataclass(frozen=True)
class Restart(_plan.Step[State]):
    """systemd waits until dockerd says that it is ready (its unit is of type notify).

    Not a stop and a start: units that require it would stay stopped, and containers lose the socket that they mount.
    """

    bridge: Bridge

    def __str__(self) -> str:
        return f"restart {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=True, is_outdated=False)

    def do(self, runner: Runner) -> None:
        # Of a start that has failed too often, systemd refuses another.
        runner.run("systemctl", "reset-failed", UNIT)
        try:
            with self.bridge.disarming():
                runner.run("systemctl", "restart", UNIT, timeout=START_TIMEOUT)
        except DindError:
            # Or systemd tries again and again.
            runner.run("systemctl", "stop", *UNITS)
            raise DindError(f"{UNIT} did not start; {last_words(runner)}") from None


@dataclass(frozen=True)
class Enable(_plan.Step[State]):
    def __str__(self) -> str:
        return f"enable {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, enabled=True)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "enable", UNIT)


@dataclass(frozen=True)
class Disable(_plan.Step[State]):
    def __str__(self) -> str:
        return f"disable {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, enabled=False)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "disable", UNIT)


def last_words(runner: Runner, lines: int = 5) -> str:
    """The end of the service's log, on one line."""
    text = runner.run("journalctl", "--unit", UNIT, "--output", "cat", "--lines", str(lines)).stdout.strip()
    return f"its last log lines: {' | '.join(text.splitlines())}" if text else "it logged nothing"


def is_replaced(pid: str, proc: Path) -> bool:
    """Whether the program of a process is no longer there, as after an upgrade of its package (proc(5))."""
    try:
        return str((proc / pid / "exe").readlink()).endswith(" (deleted)")
    except FileNotFoundError:
        return False


def was_started_with_others(pid: str, environment: str, proc: Path) -> bool:
    """Whether a process has not the digest of files that ``environment``, its unit's as systemd shows it, has now.

    Not where that has none: then the unit is not ours, or somebody has emptied its environment after us.
    """
    wanted = engine_drop_in.DIGEST.search(environment)
    try:
        given = (proc / pid / "environ").read_text(errors="replace").split("\0") if wanted else []
    except FileNotFoundError:
        return True
    return wanted is not None and wanted[0] not in given


def inspect(layout: Layout, bridge: str, runner: Runner, proc: Path = Path("/proc")) -> State:
    """Of a machine without an engine too: its service is neither up nor enabled. Raises DindError without systemd."""
    properties = ("ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "Environment")
    said = runner.run("systemctl", "show", f"--property={','.join(properties)}", UNIT).stdout
    unit = {name: value for name, _equals, value in (line.partition("=") for line in said.splitlines())}
    up, pid = unit.get("ActiveState") == "active", unit.get("MainPID", "0")
    return State(
        files={str(path): path.read_text() for path in layout.files if path.exists()},
        up=up,
        is_outdated=up
        and (
            unit.get("NeedDaemonReload") == "yes"
            or is_replaced(pid, proc)
            or was_started_with_others(pid, unit.get("Environment", ""), proc)
        ),
        enabled=unit.get("UnitFileState") == "enabled",
        has_bridge=(layout.devices / bridge).exists(),
    )


def plan(desired: Mapping[str, str], bridge: Bridge, layout: Layout, state: State) -> list[_plan.Step[State]]:
    """What makes the engine run with exactly the files of ``desired`` (path to text); without any, as it was before."""
    written: list[_plan.Step[State]] = [
        WriteFile(path, text) for path, text in desired.items() if state.files.get(path) != text
    ]
    removed = [RemoveFile(path) for path in state.files if path not in desired and path != str(layout.note)]
    if not desired:
        was_enabled = not removed or before(state, layout)["enabled"]
        disable = [Disable()] if state.enabled and not was_enabled else []
        end = [EndLiveRestore(layout.config_file, layout.socket)] if _has_live_restore(state, layout) else []
        masqueraded = _network_by_us(state, layout)
        end_masquerading = [EndMasquerading(masqueraded, bridge.name)] if masqueraded else []
        # What tells that all of this is to be done, and how, goes last: a run that is killed is gone on with.
        drop_in = [step for step in removed if step.path == str(layout.drop_in)]
        others = [step for step in removed if step not in drop_in]
        first = [*end, StopUnits(bridge), *end_masquerading]
        return [*first, *drop_in, Reload(), *disable, *others] if removed else []
    steps = [*written, *removed]
    if steps or not state.up or state.is_outdated:
        steps += [Reload(), Restart(bridge)]
    return steps if state.enabled else [*steps, Enable()]


def _network_by_us(state: State, layout: Layout) -> str:
    """The network of our ``bip``; empty where there is none."""
    bip = _object(state.files.get(str(layout.config_file))).get("bip")
    return str(ipaddress.ip_interface(bip).network) if bip else ""


def _object(text: str | None) -> dict[str, Any]:
    """The JSON object that ``text`` is; an empty one where it is none, as of a run that was killed."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def bridge_of(params: Mapping[str, Any], layout: Layout, state: State) -> Bridge:
    """Where the engine is given back, the network takes its address away from the bridge, and who gives it back need
    not know where we had it keep its data."""
    if params["state"] == "present":
        return Bridge(params["bridge"], params["bip"], Path(params["data_root"]))
    ours = _object(state.files.get(str(layout.config_file)))
    return Bridge(params["bridge"], "", Path(ours.get("data-root", params["data_root"])))


def _has_live_restore(state: State, layout: Layout) -> bool:
    return state.up and all(str(path) in state.files for path in (layout.config_file, layout.drop_in))


def before(state: State, layout: Layout, had_bridge: bool | None = None) -> dict[str, bool]:
    """How the engine was before us: as it was noted or, where it was not, as it is."""
    there = {
        "active": state.up,
        "enabled": state.enabled,
        "bridge": state.has_bridge if had_bridge is None else had_bridge,
    }
    noted = _object(state.files.get(str(layout.note)))
    return {name: bool(noted.get(name, value)) for name, value in there.items()}


def desired_files(params: Mapping[str, Any], layout: Layout, state: State, *, check: bool) -> dict[str, str]:
    """Raises DindError where there is no engine, or where the user's daemon.json contradicts the roles.

    In check mode an engine that is not installed yet is thought to be where Debian has it.
    """
    if params["state"] == "absent":
        return {}
    program = find_program()
    if program is None and not check:
        raise DindError("there is no dockerd", cure="have the role engine install a package of it (engine_packages)")
    args, user_config = user_settings.arranged(params["args"], user_settings.read(Path(params["user_config"])))
    params = {**params, "args": args}
    note = {str(layout.note): json.dumps(before(state, layout, params["had_bridge"]), sort_keys=True) + "\n"}
    # The drop-in comes last, since it is what names the others.
    started_with = {
        str(layout.config_file): daemon_json.text(params, user_config, {}),
        **({str(layout.await_bridge): engine_drop_in.AWAIT_BRIDGE} if params["uplink"] else {}),
        str(layout.drop_in): engine_drop_in.text(
            params, program or "/usr/sbin/dockerd", layout.config_file, layout.await_bridge
        ),
    }
    started_with[str(layout.drop_in)] += engine_drop_in.digest_line(started_with.values())
    return {**note, **started_with}


def find_program() -> str | None:
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def core(params: Mapping[str, Any], runner: Runner, check: bool) -> _plan.Outcome:
    """The module ``mesos.dind.engine`` where its supervisor is systemd."""
    layout = Layout()
    is_expected = check and params["state"] == "present" and find_program() is None

    def look() -> State:
        state = inspect(layout, params["bridge"], runner)
        # Debian's package enables its service.
        return dataclasses.replace(state, enabled=True) if is_expected else state

    first = look()
    desired = desired_files(params, layout, first, check=check)
    bridge, then = bridge_of(params, layout, first), before(first, layout, params["had_bridge"])
    done = _plan.converge(look, lambda state: plan(desired, bridge, layout, state), runner, check=check)
    is_running = bool(desired) and (done.before.up if check else True)
    return _plan.Outcome(
        actions=done.actions,
        before=_diffable(done.before),
        after=_diffable(done.after),
        facts={
            **api.facts(layout.socket, is_running=is_running),
            **{f"{'had' if name == 'bridge' else 'was'}_{name}": was for name, was in then.items()},
        },
    )


def _diffable(state: State) -> dict[str, Any]:
    return {
        "files": dict(state.files),
        "up": state.up,
        "outdated": state.is_outdated,
        "enabled": state.enabled,
    }
