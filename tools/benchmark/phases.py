# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One boot, cut into phases: from what the container's own clocks say, without any I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Phase:
    """Seconds since `docker run`. ``beside`` is what runs beside the boot's own process: the engine's daemons, and
    what is done while Ansible is still being loaded."""

    name: str
    start: float
    end: float
    beside: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Seen:
    """What a booted container says of its boot, in seconds of CLOCK_BOOTTIME; ``imports`` is a length.

    ``init`` and ``entry`` are the start of process 1 and of the process that becomes the agent, ``settings`` is when
    that became Ansible. ``daemons`` are the starts of the engine's processes, ``ready`` the ends of their starts as far
    as they are known. ``report`` is /run/mesos-dind/boot.json.
    """

    init: float
    entry: float
    settings: float
    imports: float
    daemons: Mapping[str, float]
    ready: Mapping[str, float]
    report: Mapping[str, Any]


def timeline(seen: Seen, began: float, line: float) -> list[Phase]:
    """The phases from ``began``, when `docker run` was started, to ``line``, when the command's line arrived."""
    return [
        # The kernel stamps in hundredths of a second: what follows at once may seem to be earlier.
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
    """Seconds that each task of the boot's playbook took whose work had been done before it came."""
    steps = report.get("steps", ())
    for before, step in pairwise(steps):
        if step.get("ahead") and step["at"] + step["seconds"] <= before["told"]:
            yield step["told"] - before["told"]
