# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The phases of one boot, from the timestamps that the container reports. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Phase:
    """Seconds since `docker run`. ``beside`` the boot's own process run the daemons, and work during Ansible's load."""

    name: str
    start: float
    end: float
    beside: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Seen:
    """A container's timestamps of its boot, in seconds of CLOCK_BOOTTIME."""

    init: float  # process 1 starts
    entry: float  # the process starts that becomes the agent
    settings: float  # that process becomes Ansible
    imports: float  # a length: Ansible's imports
    daemons: Mapping[str, float]  # the engine's processes start
    ready: Mapping[str, float]  # the engine's processes are up, as far as known
    report: Mapping[str, Any]  # /run/mesos-dind/boot.json


def timeline(seen: Seen, began: float, line: float) -> list[Phase]:
    """The phases from ``began``, the start of `docker run`, to ``line``, the arrival of the command's line."""
    return [
        # The kernel's timestamps are hundredths of a second: a phase may seem to end before it begins.
        Phase(name, max(0.0, start - began), max(0.0, start - began, end - began), beside)
        for name, start, end, beside in sorted(_absolute(seen, began, line), key=lambda phase: phase[1])
    ]


def _absolute(seen: Seen, began: float, line: float) -> Iterator[tuple[str, float, float, bool]]:
    yield "docker run", began, seen.init, False
    yield "init, supervisor", seen.init, seen.entry, False
    yield "entry point", seen.entry, seen.settings, False
    at = loaded = seen.entry
    ready, any_ahead = line, False
    for step in seen.report.get("steps", ()):
        start = seen.entry + step["at"] if "at" in step else at
        at = start + step["seconds"]
        if step["step"] == "ansible":
            loaded, imported = at, min(seen.settings + seen.imports, at)
            yield "imports", seen.settings, imported, False
            yield "play set-up", imported, at, False
        elif step["step"] == "agent":
            if any_ahead:
                yield "play's tasks", loaded, start, False
            yield "hand-over", start, line, False
        else:
            ahead = start < loaded
            any_ahead |= ahead
            yield f"role {step['step']}", start, at, ahead
            if step["step"] == "engine":
                ready = at
    for name, start in seen.daemons.items():
        later = [other for other in seen.daemons.values() if other > start]
        yield name, start, seen.ready.get(name, min(later, default=ready)), True


def waiting_tasks(report: Mapping[str, Any]) -> Iterator[float]:
    """Seconds of each task of the boot's playbook whose work was done before the task began."""
    for before, step in pairwise(report.get("steps", ())):
        if step.get("ahead") and step["at"] + step["seconds"] <= before["told"]:
            yield step["told"] - before["told"]
