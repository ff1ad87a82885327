# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Packages of the machine's own distribution: which ones Docker is, which version apt has, and their installation."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from docker_engine.errors import EngineError
from docker_engine.terminal import Terminal, search_path


@dataclass(frozen=True)
class Bundle:
    """Packages that belong together, by their names in Debian and Ubuntu. ``name`` is its folder's in the cache."""

    name: str
    packages: tuple[str, ...]


CLIENT = Bundle("client", ("docker-cli", "docker-buildx"))
ENGINE = Bundle("engine", ("docker.io", "containerd", *CLIENT.packages))


def parse_candidates(policy: str) -> dict[str, str]:
    """Each package's candidate in the output of ``apt-cache policy PACKAGE...``; those without one are left out."""
    found = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", policy, re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


def apt_install(terminal: Terminal, *packages: str) -> None:
    """Install packages of the machine's own distribution; raises EngineError, also if not root."""
    if os.geteuid() != 0:
        raise EngineError(f"this needs {', '.join(packages)}", f"apt-get install {' '.join(packages)}")
    terminal.say(f"installing {', '.join(packages)} with apt-get")
    terminal.show("apt-get", "--quiet", "update")
    options = ("--quiet", "--yes", "--no-install-recommends", "-oDPkg::Lock::Timeout=300", "-oDpkg::Use-Pty=false")
    terminal.show("apt-get", *options, "install", *packages)


def require_programs(terminal: Terminal, needs: Mapping[str, str]) -> None:
    """Install the packages of those programs (name: package) that the machine lacks; raises as apt_install does."""
    missing = [package for program, package in needs.items() if not shutil.which(program, path=search_path())]
    if missing:
        apt_install(terminal, *dict.fromkeys(missing))
