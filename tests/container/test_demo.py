"""Test of `make demo`, the README's first command, with the image under test."""

from __future__ import annotations

import subprocess
import sys

from conftest import IMAGE, TOOLS


def test_the_demo_shows_its_pings_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(TOOLS / "demo.py"), "--image", IMAGE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ms\n") == 3, done.stdout
    assert "the image has no Mesos: the tests' stand-in agent runs" in done.stdout
    left = ["docker", "ps", "--all", "--quiet", "--filter", "name=mesos-dind-demo-"]
    assert subprocess.run(left, check=True, capture_output=True, text=True).stdout == ""
