# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Start programs; no other file of the core does."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import file_lock


@dataclass(frozen=True)
class Command:
    """A finished command. ``seconds`` is wall-clock time."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float


class Runner:
    """Runs commands with ``LC_ALL=C``, never through a shell. ``commands`` lists the finished commands."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def run(
        self, *argv: str, stdin: str | None = None, ok: Collection[int] = (0,), timeout: float | None = None
    ) -> Command:
        """Run ``argv`` and wait for its end.

        ``ok`` lists the exit statuses that are no failures. A command that takes more than ``timeout`` seconds is
        killed. Raises DindError for any other status (with status and stderr), for a missing program, and for a
        time-out.
        """
        started = time.monotonic()
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise DindError(f"there is no program {argv[0]!r}", cure="install the package that has it") from None
        except subprocess.TimeoutExpired:
            raise DindError(f"`{' '.join(argv)}` did not end within {timeout:g} s") from None
        command = Command(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - started)
        self.commands.append(command)
        if command.status not in ok:
            said = command.stderr.strip() or command.stdout.strip() or "it said nothing"
            raise DindError(f"`{' '.join(argv)}` failed with status {command.status}: {said}")
        return command

    def leave_behind(self, *argv: str, lock: int, patience: float = 0.0) -> None:
        """Start ``argv`` in a new session, as a process that outlives this one and holds a lock on an open file.

        The lock is an exclusive flock(2) on the descriptor ``lock``. The process inherits only that descriptor and the
        search path. ``patience`` is the time in seconds to wait for the lock. Raises BlockingIOError, with nothing
        started, if another process keeps the lock.
        """
        try:
            # The new process itself takes the lock: /proc/locks shows a lock only while its taker lives.
            subprocess.Popen(
                argv,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(lock,),
                preexec_fn=lambda: file_lock.take(lock, patience),  # noqa: PLW1509 - one thread
            )
        except subprocess.SubprocessError:
            raise BlockingIOError(f"the lock for {argv[0]} is held by another process") from None
