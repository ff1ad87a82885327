# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The limits of inner groups."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cgroup_fixtures import (
    ROOT,
    Container,
    converge,
    run,
)


def test_inner_groups_limit_and_stay_within_the_containers_limit(box: Container, tmp_path: Path) -> None:
    box.call(converge, tmp_path / "journal")
    [outer] = [group for group in box.groups if (group / "memory.limit_in_bytes").exists()]

    def status_of_eating(megabytes: int, limit: int) -> int:
        inner = ROOT / "memory/inner"
        inner.mkdir()
        (inner / "memory.limit_in_bytes").write_text(str(limit << 20))
        eat = f"open('{inner}/cgroup.procs', 'w').write('0'); bytearray({megabytes} << 20)"
        status = subprocess.run([sys.executable, "-S", "-c", eat], check=False).returncode
        inner.rmdir()
        return status

    assert box.call(status_of_eating, 32, 64) == 0
    assert box.call(status_of_eating, 96, 64) == -9, "killed at the inner limit"
    (outer / "memory.limit_in_bytes").write_text(str(64 << 20))
    assert box.call(status_of_eating, 96, 256) == -9, "killed at the container's limit"


def test_inner_groups_limit_the_number_of_processes(box: Container, tmp_path: Path) -> None:
    box.call(converge, tmp_path / "journal")

    def number_of_forks() -> int:
        inner = ROOT / "pids/inner"
        inner.mkdir()
        (inner / "pids.max").write_text("5")
        bomb = (
            f"import os; open('{inner}/cgroup.procs', 'w').write('0'); made = []\n"
            "try:\n"
            "    while len(made) < 50:\n"
            "        reader, writer = os.pipe()\n"
            "        if os.fork() == 0: os.close(writer); os.read(reader, 1); os._exit(0)\n"
            "        os.close(reader); made.append(writer)\n"
            "except BlockingIOError: pass\n"
            "for writer in made: os.close(writer)\n"
            "for _ in made: os.wait()\n"
            "print(len(made))\n"
        )
        made = int(run(sys.executable, "-S", "-c", bomb))
        inner.rmdir()
        return made

    assert box.call(number_of_forks) == 4, "the process itself and four more"
