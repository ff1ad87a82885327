"""An agent container, and what the tests of this folder ask of it."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jmespath
import pytest
from docker.models.containers import Container

STANDIN = Path(__file__).parents[1] / "standin/mesos-agent"

# Seconds until a test gives up. A boot takes two to four seconds on two cores.
BOOT_LIMIT = 90

# The engine's error if its runc (before 1.2) started nothing. runc copies itself first. On a busy machine, the kernel
# calls the copy busy once in one or two thousand times. runc then logs, as fatal, "could not ensure we are a cloned
# binary: Device or resource busy" (runc, libcontainer/nsenter/cloned_binary.c).
NOTHING_STARTED = "waiting for init preliminary setup: read init-p: connection reset by peer"
ATTEMPTS = 3


class Executed(NamedTuple):
    """The result of a command in a container: its status, and its stdout and stderr together."""

    exit_code: int
    output: bytes


class Agent:
    """One agent container."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def await_line(self, text: str) -> None:
        """Follow the log since the container's start until a line has ``text`` in it. Fail if the log ends first."""
        seen: list[str] = []
        with contextlib.closing(self.container.logs(stream=True, follow=True, since=self.started)) as stream:
            # The stream blocks, so a timer closes it when the wait has lasted too long.
            alarm = threading.Timer(BOOT_LIMIT, self.container.kill)
            alarm.start()
            try:
                for line in lines(stream):
                    seen.append(line)
                    if text in line:
                        return
            finally:
                alarm.cancel()
        pytest.fail(f"the container ended and never said {text!r}:\n" + "\n".join(seen))

    def await_boot(self) -> Agent:
        self.await_line("handing over to")
        # The line and the marker are written just before the exec: health checks both the engine and the agent.
        while self.exec("test", "-e", "/run/mesos-dind/handed-over").exit_code:
            pass  # an exec in a container that has ended fails the test
        self.container.reload()
        if self.container.attrs["Config"]["Cmd"][0] in ("mesos-slave", "mesos-agent"):
            self.await_line("stand-in agent: running")  # the stand-in has recorded its start by then
        return self

    def exec(self, *argv: str) -> Executed:
        """Run a command in the container, which must be running.

        Uses the client: the SDK's exec_run sometimes loses output (https://github.com/docker/docker-py/issues/2042).
        Tries again if this engine, or an inner engine's `docker exec`, started nothing.
        """
        for _ in range(ATTEMPTS):
            done = subprocess.run(
                ["docker", "exec", str(self.container.id), *argv],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if b"OCI runtime exec failed" not in done.stdout or NOTHING_STARTED.encode() not in done.stdout:
                break
        if done.returncode == 1 and done.stdout.startswith(b"Error response from daemon"):
            pytest.fail(f"{argv}: {done.stdout.decode().strip()}:\n{self.logs()}")
        return Executed(done.returncode, done.stdout)

    def run(self, *argv: str) -> str:
        """The output of a command in the container, which must succeed."""
        code, output = self.exec(*argv)
        text: str = output.decode(errors="replace")
        assert code == 0, f"{argv} ended with {code}: {text}"
        return text

    def inner(self, *argv: str) -> str:
        """The output of a docker command of the inner engine."""
        return self.run("docker", *argv).strip()

    def load(self, archive: bytes) -> None:
        """Load a saved image into the inner engine."""
        assert self.container.put_archive("/tmp", tar_of("task.tar", archive))
        self.inner("load", "--quiet", "--input", "/tmp/task.tar")

    def launch(self, net: str, image: str, command: str) -> str:
        """Have the stand-in run a task with an attached `docker run`. Returns the name of the running container."""
        count = len(self.read("/run/standin/launched").splitlines())
        script = """
            echo "$@" >/run/standin/launch
            until name=$(sed -n "$0p" /run/standin/launched) && [ "$name" ]; do :; done
            until [ "$(docker inspect --format {{.State.Running}} "$name" 2>&1)" = true ]; do :; done
            echo "$name"
        """
        return self.run("timeout", str(BOOT_LIMIT), "sh", "-c", script, str(count + 1), net, image, command).strip()

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def wait(self) -> int:
        status: int = self.container.wait(timeout=BOOT_LIMIT)["StatusCode"]
        return status

    def logs(self) -> str:
        text: str = self.container.logs().decode(errors="replace")
        return text

    def stderr(self) -> list[str]:
        return self.container.logs(stdout=False).decode(errors="replace").splitlines()

    def source(self, destination: str) -> Path:
        """The path on this machine of the mount at ``destination``."""
        self.container.reload()
        (mount,) = (mount for mount in self.container.attrs["Mounts"] if mount["Destination"] == destination)
        return Path(mount["Source"])

    @property
    def started(self) -> float:
        """The time of the container's last start, in seconds since the epoch."""
        self.container.reload()
        return datetime.fromisoformat(self.container.attrs["State"]["StartedAt"]).timestamp()

    @property
    def address(self) -> str:
        self.container.reload()
        (only,) = jmespath.search("NetworkSettings.Networks.*.IPAddress", self.container.attrs)
        return str(only)


def lines(stream: Any) -> Iterator[str]:
    rest = b""
    for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")


def tar_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def assert_untouched(agent: Agent) -> None:
    """Assert that the boot has made nothing: it refused its settings."""
    paths = {str(change["Path"]) for change in agent.container.diff()}
    made = {path for path in paths if path.startswith(("/var/lib/docker", "/var/lib/mesos-dind", "/etc/docker/"))}
    assert made <= {"/etc/docker/daemon.json"}, "which is where the test has mounted its own"


def loop_devices() -> set[str]:
    """The loop devices of agents' images on this machine."""
    found = {path.parents[1].name: path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")}
    return {device for device, file in found.items() if file.strip().endswith("/var/lib/mesos-dind/docker.img")}


def attached_to(image: Path) -> str:
    """The loop device of this file. Not by its path, which is the same for the images of all agents."""
    found = subprocess.run(["losetup", "--associated", str(image)], check=True, capture_output=True, text=True)
    return found.stdout


def assert_given_back(image: Path) -> None:
    """Assert that the image has no loop device any more, and that its file system is clean."""
    assert not attached_to(image)
    command = ["e2fsck", "-f", "-n", str(image)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


Start = Callable[..., Agent]
