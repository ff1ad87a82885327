"""Tests of restarts: the agent's work directory, inner images and volumes are kept and usable, on either storage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import docker
import handed_over
import jmespath
import netaddr
import pytest
from agents import Agent, Start
from docker.models.networks import Network

STATE, DATA = "/var/lib/mesos-dind", "/var/lib/docker"
WORK = f"{STATE}/agent"
LATEST = f"{WORK}/meta/slaves/latest"
STORAGES = {"loop": (STATE,), "volume": (STATE, DATA)}

Begin = Callable[..., Agent]


@pytest.fixture(params=STORAGES)
def volumes(request: pytest.FixtureRequest, engine: docker.DockerClient, label: str) -> Iterator[dict[str, str]]:
    """Volumes of the outer engine, by name. With a volume at the data root, overlay works without a loop image."""
    key, _, value = label.partition("=")
    made = [(engine.volumes.create(labels={key: value}), place) for place in STORAGES[str(request.param)]]
    yield {str(volume.name): place for volume, place in made}
    for volume, _place in made:
        volume.remove(force=True)


@pytest.fixture
def daemon_args(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", ""))


@pytest.fixture
def begin(volumes: dict[str, str], user_network: Network, start: Start, daemon_args: str) -> Begin:
    """A function that starts an agent in bridged mode on the volumes."""

    def begin(hostname: str = "one") -> Agent:
        env = {"DOCKER_NETWORK_OFFSET": "0.0.7.0", "DOCKER_DAEMON_ARGS": daemon_args}
        return start(env=env, hostname=hostname, network=user_network.name, volumes=volumes).await_boot()

    return begin


@pytest.fixture
def first(begin: Begin, volumes: dict[str, str], task_archive: bytes) -> Agent:
    """An agent with an inner image, a volume and a work directory to keep."""
    agent = begin()
    assert ("loop" in agent.run("findmnt", "--noheadings", "--output", "SOURCE", DATA)) is (len(volumes) == 1)
    agent.load(task_archive)
    agent.inner("volume", "create", "kept")
    agent.inner("run", "--rm", "--volume=kept:/kept", "mesos-dind-task", "sh", "-c", "echo precious >/kept/note")
    options = ("--detach", "--restart=always", "--stop-signal=KILL", "--name=lasting")
    agent.inner("run", *options, "mesos-dind-task", "sleep", "10000")
    agent.run("sh", "-c", f"mkdir -p {WORK}/meta/slaves/S0 && ln -s S0 {LATEST} && echo sandbox >{WORK}/note")
    return agent


def assert_kept(agent: Agent, image: str, *, is_recovered: bool = True) -> None:
    assert agent.inner("images", "--quiet", "--no-trunc") == image
    options = ("--rm", "--volume=kept:/kept")
    assert agent.inner("run", *options, "mesos-dind-task", "cat", "/kept/note") == "precious"
    agent.inner("exec", "lasting", "true")
    assert agent.read(f"{WORK}/note") == "sandbox\n"
    assert agent.exec("test", "-L", LATEST).exit_code == (0 if is_recovered else 1)
    assert agent.exec("test", "-d", f"{WORK}/meta/slaves/S0").exit_code == 0
    (docker0,) = json.loads(agent.run("ip", "-json", "-4", "address", "show", "docker0"))
    assert jmespath.search("addr_info[].local", docker0) == [agent.address]
    assert " dev docker0" in agent.run("ip", "route", "show", "default")
    assert "changed=0" in agent.run("mesos-dind", "converge")


def image_of(agent: Agent) -> str:
    return agent.inner("images", "--quiet", "--no-trunc")


def test_docker_restart(first: Agent) -> None:
    image = image_of(first)
    first.container.restart(timeout=20)
    assert_kept(first.await_boot(), image)


def test_sigkill_and_start(first: Agent) -> None:
    image = image_of(first)
    first.container.kill()
    assert first.wait() == 137
    first.container.start()
    assert_kept(first.await_boot(), image)


def test_a_new_container_on_the_same_volumes(first: Agent, begin: Begin) -> None:
    image = image_of(first)
    first.container.stop(timeout=20)
    first.container.remove()
    assert_kept(begin(), image)


def test_a_new_container_after_sigkill(first: Agent, begin: Begin) -> None:
    image = image_of(first)
    first.container.kill()
    assert first.wait() == 137
    first.container.remove()
    assert_kept(begin(), image)


@pytest.mark.parametrize("daemon_args", ["", "--userns-remap=default"], indirect=True)
def test_another_outer_address(first: Agent, user_network: Network) -> None:
    image, former = image_of(first), first.address
    subnet = netaddr.IPNetwork(jmespath.search("IPAM.Config[0].Subnet", user_network.attrs))
    first.container.stop(timeout=20)
    user_network.disconnect(first.container)
    user_network.connect(first.container, ipv4_address=str(subnet.network + 99))
    first.container.start()
    assert_kept(first.await_boot(), image)
    assert first.address == str(subnet.network + 99) != former


def test_another_host_name(first: Agent, begin: Begin) -> None:
    """A Mesos agent cannot recover after that. It starts as a new one and keeps all other data."""
    image = image_of(first)
    first.container.stop(timeout=20)
    first.container.remove()
    second = begin("two")
    assert_kept(second, image, is_recovered=False)
    assert "the host name was one and is two" in second.logs()


@pytest.mark.parametrize("place", [DATA, "/elsewhere"])
def test_the_work_directory_is_on_what_persists(start: Start, volume: str, task_archive: bytes, place: str) -> None:
    """If only the data root persists: on a volume, or in a loop image on a volume."""
    env = {"MESOS_DIND_IMAGE": f"{place}/docker.img"} if place != DATA else {}
    work = f"{DATA}/mesos-agent"
    latest = f"{work}/meta/slaves/latest"

    def begin(hostname: str) -> Agent:
        return start(hostname=hostname, volumes={volume: place}, env=env).await_boot()

    agent = begin("one")
    assert handed_over.environ(agent)["MESOS_WORK_DIR"] == work
    agent.load(task_archive)
    agent.run("sh", "-c", f"mkdir -p {work}/meta/slaves/S0 && ln -s S0 {latest} && echo sandbox >{work}/note")
    for hostname, is_recovered in (("one", True), ("two", False)):
        agent.container.stop(timeout=20)
        agent.container.remove()
        agent = begin(hostname)
        assert handed_over.environ(agent)["MESOS_WORK_DIR"] == work
        assert agent.exec("test", "-L", latest).exit_code == (0 if is_recovered else 1)
        # Mesos mounts the sandbox into its task.
        assert agent.inner("run", "--rm", f"--volume={work}:/kept", "mesos-dind-task", "cat", "/kept/note") == "sandbox"
        assert "changed=0" in agent.run("mesos-dind", "converge")


def test_where_nothing_persists_the_work_directory_is_where_the_image_is(start: Start) -> None:
    agent = start().await_boot()
    assert handed_over.environ(agent)["MESOS_WORK_DIR"] == WORK
    assert any("lies in the container's own writable layer" in line for line in agent.stderr())
