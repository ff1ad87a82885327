# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""COMMAND: how it is run, and who gets the signals meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from docker_engine.terminal import Terminal, cannot_run


class Stopped(BaseException):
    """A signal asked the tool to end while it ran no command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Signals:
    """INT, TERM and HUP end the tool while it starts an engine, are COMMAND's while that runs, and wait while it stops.

    What is ignored already (nohup, a shell's background job) stays so.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._held = False
        self._pending: list[int] = []

    def install(self) -> None:
        """Handle the signals from here on."""
        for number in self.NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        if self._child:
            self._pass_on(self._child, number)
        elif self._held:
            self._pending.append(number)
        else:
            raise Stopped(number)

    @staticmethod
    def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
        # Ctrl-C reaches the whole foreground process group, so the child has had it already.
        typed = number == signal.SIGINT and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()
        if not typed:
            child.send_signal(number)

    def hold(self) -> None:
        """From here on nothing is interrupted: what comes is COMMAND's, or too late."""
        self._held = True

    def wait_for(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the child, passing signals on; returns a status as a shell gives it."""
        self._child = child
        for number in self._pending:
            self._pass_on(child, number)
        status = child.wait()
        self._child = None
        return status if status >= 0 else 128 - status


def execute(
    terminal: Terminal, signals: Signals, command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int]
) -> int:
    """Run COMMAND to its end; returns its status, 127 or 126 if it cannot be run. It inherits ``keep``."""
    signals.hold()
    program = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    try:
        child = subprocess.Popen([program, *command[1:]], env=dict(environment), pass_fds=keep)
    except OSError as error:
        terminal.tell(f"engine: {cannot_run(command[0], error)}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    return signals.wait_for(child)
