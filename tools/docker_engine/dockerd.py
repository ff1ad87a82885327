# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A dockerd of our own: its start, its end, and what is removed after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from docker_engine.api import engine_says, server_version
from docker_engine.bridge import add_bridge, remove_bridge, uplink_mtu
from docker_engine.errors import EngineError
from docker_engine.firewall import Firewall
from docker_engine.layout import Layout
from docker_engine.mounts import unmount
from docker_engine.packages import require_programs
from docker_engine.processes import Process, command_lines
from docker_engine.programs import library_folders
from docker_engine.terminal import Terminal, search_path

START_SECONDS = 60.0
# dockerd gives its containers 15 s (its --shutdown-timeout) and then needs a moment for itself.
STOP_SECONDS = 30.0


class OwnDaemon:
    """A dockerd of our own, on this machine's kernel but with nothing of this machine's Docker.

    ``programs`` is the folder that it was unpacked in, None for the programs that are installed.
    """

    def __init__(self, terminal: Terminal, layout: Layout, programs: Path | None) -> None:
        self._terminal, self._layout, self._programs = terminal, layout, programs
        self._bridge = layout.tag
        self._answered = False
        self._rules = Firewall(terminal, layout.tag)

    @property
    def socket(self) -> Path:
        return self._layout.socket

    def running(self) -> bool:
        """Whether it is there and answers; raises EngineError if it is there and does not."""
        pid = self._pid()
        if pid is not None:
            self._await_answer(pid)
        return pid is not None

    def start(self) -> None:
        """Start it and wait until it answers; raises EngineError with the log's end shown if it does not."""
        require_programs(self._terminal, engine_needs())
        self._layout.run.mkdir(mode=0o711, exist_ok=True)
        self._layout.config.parent.mkdir(parents=True, exist_ok=True)
        # Of an engine that was killed: dockerd takes any process of that number for a living engine.
        self._layout.pid_file.unlink(missing_ok=True)
        add_bridge(self._terminal, self._bridge)
        self._layout.config.write_text(json.dumps(self._configuration(), indent=2) + "\n")
        if self._layout.log.exists():
            self._layout.log.replace(self._layout.log.with_suffix(".log.1"))
        self._terminal.say("starting dockerd")
        process = self._spawn()
        try:
            self._await_answer(process.pid)
        except BaseException:
            self._end(process.pid)
            raise
        driver = engine_says(self.socket, "/info").get("Driver")
        self._terminal.say(f"Docker {server_version(self.socket)} answers, with its files on {driver}")
        if driver == "vfs":
            self._terminal.say("that is slow: set XDG_CACHE_HOME to a folder where overlay works (ext4, xfs)")

    def stop(self) -> None:
        """Stop it and its containers, and remove its bridges, chains, sockets and mounts. Its images stay."""
        if self._pid() is None and self._answered:
            self._terminal.say(f"dockerd has ended while it was in use; its log is {self._layout.log}")
        if self._pid() is None and self._orphans():
            self._terminal.say("a dockerd that was killed has left processes behind, which a new one ends")
            self.start()
        pid = self._pid()
        if pid is not None:
            self._terminal.say("stopping dockerd")
            self._end(pid)
        bridges = self._rules.remove()
        for bridge in dict.fromkeys([*bridges, self._bridge]):
            remove_bridge(self._terminal, bridge)
        # A dockerd that was killed leaves its network namespace, and its data root mounted on itself.
        unmount(self._terminal, self._layout.run, self._layout.data)
        shutil.rmtree(self._layout.run, ignore_errors=True)

    def _pid(self) -> int | None:
        """The number of our dockerd, None if there is none. Its pid file may be missing yet, or have outlived it."""
        ours = [b"--config-file", os.fsencode(self._layout.config)]
        return next((pid for pid, arguments in command_lines() if arguments[1:3] == ours), None)

    def _orphans(self) -> bool:
        """Whether a containerd or a container's shim of ours lives: each has our containerd's files as an argument."""
        mark = os.fsencode(self._layout.run / "exec")
        return any(argument.startswith(mark) for _, arguments in command_lines() for argument in arguments)

    def _await_answer(self, pid: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        with contextlib.closing(Process(pid)) as process:
            while server_version(self.socket) is None:
                # This is where the time is spent, and it ends at once if dockerd does.
                if process.ended(within=0.05):
                    raise self._failure("dockerd ended while it was starting")
                if time.monotonic() > deadline:
                    raise self._failure(f"dockerd (process {pid}) does not answer after {START_SECONDS:g} s")
        self._answered = True

    def _failure(self, cause: str) -> EngineError:
        """An error about dockerd, with the end of its log shown before it."""
        lines = self._layout.log.read_text(errors="replace").splitlines() if self._layout.log.exists() else []
        for line in lines[-15:]:
            self._terminal.tell(f"dockerd: {line}")
        return EngineError(cause, f"the end of its log is above, all of it in {self._layout.log}")

    def _end(self, pid: int) -> None:
        with contextlib.closing(Process(pid)) as process:
            process.send(signal.SIGTERM)
            if not process.ended(within=STOP_SECONDS):
                self._terminal.say(f"dockerd did not stop within {STOP_SECONDS:g} s, killing it")
                process.send(signal.SIGKILL)
                process.ended(within=STOP_SECONDS)

    def _configuration(self) -> dict[str, object]:
        return {
            "hosts": [f"unix://{self.socket}"],
            "data-root": str(self._layout.data),
            "exec-root": str(self._layout.run / "exec"),
            "pidfile": str(self._layout.pid_file),
            "bridge": self._bridge,
            "mtu": uplink_mtu(self._terminal),
            "group": "root",
        }

    def _spawn(self) -> subprocess.Popen[bytes]:
        roots = [self._programs] if self._programs else []
        path = [str(root / folder) for root in roots for folder in ("usr/sbin", "usr/bin")]
        path = [str(self._rules.wrappers(self._layout.run)), *path, search_path()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        environment["PATH"] = ":".join(path)
        if libraries := [str(folder) for root in roots for folder in library_folders(root)]:
            environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        dockerd = shutil.which("dockerd", path=environment["PATH"])
        if not dockerd:
            raise EngineError("there is no dockerd", f"remove {self._layout.cache / 'programs'} and run this again")
        with self._layout.log.open("wb") as log:
            return subprocess.Popen(
                [dockerd, "--config-file", str(self._layout.config)],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def engine_needs() -> dict[str, str]:
    """Programs that dockerd calls, with their packages in Debian and Ubuntu."""
    needs = {"iptables": "iptables", "ip": "iproute2"}
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    if apparmor.is_file() and apparmor.read_text().startswith("Y"):
        needs["apparmor_parser"] = "apparmor"
    return needs
