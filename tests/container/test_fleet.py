"""Tests of the roles on three machines under systemd: roll-out over ssh, drain, a failure on the way, giving back."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible
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
CREDENTIAL = "hunter2-secret"

# Seconds. The first test that runs builds the image and rolls the machines out.
pytestmark = pytest.mark.timeout(1500)


@dataclass(frozen=True)
class Fleet:
    """Three machines: a1 has no engine, a2 and a3 have the distribution's. ``network`` is the outer network."""

    control: Control
    agents: Mapping[str, Agent]
    network: netaddr.IPNetwork

    def plays(self, *flags: str) -> Played:
        return self.control.play(VM, *flags)

    def engine_label(self, text: str) -> None:
        """Change a setting that restarts the engine."""
        self.control.write("group_vars/mesos_agents/engine.yml", {"engine_args": [f"--label=generation={text}"]})

    def agent_pids(self) -> dict[str, str]:
        return {host: self.control.ask(host, "cat", "/run/standin/pid") for host in HOSTS}


@pytest.fixture(scope="module")
def fleet(
    control: Control, machine_image: str, machines_network: Network, start_for_all: Start, engine: docker.DockerClient
) -> Fleet:
    """Three machines as an administrator finds them, with the inventory of docs/fleet.md."""
    network = netaddr.IPNetwork(machines_network.attrs["IPAM"]["Config"][0]["Subnet"])
    packages = make_packages(control.folder)
    agents = {}
    for host in HOSTS:
        tag = "fresh" if host == "a1" else "with-engine"
        agents[host] = start_for_all(
            image=f"{machine_image}:{tag}",
            standin=False,
            network=machines_network.name,
            cgroupns="private",
            tmpfs={"/run": ""},
            volumes={
                str(packages): "/root/packages",
                # The tests also run Ansible on this machine.
                str(control.folder): "/root/control",
                str(REPOSITORY): "/collections/ansible_collections/mesos/dind",
                str(Path(ansible.__file__).parents[1]): "/root/python",
            },
        )
    for host, agent in agents.items():
        control.admit(host, agent)
        control.write(f"host_vars/{host}/connection.yml", {"ansible_host": agent.address})
    control.write("host_vars/a2/engine.yml", {"engine_packages": []})
    # Keeps the machine's engine, because engine_package_urls is not empty.
    urls = [deb(packages / f"{name}.deb") for name in ("needs-other", "other")]
    control.write("host_vars/a3/engine.yml", {"engine_package_urls": urls})
    inventory, group_variables = documented_inventory()
    control.write("hosts.yml", inventory)
    control.write("group_vars/mesos_agents/fleet.yml", group_variables)
    control.write(
        "group_vars/mesos_agents/here.yml",
        {
            "fleet_network": str(network),
            "fleet_reserved": [f"{network[512]}/23"],
            "network_persist": "none",  # the outer engine manages the uplink; no service of the machine does
            "storage_size": "400M",
            "agent_variables": {"MESOS_CREDENTIAL": CREDENTIAL},
            **{f"agent_mesos_deb_{name}": text for name, text in deb(packages / "agent-1.deb").items()},
            # The agent's next start deletes its record of a drain.
            "agent_service_settings": {"ExecStopPost": "/bin/cp /run/standin/drained /root/drained"},
        },
    )
    return Fleet(control, agents, network)


def documented_inventory() -> tuple[Any, Any]:
    """The inventory and the group's variables of docs/fleet.md."""
    page = REPOSITORY.joinpath("docs/fleet.md").read_text()
    blocks = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = {name: yaml.safe_load(text) for name, text in blocks}
    return shown["inventory.yml"], shown["group_vars/mesos_agents.yml"]


