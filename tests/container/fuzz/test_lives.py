"""Fuzzing of lives: kills at any moment, and loop images with wrong bytes. Nothing of the user's is lost."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import Agent, Start
from fuzz_ends import COMMAND, assert_ends_well
from fuzz_seed import CASES, generator, names

pytestmark = pytest.mark.fuzz

WITNESS = "precious"
LIVES = [
    ("/var/lib/docker", {}),
    ("/var/lib/mesos-dind", {"VAR_LIB_DOCKER_SIZE": "200M"}),
    ("/var/lib/mesos-dind", {"VAR_LIB_DOCKER_SIZE": "400M", "MESOS_DIND_FILESYSTEM": "xfs"}),
    ("/var/lib/docker", {"DOCKER_NETWORK_OFFSET": "0.0.9.0"}),
]


@pytest.mark.parametrize("case", names(CASES // 2))
def test_what_was_written_outlives_kills_at_any_moment(start: Start, volume: str, case: str) -> None:
    rng = generator(case)
    target, env = rng.choice(LIVES)
    volumes = {volume: target}
    first = start("docker", "volume", "create", WITNESS, env=env, volumes=volumes)
    assert first.wait() == 0, first.logs()
    agent = start("sleep", "1000", env=env, volumes=volumes)
    for moment in [rng.uniform(0, 3) for _ in range(3)]:
        print(f"{target} with {env}: killed after {moment:.3f} s")
        time.sleep(moment)  # the case: any moment will do
        agent.container.kill()
        agent.wait()
        agent.container.start()
    assert agent.await_boot().inner("volume", "ls", "--quiet") == WITNESS


@pytest.fixture(scope="module")
def image(start_for_all: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop image that holds the witness."""
    folder = tmp_path_factory.mktemp("image")
    env = {"VAR_LIB_DOCKER_SIZE": "64M", "MESOS_DIND_STORAGE": "loop"}
    agent = start_for_all("docker", "volume", "create", WITNESS, env=env, volumes={str(folder): "/var/lib/mesos-dind"})
    assert agent.wait() == 0, agent.logs()
    return folder / "docker.img"


@pytest.fixture
def damaged(image: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the image."""
    copy = tmp_path / image.name
    subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
    yield copy
    shutil.rmtree(tmp_path)


def damage(path: Path, rng: random.Random) -> str:
    """Write wrong bytes into the superblock, into other metadata or anywhere, or cut the file. Tells what was done."""
    size = path.stat().st_size
    if rng.random() < 0.1:
        length = rng.choice((0, 1, 1024, 2048, 4096, size // 2, size - 1))
        with path.open("r+b") as file:
            file.truncate(length)
        return f"cut to {length} bytes"
    start, end = rng.choice(((1024, 1300), (1024, 2048), (4096, 64 << 10), (0, size)))
    length = rng.choice((1, 2, 4, 64, 4096))
    offset = rng.randrange(start, end)
    new = rng.choice((b"\0" * length, b"\xff" * length, rng.randbytes(length)))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(new)
    return f"{length} bytes at {offset}: {new[:8].hex()}…"


@pytest.mark.parametrize("case", names(CASES))
def test_a_damaged_image_is_mended_or_left_as_it_is(start: Start, damaged: Path, case: str) -> None:
    print(damage(damaged, generator(case)))
    before = checksum(damaged)
    agent = start(*COMMAND, env={"VAR_LIB_DOCKER_SIZE": "64M"}, volumes={str(damaged.parent): "/var/lib/mesos-dind"})
    status = assert_ends_well(agent)
    if status and refused_by_storage(agent):
        assert checksum(damaged) == before


def refused_by_storage(agent: Agent) -> bool:
    return agent.stderr()[-1].startswith("mesos-dind: storage")


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
