"""Tests of the ways to bring a Mesos into the image. The tests use the stand-in, packed like a Mesos."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import handed_over
import pytest
from agents import STANDIN, Agent, Start
from docker.models.images import Image
from image import secrets

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tag(engine: docker.DockerClient) -> Iterator[str]:
    name = f"mesos-dind-test:{uuid.uuid4().hex[:12]}"
    yield name
    for made in (name, f"{name}-base"):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.images.remove(made, force=True)


def build(tag: str, base: str, **arguments: str) -> subprocess.CompletedProcess[str]:
    """Build the image with a Mesos by ``make image``."""
    mesos = arguments.pop("mesos", "")
    return subprocess.run(
        ["python3", "tools/image.py", "--tag", tag, "--base", base, "--mesos", mesos],
        cwd=ROOT,
        env={**os.environ, **arguments},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> str:
    """The base of the image under test, as `tools/image.py` chose it."""
    known: list[Image] = engine.images.list()
    tags = {tag for image in known for tag in image.tags}
    return next(name for name in ("ubuntu:24.04", "mesos-dind-base:trixie") if name in tags)


def package(folder: Path) -> Path:
    """A Debian package with the stand-in in it."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: mesos-standin\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n"
        "Depends: hello\nDescription: a stand-in for a Mesos agent\n"
    )
    (tree / "usr/sbin").mkdir(parents=True)
    shutil.copy(STANDIN, tree / "usr/sbin/mesos-agent")
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, folder / "mesos.deb"], check=True)
    return folder / "mesos.deb"


@pytest.fixture
def served(start: Start, engine: docker.DockerClient, tmp_path: Path) -> Agent:
    """A container on the engine's default bridge that serves the package over HTTP to the build."""
    package(tmp_path)
    return start(
        "httpd", "-f", "-p", "80", "-h", "/served",
        image="mesos-dind-task:latest", standin=False, privileged=False, volumes={str(tmp_path): "/served"},
    )  # fmt: skip


def test_a_folder_as_a_build_context(start: Start, tag: str, base: str, tmp_path: Path) -> None:
    """Mesos' files of an installation prefix go to /usr/local; other files do not."""
    for name in ("sbin/mesos-agent", "lib/libmesos-1.12.0.so", "bin/unrelated"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(STANDIN, tmp_path / name)
    (tmp_path / "lib/libmesos.so").symlink_to("libmesos-1.12.0.so")
    built = build(tag, base, mesos=str(tmp_path))
    assert built.returncode == 0, built.stderr
    agent = start("mesos-slave", "--ip=127.0.0.1", image=tag, standin=False).await_boot()
    agent.await_line("stand-in agent: running")
    assert agent.read("/run/standin/argv").split() == ["--ip=127.0.0.1"]
    assert agent.run("readlink", "-f", "/usr/local/lib/libmesos.so").strip() == "/usr/local/lib/libmesos-1.12.0.so"
    assert agent.exec("test", "-e", "/usr/local/bin/unrelated").exit_code == 1


def test_an_image_as_a_build_context(start: Start, tag: str, base: str, tmp_path: Path) -> None:
    """Mesos' files of a root file system keep their paths. The image is built by `docker build`, without our tools."""
    shutil.copy(STANDIN, tmp_path / "mesos-agent")
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nCOPY mesos-agent /usr/sbin/\nCOPY mesos-agent /usr/sbin/unrelated\n"
    )
    made = ["docker", "buildx", "build", "--load", "--tag", f"{tag}-base", str(tmp_path)]
    subprocess.run(made, check=True, capture_output=True)
    subprocess.run(
        [
            "docker", "build", f"--tag={tag}", f"--build-arg=BASE_IMAGE={base}",
            "--build-context", f"mesos=docker-image://{tag}-base", *secrets(os.environ), ".",
        ],
        cwd=ROOT,
        check=True,
    )  # fmt: skip
    agent = start("mesos-slave", image=tag, standin=False).await_boot()
    agent.run("test", "-x", "/usr/sbin/mesos-agent")
    assert agent.exec("test", "-e", "/usr/sbin/unrelated").exit_code == 1


def test_a_package_with_its_checksum(start: Start, served: Agent, tag: str, base: str, tmp_path: Path) -> None:
    checksum = hashlib.sha256((tmp_path / "mesos.deb").read_bytes()).hexdigest()
    url = f"http://{served.address}/mesos.deb"
    built = build(tag, base, MESOS_DEB_URL=url, MESOS_DEB_SHA256=checksum)
    assert built.returncode == 0, built.stderr
    agent = start(image=tag, standin=False)
    agent.await_line("stand-in agent: running")


def test_a_package_without_its_checksum_is_refused(tag: str, base: str) -> None:
    built = build(tag, base, MESOS_DEB_URL="http://127.0.0.1:9/mesos.deb")
    assert built.returncode == 70
    assert "MESOS_DEB_URL needs the SHA-256 of its package" in " ".join(built.stderr.split())


def test_a_base_image_that_has_one_with_packages(start: Start, tag: str, base: str, tmp_path: Path) -> None:
    shutil.copy(STANDIN, tmp_path / "mesos-agent")
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nCOPY mesos-agent /usr/local/sbin/mesos-agent\n")
    made = ["docker", "buildx", "build", "--load", "--tag", f"{tag}-base", str(tmp_path)]
    subprocess.run(made, check=True, capture_output=True)
    built = build(tag, f"{tag}-base", MESOS_PACKAGES="hello")
    assert built.returncode == 0, built.stderr
    agent = start("mesos-slave", image=tag, standin=False).await_boot()
    agent.await_line("stand-in agent: running")
    assert "Hello" in agent.run("hello")


def test_a_folder_that_is_mounted_at_run_time(start: Start, tmp_path: Path) -> None:
    """The mount hides all that the image has in /usr/local."""
    (tmp_path / "sbin").mkdir()
    shutil.copy(STANDIN, tmp_path / "sbin/mesos-agent")
    env = {"LD_LIBRARY_PATH": "/usr/local/lib"}
    agent = start("mesos-slave", standin=False, env=env, volumes={str(tmp_path): "/usr/local"}).await_boot()
    assert handed_over.environ(agent)["LD_LIBRARY_PATH"] == "/usr/local/lib"
    assert "answers" in agent.run("mesos-dind", "health")
