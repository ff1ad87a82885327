# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The boot's modules begin while Ansible is still being loaded, which takes longer than most of them.

The entry point forks before it becomes ``ansible-playbook``. The fork calls the modules' cores one after the other,
with the arguments that the roles will give them, and leaves each answer in a file. A task of the boot playbook finds
its answer there, once, if it was asked for with the very same arguments; it runs the core itself if not. So the
playbook says what is done and reports it, and where the two should ever disagree, the playbook is right.

A file is locked until its answer is in it or there will be none: a reader waits for the lock, never for a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible_collections.mesos.dind.plugins.module_utils import _modules
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import settings

FOLDER = Path("/run/mesos-dind/head-start")

Values = Mapping[str, Any]


def begin(variables: Values, folder: Path = FOLDER) -> None:
    """Start the work, which ``variables`` of the roles ask for, in a process that is nobody's child here; return at
    once."""
    folder.mkdir(parents=True)
    files = {module: _locked(folder / module) for module in _modules.ARGUMENT_SPECS}
    middle = os.fork()
    if middle == 0:
        # Its parent ends at once, so that init reaps it, and not the agent, which knows nothing of it.
        if os.fork() == 0:
            try:
                with contextlib.suppress(DindError):  # it is in the answer
                    _HeadStart(variables, files).run()
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(middle, 0)
    for file in files.values():
        file.close()


def _locked(path: Path) -> BinaryIO:
    file = path.open("wb", buffering=0)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


class _HeadStart:
    """Calls the cores in the order of playbooks/boot.yml, with the arguments that the roles give their modules."""

    def __init__(self, variables: Values, files: Mapping[str, BinaryIO]) -> None:
        self._variables = variables
        self._files = files

    def run(self) -> None:
        given = self._variables
        cgroups = self._do("cgroup_mounts", {})
        storage = self._do(
            "loop_storage",
            {
                "image": given["storage_image"],
                "size": given["storage_size"],
                "fstype": given["storage_fstype"],
                "strategy": given["storage_strategy"],
            },
        )
        engine = {
            "data_root": storage["mountpoint"],
            "storage_driver": storage["storage_driver"],
            "cgroup_parent": cgroups["cgroup_parent"],
            "args": given["engine_args"],
            "log": given["engine_log"],
            "debug": given["engine_debug"],
        }
        containerd = _Containerd(_complete("engine", engine))
        network = self._do("bridged_net", settings.of_role("network", given))
        engine |= {
            "bridge": network["bridge"],
            "uplink": network["uplink"] if network["mode"] == "bridge" else "",
            "bip": network["bip"],
            "fixed_cidr": network["fixed_cidr"],
            "default_gateway": network["gateway"],
            "bip_v6": network["bip_v6"],
            "fixed_cidr_v6": network["fixed_cidr_v6"],
            "default_gateway_v6": network["gateway_v6"],
            "address_pools": network["address_pools"],
            "masquerade": network["masquerade"],
            "dns": network["dns"],
            "dns_options": network["dns_options"],
            "mtu": network["mtu"],
        }
        self._do("engine", engine, containerd)

    def _do(self, module: str, arguments: Values, ahead: _Containerd | None = None) -> Values:
        """Call the module's core and hand its answer out. Raises DindError, after it was handed out as well."""
        arguments = _complete(module, arguments)
        began = ahead.began if ahead else _now()
        failure = None
        with self._files[module] as file:
            try:
                early = ahead.outcome() if ahead else None
                outcome = _modules.core(module)(arguments, Runner(), False)
                answer = (_joined(early, outcome) if early else outcome).answer
            except DindError as error:
                answer, failure = {"failed": True, "msg": str(error)}, error
            found = Found(arguments, answer, began, _now())
            file.write(json.dumps(dataclasses.asdict(found)).encode())
        if failure:
            raise failure
        return answer


class _Containerd(threading.Thread):
    """Starts containerd while the network, which it does not need, waits for others' answers."""

    def __init__(self, arguments: Values) -> None:
        super().__init__()
        self.began = _now()
        self._arguments = arguments
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        from ansible_collections.mesos.dind.plugins.module_utils._engine import core as _engine

        try:
            self._outcome = _engine.core(self._arguments, Runner(), False, ("containerd",))
        except BaseException as error:  # for who asks for the outcome
            self._error = error

    def outcome(self) -> Outcome | None:
        self.join()
        if self._error:
            raise self._error
        return self._outcome


def _complete(module: str, arguments: Values) -> Values:
    """With the defaults of the argument spec, as the roles' have the same."""
    return {name: about.get("default") for name, about in _modules.ARGUMENT_SPECS[module].items()} | dict(arguments)


def _joined(first: Outcome, second: Outcome) -> Outcome:
    return dataclasses.replace(second, actions=[*first.actions, *second.actions], before=first.before)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Found:
    """What was done ahead. ``began`` and ``ended`` are seconds of CLOCK_BOOTTIME."""

    arguments: Values
    answer: Values
    began: float
    ended: float


def take(module: str, arguments: Values, folder: Path = FOLDER) -> Found | None:
    """The answer of a module that was given the same arguments; None where nothing was done ahead.

    Waits until the work has ended. An answer is given once: whoever asks again wants a new look.
    """
    path = folder / module
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        text = file.read()
    path.unlink()
    found = Found(**json.loads(text)) if text else None
    return found if found and found.arguments == json.loads(json.dumps(dict(arguments))) else None
