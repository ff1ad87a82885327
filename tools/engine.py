#!/usr/bin/env python3
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A Docker engine for the developer's commands, wherever they are run.

    python3 tools/engine.py run -- COMMAND...      run COMMAND with an engine, started and stopped if need be
    python3 tools/engine.py stop                   stop an engine that was left running
    python3 tools/engine.py base-image [...]       (inside `run`) make the Debian image that images are built on
    python3 tools/engine.py task-image [...]       (inside `run`) make the small image that tests run as a task

The engine of the environment is used if it is new enough; else the distribution's own is installed and started if
that is; else Debian's newer one is unpacked into the cache folder (``$XDG_CACHE_HOME/mesos-dind``) and run from
there, with every file, its bridge and its firewall chains its own. No apt source of the machine is edited.

Exit status: COMMAND's own, 128+n if signal n ended it; 64 for wrong usage, 70 if there can be no engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from docker_engine.command import Signals, Stopped
from docker_engine.distribution import SUITE
from docker_engine.errors import EngineError
from docker_engine.images import BASE_IMAGE, TASK_IMAGE, base_image, task_image
from docker_engine.layout import default_layout
from docker_engine.lifecycle import run, stop
from docker_engine.locks import exclusive
from docker_engine.terminal import Terminal

USAGE, FAILURE = 64, 70


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 64 if it is wrong."""
    parser = Parser(description="A Docker engine for the developer's commands.")
    commands = parser.add_subparsers(dest="action", required=True, metavar="run|stop|base-image|task-image")
    with_engine = commands.add_parser("run", help="run COMMAND with an engine", usage="%(prog)s -- COMMAND...")
    with_engine.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    commands.add_parser("stop", help="stop an engine that was left running")
    base = commands.add_parser("base-image", help="make the base image (inside `run`)")
    base.add_argument("--suite", default=SUITE, help="release (%(default)s)")
    base.add_argument("--name", help="name of the image (mesos-dind-base:SUITE)")
    task = commands.add_parser("task-image", help="build the image that tests run as a task (inside `run`)")
    task.add_argument("--base", default=BASE_IMAGE, help="image to build it from (%(default)s)")
    task.add_argument("--name", default=TASK_IMAGE, help="name of the image (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.action == "run":
        arguments.command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        if not arguments.command:
            with_engine.error("there is no COMMAND to run")
    return arguments


def perform(terminal: Terminal, arguments: argparse.Namespace, signals: Signals) -> int:
    """Do what the command line says; returns the exit status."""
    layout = default_layout()
    if arguments.action == "run":
        return run(terminal, layout, signals, arguments.command)
    if arguments.action == "stop":
        return stop(terminal, layout)
    with exclusive(terminal, layout, "images", "makes an image"):
        if arguments.action == "base-image":
            name = arguments.name or f"{BASE_IMAGE.partition(':')[0]}:{arguments.suite}"
            base_image(terminal, arguments.suite, name)
        else:
            task_image(terminal, arguments.base, arguments.name)
    return 0


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    terminal, signals = Terminal(), Signals()
    signals.install()
    try:
        return perform(terminal, arguments, signals)
    except EngineError as error:
        terminal.tell(f"engine: {error}")
        return FAILURE
    except OSError as error:
        terminal.tell(f"engine: {error.filename or 'this machine'}: {error.strerror}")
        return FAILURE
    except Stopped as stopped:
        terminal.tell(f"engine: ended by {stopped}")
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
