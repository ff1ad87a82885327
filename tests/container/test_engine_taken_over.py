"""An engine that runs already, on a file system of its own on which overlay works: the plainest machine of all."""

from __future__ import annotations

import json
from typing import Any

import docker
import netaddr
import pytest
from agents import Agent, Start
from docker.models.networks import Network
from machines import Control, Played

VM, ABSENT = "mesos.dind.vm", "mesos.dind.vm_absent"
HOST = "own"

# The image is built by whichever test comes first.
pytestmark = pytest.mark.timeout(1500)


class Machine:
    def __init__(self, agent: Agent, control: Control, network: netaddr.IPNetwork) -> None:
        self.agent, self.control, self.network = agent, control, network

    def provision(self, *flags: str) -> Played:
        return self.control.play(VM, *flags)

    def has(self, **variables: Any) -> None:
        """What the inventory says of it, beside what all of these tests need."""
        self.control.write("group_vars/mesos_agents/test.yml", variables)

    def ask(self, *argv: str) -> str:
        """By a way that does not need its network."""
        return self.agent.run(*argv)

    @property
    def traces(self) -> dict[str, str]:
        return self.control.traces()[HOST]

    @property
    def default_routes(self) -> list[tuple[str, str]]:
        routes = json.loads(self.ask("ip", "-json", "route", "show", "default"))
        return [(route["dev"], route["gateway"]) for route in routes]

    @property
    def addresses(self) -> dict[str, list[str]]:
        links = json.loads(self.ask("ip", "-json", "-4", "address", "show"))
        return {
            link["ifname"]: [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]
            for link in links
            if link["ifname"] in ("docker0", "eth0")
        }


@pytest.fixture(scope="module")
def machine(
    control: Control,
    machine_image: str,
    machines_network: Network,
    start_for_all: Start,
    engine: docker.DockerClient,
    label: str,
) -> Machine:
    key, _, value = label.partition("=")
    volume = engine.volumes.create(labels={key: value})
    agent = start_for_all(
        image=f"{machine_image}:with-newer-engine",
        network=machines_network.name,
        cgroupns="private",
        tmpfs={"/run": ""},
        volumes={str(volume.name): "/var/lib/docker"},
    )
    control.admit(HOST, agent)
    agent.run("systemctl", "start", "docker.service")  # waits until it is ready
    control.write("hosts.yml", {"mesos_agents": {"hosts": {HOST: {"ansible_host": agent.address}}}})
    control.write("group_vars/mesos_agents/here.yml", {"network_persist": "none", "engine_packages": []})
    return Machine(agent, control, netaddr.IPNetwork(machines_network.attrs["IPAM"]["Config"][0]["Subnet"]))


def test_the_uplink_goes_under_the_bridge_of_an_engine_that_runs_and_comes_back(machine: Machine) -> None:
    before = machine.traces
    assert before["services"].split() == ["active"] * 3
    assert machine.addresses["docker0"] == ["172.17.0.1/16"]
    (own,) = machine.addresses["eth0"]
    (gateway,) = [gateway for _device, gateway in machine.default_routes]

    machine.has(storage_strategy="auto")
    assert machine.provision().changed[HOST] > 0
    assert machine.provision().changed == {HOST: 0}
    assert machine.agent.inner("info", "--format={{.Driver}}") == "overlay2"

    machine.has(storage_strategy="auto", network_offset="0.0.1.0")
    moved = machine.provision()
    assert machine.default_routes == [("docker0", gateway)], moved.output
    assert machine.addresses == {"docker0": [own]}
    assert moved.changed[HOST] > 0
    assert machine.provision().changed == {HOST: 0}

    given_back = machine.control.play(ABSENT)
    assert machine.default_routes == [("eth0", gateway)], given_back.output
    assert given_back.status == 0, given_back.output
    assert machine.traces == before
    assert machine.control.play(ABSENT).changed == {HOST: 0}
