# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine of a machine under systemd: the distribution's own units, with a drop-in and a configuration of ours.

The user's daemon.json stays as it is: its settings are merged into a file that only the drop-in names. So taking the
drop-in away gives the engine back as it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import (
    _atomic_file,
    _bridged_net_engine,
    _daemon_json,
    _engine,
    _plan,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

UNIT = "docker.service"
# systemd starts the service again whenever somebody talks to its socket.
UNITS = (UNIT, "docker.socket")
# Seconds. systemd's own limits are 90 by default, of which a unit can make anything.
START_TIMEOUT = STOP_TIMEOUT = 180.0

# How the unit was before us, in a section that systemd leaves alone (systemd.syntax(7): "X-").
NOTE = "X-MesosDind"


@dataclass(frozen=True)
class Layout:
    """Where the files are, and the engine's socket, by which the machine's users reach it."""

    drop_in: Path = Path("/etc/systemd/system/docker.service.d/mesos-dind.conf")
    config_file: Path = Path("/etc/mesos-dind/daemon.json")
    socket: Path = Path("/run/docker.sock")

    @property
    def files(self) -> tuple[Path, Path]:
        return self.config_file, self.drop_in


@dataclass(frozen=True)
class Bridge:
    """What the engine's own record of its bridge, in its data root, has to agree with: ``bip`` is the bridge's address
    and prefix length, or empty where no record of one is to be followed."""

    name: str
    bip: str
    data_root: Path

    def disarm(self) -> None:
        """Only an engine that is stopped follows the record again, at its next start, and lets it be changed."""
        _bridged_net_engine.disarm(self.data_root, self.name, self.bip)


@dataclass(frozen=True)
class State:
    """``files`` maps a path to its text. ``up``: the service runs, with its unit files as they are now; ``enabled``: it
    is started with the machine."""

    files: Mapping[str, str]
    up: bool
    enabled: bool


@dataclass(frozen=True)
class WriteFile(_plan.Step[State]):
    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, files={**state.files, self.path: self.text})

    def do(self, runner: Runner) -> None:
        _atomic_file.write(Path(self.path), self.text)


@dataclass(frozen=True)
class RemoveFile(_plan.Step[State]):
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, files={path: text for path, text in state.files.items() if path != self.path})

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
        _atomic_file.write(self.config_file, json.dumps({**config, "live-restore": False}))
        with _engine.reloading(self.socket):
            runner.run("systemctl", "reload", UNIT)


@dataclass(frozen=True)
class StopUnits(_plan.Step[State]):
    bridge: Bridge

    def __str__(self) -> str:
        return f"stop {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=False)

    def do(self, runner: Runner) -> None:
        runner.run("systemctl", "stop", *UNITS)
        self.bridge.disarm()


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

    Its socket stays, which containers may have mounted; a dockerd that somebody has started by it in between would
    take longer to get to its record than we do.
    """

    bridge: Bridge

    def __str__(self) -> str:
        return f"restart {UNIT}"

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, up=True)

    def do(self, runner: Runner) -> None:
        # Of a start that has failed too often, systemd refuses another.
        runner.run("systemctl", "reset-failed", UNIT)
        try:
            runner.run("systemctl", "stop", UNIT, timeout=STOP_TIMEOUT)
            self.bridge.disarm()
            runner.run("systemctl", "start", UNIT, timeout=START_TIMEOUT)
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


def inspect(layout: Layout, runner: Runner) -> State:
    """Of a machine without an engine too: its service is neither up nor enabled. Raises DindError without systemd."""
    properties = ("ActiveState", "UnitFileState", "NeedDaemonReload")
    said = runner.run("systemctl", "show", f"--property={','.join(properties)}", UNIT).stdout
    unit = dict(line.split("=", 1) for line in said.splitlines())
    return State(
        files={str(path): path.read_text() for path in layout.files if path.exists()},
        up=unit.get("ActiveState") == "active" and unit.get("NeedDaemonReload") != "yes",
        enabled=unit.get("UnitFileState") == "enabled",
    )


def plan(desired: Mapping[str, str], bridge: Bridge, layout: Layout, state: State) -> list[_plan.Step[State]]:
    """What makes the engine run with exactly the files of ``desired`` (path to text); without any, as it was before."""
    written: list[_plan.Step[State]] = [
        WriteFile(path, text) for path, text in desired.items() if state.files.get(path) != text
    ]
    removed: list[_plan.Step[State]] = [RemoveFile(path) for path in state.files if path not in desired]
    if not desired:
        was_enabled = not removed or before(state, layout)["enabled"]
        disable = [Disable()] if state.enabled and not was_enabled else []
        end = [EndLiveRestore(layout.config_file, layout.socket)] if _has_live_restore(state, layout) else []
        return [*end, StopUnits(bridge), *removed, Reload(), *disable] if removed else []
    steps = [*written, *removed]
    if steps or not state.up:
        steps += [Reload(), Restart(bridge)]
    return steps if state.enabled else [*steps, Enable()]


def bridge_of(params: Mapping[str, Any], layout: Layout, state: State) -> Bridge:
    """Where the engine is given back, the network takes its address away from the bridge, and who gives it back need
    not know where we had it keep its data."""
    if params["state"] == "present":
        return Bridge(params["bridge"], params["bip"], Path(params["data_root"]))
    ours = json.loads(state.files.get(str(layout.config_file), "{}"))
    return Bridge(params["bridge"], "", Path(ours.get("data-root", params["data_root"])))


def _has_live_restore(state: State, layout: Layout) -> bool:
    return state.up and all(str(path) in state.files for path in layout.files)


def before(state: State, layout: Layout) -> dict[str, bool]:
    """How the service was before us: as the drop-in has noted it or, where there is none, as it is."""
    found = re.search(
        rf"^\[{NOTE}\]\nActive=(yes|no)\nEnabled=(yes|no)$", state.files.get(str(layout.drop_in), ""), re.MULTILINE
    )
    if found:
        return {"active": found[1] == "yes", "enabled": found[2] == "yes"}
    return {"active": state.up, "enabled": state.enabled}


def drop_in(params: Mapping[str, Any], program: str, config_file: Path, note: Mapping[str, bool]) -> str:
    """The text of the drop-in. ``-H fd://`` and containerd's socket are what every distribution's unit has."""
    words = [program, "-H", "fd://", "--containerd=/run/containerd/containerd.sock", f"--config-file={config_file}"]
    command = " ".join([*map(systemd_word, [*words, *params["args"]]), "$DOCKER_OPTS"])
    noted = "".join(f"{name.title()}={'yes' if value else 'no'}\n" for name, value in note.items())
    # Where the uplink is not under the bridge, dockerd would give another bridge the uplink's address.
    port = f"/sys/class/net/{params['bridge']}/brif/{params['uplink']}"
    return (
        f"# Written by mesos.dind.\n"
        f"[Unit]\nRequiresMountsFor={systemd_word(params['data_root'])}\n"
        + (f"AssertPathExists={systemd_word(port)}\n" if params["uplink"] else "")
        + f"\n[Service]\nEnvironment=DOCKER_OPTS=\nExecStart=\nExecStart={command}\n\n"
        f"[{NOTE}]\n{noted}"
    )


