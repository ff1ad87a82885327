"""An agent container in the VM, and what the tests of this folder ask of it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from machine import Engine, Machine

MEMORY = 320 << 20
FIXED = (
    "--detach", "--privileged", "--no-healthcheck", "--env=VAR_LIB_DOCKER_SIZE=1",
    f"--memory={MEMORY}", f"--memory-swap={MEMORY}",
)  # fmt: skip
AGENTS = {
    "private": (),
    "private, init": ("--init",),
    "host": ("--cgroupns=host",),
    "host, init": ("--cgroupns=host", "--init", "--env=MESOS_DIND_FILESYSTEM=xfs"),
}


@dataclass(frozen=True)
class Agent:
    """An agent after its boot, with its ``inner_engine``."""

    machine: Machine
    engine: Engine
    inner_engine: Engine
    container: str

    def run(self, *argv: str) -> str:
        """The output of a command in the container, which must succeed."""
        return self.engine.run("exec", self.container, *argv)

    def inner(self, *argv: str) -> str:
        """The output of a docker command of the inner engine, which must succeed."""
        return self.inner_engine.run(*argv).strip()

    @property
    def group(self) -> str:
        return group(self.container)

    def group_file(self, name: str) -> list[str]:
        return self.machine.run("cat", f"{self.group}/{name}").split()


def group(container: str) -> str:
    """The container's own control group, seen from the VM's root."""
    return f"/sys/fs/cgroup/system.slice/docker-{container}.scope"


@contextlib.contextmanager
def booted(machine: Machine, engine: Engine, image: str, *options: str) -> Iterator[Agent]:
    """Start an agent container. The context's end removes it."""
    container = engine.run("run", *FIXED, *options, image, "sleep", "infinity").strip()
    try:
        # Until the controllers are delegated, further processes enter the group that must become empty.
        while not machine.run("cat", f"{group(container)}/cgroup.subtree_control"):
            engine.run("exec", container, "true")
        await_boot(engine, container)
        init = engine.run("inspect", "--format={{.State.Pid}}", container).strip()
        inner_engine = machine.engine(container[:12], f"/proc/{init}/root/run/docker.sock")
        yield Agent(machine, engine, inner_engine, container)
    finally:
        engine.run("rm", "--force", "--volumes", container)


def await_boot(engine: Engine, container: str) -> None:
    """Wait until the agent runs. Fail if the container ends first."""
    log = []
    command = engine.command("logs", "--follow", container)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr
        for line in following.stderr:
            log.append(line)
            if "handing over to" in line:
                following.kill()
                break
        else:
            raise AssertionError("the container ended:\n" + "".join(log))
    # The boot writes the line just before the hand-over.
    while engine.run("exec", container, "sh", "-c", "[ -e /run/mesos-dind/handed-over ] || echo not yet"):
        pass
