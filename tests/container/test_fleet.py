"""The roles on three machines under systemd: rolled out over ssh, drained first, stopped by a failure, given back."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import netaddr
import pytest
import yaml
from agents import STANDIN, Agent, Start
from docker.models.networks import Network
from machines import REPOSITORY, Control, Played

TASK_IMAGE = "mesos-dind-task:latest"
VM, ABSENT = "mesos.dind.vm", "mesos.dind.vm_absent"
AT_ONCE = "--extra-vars=mesos_dind_serial=3"
HOSTS = ("a1", "a2", "a3")

# The machines are rolled out, and their image is built, by whichever test comes first.
pytestmark = pytest.mark.timeout(1500)


@dataclass(frozen=True)
class Fleet:
    """a1 has no engine; a2 and a3 have the distribution's. ``network`` is the outer one."""

    control: Control
    agents: Mapping[str, Agent]
    network: netaddr.IPNetwork

    def plays(self, *flags: str) -> Played:
        return self.control.play(VM, *flags)

    def engine_label(self, text: str) -> None:
        """A change that restarts the engine."""
        self.control.write("group_vars/mesos_agents/engine.yml", {"engine_args": [f"--label=generation={text}"]})

    def agent_pids(self) -> dict[str, str]:
        return {host: self.control.ask(host, "cat", "/run/standin/pid") for host in HOSTS}


@pytest.fixture(scope="module")
def fleet(
    control: Control, machine_image: str, machines_network: Network, start_for_all: Start, engine: docker.DockerClient
) -> Fleet:
    """Three machines as an administrator finds them, and what docs/fleet.md has her write down."""
    network = netaddr.IPNetwork(machines_network.attrs["IPAM"]["Config"][0]["Subnet"])
    package = agent_package(control.folder)
    agents = {}
    for host in HOSTS:
        tag = "fresh" if host == "a1" else "with-engine"
        agents[host] = start_for_all(
            image=f"{machine_image}:{tag}",
            standin=False,
            network=machines_network.name,
            cgroupns="private",
            tmpfs={"/run": ""},
            volumes={str(package): "/root/agent.deb"},
        )
    for host, agent in agents.items():
        control.admit(host, agent)
        control.write(f"host_vars/{host}/connection.yml", {"ansible_host": agent.address})
        if host != "a1":
            control.write(f"host_vars/{host}/engine.yml", {"engine_packages": []})
    inventory, group_variables = documented_inventory()
    control.write("hosts.yml", inventory)
    control.write("group_vars/mesos_agents/fleet.yml", group_variables)
    control.write(
        "group_vars/mesos_agents/here.yml",
        {
            "fleet_network": str(network),
            "fleet_reserved": [f"{network[512]}/23"],
            "network_persist": "none",  # the uplink is the outer engine's: nothing here manages it
            "storage_size": "400M",
            "agent_mesos_deb_url": "file:///root/agent.deb",
            "agent_mesos_deb_sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
            # What the agent has written when it was drained is gone with its next start.
            "agent_service_settings": {"ExecStopPost": "/bin/cp /run/standin/drained /root/drained"},
        },
    )
    return Fleet(control, agents, network)


def documented_inventory() -> tuple[Any, Any]:
    """The inventory and the group's variables, as docs/fleet.md shows them."""
    page = REPOSITORY.joinpath("docs/fleet.md").read_text()
    blocks = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = {name: yaml.safe_load(text) for name, text in blocks}
    return shown["inventory.yml"], shown["group_vars/mesos_agents.yml"]


def agent_package(folder: Path) -> Path:
    """A Debian package of the stand-in agent."""
    tree = folder / "package"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: mesos-standin\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: a stand-in for a Mesos agent, for tests\n"
    )
    (tree / "usr/sbin").mkdir(parents=True)
    shutil.copy(STANDIN, tree / "usr/sbin/mesos-agent")
    package = folder / "agent.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)], check=True)
    return package


@dataclass(frozen=True)
class Rollout:
    before: Mapping[str, Mapping[str, str]]
    predicted: Played
    after_check: Mapping[str, Mapping[str, str]]
    refused: Mapping[str, Played]
    after_refusals: Mapping[str, Mapping[str, str]]
    first: Played


REFUSED = {
    "checksum": '--extra-vars={"agent_mesos_deb_sha256": "' + 64 * "0" + '"}',
    "no checksum": "--extra-vars=agent_mesos_deb_sha256=",
    "no engine": '--extra-vars={"engine_packages": []}',
}


@pytest.fixture(scope="module")
def rollout(fleet: Fleet) -> Rollout:
    """The machines' first run, and what was asked before it."""
    before = fleet.control.traces()
    refused = {name: fleet.plays(flag, "--limit=a1") for name, flag in REFUSED.items()}
    after_refusals = fleet.control.traces()
    predicted = fleet.plays("--check", "--diff", AT_ONCE)
    return Rollout(before, predicted, fleet.control.traces(), refused, after_refusals, fleet.plays())


