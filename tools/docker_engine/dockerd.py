# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The one engine of this machine that the tool runs: its start, its end, and the removal of its leftovers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from docker_engine.choice import DEFAULT_SOCKET, server_version
from docker_engine.debian import require
from docker_engine.terminal import EngineError, answer, run, say

RUN = Path("/run/mesos-dind-engine")
CONFIG, LAUNCH, LOG, SOCKET = (RUN / name for name in ("daemon.json", "launch", "dockerd.log", "docker.sock"))
FAMILIES = ("iptables", "ip6tables")
BY_SYSTEMD = RUN / "started-by-systemd"
# dockerd gives its containers 15 s (its --shutdown-timeout) to end.
START_SECONDS, STOP_SECONDS = 60.0, 30.0
# The unpacked programs and libraries cover the machine's own; all other files stay in sight, as for bind mounts.
OVERLAY = "cd {root}\nmount -t overlay -o ro,lowerdir=usr:/usr overlay /usr\ncd /\n"


def start(root: Path | None, cache: Path) -> Path:
    """Have the engine run, with its data in ``cache``; returns its socket, raises EngineError if it does not answer.

    ``root`` is an unpacked system with Docker; None if Docker is installed.
    """
    cache.mkdir(parents=True, exist_ok=True)
    RUN.mkdir(mode=0o711, exist_ok=True)
    if find():
        await_answer(lambda: find() > 0)
        return SOCKET
    if root is None and Path("/run/systemd/system").is_dir():
        BY_SYSTEMD.touch()
        run("systemctl", "start", "docker.service")
        return DEFAULT_SOCKET
    require(iptables="iptables", ip="iproute2")
    for family in FAMILIES:
        if not (RUN / family).exists():  # else a killed dockerd has left it
            (RUN / family).write_text(answer(f"{family}-save"))
    settings = {
        "hosts": [f"unix://{SOCKET}"], "data-root": str(cache / "data"), "exec-root": str(RUN / "exec"),
        "pidfile": str(RUN / "docker.pid"), "group": "root", "mtu": uplink_mtu(),
    }  # fmt: skip
    CONFIG.write_text(json.dumps(settings))
    LOG.unlink(missing_ok=True)
    LOG.symlink_to(cache / "dockerd.log")
    overlay = OVERLAY.format(root=shlex.quote(str(root))) if root else ""
    LAUNCH.write_text(f"set -e\n{overlay}exec dockerd --config-file {CONFIG} >{LOG} 2>&1\n")
    launch()
    return SOCKET


def launch() -> None:
    """Run dockerd in a mount namespace of its own, which takes all its mounts with it."""
    say("starting dockerd")
    # A killed dockerd leaves its pid file. The next one takes any process of that number for a living engine.
    (RUN / "docker.pid").unlink(missing_ok=True)
    command = ["unshare", "--mount", "--propagation=slave", "sh", str(LAUNCH)]
    process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        await_answer(lambda: process.poll() is None)
    except BaseException:
        end(process.pid)
        raise


def await_answer(lives: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server_version(SOCKET):
        if not lives() or time.monotonic() > deadline:
            lines = LOG.read_text(errors="replace").splitlines() if LOG.exists() else []
            say("\n".join(["the last lines of dockerd's log:", *lines[-15:]]))
            raise EngineError(f"dockerd does not answer; its log is {LOG.resolve()}")
        time.sleep(0.05)


def processes(arguments: str) -> list[int]:
    """The processes that have such arguments, each of which ends with a null character."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            if arguments.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def find() -> int:
    """The process number of our dockerd; 0 without one."""
    return next(iter(processes(f"dockerd\0--config-file\0{CONFIG}\0")), 0)


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while find() == pid:
            time.sleep(0.05)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)


def stop() -> None:
    """Stop the engine and its containers, and remove its chains, bridges and sockets. Its images stay."""
    if BY_SYSTEMD.exists():
        say("stopping docker.service")
        run("systemctl", "stop", "docker.socket", "docker.service")
    else:
        if not find():
            say(f"dockerd has ended before its users; its log is {LOG.resolve()}")
            if processes(f"\0{RUN}/exec"):  # containers and their containerd outlive it; a new dockerd ends them
                launch()
        if pid := find():
            say("stopping dockerd")
            end(pid)
        for family in FAMILIES:
            restore, bridges = undo((RUN / family).read_text(), answer(f"{family}-save"))
            run(f"{family}-restore", "--noflush", "--wait", text=restore)
            for bridge in bridges:
                answer("ip", "link", "delete", bridge)
    shutil.rmtree(RUN, ignore_errors=True)


def undo(before: str, after: str) -> tuple[str, list[str]]:
    """The input of iptables-restore that removes a dockerd's rules and chains, and its bridges; from iptables-save."""
    old, new = tables(before), tables(after)
    added = {table: [line for line in new[table] if line not in old.get(table, [])] for table in new}
    # For each of its bridges, dockerd has a rule that leads to one of its chains.
    lead = re.compile(r"^-A (?:FORWARD|DOCKER\S*) -o (\S+) .*-j DOCKER\S*$", re.MULTILINE)
    bridges = list(dict.fromkeys(lead.findall("\n".join(added.get("filter", [])))))
    ours = re.compile(rf"-A (.* )?(DOCKER\S*|{'|'.join(map(re.escape, [*bridges, 'DOCKER']))})( |$)")
    restore = ""
    for table, lines in added.items():
        rules = [f"-D{line[2:]}" for line in lines if ours.match(line)]
        chains = [f"-X {name}" for name in re.findall(r"^:(DOCKER\S*)", "\n".join(lines), re.MULTILINE)]
        restore += "\n".join([f"*{table}", *rules, *chains, "COMMIT\n"])
    return restore, bridges


def tables(saved: str) -> dict[str, list[str]]:
    """The chains and rules of each table, without counters."""
    plain = re.sub(r"^(:\S+) .*$", r"\1", saved, flags=re.MULTILINE)
    found = re.findall(r"^\*(\w+)\n(.*?)^COMMIT$", plain, re.MULTILINE | re.DOTALL)
    return {name: lines.splitlines() for name, lines in found}


def uplink_mtu() -> int:
    """The MTU of the default route's device in bytes: a tunnel's is smaller, and packets of 1500 vanish in it."""
    devices = re.findall(r" dev (\S+)", answer("ip", "-4", "route", "show", "default"))
    return int(Path("/sys/class/net", devices[0], "mtu").read_text()) if devices else 1500
