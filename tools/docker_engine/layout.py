# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where the files of an engine of ours are."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from docker_engine.packages import Bundle


@dataclass(frozen=True)
class Layout:
    """Where everything is. Two caches are two engines: bridge, chains and run directory carry the cache's hash."""

    cache: Path

    @property
    def tag(self) -> str:
        """The name of the bridge, and what the chains' names start with."""
        # With it the longest of Docker's chain names (DOCKER-ISOLATION-STAGE-1) has 26 of the 28 possible letters.
        return "md" + hashlib.sha256(os.fsencode(self.cache)).hexdigest()[:6]

    @property
    def run(self) -> Path:
        """The folder that is gone with the engine."""
        # Not in the cache: containerd's socket lies further down, and a socket's path may have 107 bytes (unix(7)).
        return Path("/run") / f"mesos-dind-{self.tag}"

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def pid_file(self) -> Path:
        return self.run / "docker.pid"

    @property
    def config(self) -> Path:
        return self.cache / "engine" / "daemon.json"

    @property
    def data(self) -> Path:
        return self.cache / "engine" / "data"

    @property
    def log(self) -> Path:
        return self.cache / "engine" / "dockerd.log"

    @property
    def started_by_systemd(self) -> Path:
        """A mark: the distribution's engine runs, and one of us has started it."""
        return self.run / "started-by-systemd"

    def programs(self, bundle: Bundle) -> Path:
        return self.cache / "programs" / bundle.name

    def lock(self, name: str) -> Path:
        return self.cache / f"{name}.lock"


def default_layout() -> Layout:
    """The layout below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Layout(Path(home).absolute() / "mesos-dind")