def test_what_is_wrong_is_refused_before_anything_is_changed(rollout: Rollout) -> None:
    said = {name: played.refusals["a1"] for name, played in rollout.refused.items()}
    assert "did not match" in said["checksum"]
    assert "it has to be 64 hexadecimal digits" in said["no checksum"]
    assert "there is no dockerd, and engine_packages and engine_package_urls name no package" in said["no engine"]
    assert rollout.after_refusals == rollout.before


def test_check_mode_predicts_the_first_run_and_changes_nothing(rollout: Rollout) -> None:
    assert rollout.predicted.status == 0, rollout.predicted.output
    assert rollout.predicted.changed_roles == rollout.first.changed_roles
    assert rollout.after_check == rollout.before


def test_one_run_gives_each_machine_its_own_range(fleet: Fleet, rollout: Rollout, task_archive: bytes) -> None:
    assert set(rollout.first.changed) == set(HOSTS)
    ranges = {}
    addresses = {}
    for host, agent in fleet.agents.items():
        ranges[host] = agent.inner("network", "inspect", "--format={{(index .IPAM.Config 0).IPRange}}", "bridge")
        agent.load(task_archive)
        task = agent.inner("run", "--detach", TASK_IMAGE, "sleep", "3600")
        addresses[host] = agent.inner("inspect", "--format={{.NetworkSettings.IPAddress}}", task)
    assert ranges == {host: f"{fleet.network[offset * 256]}/24" for host, offset in (("a1", 1), ("a2", 4), ("a3", 5))}
    assert all(address in netaddr.IPNetwork(ranges[host]) for host, address in addresses.items())
    for agent in fleet.agents.values():
        for other in addresses.values():
            agent.inner("run", "--rm", TASK_IMAGE, "ping", "-c", "1", "-W", "5", other)
    for agent in fleet.agents.values():
        agent.inner("rm", "--force", *agent.inner("ps", "--quiet").split())


@pytest.mark.usefixtures("rollout")
def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    assert fleet.plays(AT_ONCE).changed == dict.fromkeys(HOSTS, 0)


@pytest.mark.usefixtures("rollout")
def test_a_failed_machine_stops_the_roll_which_then_goes_on_drained_one_by_one(fleet: Fleet) -> None:
    pids = fleet.agent_pids()
    fleet.engine_label("two")
    fleet.control.write("host_vars/a2/network.yml", {"network_offset": "0.0.0.5"})
    stopped = fleet.plays()
    assert stopped.status != 0
    assert {host: counts["failed"] for host, counts in stopped.counts.items()} == {"a1": 0, "a2": 1}
    assert stopped.counts["a1"]["changed"] > 0
    assert "0.0.0.5" in stopped.refusals["a2"]
    after = fleet.agent_pids()
    assert after["a1"] != pids["a1"]
    assert (after["a2"], after["a3"]) == (pids["a2"], pids["a3"])
    assert labels(fleet) == {"a1": "generation=two", "a2": "", "a3": ""}

    # At once, none goes on where one fails.
    fleet.engine_label("three")
    assert fleet.plays(AT_ONCE).status != 0
    assert labels(fleet) == {"a1": "generation=two", "a2": "", "a3": ""}
    fleet.engine_label("two")

    fleet.control.write("host_vars/a2/network.yml", {})
    resumed = fleet.plays()
    assert resumed.changed["a1"] == 0
    assert resumed.changed["a2"] > 0
    assert resumed.changed["a3"] > 0
    assert labels(fleet) == dict.fromkeys(HOSTS, "generation=two")
    turns = [turn(fleet, host) for host in HOSTS]
    assert turns == sorted(turns)


def labels(fleet: Fleet) -> dict[str, str]:
    return {host: agent.inner("info", "--format={{range .Labels}}{{.}}{{end}}") for host, agent in fleet.agents.items()}


def turn(fleet: Fleet, host: str) -> list[float]:
    """When the agent was last drained, the engine restarted and the agent started again, in that order."""
    assert fleet.control.ask(host, "cat", "/root/drained") == "drained\n"
    units = ("--unit=mesos-dind-agent.service", "--unit=docker.service")
    log = fleet.control.ask(host, "journalctl", "--output=short-unix", *units)
    times = [
        max(float(time) for time in re.findall(rf"^(\S+) \S+ systemd\[1\]: {event}", log, re.MULTILINE))
        for event in (
            r"Stopped mesos-dind-agent\.service",
            r"Stopping docker\.service",
            r"Started docker\.service",
            r"Started mesos-dind-agent\.service",
        )
    ]
    assert times == sorted(times), log
    return times


def test_the_machines_are_given_back(fleet: Fleet, rollout: Rollout) -> None:
    """Last in this file: there is nothing left of the fleet then."""
    given_back = fleet.control.play(ABSENT, AT_ONCE)
    assert given_back.status == 0, given_back.output
    after = fleet.control.traces()
    # Debian 12's dockerd makes itself a key.
    assert after["a1"]["engine"].split()[1:] == ["/etc/docker/key.json"]
    after["a1"]["engine"] = ""
    assert after == rollout.before
    assert fleet.control.play(ABSENT, AT_ONCE).changed == dict.fromkeys(HOSTS, 0)
