# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Messages to the developer, and the commands that the tool runs."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys


class EngineError(Exception):
    """There can be no engine or no image. Its text is one line: what is wrong, what is expected, what to do."""


def say(text: str) -> None:
    """Write one line to stderr. If nobody reads stderr any more, an engine must be stopped all the same."""
    with contextlib.suppress(OSError):
        print(f"engine: {text}", file=sys.stderr, flush=True)


def search_path() -> str:
    """PATH with root's folders, which not everybody has in it."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def run(*argv: str, text: str = "") -> None:
    """Run a command with ``text`` as stdin and all its output on stderr; raises EngineError if it fails."""
    try:
        subprocess.run(argv, input=text, stdout=2, text=True, check=True)
    except OSError as error:
        raise EngineError(f"can't run {argv[0]}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        raise EngineError(f"`{shlex.join(argv)}` failed with status {error.returncode}; its output is above") from None


def answer(*argv: str, timeout: float | None = None) -> str:
    """The stdout of a command that may fail or be missing, empty then; ``timeout`` is in seconds."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            argv, env=environment, timeout=timeout, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