def make_packages(folder: Path) -> Path:
    """Debian packages: two versions of the stand-in agent, and packages that depend on each other or on the role's."""
    made = folder / "packages"
    made.mkdir()
    agent = STANDIN.read_text()
    build(made / "agent-1.deb", "mesos-standin", "1", {"usr/sbin/mesos-agent": agent})
    build(made / "agent-2.deb", "mesos-standin", "2", {"usr/sbin/mesos-agent": agent + "# version 2\n"})
    build(made / "other.deb", "mesos-standin-other", "1", {})
    build(made / "needs-other.deb", "mesos-standin-needs-other", "1", {}, "Depends: mesos-standin-other\n")
    build(made / "needs-iptables.deb", "needs-iptables", "1", {}, "Depends: iptables\n")
    return made


def build(package: Path, name: str, version: str, files: Mapping[str, str], further: str = "") -> None:
    tree = package.with_suffix(".tree")
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
    for path, text in {"DEBIAN/control": f"{control}{further}Description: for tests\n", **files}.items():
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(package)], check=True)


def deb(package: Path) -> dict[str, str]:
    """The package's URL for the machines, and its checksum."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return {"url": f"file:///root/packages/{package.name}", "sha256": digest}


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
    """The machines' first run, and the check mode before it."""
    before = fleet.control.traces()
    refused = {name: fleet.plays(flag, "--limit=a1") for name, flag in REFUSED.items()}
    after_refusals = fleet.control.traces()
    predicted = fleet.plays("--check", "--diff", AT_ONCE)
    return Rollout(before, predicted, fleet.control.traces(), refused, after_refusals, fleet.plays("-v"))


def test_what_is_wrong_is_refused_before_anything_is_changed(rollout: Rollout) -> None:
    said = {name: played.refusals["a1"] for name, played in rollout.refused.items()}
    assert "did not match" in said["checksum"]
    assert "it has to be 64 hexadecimal digits" in said["no checksum"]
    assert "there is no dockerd, and engine_packages and engine_package_urls name no package" in said["no engine"]
    assert rollout.after_refusals == rollout.before


def test_check_mode_predicts_the_first_run_and_changes_nothing(rollout: Rollout) -> None:
    assert rollout.predicted.status == 0, rollout.predicted.output
    assert rollout.first.status == 0, rollout.first.output
    others = rollout.first.changed_tasks_of("a2", "a3") - rollout.predicted.changed_tasks_of("a2", "a3")
    assert rollout.predicted.changed_tasks_of("a2", "a3") <= rollout.first.changed_tasks_of("a2", "a3")
    # In check mode, systemd does not know the new units yet. The fetched packages are predicted by their folder.
    unforeseen = ("storage : Enable the mount unit", "agent : Start the agent's service", "packages : Fetch packages")
    assert {task for _host, task in others} == {f"mesos.dind.{task}" for task in unforeseen}
    not_yet = [task for host, task in rollout.predicted.changed_tasks if "cannot be predicted yet" in task]
    assert not_yet == ["mesos.dind.network : Report that the network cannot be predicted yet"]
    assert ("a1", not_yet[0]) in rollout.predicted.changed_tasks
    assert "check mode cannot predict the network without iptables, python3-netaddr" in rollout.predicted.output
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


def test_what_the_agent_is_told_is_nobody_elses_business(fleet: Fleet, rollout: Rollout) -> None:
    assert CREDENTIAL not in rollout.predicted.output
    assert CREDENTIAL not in rollout.first.output
    for host in HOSTS:
        assert CREDENTIAL in fleet.control.ask(host, "cat", "/run/standin/environ")
        assert fleet.control.ask(host, "stat", "--format=%a %U", "/etc/mesos-dind/agent.env") == "600 root\n"


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

    # In one batch: if one host fails, no host goes on.
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
    moments = [moment for host in HOSTS for moment in turn(fleet, host)]
    assert moments == sorted(moments)


@pytest.mark.usefixtures("rollout")
def test_a_machine_that_is_not_reached_stops_the_roll_before_anything_is_changed(fleet: Fleet) -> None:
    before, pids = labels(fleet), fleet.agent_pids()
    fleet.engine_label("unreached")
    fleet.control.write("host_vars/a2/network.yml", {"ansible_host": str(fleet.network[300])})
    stopped = fleet.plays("--extra-vars=mesos_dind_serial=2")
    assert stopped.status != 0
    assert stopped.counts["a2"]["unreachable"] == 1
    assert "the roll ends here, since a2 could not be reached" in stopped.refusals["a1"]
    assert stopped.counts["a1"]["changed"] == 0
    assert "a3" not in stopped.counts
    assert (labels(fleet), fleet.agent_pids()) == (before, pids)
    fleet.control.write("host_vars/a2/network.yml", {})
    fleet.engine_label("two")


