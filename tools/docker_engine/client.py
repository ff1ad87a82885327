# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The docker client that COMMAND finds: its environment, its configuration, and a buildx."""

from __future__ import annotations

import json
import os
from pathlib import Path

from docker_engine.distribution import SUITE, machine_distribution
from docker_engine.errors import EngineError
from docker_engine.layout import Layout
from docker_engine.locks import changing
from docker_engine.packages import CLIENT, parse_candidates
from docker_engine.programs import provide_programs
from docker_engine.terminal import Terminal


def client_environment(layout: Layout, host: str | None, programs: Path | None) -> dict[str, str]:
    """The environment for COMMAND: the engine's address, None for the environment's own, and a client with buildx.

    ``programs`` is the folder with an unpacked client, None to use the installed one.
    """
    environment = dict(os.environ)
    if host:
        for name in ("CONTEXT", "TLS", "TLS_VERIFY", "CERT_PATH", "API_VERSION"):
            environment.pop(f"DOCKER_{name}", None)
        environment["DOCKER_HOST"] = host
    if programs:
        folder = layout.cache / "client"
        write_client(folder, programs)
        environment["DOCKER_CONFIG"] = str(folder)
        environment["PATH"] = f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    return environment


def write_client(folder: Path, programs: Path) -> None:
    """A docker on a search path of its own, and a configuration that finds the buildx beside it."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    replace_text(folder / "config.json", json.dumps(client_configuration(programs), indent=2) + "\n")
    fresh = folder / f"docker.{os.getpid()}"
    fresh.symlink_to(programs / "usr/bin/docker")
    fresh.replace(folder / "bin" / "docker")


def client_configuration(programs: Path) -> dict[str, object]:
    """Our client's configuration; of the developer's own only the proxies, which builds and containers need."""
    plugins = sorted({str(plugin.parent) for plugin in programs.glob("usr/lib*/docker/cli-plugins/*")})
    theirs = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        proxies = json.loads(theirs.read_text()).get("proxies")
    except (OSError, ValueError):
        proxies = None
    return {"cliPluginsExtraDirs": plugins, **({"proxies": proxies} if proxies else {})}


def replace_text(path: Path, text: str) -> None:
    """Write a file that others may be reading."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def client_programs(terminal: Terminal, layout: Layout) -> Path | None:
    """The folder with an unpacked client, where the installed one has no buildx and another is to be had; else None."""
    if terminal.answer("docker", "buildx", "version"):
        return None
    own = terminal.answer("apt-cache", "policy", "docker-buildx") or ""
    suite = machine_distribution().codename if parse_candidates(own) else SUITE
    try:
        with changing(terminal, layout):
            return provide_programs(terminal, layout, CLIENT, suite)
    except EngineError as error:
        terminal.say(f"images cannot be built, since docker has no buildx here: {error}")
        return None
