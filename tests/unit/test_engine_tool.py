# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine tool: its command line, its files, its users, and the command that it runs. No network, no root."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import engine
import pytest
from docker_engine.command import Signals, execute
from docker_engine.layout import Layout
from docker_engine.locks import Lock
from docker_engine.mounts import mounts_at_or_below
from docker_engine.processes import holders
from docker_engine.terminal import Terminal
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("script", "status"),
    [("raise SystemExit(7)", 7), (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", 137)],
)
def test_a_commands_status_is_passed_on(script: str, status: int) -> None:
    assert execute(Terminal(), Signals(), [sys.executable, "-c", script], os.environ, keep=()) == status


@pytest.mark.parametrize(("command", "status"), [("/nonexistent", 127), ("/", 126)])
def test_a_command_that_cannot_be_run(command: str, status: int) -> None:
    assert execute(Terminal(), Signals(), [command], os.environ, keep=()) == status


@given(st.text("abcdefghijklmnopqrstuvwxyz/.", min_size=1, max_size=300))
def test_names_stay_within_the_kernels_limits_however_long_the_cache_is(path: str) -> None:
    layout = Layout(Path("/") / path)
    assert len(layout.tag) < 16, "IFNAMSIZ"
    assert len(f"{layout.tag}-ISOLATION-STAGE-1") <= 28, "XT_EXTENSION_MAXNAMELEN"
    assert len(str(layout.run / "exec/containerd/containerd-debug.sock")) < 108, "sun_path"


def test_two_caches_are_two_engines() -> None:
    one, other = Layout(Path("/a")), Layout(Path("/b"))
    assert one.tag != other.tag
    assert one.socket != other.socket


def test_mounts_are_found_innermost_first_and_under_their_real_names() -> None:
    mountinfo = "\n".join(
        f"{number} 1 0:{number} / {point} rw - ext4 /dev/vda rw"
        for number, point in enumerate(["/", "/run/a", r"/run/a/with\040space", "/run/ab", "/run/a/top"])
    )
    found = mounts_at_or_below(mountinfo, Path("/run/a"))
    assert found == [Path("/run/a/top"), Path("/run/a/with space"), Path("/run/a")]


def test_the_last_user_and_nobody_else_can_have_the_engine_for_itself(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "users.lock"), Lock(tmp_path / "users.lock")
    assert first.take(fcntl.LOCK_SH)
    assert second.take(fcntl.LOCK_SH)
    assert not first.take(fcntl.LOCK_EX)
    first.close()
    assert second.take(fcntl.LOCK_EX)
    second.close()


def test_a_command_outlives_its_tool_as_a_user(tmp_path: Path) -> None:
    ours, other = Lock(tmp_path / "users.lock"), Lock(tmp_path / "users.lock")
    ours.wait(fcntl.LOCK_SH)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[ours.descriptor]) as user:
        # As if the tool were killed: closed, but not unlocked.
        os.close(ours.descriptor)
        assert not other.take(fcntl.LOCK_EX)
        assert holders(tmp_path / "users.lock") == [user.pid]
        user.communicate(b"\n")
    assert other.take(fcntl.LOCK_EX)
    other.close()
