# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine of a machine under systemd: the distribution's own units, with a drop-in and a configuration of ours.

The user's daemon.json stays as it is: its settings are merged into a file that only the drop-in names. Once the drop-in
is removed, the engine is as it was before.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils import _plan
from ansible_collections.mesos.dind.plugins.module_utils._engine import api, daemon_json, files, user_settings
from ansible_collections.mesos.dind.plugins.module_utils._engine import drop_in as engine_drop_in
from ansible_collections.mesos.dind.plugins.module_utils._engine.systemd_steps import (
    UNIT,
    Bridge,
    EndLiveRestore,
    EndMasquerading,
    Reload,
    RemoveFile,
    Restart,
    SetEnabled,
    State,
    StopUnits,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


@dataclass(frozen=True)
class Layout:
    """The paths of the files, and the socket by which the machine's users reach the engine."""

    drop_in: Path = Path("/etc/systemd/system/docker.service.d/mesos-dind.conf")
    config_file: Path = Path("/etc/mesos-dind/daemon.json")
    await_bridge: Path = Path("/etc/mesos-dind/await-bridge")
    # The engine's state before our first change. This file outlives the others: the playbook that gives the engine
    # back reads it and removes it.
    note: Path = Path("/var/lib/mesos-dind/engine-before.json")
    socket: Path = Path("/run/docker.sock")
    devices: Path = Path("/sys/class/net")

    @property
    def files(self) -> tuple[Path, ...]:
        return self.note, self.config_file, self.await_bridge, self.drop_in


def is_replaced(pid: str, proc: Path) -> bool:
    """Whether the program file of a process was removed, as by an upgrade of its package (proc(5))."""
    try:
        return str((proc / pid / "exe").readlink()).endswith(" (deleted)")
    except FileNotFoundError:
        return False


def was_started_with_others(pid: str, environment: str, proc: Path) -> bool:
    """Whether a process was started with another digest of the files than ``environment`` has now.

    ``environment`` is the unit's, as systemd shows it. Without a digest the answer is no: then the unit is not ours, or
    an administrator has emptied its environment.
    """
    wanted = engine_drop_in.DIGEST.search(environment)
    try:
        given = (proc / pid / "environ").read_text(errors="replace").split("\0") if wanted else []
    except FileNotFoundError:
        return True
    return wanted is not None and wanted[0] not in given


def inspect(layout: Layout, bridge: str, runner: Runner, proc: Path = Path("/proc")) -> State:
    """The service's state; on a host without an engine the service is down and disabled.

    Raises DindError without systemd.
    """
    properties = ("ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "Environment")
    said = runner.run("systemctl", "show", f"--property={','.join(properties)}", UNIT).stdout
    unit = {name: value for name, _equals, value in (line.partition("=") for line in said.splitlines())}
    up = unit.get("ActiveState") == "active"
    return State(
        files={str(path): path.read_text() for path in layout.files if path.exists()},
        up=up,
        is_outdated=up and _is_outdated(unit, proc),
        enabled=unit.get("UnitFileState") == "enabled",
        has_bridge=(layout.devices / bridge).exists(),
    )


def _is_outdated(unit: Mapping[str, str], proc: Path) -> bool:
    pid = unit.get("MainPID", "0")
    needs_reload = unit.get("NeedDaemonReload") == "yes"
    return needs_reload or is_replaced(pid, proc) or was_started_with_others(pid, unit.get("Environment", ""), proc)


def plan(desired: Mapping[str, str], bridge: Bridge, layout: Layout, state: State) -> list[_plan.Step[State]]:
    """The steps after which the engine runs with exactly the files of ``desired`` (path to text).

    An empty ``desired`` restores the engine's state before our first change.
    """
    removed = [RemoveFile(path) for path in state.files if path not in desired and path != str(layout.note)]
    if not desired:
        return _giving_back(removed, bridge, layout, state) if removed else []
    steps: list[_plan.Step[State]] = [*files.changed(desired, state), *removed]
    if steps or not state.up or state.is_outdated:
        steps += [Reload(), Restart(bridge)]
    return steps if state.enabled else [*steps, SetEnabled(True)]


def _giving_back(removed: list[RemoveFile], bridge: Bridge, layout: Layout, state: State) -> list[_plan.Step[State]]:
    steps: list[_plan.Step[State]] = []
    if state.up and {str(layout.config_file), str(layout.drop_in)} <= state.files.keys():
        steps.append(EndLiveRestore(layout.config_file, layout.socket))
    steps.append(StopUnits(bridge))
    if masqueraded := _network_by_us(state, layout):
        steps.append(EndMasquerading(masqueraded, bridge.name))
    # The other files show which steps are left, so they go last: after a kill, the next run continues.
    steps += [step for step in removed if step.path == str(layout.drop_in)]
    steps.append(Reload())
    if state.enabled and not before(state, layout)["enabled"]:
        steps.append(SetEnabled(False))
    return steps + [step for step in removed if step.path != str(layout.drop_in)]


def _network_by_us(state: State, layout: Layout) -> str:
    """The network of the bridge's address in our configuration; empty without one."""
    bip = _object(state.files.get(str(layout.config_file))).get("bip")
    if not bip:
        return ""
    from netaddr import IPNetwork

    return str(IPNetwork(bip).cidr)


def _object(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``; an empty object for any other text, such as a killed run leaves."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def bridge_of(params: Mapping[str, Any], layout: Layout, state: State) -> Bridge:
    """The engine's bridge and data root.

    To give the engine back, the data root comes from our own configuration file: the caller need not know it. The role
    network removes the bridge's address.
    """
    if params["state"] == "present":
        return Bridge(params["bridge"], params["bip"], Path(params["data_root"]))
    ours = _object(state.files.get(str(layout.config_file)))
    return Bridge(params["bridge"], "", Path(ours.get("data-root", params["data_root"])))


def before(state: State, layout: Layout, had_bridge: bool | None = None) -> dict[str, bool]:
    """The engine's state before our first change: from the note, or the present state without a note."""
    there = {
        "active": state.up,
        "enabled": state.enabled,
        "bridge": state.has_bridge if had_bridge is None else had_bridge,
    }
    noted = _object(state.files.get(str(layout.note)))
    return {name: bool(noted.get(name, value)) for name, value in there.items()}


def desired_files(params: Mapping[str, Any], layout: Layout, state: State, *, check: bool) -> dict[str, str]:
    """The text of each file, by its path; none for ``state: absent``.

    Check mode assumes that a missing engine will be where Debian installs it. Raises DindError without an engine, and
    for a daemon.json of the user that contradicts the roles.
    """
    if params["state"] == "absent":
        return {}
    program = find_program()
    if program is None and not check:
        raise DindError("there is no dockerd", cure="have the role engine install a package of it (engine_packages)")
    args, user_config = user_settings.arranged(params["args"], user_settings.read(Path(params["user_config"])))
    params = {**params, "args": args}
    note = {str(layout.note): json.dumps(before(state, layout, params["had_bridge"]), sort_keys=True) + "\n"}
    # The drop-in comes last, since it names the others.
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
    """The module ``mesos.dind.engine`` with ``supervisor: systemd``."""
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
