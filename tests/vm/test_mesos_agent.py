"""Tests of a Mesos agent on cgroup v2, which upstream's Mesos does not support: its settings, from boot to stop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import jmespath
import pytest
from agent_disk import AgentDisk
from agents import STANDIN
from machine import Engine, Machine
from vm_agents import FIXED, await_boot

STATE = "/var/lib/mesos-dind"
# Seconds. In the VM, even a client takes a second to start.
STOP_TIMEOUT = 60


@pytest.fixture
def container(engine: Engine, agent_image: AgentDisk) -> Iterator[str]:
    """An agent with the stand-in, after its boot."""
    options = (f"--volume={STATE}", "--cpus=0.99", f"--env=MESOS_DIND_STOP_TIMEOUT={STOP_TIMEOUT}")
    made = engine.run("create", *(word for word in FIXED if word != "--detach"), *options, agent_image.name).strip()
    try:
        engine.run("cp", str(STANDIN), f"{made}:/usr/sbin/mesos-agent")
        engine.run("start", made)
        await_boot(engine, made)
        yield made
    finally:
        engine.run("rm", "--force", "--volumes", made)


def test_an_agent_on_v2_is_warned_of_configured_and_stopped(machine: Machine, engine: Engine, container: str) -> None:
    engine.run("exec", container, "sh", "-c", "until [ -e /run/standin/launch ]; do :; done")
    environ = engine.run("exec", container, "cat", "/run/standin/environ").split("\0")
    assert "MESOS_ISOLATION=posix/cpu,posix/mem,filesystem/linux,docker/runtime" in environ
    assert "MESOS_RESOURCES=cpus:0.99;mem:160;disk:1024" in environ
    assert f"MESOS_WORK_DIR={STATE}/agent" in environ

    engine.run("stop", f"--time={2 * STOP_TIMEOUT}", container)
    (about,) = json.loads(engine.run("inspect", container))
    assert jmespath.search("State.ExitCode", about) == 0
    (volume,) = jmespath.search(f"Mounts[?Destination=='{STATE}'].Source", about)
    assert machine.run("losetup", "--associated", f"{volume}/docker.img") == ""
    machine.run("e2fsck", "-f", "-n", f"{volume}/docker.img")

    command = engine.command("logs", container)
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    (warning,) = [line for line in log if "warning: this host has pure cgroup v2" in line]
    assert "runs no Docker task" in warning
    assert not [line for line in log if "did not stop" in line or "could not be unmounted" in line]
