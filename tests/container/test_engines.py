"""Tests of Debian's oldest and newest engine as the inner engine, and of the containerd image store."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import handed_over
import jmespath
import netaddr
import pytest
from agents import Agent, Start, assert_given_back, attached_to
from conftest import IMAGE, ImageOn, gone_afterwards
from docker.models.networks import Network

# Debian's release and its engine's major versions. forky has the newest one until its release.
ENGINES = {"bookworm": range(20, 21), "forky": range(28, 100)}
SNAPSHOTTER = '{"features": {"containerd-snapshotter": true}}\n'

# An inner container that a stop ends at once, and that the engine starts again after it.
LASTING = ("--detach", "--restart=always", "--stop-signal=KILL", "--name=one", "mesos-dind-task", "sleep", "1000")

# Seconds. A fixture may build an image, and so download and unpack packages on a busy machine.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=ENGINES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def image(suite: str, image_on: ImageOn) -> str:
    return image_on(suite)


@pytest.fixture(scope="module")
def agent(image: str, start_any: Start, task_archive: bytes) -> Iterator[Agent]:
    """An agent in default mode on a loop image."""
    with gone_afterwards(start_any) as start:
        agent = start(image=image).await_boot()
        agent.load(task_archive)
        yield agent


def server(agent: Agent) -> dict[str, str]:
    found: dict[str, str] = json.loads(agent.inner("version", "--format", "{{json .Server}}"))
    return found


def test_the_engine_is_the_one_that_is_meant(agent: Agent, suite: str) -> None:
    assert int(server(agent)["Version"].partition(".")[0]) in ENGINES[suite]
    assert agent.inner("info", "--format", "{{.Driver}}") == "overlay2"


def test_an_inner_container_runs(agent: Agent) -> None:
    assert agent.inner("run", "--rm", "mesos-dind-task", "echo", "it", "runs") == "it runs"


def test_a_second_run_changes_nothing(agent: Agent) -> None:
    assert "changed=0" in agent.run("mesos-dind", "converge")


def test_mesos_is_told_an_older_api_only_where_the_engine_speaks_a_newer_one(agent: Agent) -> None:
    newest = [int(part) for part in server(agent)["ApiVersion"].split(".")]
    assert handed_over.environ(agent).get("DOCKER_API_VERSION") == ("1.44" if newest > [1, 44] else None)


def test_the_log_has_the_boots_lines_and_no_complaint(agent: Agent) -> None:
    """20.10 always logs two lines: on a kernel without the old I/O scheduler, and on a container that has ended."""
    agent.await_line("stand-in agent: running")
    agents = ("mesos-dind: ", "stand-in agent: ")
    known = ("cgroup blkio weight", "cleaning up after shim disconnected")
    lines = [line for line in agent.stderr() if not line.startswith(agents)]
    assert [line for line in lines if not any(text in line for text in known)] == []


def test_a_killed_engine_comes_back_and_containers_survive(agent: Agent) -> None:
    task = agent.inner("run", "--detach", "mesos-dind-task", "sleep", "1000")
    before = agent.inner("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", task)
    for service in ("dockerd", "containerd"):
        killed = agent.run("pidof", service)
        agent.run("pkill", "-KILL", "-x", service)
        agent.run("timeout", "60", "sh", "-c", f"until docker exec {task} true; do sleep 0.1; done")
        assert agent.run("pidof", service) != killed
    assert agent.inner("inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", task) == before


def test_a_stop_is_in_time_and_leaves_the_storage_clean(
    image: str, start: Start, volume: str, task_archive: bytes
) -> None:
    """Nobody is killed: the agent exits with its own status, and the inner container handles its signal."""
    agent = start(image=image, volumes={volume: "/var/lib/mesos-dind"}).await_boot()
    agent.load(task_archive)
    script = "trap 'echo farewell >/kept/said; exit 0' TERM; while :; do sleep 1 & wait $!; done"
    agent.inner("run", "--detach", "--volume=/var/lib/mesos-dind:/kept", "mesos-dind-task", "sh", "-c", script)
    kept = agent.source("/var/lib/mesos-dind")
    assert attached_to(kept / "docker.img")
    agent.container.stop(timeout=20)
    assert agent.wait() == 0
    assert (kept / "said").read_text() == "farewell\n"
    assert_given_back(kept / "docker.img")


def test_bridged_mode_survives_a_restart_under_another_address(
    image: str, user_network: Network, start: Start, task_archive: bytes
) -> None:
    """dockerd's data root has a record of the bridge's old address, which dockerd would restore at its start."""
    subnet = netaddr.IPNetwork(jmespath.search("IPAM.Config[0].Subnet", user_network.attrs))
    agent = start(image=image, env={"DOCKER_NETWORK_OFFSET": "0.0.7.0"}, network=user_network.name).await_boot()
    agent.load(task_archive)
    agent.inner("run", *LASTING)
    former = agent.address
    assert_bridged(agent, subnet)
    agent.container.stop(timeout=20)
    user_network.disconnect(agent.container)
    user_network.connect(agent.container, ipv4_address=str(subnet.network + 99))
    agent.container.start()
    agent.await_boot()
    assert agent.address == str(subnet.network + 99) != former
    assert_bridged(agent, subnet)
    assert "changed=0" in agent.run("mesos-dind", "converge")


def assert_bridged(agent: Agent, subnet: netaddr.IPNetwork) -> None:
    """docker0 has the agent's address and default route. The host reaches `one`, an address of the agent's range."""
    (docker0,) = json.loads(agent.run("ip", "-json", "-4", "address", "show", "docker0"))
    assert jmespath.search("addr_info[].local", docker0) == [agent.address]
    (route,) = json.loads(agent.run("ip", "-json", "-4", "route", "show", "default"))
    assert (route["gateway"], route["dev"]) == (str(subnet.network + 1), "docker0")
    address = agent.inner("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "one")
    assert netaddr.IPAddress(address) in netaddr.IPNetwork((int(subnet.network) + (7 << 8), 24))
    for reached in (address, agent.address):
        subprocess.run(
            ["docker", "run", "--rm", "--network=host", "mesos-dind-task", "ping", "-c", "1", "-W", "5", reached],
            check=True, capture_output=True,
        )  # fmt: skip
    agent.inner("exec", "one", "ping", "-c", "1", "-W", "5", str(subnet.network + 1))


def test_what_is_said_twice_is_an_error_that_names_both_places(
    image: str, suite: str, start: Start, tmp_path: Path
) -> None:
    """The refusal comes before any change if the engine can validate the file; 20.10 cannot."""
    said = tmp_path / "daemon.json"
    said.write_text('{"labels": ["a=b"]}')
    volumes = {str(said): "/etc/docker/daemon.json"}
    agent = start("true", image=image, env={"DOCKER_DAEMON_ARGS": "--label=c=d"}, volumes=volumes)
    assert agent.wait() == (70 if suite == "bookworm" else 64)
    *_, line = agent.stderr()
    assert "labels: (from flag: [c=d], from file: [a=b])" in line


def test_an_image_store_that_the_engine_does_not_have_is_refused(
    image_on: ImageOn, start: Start, tmp_path: Path
) -> None:
    asked = tmp_path / "daemon.json"
    asked.write_text(SNAPSHOTTER)
    agent = start("true", image=image_on("bookworm"), volumes={str(asked): "/etc/docker/daemon.json"})
    assert agent.wait() == 64
    (line,) = agent.stderr()
    assert re.search(r"Docker 20\.10\.\S+ has no containerd image store", line)


def test_an_image_store_that_is_found_on_an_engine_without_one_is_named(
    image_on: ImageOn, start: Start, volume: str, task_archive: bytes
) -> None:
    volumes = {volume: "/var/lib/mesos-dind"}
    env = {"DOCKER_DAEMON_ARGS": "--feature containerd-snapshotter"}
    agent = start("sleep", "1000", image=image_on("forky"), env=env, volumes=volumes).await_boot()
    assert_image_store(agent)
    agent.load(task_archive)
    agent.container.stop(timeout=20)
    older = start("true", image=image_on("bookworm"), volumes=volumes)
    assert older.wait() == 70
    *_, line = older.stderr()
    assert re.match(r"mesos-dind: engine: Docker 20\.10\.\S+ has no containerd image store", line)


def test_another_feature_by_a_flag_keeps_the_image_store(
    image_on: ImageOn, start: Start, volume: str, task_archive: bytes
) -> None:
    """dockerd accepts features from the file or from flags, but not from both."""
    for feature in ("containerd-snapshotter=true", "buildkit=false"):
        env = {"DOCKER_DAEMON_ARGS": f"--feature={feature}"}
        agent = start("sleep", "1000", image=image_on("forky"), env=env, volumes={volume: "/var/lib/docker"})
        assert_image_store(agent.await_boot())
        agent.load(task_archive)
        features = json.loads(agent.read("/run/mesos-dind/daemon.json"))["features"]
        agent.container.stop(timeout=20)
    assert features == {"buildkit": False, "containerd-snapshotter": True}


@pytest.mark.parametrize("on", ["", "forky"])
def test_the_containerd_image_store_keeps_its_images(
    on: str, image_on: ImageOn, start: Start, tmp_path: Path, task_archive: bytes
) -> None:
    """A user's daemon.json asks for the store. A later boot without the file finds the store in the data root."""
    asked = tmp_path / "daemon.json"
    asked.write_text(SNAPSHOTTER)
    agent = start(image=image_on(on) if on else IMAGE, volumes={str(asked): "/etc/docker/daemon.json"}).await_boot()
    agent.load(task_archive)
    agent.inner("run", *LASTING)
    image = agent.inner("images", "--quiet", "--no-trunc")
    asked.write_text("{}\n")
    for _ in range(2):
        assert_image_store(agent)
        assert agent.inner("images", "--quiet", "--no-trunc") == image
        assert agent.inner("inspect", "--format", "{{.State.Running}}", "one") == "true"
        agent.container.restart(timeout=20)
        agent.await_boot()
    assert agent.inner("run", "--rm", "mesos-dind-task", "echo", "it", "runs") == "it runs"


def assert_image_store(agent: Agent) -> None:
    info = json.loads(agent.inner("info", "--format", "json"))
    assert info["Driver"] == "overlayfs"
    assert ["driver-type", "io.containerd.snapshotter.v1"] in info["DriverStatus"]
    assert "changed=0" in agent.run("mesos-dind", "converge")
