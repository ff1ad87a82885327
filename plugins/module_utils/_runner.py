# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The only place of the core that starts a process."""

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
    """Runs commands with ``LC_ALL=C`` and never through a shell, and remembers what it ran."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def run(
        self, *argv: str, stdin: str | None = None, ok: Collection[int] = (0,), timeout: float | None = None
    ) -> Command:
        """Run ``argv`` to its end.

        ``ok`` are the exit statuses that are answers and not failures; ``timeout`` is in seconds.
        Raises DindError, naming the command, its status and its stderr, for any other status, for a
        command that is not there, and for a time-out (the command is killed then).
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
        """Start ``argv`` in a session of its own, to outlive us, holding an exclusive flock(2) on the open file.

        Nothing else of ours goes with it: no environment, no working directory, no descriptor. ``patience`` is how
        many seconds to wait for the lock.
        Raises BlockingIOError, with nothing started, when somebody else has the lock.
        """
        try:
            # The lock is taken by the new process itself, since /proc/locks shows it only while its taker lives.
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
