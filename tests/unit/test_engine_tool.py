# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine tool: its command line, the choice of an engine, its users, and what it removes. No network, no root."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import engine
import pytest
from docker_engine.choice import Situation, Way, choose, new_enough
from docker_engine.dockerd import undo
from docker_engine.terminal import EngineError

TOOL = Path(__file__).parents[2] / "tools/engine.py"


def test_the_tool_starts_anywhere_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    # No site-packages, no PYTHONPATH: a bare machine's Python.
    command = [sys.executable, "-S", "-E", str(TOOL), "--help"]
    told = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "run|stop|base-image|task-image" in told


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["run", "--", "true"], ["true"]),
        (["run", "make", "test"], ["make", "test"]),
        (["run", "--", "sh", "-c", "--", "--help"], ["sh", "-c", "--", "--help"]),
    ],
)
def test_the_command_is_taken_as_it_is(argv: list[str], command: list[str]) -> None:
    assert engine.parse_arguments(argv).command == command


@pytest.mark.parametrize(
    "argv", [[], ["run"], ["run", "--"], ["start"], ["stop", "now"], ["base-image", "--size", "1"]]
)
def test_wrong_usage_is_told_apart_from_a_failure(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        engine.parse_arguments(argv)
    assert caught.value.code == 64
    assert "usage: " in capsys.readouterr().err


def status_of(*command: str) -> int:
    """The status of `engine.execute`, in a process of its own, since it handles signals."""
    script = "import sys, engine; sys.exit(engine.execute(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", script, *command], cwd=TOOL.parent, check=False).returncode


@pytest.mark.parametrize(
    ("script", "status"),
    [("raise SystemExit(7)", 7), (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", 137)],
)
def test_a_commands_status_is_passed_on(script: str, status: int) -> None:
    assert status_of(sys.executable, "-c", script) == status


@pytest.mark.parametrize(("command", "status"), [("/nonexistent", 127), ("/", 126)])
def test_a_command_that_cannot_be_run(command: str, status: int) -> None:
    assert status_of(command) == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_the_commands(number: signal.Signals) -> None:
    # COMMAND signals its parent, the tool, and ends by what comes back.
    assert status_of("sh", "-c", f"kill -{number.value} $PPID; while :; do sleep 1; done") == 128 + number


OLD, NEW = "20.10.24", "26.1.5+dfsg1"
BOOKWORM = Situation(root=True, distribution="debian")
UBUNTU = Situation(root=True, distribution="ubuntu")


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        (NEW, True),
        (OLD, False),
        ("5:24.0.7-1~ubuntu.24.04~noble", True),
        ("23.0.0-rc.1", True),
        ("100.0", True),
        ("dev", False),
        ("", False),
    ],
)
def test_versions_are_told_apart_by_their_first_number(version: str, enough: bool) -> None:
    assert new_enough(version) is enough


@pytest.mark.parametrize(
    ("situation", "way"),
    [
        # An engine that answers and is new enough is used, by anybody, whatever else there is.
        (replace(BOOKWORM, root=False, answering="23.0.1"), Way.GIVEN),
        (replace(BOOKWORM, answering=NEW, unpacked=True, installed=NEW, candidate=NEW), Way.GIVEN),
        # But a docker.service that this tool has started is stopped by its last user.
        (replace(BOOKWORM, answering=NEW, ours=True, installed=NEW), Way.INSTALLED),
        (replace(BOOKWORM, candidate=NEW), Way.INSTALL),
        (replace(UBUNTU, installed=OLD, candidate=NEW), Way.INSTALL),
        (replace(BOOKWORM, installed=NEW, unpacked=True), Way.INSTALLED),
        (replace(BOOKWORM, candidate=OLD), Way.UNPACK),
        (BOOKWORM, Way.UNPACK),
        (replace(BOOKWORM, installed=OLD, candidate=OLD), Way.UNPACK),
        (replace(BOOKWORM, unpacked=True, candidate=NEW), Way.UNPACK),
    ],
)
def test_where_the_engine_comes_from(situation: Situation, way: Way) -> None:
    assert choose(situation) is way


@pytest.mark.parametrize(
    ("situation", "told"),
    [
        (replace(BOOKWORM, answering=OLD, installed=NEW, unpacked=True), f"Docker {OLD} answers, expected Docker 23 "),
        (replace(BOOKWORM, answering=OLD, root=False), f"Docker {OLD} answers, expected Docker 23 or newer; upgrade"),
        (replace(BOOKWORM, root=False, installed=NEW), "no engine answers, .*; start one, set DOCKER_HOST, or run"),
        (replace(UBUNTU, candidate=OLD), "ubuntu has no Docker 23 or newer; "),
    ],
)
def test_no_engine_is_told_in_one_line(situation: Situation, told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        choose(situation)
    assert "\n" not in str(caught.value)


def test_the_last_user_and_nobody_else_can_have_the_engine_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with engine.opened(path) as last:
        with engine.opened(path) as first:
            assert engine.take(first, fcntl.LOCK_SH)
            assert engine.take(last, fcntl.LOCK_SH)
            assert not engine.take(first, fcntl.LOCK_EX)
        assert engine.take(last, fcntl.LOCK_EX)


def test_a_command_outlives_its_tool_as_a_user(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with engine.opened(path) as other:
        ours = os.open(path, os.O_RDWR)
        fcntl.flock(ours, fcntl.LOCK_SH)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[ours]) as user:
            # As if the tool were killed: closed, but not unlocked.
            os.close(ours)
            assert not engine.take(other, fcntl.LOCK_EX)
            user.communicate(b"\n")
        assert engine.take(other, fcntl.LOCK_EX)


# As iptables-save tells it on a machine with another engine, whose chains have other names.
BEFORE = """\
*nat
:POSTROUTING ACCEPT [5:300]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker9 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
:OTHER - [0:0]
-A FORWARD -o docker9 -j OTHER
COMMIT
"""
AFTER = """\
*nat
:POSTROUTING ACCEPT [9:540]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker9 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [1:60]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:OTHER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o br-0123456789ab -j DOCKER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -m comment --comment "a b" -j ACCEPT
-A FORWARD -o docker9 -j OTHER
-A FORWARD -i docker01 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_the_rules_and_bridges_of_our_engine_are_removed_and_no_others() -> None:
    restore, bridges = undo(BEFORE, AFTER)
    assert bridges == ["br-0123456789ab", "docker0"]
    assert (
        restore
        == """\
*nat
-D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-D POSTROUTING -s 172.18.0.0/16 ! -o docker0 -j MASQUERADE
-D DOCKER -i docker0 -j RETURN
-X DOCKER
COMMIT
*filter
-D FORWARD -j DOCKER-USER
-D FORWARD -o br-0123456789ab -j DOCKER
-D FORWARD -o docker0 -j DOCKER
-D FORWARD -i docker0 ! -o docker0 -m comment --comment "a b" -j ACCEPT
-D DOCKER-USER -j RETURN
-X DOCKER
-X DOCKER-USER
COMMIT
"""
    )


def test_an_engine_that_was_there_before_keeps_its_rules() -> None:
    assert undo(AFTER, AFTER) == ("*nat\nCOMMIT\n*filter\nCOMMIT\n", [])
    assert undo("", "") == ("", [])
