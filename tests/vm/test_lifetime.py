"""Tests that no VM outlives its run, and that a run does not wait for a VM that has failed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import machine
import pytest
import system_disk

STARTED_AND_FORGOTTEN = """\
import pathlib, signal, subprocess, sys, machine, system_disk
folder = pathlib.Path(sys.argv[1])
command = machine.qemu(system_disk.provide(), folder / "console.log", folder / "monitor", [])
print(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid, flush=True)
signal.pause()
"""


def test_the_vm_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    system_disk.provide()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STARTED_AND_FORGOTTEN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout
        pid = int(run.stdout.readline())
        vm = os.pidfd_open(pid)
        try:
            # The process is first Python, for a moment in which its parent goes on already. Then it is setpriv, which
            # may not have asked for the kernel's signal yet.
            while not Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system"):
                pass
            run.kill()
            assert select.select([vm], [], [], 30)[0], f"qemu, {pid}, has outlived its test run"
        finally:
            run.kill()
            os.close(vm)


def test_a_qemu_that_ends_is_noticed_at_once(tmp_path: Path) -> None:
    broken = system_disk.SystemDisk(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="qemu ended with status 1"), machine.booted(broken, tmp_path / "log"):
        pytest.fail("it runs")


def test_a_kernel_that_panics_is_noticed_with_the_end_of_its_console(tmp_path: Path) -> None:
    good = system_disk.provide()
    folder = tmp_path / "disk"
    folder.mkdir()
    for name in ("vmlinuz", "disk.ext4"):
        (folder / name).symlink_to(good.folder / name)
    (folder / "initrd.img").write_bytes(b"")  # the kernel has no driver for the root disk then
    with (
        pytest.raises(RuntimeError, match="Kernel panic"),
        machine.booted(system_disk.SystemDisk(folder), tmp_path / "log"),
    ):
        pytest.fail("it runs")
