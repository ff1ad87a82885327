# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The choice of an engine, by what the machine has."""

from __future__ import annotations

import enum
import os
import platform
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from docker_engine.terminal import EngineError, answer, run

# Older engines ask for every capability there is in `docker run --privileged`, and fail where one is missing.
OLDEST_ENGINE = 23
DEFAULT_SOCKET = Path("/run/docker.sock")
# The environment's engine, the machine's dockerd, the distribution's docker.io, the newer Debian's docker.io.
Way = enum.Enum("Way", "GIVEN INSTALLED INSTALL UNPACK")


@dataclass(frozen=True)
class Situation:
    """The facts that decide. A version is empty where there is none."""

    root: bool
    distribution: str  # ID of os-release(5)
    answering: str = ""  # version of the environment's engine
    ours: bool = False  # that engine is docker.service, started by this tool
    installed: str = ""  # version of the dockerd on the search path
    unpacked: bool = False  # the cache has the newer Debian's engine
    candidate: str = ""  # version of docker.io that apt would install


def new_enough(version: str) -> bool:
    """Whether an engine of a version such as ``5:26.1.5+dfsg1-9`` will do; False for none."""
    match = re.match(r"(?:\d+:)?(\d+)", version)
    return match is not None and int(match[1]) >= OLDEST_ENGINE


def choose(situation: Situation) -> Way:
    """Choose an engine; raises EngineError if there can be none."""
    wanted = f"Docker {OLDEST_ENGINE} or newer"
    if situation.answering and not situation.ours:
        if new_enough(situation.answering):
            return Way.GIVEN
        raise EngineError(f"Docker {situation.answering} answers, expected {wanted}; upgrade or stop it")
    if not situation.root:
        raise EngineError(f"no engine answers, expected {wanted}; start one, set DOCKER_HOST, or run this as root")
    if new_enough(situation.installed):
        return Way.INSTALLED
    if not situation.unpacked and new_enough(situation.candidate):
        return Way.INSTALL
    if situation.distribution == "debian":
        return Way.UNPACK
    raise EngineError(f"{situation.distribution} has no {wanted}; install one from elsewhere, or set DOCKER_HOST")


def detect(ours: bool, unpacked: bool) -> Situation:
    """The facts of this machine. apt is asked only where its answer decides, since it is slow."""
    root, answering, name = os.geteuid() == 0, answering_version(), distribution()[0]
    version = re.search(r"version ([^\s,]+)", answer("dockerd", "--version"))
    installed = version[1] if version else ""
    decided = answering or not root or new_enough(installed) or unpacked
    return Situation(root, name, answering, ours, installed, unpacked, "" if decided else docker_candidate())


def distribution() -> tuple[str, str]:
    """The machine's distribution and its release's code name, by os-release(5)."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {"ID": "this system"}
    return release["ID"], release.get("VERSION_CODENAME", "")


def answering_version() -> str:
    """The version of the environment's engine, by its own client (contexts, TLS, ssh) if there is one."""
    if shutil.which("docker"):
        # A remote engine may be slow, and systemd may have to start one first.
        return answer("docker", "version", "--format={{.Server.Version}}", timeout=30)
    scheme, _, path = os.environ.get("DOCKER_HOST", f"unix://{DEFAULT_SOCKET}").partition("://")
    return server_version(Path(path)) if scheme == "unix" else ""


def server_version(path: Path) -> str:
    """The version of the engine that answers on a unix socket within 5 s; empty without an answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            version = re.search(r'"Version":\s*"([^"]+)"', connection.makefile().read())
        except OSError:
            version = None
    return version[1] if version else ""


def docker_candidate() -> str:
    """The version of docker.io that apt would install, after an update if apt has no lists yet."""
    if not shutil.which("apt-get"):
        return ""
    if not answer("apt-cache", "policy", "docker.io"):
        run("apt-get", "--quiet", "update")
    candidate = re.search(r"Candidate: (\d\S*)", answer("apt-cache", "policy", "docker.io"))
    return candidate[1] if candidate else ""
