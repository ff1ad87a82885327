"""Agent containers of the real image in a real engine, for the tests of this folder."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import jmespath
import netaddr
import pytest
from agents import ATTEMPTS, BOOT_LIMIT, NOTHING_STARTED, STANDIN, Agent, Start
from docker.models.networks import Network
from machines import REPOSITORY, Control, new_control
from persisted import IN_MACHINE, Machine, ssh_config

IMAGE = os.environ.get("MESOS_DIND_IMAGE_UNDER_TEST", "mesos-dind:latest")
TASK_IMAGE = "mesos-dind-task:latest"
TOOLS = Path(__file__).parents[2] / "tools"
# Debian 13's systemd 257 refuses cgroup v1, which hosts of these tests may have.
MACHINE_SUITE = "bookworm"

ImageOn = Callable[[str], str]
MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The outer engine. The fixture removes all that has this session's label, also after a test that died."""
    client = docker.from_env(timeout=BOOT_LIMIT)
    client.ping()
    yield client
    client.close()


@pytest.fixture(scope="session")
def label() -> str:
    return f"mesos.dind.test={uuid.uuid4()}"


@pytest.fixture(scope="session", autouse=True)
def _clean_up(engine: docker.DockerClient, label: str) -> Iterator[None]:
    yield
    for container in engine.containers.list(all=True, filters={"label": label}):
        container.remove(force=True, v=True)
    for network in engine.networks.list(filters={"label": label}):
        network.remove()
    for volume in engine.volumes.list(filters={"label": label}):
        volume.remove()


@pytest.fixture(scope="session")
def start_any(engine: docker.DockerClient, label: str) -> Start:
    def start(
        *command: str,
        env: dict[str, str] | None = None,
        privileged: bool = True,
        standin: bool = True,
        volumes: dict[str, str] | None = None,
        **options: Any,
    ) -> Agent:
        binds = {name: {"bind": target, "mode": "rw"} for name, target in (volumes or {}).items()}
        if standin:
            binds[str(STANDIN)] = {"bind": "/usr/sbin/mesos-agent", "mode": "ro"}
        key, _, value = label.partition("=")
        container = engine.containers.create(
            options.pop("image", IMAGE),
            list(command) or None,
            privileged=privileged,
            environment=env or {},
            volumes=binds,
            labels={key: value},
            **options,
        )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                container.start()
                break
            except docker.errors.APIError as error:
                if attempt == ATTEMPTS or NOTHING_STARTED not in str(error):
                    raise
        return Agent(container)

    return start


@contextlib.contextmanager
def gone_afterwards(start_any: Start) -> Iterator[Start]:
    """A function that starts agents. The context's end removes them and their anonymous volumes."""
    made: list[Agent] = []

    def start(*command: str, **options: Any) -> Agent:
        agent = start_any(*command, **options)
        made.append(agent)
        return agent

    try:
        yield start
    finally:
        for agent in made:
            with contextlib.suppress(docker.errors.NotFound):
                agent.container.remove(force=True, v=True)


@pytest.fixture
def start(start_any: Start) -> Iterator[Start]:
    """A function that starts agents. The fixture removes them after the test."""
    with gone_afterwards(start_any) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_all(start_any: Start) -> Iterator[Start]:
    """A function that starts agents for all tests of a file. The fixture removes them after the last test."""
    with gone_afterwards(start_any) as start:
        yield start


@pytest.fixture
def volume(engine: docker.DockerClient, label: str) -> Iterator[str]:
    """A named volume on the outer engine. Overlay works on a volume, so the agent needs no loop image."""
    key, _, value = label.partition("=")
    made = engine.volumes.create(labels={key: value})
    yield str(made.name)
    with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
        made.remove(force=True)


@pytest.fixture(scope="session")
def task_archive(engine: docker.DockerClient) -> bytes:
    """The small image of inner containers, as an archive of ``docker save``."""
    return b"".join(engine.images.get(TASK_IMAGE).save(named=True))


@pytest.fixture(scope="session")
def image_on() -> ImageOn:
    """A function that builds the agent image on another release of Debian. It builds each image once."""

    @functools.cache
    def build(suite: str) -> str:
        base, tag = f"mesos-dind-base:{suite}", f"mesos-dind-on:{suite}"
        for command in (
            ["engine.py", "base-image", f"--suite={suite}", f"--name={base}"],
            ["image.py", f"--tag={tag}", f"--base={base}"],
        ):
            subprocess.run([sys.executable, str(TOOLS / command[0]), *command[1:]], check=True)
        return tag

    return build


