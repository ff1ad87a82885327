# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the developer is told, and the commands that the tool runs itself."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time

from docker_engine.errors import EngineError


class Terminal:
    """Tells the developer what happens, and runs commands, never through a shell."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One line on stderr with the seconds since the start."""
        self.tell(f"engine: [{time.monotonic() - self._started:6.1f} s] {text}")

    def tell(self, line: str) -> None:
        """One line on stderr. If nobody reads it any more, an engine is to be stopped all the same."""
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def ask(self, *argv: str, timeout: float | None = None) -> str:
        """Stdout of a command; raises EngineError if it fails, or takes longer than ``timeout`` seconds."""
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
                env={**os.environ, "PATH": search_path(), "LC_ALL": "C"},
            )
        except OSError as error:
            raise cannot_run(argv[0], error) from None
        except subprocess.TimeoutExpired:
            raise EngineError(f"`{shlex.join(argv)}` did not end within {timeout:g} s") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise EngineError(f"`{shlex.join(argv)}` failed with status {done.returncode}: {said}")
        return done.stdout

    def answer(self, *argv: str, timeout: float | None = None) -> str | None:
        """Stdout of a command that may fail, or not be there: None then."""
        try:
            return self.ask(*argv, timeout=timeout)
        except EngineError:
            return None

    def show(self, *argv: str) -> None:
        """Run a command with all its output on stderr as it comes; raises EngineError if it fails."""
        environment = {**os.environ, "PATH": search_path(), "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, check=False, env=environment)
        except OSError as error:
            raise cannot_run(argv[0], error) from None
        if done.returncode:
            raise EngineError(f"`{shlex.join(argv)}` failed with status {done.returncode}", "its output is above")


def search_path() -> str:
    """The search path, with the folders that only root's has by default: mmdebstrap and dockerd need them."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def cannot_run(program: str, error: OSError) -> EngineError:
    """The error about a program that the kernel has refused to run."""
    cure = "install the package that has it" if isinstance(error, FileNotFoundError) else ""
    return EngineError(f"cannot run {program}: {error.strerror}", cure)
