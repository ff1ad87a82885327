# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The benchmark's questions to a booted agent container: ``python -I - QUESTION <inside.py``, answered in JSON."""

from __future__ import annotations

import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUN = Path("/run/mesos-dind")
CONTAINERD_SOCKET = Path("/run/docker/containerd/containerd.sock")
COLLECTION = "ansible_collections.mesos.dind.plugins"
PYTHON = (sys.executable, "-I", "-X", "utf8", "-c")
# `mesos-dind converge`, with a report.
CONVERGE = f"""
from {COLLECTION}.plugin_utils._boot import __main__ as boot
boot.run_again("boot.yml", "--skip-tags", "hand_over", log="mesos.dind.boot_log", report=True)
"""
IMPORT = "import time; began = time.perf_counter(); import ansible.cli.playbook; print(time.perf_counter() - began)"
PASSES = 50
PATIENCE = 60  # seconds
IMPORTS = PLAYS = 5
# Module, and the role that runs it; the role's name is the prefix of its variables.
MODULES = (("cgroup_mounts", "cgroups"), ("loop_storage", "storage"), ("bridged_net", "network"))


def phases() -> dict[str, Any]:
    """The timestamps of the boot, in seconds of CLOCK_BOOTTIME; ``imports`` is a length."""
    daemons = {name: pid for name, pid in running().items() if name in ("containerd", "dockerd")}
    return {
        "init": started(1),
        "entry": started(int((RUN / "agent.pid").read_text())),
        "settings": written(RUN / "settings.json"),
        "imports": statistics.median(float(output(*PYTHON, IMPORT)) for _ in range(IMPORTS)),
        "daemons": {name: started(pid) for name, pid in sorted(daemons.items())},
        # containerd makes its socket when it is ready to serve.
        "ready": {"containerd": written(CONTAINERD_SOCKET)} if CONTAINERD_SOCKET.exists() else {},
        "report": json.loads((RUN / "boot.json").read_text()),
    }


def running() -> dict[str, int]:
    """The ids of the running processes by name."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            found[(directory / "comm").read_text().strip()] = int(directory.name)
        except (FileNotFoundError, ProcessLookupError):  # the process has ended meanwhile
            continue
    return found


def started(pid: int) -> float:
    """When a process started: field 22 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def written(path: Path) -> float:
    return path.stat().st_mtime + time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()


def output(*argv: str) -> str:
    """The stdout of a command. Ends this process with the command's output if the command fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv} fails in a booted container: {done.stdout}{done.stderr}")
    return done.stdout


def modules() -> dict[str, tuple[list[float], list[int]]]:
    """Passes that change nothing: each module's core, and two parts of loop_storage that only a first boot runs."""
    settings = json.loads((RUN / "settings.json").read_text())
    probe, state, choice = map(core_part, ("_kernel.overlay_probe", "_loop_storage.state", "_loop_storage.choice"))
    with tempfile.TemporaryDirectory() as folder:
        data_root, image = Path(folder) / "docker", Path(folder) / "docker.img"

        def decide(runner: Any) -> None:
            seen = state.inspect(data_root, image, runner)
            choice.choose("auto", seen, data_root, choice.Trials(data_root, runner))

        return {
            **{name: repeated(unchanged(name, parameters(name, role, settings))) for name, role in MODULES},
            "overlay_probe": repeated(lambda runner: probe.overlay(Path(folder), runner)),
            "storage_decision": repeated(decide),
        }


def repeated(once: Callable[[Any], object]) -> tuple[list[float], list[int]]:
    """The milliseconds and the number of processes of each pass."""
    milliseconds, processes = [], []
    for _ in range(PASSES):
        runner = core_part("_runner").Runner()
        began = time.perf_counter()
        once(runner)
        milliseconds.append(round((time.perf_counter() - began) * 1000, 3))
        processes.append(len(runner.commands))
    return milliseconds, processes


def core_part(name: str) -> Any:
    return importlib.import_module(f"{COLLECTION}.module_utils.{name}")


def parameters(module: str, role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The module's parameters as the role gives them: the documented defaults, overridden by the boot's settings."""
    import yaml  # Ansible's own

    documentation = importlib.import_module(f"{COLLECTION}.modules.{module}").DOCUMENTATION
    given = {name: option.get("default") for name, option in yaml.safe_load(documentation)["options"].items()}
    for name, value in settings.items():
        if (option := name.removeprefix(f"{role}_")) in given:
            given[option] = value.get("__ansible_unsafe", value) if isinstance(value, dict) else value
    return given


def unchanged(module: str, given: dict[str, Any]) -> Callable[[Any], None]:
    core = core_part(f"_{module}.core").core

    def once(runner: Any) -> None:
        if actions := core(given, runner, False).actions:
            raise SystemExit(f"{module} changed something in a booted container: {'; '.join(actions)}")

    return once


def tasks() -> dict[str, list[float]]:
    """Milliseconds of each role when the boot's playbook runs again. Replaces the report of the boot."""
    measured = defaultdict(list)
    for _ in range(PLAYS):
        output(*PYTHON, CONVERGE)
        for step in json.loads((RUN / "boot.json").read_text())["steps"]:
            if step["step"] == "ansible":
                continue
            if step["actions"] != ["nothing to do"]:
                raise SystemExit(f"{step['step']} changed something in a booted container: {step['actions']}")
            measured[step["step"]].append(round(step["seconds"] * 1000, 3))
    return measured


def supervision() -> dict[str, float]:
    """For each daemon, the seconds from its SIGKILL until a command runs in the only inner container."""
    works = ["docker", "exec", output("docker", "ps", "--quiet").strip(), "true"]
    away = {}
    for daemon in ("dockerd", "containerd"):
        began = time.perf_counter()
        os.kill(running()[daemon], signal.SIGKILL)
        while subprocess.run(works, capture_output=True, check=False).returncode:
            if time.perf_counter() - began > PATIENCE:
                raise SystemExit(f"{' '.join(works)} still fails {PATIENCE} s after {daemon} was killed")
        away[daemon] = round(time.perf_counter() - began, 3)
    return away


if __name__ == "__main__":
    questions = {"phases": phases, "modules": modules, "tasks": tasks, "supervision": supervision}
    json.dump(questions[sys.argv[1]](), sys.stdout)
