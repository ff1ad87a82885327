# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engines that this tool starts and stops, and which of them a choice means."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from docker_engine.choice import Choice, Way
from docker_engine.dockerd import OwnDaemon
from docker_engine.layout import Layout
from docker_engine.packages import CLIENT, ENGINE, apt_install
from docker_engine.programs import provide_programs
from docker_engine.systemd import SystemdDaemon
from docker_engine.terminal import Terminal


class Daemon(Protocol):
    """An engine that this tool may start and stop. All three are called with the "change" lock held."""

    @property
    def socket(self) -> Path: ...

    def running(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def make_daemon(terminal: Terminal, layout: Layout, choice: Choice) -> Daemon:
    """The engine that was chosen, with its programs in place but not started; raises EngineError if apt fails."""
    if choice.install:
        known = [name for name in CLIENT.packages if terminal.answer("apt-cache", "show", name)]
        apt_install(terminal, "docker.io", *known)
    if choice.way is Way.SYSTEMD:
        return SystemdDaemon(terminal, layout)
    programs = provide_programs(terminal, layout, ENGINE, choice.suite) if choice.suite else None
    return OwnDaemon(terminal, layout, programs)


def left_running(terminal: Terminal, layout: Layout) -> Daemon | None:
    """The engine that an earlier run has left behind, running or killed; None if there is none."""
    if layout.started_by_systemd.exists():
        return SystemdDaemon(terminal, layout)
    if not layout.run.exists():
        return None
    unpacked = layout.programs(ENGINE)
    return OwnDaemon(terminal, layout, unpacked if unpacked.is_dir() else None)
