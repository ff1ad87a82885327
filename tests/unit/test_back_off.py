# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests of the pause before a service that ends again and again restarts (the finish script of s6)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FINISH = Path(__file__).parents[2] / "roles/engine/files/finish"
NOW = 0x6B07FF52


def pause(folder: Path, ago: list[int], wanted_up: bool = True) -> tuple[str, str]:
    """The pause in seconds and the script's stderr, after ends of the service so many seconds ago."""
    stamps = "".join(f"@40000000{NOW - seconds:08x}00000000 exitcode 1\n" for seconds in sorted(ago, reverse=True))
    programs = {
        "s6-svdt": f"cat <<'END'\n{stamps}END",
        "s6-svstat": f"echo {'true' if wanted_up else 'false'}",
        "sleep": f"echo $1 >{folder / 'slept'}",
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    service = folder / "a-service"  # without a pipe, as when nobody waits for the service
    service.mkdir()
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run([FINISH, "1", "0"], cwd=service, env=environment, capture_output=True, text=True, check=True)
    slept = folder / "slept"
    return slept.read_text().strip() if slept.exists() else "", done.stderr


@pytest.mark.parametrize(
    ("ends", "seconds"), [(1, ""), (2, ""), (3, "2"), (4, "4"), (5, "8"), (6, "16"), (7, "30"), (20, "30")]
)
def test_it_is_waited_longer_and_longer_up_to_30_s(tmp_path: Path, ends: int, seconds: str) -> None:
    slept, said = pause(tmp_path, list(range(ends)))
    assert slept == seconds
    told = f"mesos-dind: a-service has ended {ends} times within a minute; it is started again in {seconds} s\n"
    assert said == (told if seconds else "")


def test_only_the_last_minute_counts(tmp_path: Path) -> None:
    assert pause(tmp_path, [0, 59, 60, 61, 3600]) == ("", "")


def test_one_that_is_to_be_down_is_not_waited_with(tmp_path: Path) -> None:
    assert pause(tmp_path, [0, 1, 2, 3], wanted_up=False) == ("", "")
