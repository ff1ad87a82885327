"""An agent container in the VM, as the tests of this folder see it."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from machine import Machine

TASK_IMAGE = "mesos-dind-task:latest"


@dataclass(frozen=True)
class Agent:
    machine: Machine
    container: str

    def await_line(self, text: str, meanwhile: str = "") -> None:
        """Follow the log until a line has ``text`` in it, and execute ``meanwhile`` again and again until then."""
        follow = f"grep -q -m 1 -F {shlex.quote(text)} < <(docker logs --follow {self.container} 2>&1)"
        loop = f"while :; do {meanwhile}; done >/dev/null 2>&1 & trap 'kill $!' EXIT; " if meanwhile else ""
        done = self.machine.ssh("bash", "-c", loop + follow)
        assert done.returncode == 0, f"the container ended and never said {text!r}:\n{self.logs()}"

    def await_boot(self) -> Agent:
        """Booted, and with the task image in the inner engine."""
        self.await_line("handing over to")
        while self.status("test", "-e", "/run/mesos-dind/handed-over"):
            pass  # the line is written just before
        self.run("docker", "load", "--quiet", "--input", "/task.tar")
        return self

    def logs(self) -> str:
        return self.machine.run("sh", "-c", f"docker logs {self.container} 2>&1")

    def run(self, *argv: str) -> str:
        """The output of a command in the container, which must succeed."""
        return self.machine.run("docker", "exec", self.container, *argv)

    def status(self, *argv: str) -> int:
        return self.machine.ssh("docker", "exec", self.container, *argv).returncode

    def info(self) -> dict[str, Any]:
        """Of the inner engine."""
        found: dict[str, Any] = json.loads(self.run("docker", "info", "--format", "json"))
        return found

    def group(self) -> str:
        """The container's own control group, seen from the VM's root."""
        return f"/sys/fs/cgroup/system.slice/docker-{self.container}.scope"

    def group_file(self, name: str) -> list[str]:
        return self.machine.run("cat", f"{self.group()}/{name}").split()


@contextlib.contextmanager
def running(machine: Machine, image: str, *options: str) -> Iterator[Agent]:
    """An agent container that is gone when the context is left."""
    fixed = ("--detach", "--privileged", "--no-healthcheck", "--volume=/root/task.tar:/task.tar:ro")
    container = machine.run("docker", "run", *fixed, *options, image, "sleep", "infinity").strip()
    try:
        yield Agent(machine, container)
    finally:
        machine.ssh("docker", "rm", "--force", "--volumes", container)
