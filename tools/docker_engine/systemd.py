# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The distribution's own engine, run by systemd."""

from __future__ import annotations

import shutil
from pathlib import Path

from docker_engine.api import DEFAULT_SOCKET, server_version
from docker_engine.layout import Layout
from docker_engine.terminal import Terminal


class SystemdDaemon:
    """The distribution's own engine, as its units start it. A mark tells ours from one that was there before."""

    def __init__(self, terminal: Terminal, layout: Layout) -> None:
        self._terminal, self._layout = terminal, layout

    @property
    def socket(self) -> Path:
        return DEFAULT_SOCKET

    def running(self) -> bool:
        """Whether one of us has started it, and it answers."""
        return self._layout.started_by_systemd.exists() and server_version(self.socket) is not None

    def start(self) -> None:
        """Start it and wait until it is ready; raises EngineError, with systemctl's output shown, if it fails."""
        self._terminal.say("starting docker.service")
        self._layout.run.mkdir(mode=0o711, exist_ok=True)
        self._layout.started_by_systemd.touch()
        # systemctl returns once the service has told that it is ready, or has failed.
        self._terminal.show("systemctl", "start", "docker.service")

    def stop(self) -> None:
        """Stop it and its containers; raises EngineError, with systemctl's output shown, if that fails."""
        self._terminal.say("stopping docker.service")
        self._terminal.show("systemctl", "stop", "docker.socket", "docker.service")
        shutil.rmtree(self._layout.run, ignore_errors=True)
