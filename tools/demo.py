# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Boot two agents in bridged mode, run a container in each, and ping them (inside ``tools/engine.py run``).

The image's Mesos agent runs if the image has one; otherwise the tests' stand-in runs. The demo says which.
The demo removes both agents at its end, also after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker_engine.images import TASK_IMAGE

ROOT = Path(__file__).resolve().parents[1]
STANDIN = ROOT / "tests/standin/mesos-agent"
BOOT_LIMIT = 120  # seconds
# The rows of the table that a command in the agent fills.
SHOWN = {
    "engine": ("docker", "version", "--format", "{{.Server.Version}}"),
    "storage": ("findmnt", "-no", "FSTYPE,SIZE", "/var/lib/docker"),
    "address": ("hostname", "-i"),
}


class DemoError(Exception):
    """The reason why the demo can't go on."""


@dataclass(frozen=True)
class Agent:
    name: str
    offset: str

    def exec(self, *argv: str) -> str:
        return docker("exec", self.name, *argv)


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def docker(*argv: str, stdin: bytes | None = None) -> str:
    """The stdout of a docker command as stripped text. Raises DemoError with the command's stderr if it fails."""
    done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise DemoError(f"docker {' '.join(argv[:3])} …: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace").strip()


def has_mesos(image: str) -> bool:
    looks = ["sh", image, "-c", "command -v mesos-slave || command -v mesos-agent"]
    done = subprocess.run(["docker", "run", "--rm", "--entrypoint", *looks], capture_output=True, check=False)
    return done.returncode == 0


@contextlib.contextmanager
def agents(image: str, standin: bool) -> Iterator[list[Agent]]:
    """Two started agents; removed when the block ends."""
    mine = os.getpid()
    made = [Agent(f"mesos-dind-demo-{mine}-{letter}", f"0.0.{number}.0") for number, letter in ((1, "a"), (2, "b"))]
    mount = ["--volume", f"{STANDIN}:/usr/sbin/mesos-agent:ro"] if standin else []
    try:
        for agent in made:
            settings = ["--env", f"DOCKER_NETWORK_OFFSET={agent.offset}", "--env", "MESOS_MASTER=127.0.0.1:5050"]
            docker("run", "--detach", "--privileged", "--name", agent.name, *mount, *settings, image)
        yield made
    finally:
        say("cleaning up")
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", *(agent.name for agent in made)], capture_output=True, check=False
        )


def await_boot(agent: Agent) -> None:
    """Show the agent's log until the boot hands over. Raises DemoError if the container ends before."""
    with subprocess.Popen(
        ["docker", "logs", "--follow", agent.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as log:
        assert log.stdout
        deadline = time.monotonic() + BOOT_LIMIT
        for line in log.stdout:
            print(f"  {agent.name[-1]} | {line.rstrip()[:150]}", flush=True)
            if "handing over" in line or time.monotonic() > deadline:
                break
        else:
            raise DemoError(f"{agent.name} ended instead of booting; its log is above")
        log.terminate()


def run_task(agent: Agent, archive: bytes) -> ipaddress.IPv4Address:
    """Start a container inside the agent; returns the container's address on the outer network."""
    docker("exec", "--interactive", agent.name, "docker", "load", "--quiet", stdin=archive)
    agent.exec("docker", "run", "--detach", "--name", "task", TASK_IMAGE, "sleep", "3600")
    network = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
    return ipaddress.IPv4Address(agent.exec("docker", "inspect", "--format", network, "task"))


def ping(title: str, where: Sequence[str], to: ipaddress.IPv4Address) -> str:
    """A line with the time of one ping. Raises DemoError without an answer."""
    argv = [*where, "ping", "-c1", "-W5", str(to)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"time=([0-9.]+ ms)", done.stdout)
    if done.returncode or not found:
        raise DemoError(f"{title}: no answer: {(done.stdout + done.stderr).strip()}")
    return f"  {title:<44} {found[1]:>10}"


def row(title: str, cells: Iterable[object]) -> str:
    return f"  {title:<12}" + "".join(f"{' '.join(str(cell).split()):>18}" for cell in cells)


def table(made: Sequence[Agent], tasks: Sequence[ipaddress.IPv4Address]) -> Iterator[str]:
    """The lines of a table with a column for each agent: the boot's steps, then the agent."""
    reports = [json.loads(agent.exec("cat", "/run/mesos-dind/boot.json")) for agent in made]
    yield row("", (f"agent {agent.name[-1]}" for agent in made))
    for steps in zip(*(report["steps"] for report in reports), strict=True):
        yield row(steps[0]["step"], (f"{step['seconds']:.2f} s" for step in steps))
    yield row("boot", (f"{report['seconds']:.2f} s" for report in reports))
    for title, command in SHOWN.items():
        yield row(title, (agent.exec(*command) for agent in made))
    yield row("container", tasks)


def demonstrate(image: str) -> None:
    standin = not has_mesos(image)
    say("the image has no Mesos: the tests' stand-in agent runs" if standin else "the image's own Mesos agent runs")
    archive = subprocess.run(["docker", "save", TASK_IMAGE], capture_output=True, check=True).stdout
    with agents(image, standin) as made:
        for agent in made:
            await_boot(agent)
        say("running a container in each agent")
        first, second = tasks = [run_task(agent, archive) for agent in made]
        # The host may have no ping: the task image's ping runs in the host's network namespace.
        host = ["docker", "run", "--rm", "--network", "host", TASK_IMAGE]
        inside = ["docker", "exec", made[0].name, "docker", "exec", "task"]
        say("pinging without NAT")
        print(ping(f"host -> {first} (in agent a)", host, first))
        print(ping(f"host -> {second} (in agent b)", host, second))
        print(ping(f"{first} (in a) -> {second} (in b)", inside, second))
        say("the boot's steps and their lengths, and the agents")
        print("\n".join(table(made, tasks)))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="mesos-dind:latest")
    wanted = parser.parse_args(argv)
    try:
        demonstrate(wanted.image)
    except (DemoError, subprocess.CalledProcessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 70
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
