"""Tests of the simplest machines: one whose engine runs on a file system with overlay, and one without an engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import netaddr
import pytest
from agents import Agent, Start
from docker.models.networks import Network
from machines import Control, Played

VM, ABSENT = "mesos.dind.vm", "mesos.dind.vm_absent"
# An administrator's own mount unit for the data root.
OWN_MOUNT = "/etc/systemd/system/var-lib-docker.mount"
OWN_MOUNT_UNIT = "[Mount]\nWhat=/dev/vdb\nWhere=/var/lib/docker\n[Install]\nWantedBy=multi-user.target\n"

# Seconds. The first test that runs builds the image.
pytestmark = pytest.mark.timeout(1500)


class Machine:
    def __init__(self, name: str, agent: Agent, control: Control, network: netaddr.IPNetwork) -> None:
        self.name, self.agent, self.control, self.network = name, agent, control, network

    def has(self, **variables: Any) -> None:
        """Set the machine's own variables in the inventory."""
        self.control.write(f"host_vars/{self.name}/test.yml", variables)

    def provision(self, *flags: str) -> Played:
        return self.control.play(VM, f"--limit={self.name}", *flags)

    def give_back(self, *flags: str) -> Played:
        return self.control.play(ABSENT, f"--limit={self.name}", *flags)

    def ask(self, *argv: str) -> str:
        """The output of a command, by a way that does not need the machine's network."""
        return self.agent.run(*argv)

    @property
    def traces(self) -> dict[str, str]:
        return self.control.traces()[self.name]

    def reboot(self) -> None:
        """Restart the container, which gets a new network namespace and an empty /run."""
        self.control.leave()
        self.agent.container.restart(timeout=5)
        self.control.admit(self.name, self.agent)
        self.ask("systemctl", "start", "docker.service")  # waits until Docker is ready

    @property
    def user_rules(self) -> str:
        """The rules of DOCKER-USER, which come before the engine's own rules."""
        return self.ask("iptables", "-S", "DOCKER-USER")

    @property
    def main_pid(self) -> str:
        """The pid of dockerd."""
        return self.ask("systemctl", "show", "--value", "--property=MainPID", "docker.service")

    @property
    def labels(self) -> str:
        return self.agent.inner("info", "--format={{json .Labels}}")

    @property
    def default_routes(self) -> list[tuple[str, str]]:
        routes = json.loads(self.ask("ip", "-json", "route", "show", "default"))
        return [(route["dev"], route["gateway"]) for route in routes]

    @property
    def addresses(self) -> dict[str, list[str]]:
        """The addresses of each network device, except the loopback's."""
        links = json.loads(self.ask("ip", "-json", "-4", "address", "show"))
        found = {
            link["ifname"]: [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]] for link in links
        }
        return {name: addresses for name, addresses in found.items() if name != "lo"}


Make = Callable[..., Machine]


@pytest.fixture(scope="module")
def make_machine(
    control: Control,
    machine_image: str,
    machines_network: Network,
    start_for_all: Start,
    engine: docker.DockerClient,
    label: str,
) -> Make:
    key, _, value = label.partition("=")
    network = netaddr.IPNetwork(machines_network.attrs["IPAM"]["Config"][0]["Subnet"])

    def make(name: str, stage: str, resolv_conf: Path | None = None) -> Machine:
        volume = engine.volumes.create(labels={key: value})
        own = {str(resolv_conf): "/etc/resolv.conf"} if resolv_conf else {}
        agent = start_for_all(
            image=f"{machine_image}:{stage}",
            network=machines_network.name,
            cgroupns="private",
            mac_address=f"02:42:6d:64:01:{len(control.addresses):02x}",  # the same after a restart
            tmpfs={"/run": ""},
            volumes={str(volume.name): "/var/lib/docker"} | own,
        )
        control.admit(name, agent)
        hosts = {host: {"ansible_host": address} for host, address in control.addresses.items()}
        control.write("hosts.yml", {"mesos_agents": {"hosts": hosts}})
        control.write("group_vars/mesos_agents/here.yml", {"network_persist": "none"})
        return Machine(name, agent, control, network)

    return make


