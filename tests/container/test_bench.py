"""`make bench` on the image under test: the bench measures a boot, and removes what it made, also after a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from benchmark.results import Results
from conftest import IMAGE, TOOLS

BENCH = [sys.executable, str(TOOLS / "bench.py"), "--image", IMAGE]


def made() -> set[str]:
    """The containers and volumes of every run of the bench."""
    label = ["--filter", "label=mesos.dind.bench"]
    commands = (["docker", "ps", "--all", "--quiet", *label], ["docker", "volume", "ls", "--quiet", *label])
    listed = (subprocess.run(command, check=True, capture_output=True, text=True).stdout for command in commands)
    return {name for names in listed for name in names.split()}


def test_a_boot_is_measured_and_drawn(tmp_path: Path) -> None:
    before = made()
    stored, picture = tmp_path / "bench.json", tmp_path / "bench.svg"
    options = ["--only", "boot,phases", "--runs", "1", "--json", str(stored), "--picture", str(picture)]
    done = subprocess.run([*BENCH, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fresh boot" in done.stdout
    found = Results.from_json(stored.read_text())
    assert found.failures == ()
    assert {"boot"} <= {row.key for row in found.series}
    assert all(seconds > 0 for row in found.series if row.key == "boot" for seconds in row.ours)
    assert [phase.name for phase in found.phases]
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    assert made() <= before


def test_a_signal_ends_it_and_it_leaves_nothing() -> None:
    before = made()
    with subprocess.Popen([*BENCH, "--only", "boot", "--runs", "9"], stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr
        for line in bench.stderr:
            if "fresh boot 1/9" in line:
                break
        while not made() - before:
            assert bench.poll() is None
        bench.send_signal(signal.SIGTERM)
        assert bench.wait() == 128 + signal.SIGTERM
    assert made() <= before
