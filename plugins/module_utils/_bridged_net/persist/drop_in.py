# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The drop-in for docker.service, which sets our rules and the settings of proxy ARP at each start of the engine.

Without the engine there are no containers, and nothing drops their traffic. With proxy ARP, any manager of the uplink
will do: the uplink keeps its addresses. The manager of a bridge makes the bridge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import PROXY_ARP
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.rules import USER_CHAIN
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import Roots, State
from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Rule
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

NOTE = "# Before: "
SET = 'echo "$1" >"$0"'
CHAIN = 'iptables -w -N "$0" 2>/dev/null || true'
ACCEPT = 'iptables -w -t "$0" -C "$@" 2>/dev/null || exec iptables -w -t "$0" -I "$@"'
# In a container, roles/engine/files/dockerd/data/check does the same (a unit test compares them).
FIRST = (
    'if iptables -w -C FORWARD -j "$0" 2>/dev/null && [ "$(iptables -w -S FORWARD 1)" != "-A FORWARD -j $0" ]; then '
    'printf "%s\\n" "*filter" "-D FORWARD -j $0" "-I FORWARD -j $0" COMMIT | iptables-restore -w --noflush; fi'
)


@dataclass(frozen=True)
class Noted:
    """A drop-in's note: its uplink, its mode, and the settings before it by their paths below /proc/sys.

    The uplink is empty without a drop-in. Early drop-ins, all of proxy ARP, do not name the mode.
    """

    uplink: str = ""
    mode: str = PROXY_ARP
    sysctls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, drop_in: str) -> Noted:
        notes = [line.removeprefix(NOTE) for line in drop_in.splitlines() if line.startswith(NOTE)]
        return cls(**json.loads(notes[0])) if notes else cls()


def text_of(noted: Noted, rules: Sequence[Rule], settings: Mapping[str, str]) -> str:
    """The drop-in for ``rules`` and for ``settings`` by their paths below /proc/sys."""
    commands: list[tuple[str, ...]] = []
    commands += [("/bin/sh", "-c", SET, f"/proc/sys/{name}", value) for name, value in settings.items()]
    commands.append(("/bin/sh", "-c", CHAIN, USER_CHAIN))
    commands += [
        ("/bin/sh", "-c", ACCEPT, rule.table, *rule.words[1:]) for rule in reversed(rules)
    ]  # each becomes the first
    fields = {"uplink": noted.uplink, "mode": noted.mode, "sysctls": dict(noted.sysctls)}
    return "\n".join([
        "# Made by the Ansible module mesos.dind.bridged_net, which also takes it away (state: absent).",
        f"{NOTE}{json.dumps(fields, sort_keys=True)}",
        "[Service]",
        *(f"ExecStartPre={systemd_unit.command(command)}" for command in commands),
        # With containers that live on, dockerd puts its own rules first (libnetwork: arrangeUserFilterRule).
        f"ExecStartPost=-{systemd_unit.command(('/bin/sh', '-c', FIRST, USER_CHAIN))}",
        "",
    ])  # fmt: skip


def set_to(text: str, state: State, roots: Roots) -> list[Step[State]]:
    """Make ``text`` the drop-in; empty for none."""
    return [] if text == state.drop_in else [SetDropIn(roots.drop_in, state.drop_in, text)]


@dataclass(frozen=True)
class SetDropIn(Step[State]):
    """``text`` is empty for none."""

    path: Path
    before: str
    text: str

    def __str__(self) -> str:
        return f"{'write' if self.text else 'remove'} {self.path}"

    def effect(self, state: State) -> State:
        return replace(state, drop_in=self.text)

    def do(self, runner: Runner) -> None:
        self._set(self.text, runner)

    def undo(self, runner: Runner) -> None:
        self._set(self.before, runner)

    def _set(self, text: str, runner: Runner) -> None:
        if text:
            atomic_file.write(self.path, text)
        else:
            atomic_file.remove(self.path)
        runner.run("systemctl", "daemon-reload")