@pytest.fixture(scope="session")
def machine_image() -> str:
    """The prefix of the machine images' names. Each stage of the Dockerfile is a tag."""
    base, name = f"mesos-dind-base:{MACHINE_SUITE}", "mesos-dind-machine"
    engine = [sys.executable, str(TOOLS / "engine.py"), "base-image", f"--suite={MACHINE_SUITE}", f"--name={base}"]
    subprocess.run(engine, check=True)
    for stage in ("fresh", "with-tools", "with-engine", "with-newer-engine"):
        build = ["docker", "buildx", "build", "--load", f"--tag={name}:{stage}", f"--target={stage}"]
        folder = REPOSITORY / "tests/images/machine"
        subprocess.run([*build, f"--build-arg=BASE={base}", str(folder)], check=True)
    return name


@pytest.fixture(scope="session")
def networkd_image_on() -> ImageOn:
    """A function that builds a machine with systemd-networkd on a release of Debian. It builds each image once."""
    return functools.partial(network_image, "networkd")


@pytest.fixture(scope="session")
def ifupdown_image_on() -> ImageOn:
    """A function that builds a machine with ifupdown on a release of Debian. It builds each image once."""
    return functools.partial(network_image, "ifupdown")


@functools.cache
def network_image(manager: str, suite: str) -> str:
    base, tag = f"mesos-dind-base:{suite}", f"mesos-dind-{manager}:{suite}"
    engine = [sys.executable, str(TOOLS / "engine.py"), "base-image", f"--suite={suite}", f"--name={base}"]
    subprocess.run(engine, check=True)
    build = ["docker", "buildx", "build", "--load", f"--tag={tag}", f"--build-arg=BASE={base}"]
    subprocess.run([*build, str(REPOSITORY / "tests/images" / manager)], check=True)
    return tag


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    with tempfile.TemporaryDirectory(prefix="mesos-dind-") as folder:  # short: a unix socket's path is limited
        made = new_control(Path(folder))
        yield made
        made.leave()


@pytest.fixture(scope="session")
def outer_network(engine: docker.DockerClient) -> netaddr.IPNetwork:
    """The subnet of the outer engine's default bridge."""
    (subnet,) = jmespath.search("IPAM.Config[].Subnet", engine.networks.get("bridge").attrs)
    return netaddr.IPNetwork(subnet)


@pytest.fixture(scope="session")
def make_network(engine: docker.DockerClient, label: str) -> MakeNetwork:
    """A function that makes user-defined networks; its caller removes them.

    Agents get their addresses from the first /24 of a /16, and with ``ipv6`` also from a /64.
    """
    key, _, value = label.partition("=")

    def make(ipv6: bool = False) -> Network:
        for second in range(200, 250):
            pools = [docker.types.IPAMPool(f"10.{second}.0.0/16", f"10.{second}.0.0/24", f"10.{second}.0.1")]
            if ipv6:
                pools.append(docker.types.IPAMPool(f"fd00:6d64:{second}::/64", gateway=f"fd00:6d64:{second}::1"))
            with contextlib.suppress(docker.errors.APIError):  # another network has this subnet
                made = engine.networks.create(
                    f"mesos-dind-test-{uuid.uuid4().hex[:12]}",
                    ipam=docker.types.IPAMConfig(pool_configs=pools),
                    enable_ipv6=ipv6,
                    labels={key: value},
                )
                made.reload()
                return made
        pytest.fail("no free subnet among 10.200.0.0/16 to 10.249.0.0/16")

    return make


@pytest.fixture(scope="module")
def machines_network(make_network: MakeNetwork) -> Iterator[Network]:
    """A network for the machines of a whole file."""
    made = make_network()
    yield made
    made.remove()


@pytest.fixture
def user_network(make_network: MakeNetwork) -> Iterator[Network]:
    made = make_network()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
    return made


@pytest.fixture
def machine_with(
    image: str, key: Path, user_network: Network, start: Start, tmp_path: Path
) -> Iterator[Callable[..., Machine]]:
    with contextlib.ExitStack() as cleanup:

        def begin(**environment: str) -> Machine:
            subnet = netaddr.IPNetwork(user_network.attrs["IPAM"]["Config"][0]["Subnet"])
            agent = start(
                image=image,
                standin=False,
                network=user_network.name,
                mac_address="02:42:6d:64:00:09",  # the same after a restart
                tmpfs={"/run": "", "/tmp": ""},
                volumes={str(REPOSITORY): IN_MACHINE},
                env={"AUTHORIZED_KEY": key.with_suffix(".pub").read_text(), **environment}
                | {"MORE_ADDRESS": f"{subnet[200]}/{subnet.prefixlen}"},
            )
            agent.container.reload()
            address = agent.container.attrs["NetworkSettings"]["Networks"][user_network.name]["IPAddress"]
            machine = Machine(agent, ssh_config(tmp_path, key, environment.get("ADDRESS", address)))
            leave = ["ssh", "-F", str(machine.ssh_config), "-O", "exit", "machine"]
            cleanup.callback(subprocess.run, leave, capture_output=True, check=False)
            return machine.await_network()

        yield begin
