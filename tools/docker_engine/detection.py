# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What there is on the machine: the engines and packages by which one is chosen."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from docker_engine.api import DEFAULT_SOCKET, server_version
from docker_engine.choice import Situation, new_enough
from docker_engine.distribution import machine_distribution
from docker_engine.layout import Layout
from docker_engine.packages import ENGINE, parse_candidates
from docker_engine.terminal import Terminal

# For the environment's engine, which may be far away, or be started by systemd when it is asked.
CLIENT_SECONDS = 30.0


def detect(terminal: Terminal, layout: Layout) -> Situation:
    """Look at the machine; asks apt, which is slow, only where its answer counts."""
    situation = Situation(
        root=os.geteuid() == 0,
        answering=answering_version(terminal),
        ours=layout.started_by_systemd.exists(),
        unpacked=layout.programs(ENGINE).is_dir(),
        installed=installed_version(terminal),
        systemd=Path("/run/systemd/system").is_dir(),
        distribution=machine_distribution(),
    )
    settled = new_enough(situation.answering) or new_enough(situation.installed)
    if settled or situation.unpacked or not situation.root:
        return situation
    return replace(situation, candidate=docker_candidate(terminal))


def answering_version(terminal: Terminal) -> str | None:
    """The version of the environment's engine, by its own client if there is one (contexts, TLS, ssh)."""
    if shutil.which("docker"):
        asked = terminal.answer("docker", "version", "--format", "{{.Server.Version}}", timeout=CLIENT_SECONDS)
        return (asked or "").strip() or None
    scheme, _, path = os.environ.get("DOCKER_HOST", f"unix://{DEFAULT_SOCKET}").partition("://")
    return server_version(Path(path)) if scheme == "unix" else None


def installed_version(terminal: Terminal) -> str | None:
    """The version of the ``dockerd`` on the search path, None without one."""
    match = re.search(r"version ([^\s,]+)", terminal.answer("dockerd", "--version") or "")
    return match[1] if match else None


def docker_candidate(terminal: Terminal) -> str | None:
    """The version of docker.io that apt would install, after an update where apt knows nothing yet."""
    policy = terminal.answer("apt-cache", "policy", "docker.io")
    if policy == "":
        terminal.say("fetching the package lists")
        terminal.show("apt-get", "--quiet", "update")
        policy = terminal.answer("apt-cache", "policy", "docker.io")
    return parse_candidates(policy or "").get("docker.io")
