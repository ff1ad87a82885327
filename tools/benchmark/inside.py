# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the benchmark asks of a booted agent container. It is run there, by the image's Python, from standard input.

    python -I - phases       when what happened in the boot, for the timeline
    python -I - modules      a pass of each module's core that changes nothing, as the boot's tasks call it
    python -I - tasks        the same as a task of the boot's playbook, with all that Ansible adds
    python -I - supervision  how long a killed engine is away

The answer is JSON on stdout.
"""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RUN = Path("/run/mesos-dind")
CONTAINERD_SOCKET = Path("/run/docker/containerd/containerd.sock")
COLLECTION = "ansible_collections.mesos.dind.plugins"
# What `mesos-dind converge` is, with a report.
CONVERGE = f"""
from {COLLECTION}.plugin_utils._boot import __main__ as boot
boot.run_again("boot.yml", "--skip-tags", "hand_over", log="mesos.dind.boot_log", report=True)
"""
PASSES = 50
PATIENCE = 60  # seconds
IMPORTS = PLAYS = 5
# Module, the role that runs it, and the prefix of its variables.
MODULES = (("cgroup_mounts", "cgroups"), ("loop_storage", "storage"), ("bridged_net", "network"))


def phases() -> dict[str, Any]:
    """Times are seconds of CLOCK_BOOTTIME."""
    processes = dict(running())
    return {
        "init": started(1),
        "entry": started(int((RUN / "agent.pid").read_text())),
        "settings": written(RUN / "settings.json"),
        "imports": statistics.median(import_ansible() for _ in range(IMPORTS)),
        "daemons": {name: started(processes[name]) for name in ("containerd", "dockerd") if name in processes},
        # containerd makes its socket when it is ready to serve.
        "ready": {"containerd": written(CONTAINERD_SOCKET)} if CONTAINERD_SOCKET.exists() else {},
        "report": json.loads((RUN / "boot.json").read_text()),
    }


def running() -> Iterator[tuple[str, int]]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            yield (directory / "comm").read_text().strip(), int(directory.name)
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue


def started(pid: int) -> float:
    """When a process was started: field 22 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def written(path: Path) -> float:
    behind = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
    return path.stat().st_mtime + behind


def import_ansible() -> float:
    """Seconds that a Python takes to import what ansible-playbook does."""
    timed = "import time; began = time.perf_counter(); import ansible.cli.playbook; print(time.perf_counter() - began)"
    done = subprocess.run([sys.executable, "-I", "-X", "utf8", "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout)


def modules() -> dict[str, dict[str, list[float]]]:
    """For each core the milliseconds and the number of processes of every pass; also of its parts for the storage."""
    settings = json.loads((RUN / "settings.json").read_text())
    measured = {name: repeated(unchanged(name, parameters(name, role, settings))) for name, role in MODULES}
    with tempfile.TemporaryDirectory() as folder:
        measured["overlay_probe"] = repeated(overlay_probe(Path(folder)))
        measured["storage_decision"] = repeated(storage_decision(Path(folder)))
    return measured


def repeated(once: Callable[[Any], None]) -> dict[str, list[float]]:
    runner = core_part("_runner").Runner
    milliseconds: list[float] = []
    processes: list[float] = []
    for _ in range(PASSES):
        counting = runner()
        began = time.perf_counter()
        once(counting)
        milliseconds.append(round((time.perf_counter() - began) * 1000, 3))
        processes.append(len(counting.commands))
    return {"ms": milliseconds, "processes": processes}


def core_part(name: str) -> Any:
    return importlib.import_module(f"{COLLECTION}.module_utils.{name}")


def parameters(module: str, role: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The module's parameters as the role gives them: the documented defaults, and what the boot was asked for."""
    import yaml  # Ansible's own

    documentation = importlib.import_module(f"{COLLECTION}.modules.{module}").DOCUMENTATION
    options = yaml.safe_load(documentation)["options"]
    asked = {name.removeprefix(f"{role}_"): plain(value) for name, value in settings.items()}
    return {name: asked.get(name, option.get("default")) for name, option in options.items()}


def plain(value: Any) -> Any:
    return value["__ansible_unsafe"] if isinstance(value, dict) and "__ansible_unsafe" in value else value


def unchanged(module: str, given: dict[str, Any]) -> Callable[[Any], None]:
    core = core_part(f"_{module}.core").core

    def once(runner: Any) -> None:
        actions = core(given, runner, False).actions
        if actions:
            raise SystemExit(f"{module} changed something in a booted container: {'; '.join(actions)}")

    return once


def overlay_probe(folder: Path) -> Callable[[Any], None]:
    probe = core_part("_kernel.overlay_probe").overlay
    return lambda runner: probe(folder, runner)


def storage_decision(folder: Path) -> Callable[[Any], None]:
    """As in a container's first boot: neither a data root nor an image is there."""
    state, choice = core_part("_loop_storage.state"), core_part("_loop_storage.choice")
    data_root, image = folder / "docker", folder / "docker.img"

    def once(runner: Any) -> None:
        seen = state.inspect(data_root, image, state.Roots(), runner)
        choice.choose("auto", seen, data_root, choice.RealTrials(data_root, runner))

    return once


def tasks() -> dict[str, list[float]]:
    """Milliseconds of each role in the boot's playbook, run again. Replaces the report of the boot."""
    measured: dict[str, list[float]] = {}
    for _ in range(PLAYS):
        again = [sys.executable, "-I", "-X", "utf8", "-c", CONVERGE]
        done = subprocess.run(again, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the boot's playbook fails in a booted container: {done.stdout}{done.stderr}")
        for step in json.loads((RUN / "boot.json").read_text())["steps"]:
            if step["step"] == "ansible":
                continue
            if step["actions"] != ["nothing to do"]:
                raise SystemExit(f"{step['step']} changed something in a booted container: {step['actions']}")
            measured.setdefault(step["step"], []).append(round(step["seconds"] * 1000, 3))
    return measured


def supervision() -> dict[str, float]:
    """For each daemon the seconds from its SIGKILL until a command runs in the one inner container that there is."""
    container = subprocess.run(["docker", "ps", "--quiet"], capture_output=True, text=True, check=True).stdout.strip()
    return {name: seconds_without(name, ["docker", "exec", container, "true"]) for name in ("dockerd", "containerd")}


def seconds_without(daemon: str, works: list[str]) -> float:
    began = time.perf_counter()
    os.kill(dict(running())[daemon], signal.SIGKILL)
    while subprocess.run(works, capture_output=True, check=False).returncode:
        if time.perf_counter() - began > PATIENCE:
            raise SystemExit(f"{PATIENCE} s after {daemon} was killed, {' '.join(works)} still fails")
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    questions = {"phases": phases, "modules": modules, "tasks": tasks, "supervision": supervision}
    json.dump(questions[sys.argv[1]](), sys.stdout)