@pytest.fixture(scope="module")
def running(make_machine: Make) -> Machine:
    """A machine whose engine runs."""
    machine = make_machine("running", "with-newer-engine")
    machine.ask("sh", "-c", f"printf '{OWN_MOUNT_UNIT}' >{OWN_MOUNT}")
    machine.ask("systemctl", "daemon-reload")
    machine.ask("systemctl", "start", "docker.service")  # waits until Docker is ready
    return machine


def test_the_uplink_goes_under_the_bridge_of_an_engine_that_runs_and_comes_back(running: Machine) -> None:
    before = running.traces
    assert before["services"].split() == ["active"] * 3
    (own,) = running.addresses["eth0"]
    (gateway,) = [gateway for _device, gateway in running.default_routes]
    assert running.addresses == {"eth0": [own], "docker0": ["172.17.0.1/16"]}

    running.has(storage_strategy="auto", engine_packages=[])
    assert running.provision().changed["running"] > 0
    assert running.provision().changed == {"running": 0}
    assert running.agent.inner("info", "--format={{.Driver}}") == "overlay2"
    assert running.ask("systemctl", "show", "--value", "--property=Delegate", "docker.service") == "yes\n"

    running.has(storage_strategy="auto", engine_packages=[], network_offset="0.0.1.0")
    moved = running.provision()
    assert running.default_routes == [("docker0", gateway)], moved.output
    assert running.addresses == {"docker0": [own]}
    assert moved.changed["running"] > 0
    assert running.provision().changed == {"running": 0}

    given_back = running.give_back()
    assert running.default_routes == [("eth0", gateway)], given_back.output
    assert given_back.status == 0, given_back.output
    assert running.traces == before
    assert running.ask("cat", OWN_MOUNT) == OWN_MOUNT_UNIT
    assert running.ask("findmnt", "--noheadings", "/var/lib/docker")
    assert running.give_back().changed == {"running": 0}


def test_an_engine_does_not_start_while_the_bridge_has_another_address_than_it_was_told(running: Machine) -> None:
    """The situation after a reboot with another lease."""
    before = running.traces
    running.has(engine_packages=[], network_offset="0.0.1.0")
    assert running.provision().changed["running"] > 0
    addresses, routes = running.addresses, running.default_routes
    (own,) = addresses["docker0"]
    former = f"{running.network[77]}/{running.network.prefixlen}"
    files = ("/etc/mesos-dind/daemon.json", "/etc/systemd/system/docker.service.d/mesos-dind.conf")
    running.ask("sed", "-i", f"s|{own}|{former}|", *files)
    running.ask("systemctl", "daemon-reload")
    assert running.agent.exec("systemctl", "restart", "docker.service").exit_code == 1
    assert (running.addresses, running.default_routes) == (addresses, routes)
    said = running.ask("journalctl", "--unit=docker.service", "--output=cat")
    assert (
        f"docker0 has the address {own} and not {former}, and dockerd would take this machine off its network" in said
    )
    assert "run the playbook mesos.dind.vm again" in said

    assert running.provision().changed["running"] > 0
    assert (running.addresses, running.default_routes) == (addresses, routes)
    assert running.ask("systemctl", "is-active", "docker.service") == "active\n"
    assert running.provision().changed == {"running": 0}

    # A run that fails after the engine was given back is completed by the next one.
    interrupted = running.give_back("--extra-vars=network_uplink=nowhere")
    assert "there is no network device 'nowhere'" in interrupted.refusals["running"]
    assert running.give_back().status == 0
    assert running.traces == before


# The configuration that the outer engine gave the device becomes the machine's own. At each boot, the device has no
# address, as on a real machine. With a read-only /sys, networkd does not wait for udev.
BY_NETWORKD = """
address=$(ip -oneline -4 address show dev eth0 | awk '{ print $4 }')
gateway=$(ip -4 route show default | awk '{ print $3 }')
printf '[Match]\nName=eth0\n[Network]\nAddress=%s\nGateway=%s\n' "$address" "$gateway" \
    >/etc/systemd/network/20-uplink.network
mkdir -p /etc/systemd/system/systemd-networkd.service.d
printf '[Service]\nReadOnlyPaths=/sys\nExecStartPre=+ip address flush dev eth0\n' \
    >/etc/systemd/system/systemd-networkd.service.d/here.conf
systemctl enable --now systemd-networkd
until networkctl list --no-legend eth0 | grep -qw configured; do sleep 0.1; done
"""


