# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The life of an engine: its users come and go, and the last one stops it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence

from docker_engine.choice import Way, choose
from docker_engine.client import client_environment, client_programs
from docker_engine.command import Signals, execute
from docker_engine.daemon import Daemon, left_running, make_daemon
from docker_engine.detection import detect
from docker_engine.errors import EngineError
from docker_engine.layout import Layout
from docker_engine.locks import Lock, changing
from docker_engine.packages import ENGINE
from docker_engine.processes import holders
from docker_engine.terminal import Terminal


@contextlib.contextmanager
def using(terminal: Terminal, layout: Layout, daemon: Daemon, signals: Signals) -> Iterator[int]:
    """Have the engine run; the last of its users stops it. Gives the descriptor that makes a process a user."""
    users = Lock(layout.lock("users"))
    # Nobody has it exclusively but who stops the engine, and that under the other lock.
    with changing(terminal, layout):
        users.wait(fcntl.LOCK_SH)
    try:
        with changing(terminal, layout):
            if daemon.running():
                terminal.say(f"using the engine that runs already at {daemon.socket}")
            else:
                daemon.start()
        yield users.descriptor
    finally:
        signals.hold()
        with changing(terminal, layout):
            if users.take(fcntl.LOCK_EX):
                daemon.stop()
            else:
                terminal.say("the engine has other users, and stays")
            users.close()


def run(terminal: Terminal, layout: Layout, signals: Signals, command: Sequence[str]) -> int:
    """Run COMMAND with an engine; returns its status, raises EngineError if there can be none."""
    situation = detect(terminal, layout)
    choice = choose(situation)
    if choice.way is Way.GIVEN:
        terminal.say(f"using Docker {situation.answering}, which answers already")
        environment = client_environment(layout, None, client_programs(terminal, layout))
        return execute(terminal, signals, command, environment, keep=())
    with changing(terminal, layout):
        daemon = make_daemon(terminal, layout, choice)
    programs = layout.programs(ENGINE) if choice.suite else client_programs(terminal, layout)
    with using(terminal, layout, daemon, signals) as descriptor:
        environment = client_environment(layout, f"unix://{daemon.socket}", programs)
        return execute(terminal, signals, command, environment, keep=(descriptor,))


def stop(terminal: Terminal, layout: Layout) -> int:
    """Stop the engine that was left running; returns the exit status, raises EngineError if somebody uses it."""
    users = Lock(layout.lock("users"))
    with changing(terminal, layout):
        if not users.take(fcntl.LOCK_EX):
            pids = ", ".join(map(str, holders(layout.lock("users"))))
            raise EngineError(f"the engine is in use by process {pids}", "end that first")
        if daemon := left_running(terminal, layout):
            daemon.stop()
        else:
            terminal.say("no engine of ours runs")
        users.close()
    return 0
