# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Docker's programs in the cache, unpacked from packages."""

from __future__ import annotations

import shutil
from pathlib import Path

from docker_engine.errors import EngineError
from docker_engine.layout import Layout
from docker_engine.packages import Bundle
from docker_engine.private_apt import PrivateApt
from docker_engine.terminal import Terminal


def provide_programs(terminal: Terminal, layout: Layout, bundle: Bundle, suite: str) -> Path:
    """The folder with a bundle unpacked in it, made if need be; without network once it is there.

    Raises EngineError if apt does, or if the release's packages are not for this machine's libc.
    """
    programs = layout.programs(bundle)
    if programs.is_dir():
        return programs
    apt_folder = layout.cache / "apt"
    apt = PrivateApt(terminal, apt_folder, suite)
    apt.prepare()
    debs = apt.download(bundle.packages)
    if libc := [deb.name for deb in debs if deb.name.startswith("libc6_")]:
        cause = f"the Docker of {suite} needs {libc[0]}, newer than this machine's"
        raise EngineError(cause, "use a newer release, or point DOCKER_HOST to an engine")
    fresh = programs.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for deb in debs:
        name, version = deb.name.split("_")[:2]
        terminal.say(f"unpacking {name} {version}")
        terminal.ask("dpkg-deb", "-x", str(deb), str(fresh))
    fresh.rename(programs)
    shutil.rmtree(apt_folder, ignore_errors=True)
    return programs


def library_folders(programs: Path) -> list[Path]:
    """Where unpacked packages have brought libraries along."""
    folders = [*programs.glob("usr/lib/*-linux-gnu*"), *programs.glob("lib/*-linux-gnu*")]
    return [folder for folder in folders if any(folder.glob("*.so.*"))]