@pytest.mark.usefixtures("rollout")
def test_another_version_of_a_package_is_installed_and_its_agent_drained_and_started_again(fleet: Fleet) -> None:
    pids = fleet.agent_pids()
    for version in ("2", "1"):
        for host in HOSTS:
            fleet.control.ask(host, "rm", "-f", "/root/drained")
        package = deb(fleet.control.folder / f"packages/agent-{version}.deb")
        fleet.control.write(
            "group_vars/mesos_agents/mesos.yml", {f"agent_mesos_deb_{name}": text for name, text in package.items()}
        )
        predicted = fleet.plays("--check", "--limit=a1")
        assert predicted.changed["a1"] > 0
        upgraded = fleet.plays(AT_ONCE)
        assert set(upgraded.changed) == set(HOSTS)
        for host in HOSTS:
            shown = ("dpkg-query", "--show", "--showformat=${Version}", "mesos-standin")
            assert fleet.control.ask(host, *shown) == version
            assert fleet.control.ask(host, "cat", "/root/drained") == "drained\n"
        after = fleet.agent_pids()
        assert all(after[host] != pids[host] for host in HOSTS)
        # The task drained the agent before the new package came; the agent's restart did not.
        assert {(host, "Drain and stop the agent") for host in HOSTS} <= {
            (host, task.rpartition(" : ")[2]) for host, task in upgraded.changed_tasks
        }
        assert fleet.plays(AT_ONCE).changed == dict.fromkeys(HOSTS, 0)
        pids = after


@pytest.mark.usefixtures("rollout")
def test_on_the_machine_itself_a_run_finds_the_same(fleet: Fleet) -> None:
    """Ansible runs on the machine itself, with a local connection."""
    environment = {
        "PYTHONPATH": "/root/python",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_COLLECTIONS_PATH": "/collections",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    play = f"python3 -m ansible playbook --inventory=hosts.yml --connection=local --limit=a2 {VM}"
    assignments = [f"{name}={value}" for name, value in environment.items()]
    told = fleet.agents["a2"].run("sh", "-c", f"cd /root/control && env {' '.join(assignments)} {play}")
    assert Played(0, told).changed == {"a2": 0}


def labels(fleet: Fleet) -> dict[str, str]:
    return {host: agent.inner("info", "--format={{range .Labels}}{{.}}{{end}}") for host, agent in fleet.agents.items()}


def turn(fleet: Fleet, host: str) -> list[float]:
    """The times at which the agent stopped, the engine stopped and started, and the agent started, in this order."""
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
    """The last test of this file, because it gives the whole fleet back.

    A package of somebody else needs iptables by now, so iptables and its dependencies stay.
    """
    fleet.control.ask("a1", "dpkg", "--install", "/root/packages/needs-iptables.deb")
    given_back = fleet.control.play(ABSENT, AT_ONCE)
    assert given_back.status == 0, given_back.output
    after = fleet.control.traces()
    kept = set(after["a1"]["packages"].split()) - set(rollout.before["a1"]["packages"].split())
    assert {"needs-iptables", "iptables"} <= kept
    assert all(name.startswith(("lib", "netbase")) for name in kept - {"needs-iptables", "iptables"})
    assert "stay, since other packages need them" in given_back.output
    after["a1"]["packages"] = rollout.before["a1"]["packages"]
    after["a1"]["rules"] = rollout.before["a1"]["rules"]
    # Debian 12's dockerd creates a key for itself.
    assert after["a1"]["engine"].split()[1:] == ["/etc/docker/key.json"]
    after["a1"]["engine"] = ""
    assert after == rollout.before
    assert fleet.control.play(ABSENT, AT_ONCE).changed == dict.fromkeys(HOSTS, 0)
