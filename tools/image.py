# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Build the agent image, and the small one that tests and the demo run as a task (inside ``tools/engine.py run``).

    python3 tools/image.py [--tag mesos-dind:latest] [--base IMAGE] [--mesos DIR|docker-image://NAME]

Without --base it is the Dockerfile's default where that can be pulled, and a Debian 13 made on this machine where not.
Further ways to bring a Mesos: MESOS_DEB_URL with MESOS_DEB_SHA256, and MESOS_PACKAGES, from the environment.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker_engine.images import BASE_IMAGE, TASK_IMAGE

ROOT = Path(__file__).resolve().parents[1]
BUILD_ARGUMENTS = ("MESOS_DEB_URL", "MESOS_DEB_SHA256", "MESOS_PACKAGES")


def default_base() -> str:
    """The Dockerfile's default base image."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def exists(image: str) -> bool:
    inspected = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return inspected.returncode == 0


def choose_base() -> str:
    """The default base where it is here or can be pulled, else one that is made here. Says which."""
    wanted = default_base()
    if exists(wanted):
        return wanted
    if not exists(BASE_IMAGE):
        say(f"pulling {wanted}")
        pulled = subprocess.run(["docker", "pull", "--quiet", wanted], capture_output=True, text=True, check=False)
        if pulled.returncode == 0:
            return wanted
        say(f"{wanted} can't be pulled ({last_line(pulled.stderr)}); making a Debian 13 instead")
        subprocess.run([sys.executable, str(ROOT / "tools/engine.py"), "base-image", "--name", BASE_IMAGE], check=True)
    return BASE_IMAGE


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason given"


def say(text: str) -> None:
    print(f"image: {text}", file=sys.stderr, flush=True)


def secrets(environ: Mapping[str, str]) -> list[str]:
    """The secrets of the build that pip needs behind a proxy: the machine's CA bundle, and pip's configuration."""
    bundle = next(
        (environ[name] for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE") if name in environ), ""
    )
    home = Path(environ.get("HOME", "/root"))
    asked = [Path(environ["PIP_CONFIG_FILE"])] if environ.get("PIP_CONFIG_FILE") else []
    places = [*asked, home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf")]
    configuration = next((str(place) for place in places if place.is_file()), "")
    named = {"ca_bundle": bundle, "pip_conf": configuration}
    return [f"--secret=id={name},src={path}" for name, path in named.items() if path]


def build_command(tag: str, base: str, mesos: str, environ: Mapping[str, str]) -> list[str]:
    given = [f"--build-arg={name}={environ[name]}" for name in BUILD_ARGUMENTS if environ.get(name)]
    context = [f"--build-context=mesos={mesos}"] if mesos else []
    return [
        "docker", "buildx", "build", "--load", f"--tag={tag}", f"--build-arg=BASE_IMAGE={base}",
        *given, *context, *secrets(environ), str(ROOT),
    ]  # fmt: skip


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Build the agent image.")
    parser.add_argument("--tag", default="mesos-dind:latest")
    parser.add_argument("--base", default="")
    parser.add_argument("--mesos", default="")
    wanted = parser.parse_args(argv)
    try:
        base = wanted.base or choose_base()
        say(f"building {wanted.tag} on {base}" + (f" with the Mesos of {wanted.mesos}" if wanted.mesos else ""))
        subprocess.run(build_command(wanted.tag, base, wanted.mesos, os.environ), check=True)
        if not exists(TASK_IMAGE):
            engine = [sys.executable, str(ROOT / "tools/engine.py")]
            subprocess.run([*engine, "task-image", "--base", base, "--name", TASK_IMAGE], check=True)
    except subprocess.CalledProcessError as error:
        say(f"`{' '.join(map(str, error.cmd[:3]))} …` failed with status {error.returncode}")
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
