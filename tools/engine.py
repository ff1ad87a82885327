#!/usr/bin/env python3
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A Docker engine for the developer's commands, on any machine.

    python3 tools/engine.py run -- COMMAND...      run COMMAND with an engine, which its last user stops
    python3 tools/engine.py stop                   stop an engine that was left running
    python3 tools/engine.py base-image [...]       (inside `run`) make the Debian image that images are built on
    python3 tools/engine.py task-image [...]       (inside `run`) make the small image that tests run as a task

The engine is the environment's, else the distribution's docker.io, else the docker.io of a newer Debian, unpacked into
``$XDG_CACHE_HOME/mesos-dind``. Exit status: COMMAND's own, 128+n for signal n; 64 for wrong usage, 70 for no engine.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from docker_engine import dockerd
from docker_engine.choice import Way, choose, detect
from docker_engine.debian import DOCKER, SUITE, apt_install, provide_docker
from docker_engine.images import BASE_IMAGE, TASK_IMAGE, base_image, task_image
from docker_engine.terminal import EngineError, answer, say, search_path

USAGE, FAILURE = 64, 70
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
USERS, CHANGES = Path("/run/lock/mesos-dind-users"), Path("/run/lock/mesos-dind-changes")
# COMMAND's environment has this variable if the engine ends with its users.
STARTED = "MESOS_DIND_ENGINE_STARTED"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 64 if it is wrong."""
    parser = Parser(description="A Docker engine for the developer's commands.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|stop|base-image|task-image")
    run_action = actions.add_parser("run", help="run COMMAND with an engine", usage="%(prog)s -- COMMAND...")
    run_action.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    actions.add_parser("stop", help="stop an engine that was left running")
    base = actions.add_parser("base-image", help="make the base image (inside `run`)")
    base.add_argument("--suite", default=SUITE, help="release (%(default)s)")
    base.add_argument("--name", help="name of the image (mesos-dind-base:SUITE)")
    task = actions.add_parser("task-image", help="build the image that tests run as a task (inside `run`)")
    task.add_argument("--base", default=BASE_IMAGE, help="image to build it from (%(default)s)")
    task.add_argument("--name", default=TASK_IMAGE, help="name of the image (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.action == "run":
        arguments.command = arguments.command[arguments.command[:1] == ["--"] :]
        if not arguments.command:
            run_action.error("there is no COMMAND to run")
    return arguments


def on_signals(action: Callable[[int], object]) -> None:
    """Do this when a signal arrives that the tool was not started to ignore (nohup, a shell's background job)."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda arrived, _frame: action(arrived))


def execute(command: Sequence[str], keep: Sequence[int] = ()) -> int:
    """Run COMMAND, which inherits descriptors and gets the signals; returns its status as a shell gives it."""
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int) -> None:
        if not children:
            early.append(number)
        # Ctrl-C reaches the whole foreground process group, so COMMAND has had it already.
        elif not (number == signal.SIGINT and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()):
            children[0].send_signal(number)

    on_signals(pass_on)
    try:
        child = subprocess.Popen([shutil.which(command[0]) or command[0], *command[1:]], pass_fds=keep)
    except OSError as error:
        say(f"can't run {command[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    children.append(child)
    for number in early:
        child.send_signal(number)
    status = child.wait()
    return status if status >= 0 else 128 - status


def take(descriptor: int, kind: int) -> bool:
    """Take a lock, or change its kind, without waiting; False if somebody else's is in the way."""
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The descriptor of a lock file. The kernel drops the lock with the last process that has the descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        # Unlocked by name: a process that COMMAND has left behind may have the descriptor still.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Have a lock file alone; waits for another run."""
    with opened(path) as descriptor:
        if not take(descriptor, fcntl.LOCK_EX):
            say("waiting for another run of this tool")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def engine_of_ours(way: Way, cache: Path) -> Iterator[int]:
    """An engine of ours in the environment; its last user stops it. Gives the descriptor that makes a user."""
    with opened(USERS) as users:
        try:
            with lock(CHANGES):
                fcntl.flock(users, fcntl.LOCK_SH)  # nobody has it exclusively but who stops the engine
                if way is Way.INSTALL:
                    apt_install(*(package for package in DOCKER if answer("apt-cache", "show", package)))
                host = dockerd.start(provide_docker(cache) if way is Way.UNPACK else None, cache)
            for name in ("CONTEXT", "TLS", "TLS_VERIFY", "CERT_PATH", "API_VERSION"):
                os.environ.pop(f"DOCKER_{name}", None)
            os.environ |= {"DOCKER_HOST": f"unix://{host}", STARTED: "yes"}
            yield users
        finally:
            on_signals(lambda _number: None)  # from here on nothing keeps the engine from being stopped
            with lock(CHANGES):
                if not take(users, fcntl.LOCK_EX):
                    say("the engine has other users, and stays")
                elif dockerd.RUN.exists():
                    dockerd.stop()


def run(cache: Path, command: Sequence[str]) -> int:
    """Run COMMAND with an engine; returns its status, raises EngineError if there can be none."""
    situation = detect(dockerd.BY_SYSTEMD.exists(), (cache / SUITE).is_dir())
    way = choose(situation)
    if way is Way.GIVEN:
        say(f"using Docker {situation.answering}, which answers already")
        use_buildx(cache)
        return execute(command)
    with engine_of_ours(way, cache) as users:
        use_buildx(cache)
        return execute(command, keep=[users])


def use_buildx(cache: Path) -> None:
    """Put a docker client with buildx on PATH, unless there is one or none is to be had."""
    if answer("docker", "buildx", "version"):
        return
    try:
        with lock(CHANGES):
            use_client(cache / "client", provide_docker(cache))
    except (EngineError, OSError) as error:
        say(f"docker has no buildx here, so images can't be built: {error}")


def use_client(folder: Path, root: Path) -> None:
    """Put an unpacked docker client on PATH. The client keeps the proxies of the developer's configuration."""
    theirs = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    settings: dict[str, object] = {"cliPluginsExtraDirs": [str(root / "usr/libexec/docker/cli-plugins")]}
    with contextlib.suppress(OSError, ValueError):
        settings["proxies"] = json.loads(theirs.read_text()).get("proxies", {})
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    fresh = folder / "fresh"  # others may be using the old one
    fresh.write_text(json.dumps(settings))
    fresh.replace(folder / "config.json")
    fresh.symlink_to(root / "usr/bin/docker")
    fresh.replace(folder / "bin/docker")
    os.environ |= {"DOCKER_CONFIG": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def stop() -> int:
    """Stop an engine that was left running; raises EngineError if somebody uses it."""
    with opened(USERS) as users, lock(CHANGES):
        if not take(users, fcntl.LOCK_EX):
            raise EngineError(f"the engine is in use; end its users first (`fuser -v {USERS}` lists them)")
        if dockerd.RUN.exists():
            dockerd.stop()
        else:
            say("no engine of ours runs")
    return 0


def perform(arguments: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit status."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mesos-dind"
    if arguments.action == "run":
        return run(cache, arguments.command)
    if arguments.action == "stop":
        return stop()
    with lock(cache / "images.lock"):
        if arguments.action == "base-image":
            base_image(arguments.suite, arguments.name or f"{BASE_IMAGE.partition(':')[0]}:{arguments.suite}")
        else:
            task_image(arguments.base, arguments.name)
    return 0


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    on_signals(lambda number: sys.exit(128 + number))
    os.environ["PATH"] = search_path()
    try:
        return perform(arguments)
    except EngineError as error:
        say(str(error))
    except OSError as error:
        say(f"{error.filename or 'this machine'}: {error.strerror}")
    return FAILURE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
