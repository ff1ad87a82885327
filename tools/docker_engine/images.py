# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The images that are made here: the one that others are built on, and the one that tests run as a task."""

from __future__ import annotations

from pathlib import Path

from docker_engine.choice import distribution
from docker_engine.debian import SUITE, bootstrap
from docker_engine.terminal import EngineError, answer, run, say

BASE_IMAGE, TASK_IMAGE = f"mesos-dind-base:{SUITE}", "mesos-dind-task:latest"
TASK_FOLDER = Path(__file__).resolve().parents[2] / "tests/images/task"


def image_exists(name: str) -> bool:
    """Whether the environment's engine has an image; raises EngineError without an engine."""
    if not answer("docker", "version"):
        raise EngineError("no Docker engine answers; run this inside `tools/engine.py run --`")
    return bool(answer("docker", "image", "ls", "--quiet", name))


def base_image(suite: str, name: str) -> None:
    """Make the image ``name`` of Debian's (or Ubuntu's) minimal system, unless it exists."""
    own = distribution()[0]
    if image_exists(name):
        return
    if suite == SUITE and own != "debian":
        raise EngineError(f"{own}'s archive has no {suite}; tag an image as {name}, or give another --suite and --name")
    say(f"making {name} with mmdebstrap, which takes half a minute")
    # Not under its name yet: the import also succeeds where mmdebstrap broke off.
    run("docker", "tag", bootstrap(suite, ["docker", "import", "-"]), name)


def task_image(base: str, name: str) -> None:
    """Build the image ``name`` that the tests run as a task, unless it exists."""
    if image_exists(name):
        return
    if base == BASE_IMAGE:
        base_image(SUITE, base)
    say(f"building {name} from {base}")
    build = ("docker", "buildx", "build", "--load", f"--build-arg=BASE_IMAGE={base}", f"--tag={name}")
    run(*build, str(TASK_FOLDER))
