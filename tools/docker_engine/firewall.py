# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The firewall chains of a dockerd of our own: their names, and how they are removed."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from docker_engine.terminal import Terminal, search_path

WRAPPER = """\
#!/bin/sh
for word do
    shift
    case $word in DOCKER | DOCKER-*) word={prefix}${{word#DOCKER}} ;; esac
    set -- "$@" "$word"
done
exec {real} "$@"
"""


def leftover_bridges(rules: str, prefix: str) -> list[str]:
    """The bridges of an engine whose chains start with ``prefix``, from ``iptables -S``: it filters what goes there."""
    found = re.findall(rf"^-A FORWARD -o (\S+) .*-j {re.escape(prefix)}\S*$", rules, re.MULTILINE)
    return list(dict.fromkeys(found))


def undo_rules(rules: str, prefix: str, bridges: Iterable[str]) -> list[list[str]]:
    """Arguments for iptables that remove what an engine left behind: its rules first, then its emptied chains."""
    links = set(bridges)
    added = [shlex.split(line) for line in rules.splitlines() if line.startswith("-A ")]
    ours = [rule for rule in added if links & set(rule) or any(word.startswith(prefix) for word in rule)]
    chains = re.findall(rf"^-N ({re.escape(prefix)}\S*)$", rules, re.MULTILINE)
    return [["-D", *rule[1:]] for rule in ours] + [["-X", chain] for chain in chains]


class Firewall:
    """Keeps the chains of our engine apart from those of another one on this machine.

    At its start dockerd empties the chains that it knows (removeIPChains in moby's bridge driver), whosoever they
    are: the published ports of an engine that runs already would be gone. So ours calls iptables through a wrapper
    that gives its chains names of their own; by these they are also found again and removed.
    """

    COMMANDS = ("iptables", "ip6tables")

    def __init__(self, terminal: Terminal, prefix: str) -> None:
        self._terminal, self._prefix = terminal, prefix

    def wrappers(self, run: Path) -> Path:
        """Write the wrappers; the folder that is to come first in dockerd's search path."""
        folder = run / "firewall"
        folder.mkdir(exist_ok=True)
        for command in self.COMMANDS:
            if real := shutil.which(command, path=search_path()):
                wrapper = folder / command
                wrapper.write_text(WRAPPER.format(prefix=self._prefix, real=shlex.quote(real)))
                wrapper.chmod(0o755)
        return folder

    def remove(self) -> list[str]:
        """Remove the chains and the rules about them; returns the bridges that they were for."""
        bridges: list[str] = []
        for command in self.COMMANDS:
            filtering = self._terminal.answer(command, "--wait", "-S") or ""
            bridges += leftover_bridges(filtering, self._prefix)
            for table in ("filter", "nat"):
                rules = self._terminal.answer(command, "--wait", "-t", table, "-S") or ""
                for arguments in undo_rules(rules, self._prefix, bridges):
                    self._terminal.answer(command, "--wait", "-t", table, *arguments)
        return bridges