def test_containers_on_an_inner_network_get_out_by_the_bridge_after_a_reboot_as_well(
    make_machine: Make, task_archive: bytes, tmp_path: Path
) -> None:
    resolv_conf = tmp_path / "resolv.conf"  # in place of the outer engine's resolver
    resolv_conf.write_text("nameserver 192.0.2.53\n")
    lasting = make_machine("lasting", "with-newer-engine", resolv_conf)
    lasting.ask("timeout", "60", "sh", "-ec", BY_NETWORKD)
    lasting.ask("systemctl", "start", "docker.service")
    before = lasting.addresses, lasting.default_routes, lasting.traces["units"]
    lasting.has(storage_strategy="auto", engine_packages=[], network_offset="0.0.3.0", network_persist="auto")
    assert lasting.provision().changed["lasting"] > 0
    assert lasting.provision().changed == {"lasting": 0}
    rules, (gateway,) = lasting.user_rules, [gateway for _device, gateway in lasting.default_routes]
    assert rules.count("mesos.dind.bridged_net") == 2
    lasting.agent.load(task_archive)
    lasting.agent.inner("network", "create", "own")
    out = ("run", "--rm", "--network=own", "mesos-dind-task", "ping", "-c", "1", "-W", "5", gateway)
    lasting.agent.inner(*out)

    lasting.reboot()
    lasting.agent.inner(*out)
    assert lasting.user_rules == rules
    again = lasting.provision("--diff")
    assert again.changed == {"lasting": 0}, again.output

    living = ("--name=living", "--network=own", "mesos-dind-task", "sleep", "1000")
    lasting.agent.inner("run", "--detach", *living)
    lasting.ask("systemctl", "restart", "docker.service")
    lasting.agent.inner("exec", "living", "ping", "-c", "1", "-W", "5", gateway)

    lasting.agent.inner("rm", "--force", "living")
    lasting.agent.inner("network", "rm", "own")
    given_back = lasting.give_back()
    assert given_back.status == 0, given_back.output
    assert lasting.user_rules.count("mesos.dind.bridged_net") == 0
    assert (lasting.addresses, lasting.default_routes, lasting.traces["units"]) == before


# A `systemctl` that kills the process that asks for the engine's restart.
KILLS = r"""#!/bin/sh
if [ "$*" = "restart docker.service" ]; then kill -KILL "$PPID"; else exec /usr/bin/systemctl "$@"; fi
"""


def test_the_run_after_one_that_was_killed_before_it_restarted_the_engine_does_so(running: Machine) -> None:
    before, wrapper = running.traces, "/usr/local/bin/systemctl"
    running.has(engine_packages=[])
    assert running.provision().changed["running"] > 0
    pid = running.main_pid
    running.ask("sh", "-c", 'printf %s "$1" >"$0"; chmod +x "$0"', wrapper, KILLS)
    running.has(engine_packages=[], engine_args=["--label=new=yes"])
    assert running.provision().status != 0
    assert (running.main_pid, running.labels) == (pid, "[]")
    running.ask("rm", wrapper)
    mended = running.provision()
    assert ("running", "mesos.dind.engine : Run the inner engine") in mended.changed_tasks, mended.output
    assert running.labels == '["new=yes"]'

    pid = running.main_pid
    assert running.provision().changed == {"running": 0}
    running.ask("touch", "/etc/mesos-dind/daemon.json", "/etc/mesos-dind/others")
    assert running.provision().changed == {"running": 0}
    running.ask("rm", "/etc/mesos-dind/others")
    assert running.main_pid == pid
    assert running.give_back().status == 0
    assert running.traces == before


def test_a_machine_that_had_no_engine_has_nothing_of_one_afterwards(
    make_machine: Make,
) -> None:
    """Without an offset, the engine makes its bridge, and not the role network."""
    bare = make_machine("bare", "fresh")
    before = bare.traces
    assert "docker0" not in before["addresses"]
    assert bare.provision().changed["bare"] > 0
    assert bare.addresses["docker0"] == ["172.17.0.1/16"]
    assert bare.provision().changed == {"bare": 0}
    assert bare.give_back().status == 0
    after = bare.traces
    # Debian 12's dockerd creates a key for itself.
    assert after["engine"].split()[1:] == ["/etc/docker/key.json"]
    assert {**after, "engine": ""} == before
    assert bare.give_back().changed == {"bare": 0}
