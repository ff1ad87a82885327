# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The images that are made here: the one that others are built on, and the one that tests run as a task."""

from __future__ import annotations

import subprocess
from pathlib import Path

from docker_engine.bootstrap import start_bootstrap
from docker_engine.distribution import SUITE, machine_distribution
from docker_engine.errors import EngineError
from docker_engine.packages import require_programs
from docker_engine.terminal import Terminal

BASE_IMAGE, TASK_IMAGE = f"mesos-dind-base:{SUITE}", "mesos-dind-task:latest"
TASK_FOLDER = Path(__file__).resolve().parents[2] / "tests/images/task"


def image_exists(terminal: Terminal, name: str) -> bool:
    """Whether the engine of the environment has an image; raises EngineError without an engine."""
    try:
        return bool(terminal.ask("docker", "image", "ls", "--quiet", name).strip())
    except EngineError as error:
        raise EngineError(str(error), "run this inside `tools/engine.py run --`") from None


def base_image(terminal: Terminal, suite: str, name: str) -> None:
    """Make the image ``name`` of Debian's (or Ubuntu's) minimal system, unless it exists."""
    if image_exists(terminal, name):
        terminal.say(f"{name} exists")
        return
    own = machine_distribution()
    if suite == SUITE and own.name != "debian":
        cure = f"tag one as {name}, or give --suite {own.codename or 'SUITE'} and a --name"
        raise EngineError(f"{own.name}'s archive has no {suite} to make an image of", cure)
    require_programs(terminal, {"mmdebstrap": "mmdebstrap"})
    terminal.say(f"making {name} with mmdebstrap, which takes half a minute")
    # Not under its name yet: the import also succeeds where mmdebstrap broke off.
    terminal.ask("docker", "tag", import_archive(start_bootstrap(terminal, suite)), name)
    terminal.say(f"{name} is made")


def import_archive(bootstrap: subprocess.Popen[bytes]) -> str:
    """The id of the image that the engine makes of mmdebstrap's archive; raises EngineError if either fails."""
    with bootstrap:
        try:
            imported = subprocess.run(
                ["docker", "import", "-"],
                stdin=bootstrap.stdout,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        except BaseException:
            bootstrap.terminate()
            raise
    image = imported.stdout.strip()
    if bootstrap.returncode:
        subprocess.run(["docker", "image", "rm", image], stdout=subprocess.DEVNULL, check=False)
    if bootstrap.returncode or imported.returncode:
        raise EngineError("`mmdebstrap | docker import` failed", "its output is above")
    return image


def task_image(terminal: Terminal, base: str, name: str) -> None:
    """Build the image ``name`` that the tests run as a task, unless it exists."""
    if image_exists(terminal, name):
        terminal.say(f"{name} exists")
        return
    if base == BASE_IMAGE:
        base_image(terminal, SUITE, base)
    terminal.say(f"building {name} from {base}")
    argument = f"--build-arg=BASE_IMAGE={base}"
    terminal.show("docker", "buildx", "build", "--load", argument, f"--tag={name}", str(TASK_FOLDER))
    terminal.say(f"{name} is built")