def systemd_word(word: str) -> str:
    """One word as unit files have it (systemd.syntax(7), systemd.service(5)): quoted, no specifier, no variable.

    Raises DindError for what no unit file can hold.
    """
    if "\0" in word:
        raise DindError(f"{word!r} holds a NUL, which no command line can")
    escaped = "".join(f"\\x{ord(char):02x}" if ord(char) < 32 else char for char in re.sub(r'([\\"])', r"\\\1", word))
    doubled = escaped.replace("%", "%%").replace("$", "$$")
    return doubled if re.fullmatch(r"[\w@/:.,=+%$-]+", doubled) else f'"{doubled}"'


def desired_files(params: Mapping[str, Any], layout: Layout, state: State, *, check: bool) -> dict[str, str]:
    """Raises DindError where there is no engine, or where the user's daemon.json contradicts the roles.

    In check mode an engine that is not installed yet is thought to be where Debian has it.
    """
    if params["state"] == "absent":
        return {}
    program = find_program()
    if program is None and not check:
        raise DindError("there is no dockerd", cure="have the role engine install a package of it (engine_packages)")
    level = "debug" if params["debug"] else "warn"
    args, user_config = _daemon_json.arranged(params["args"], _daemon_json.read(Path(params["user_config"])))
    params = {**params, "args": args}
    config = _engine.daemon_config(params, user_config, {}, level)
    return {
        str(layout.config_file): json.dumps(config, indent=2, sort_keys=True) + "\n",
        str(layout.drop_in): drop_in(params, program or "/usr/sbin/dockerd", layout.config_file, before(state, layout)),
    }


def find_program() -> str | None:
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def core(params: Mapping[str, Any], runner: Runner, check: bool) -> _plan.Outcome:
    """The module ``mesos.dind.engine`` where its supervisor is systemd."""
    layout = Layout()
    is_expected = check and params["state"] == "present" and find_program() is None

    def look() -> State:
        state = inspect(layout, runner)
        # Debian's package enables its service.
        return dataclasses.replace(state, enabled=True) if is_expected else state

    first = look()
    desired = desired_files(params, layout, first, check=check)
    bridge = bridge_of(params, layout, first)
    done = _plan.converge(look, lambda state: plan(desired, bridge, layout, state), runner, check=check)
    running = desired and (done.before.up if check else True)
    about = _engine.version(layout.socket) if running else {}
    return _plan.Outcome(
        actions=done.actions,
        before=_diffable(done.before),
        after=_diffable(done.after),
        facts={
            "socket": str(layout.socket),
            "version": about.get("Version", ""),
            "api_version": about.get("ApiVersion", ""),
            "was_active": before(first, layout)["active"],
        },
    )


def _diffable(state: State) -> dict[str, Any]:
    return {"files": dict(state.files), "up": state.up, "enabled": state.enabled}
