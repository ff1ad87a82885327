"""Tests that the bridge survives a reboot if systemd-networkd manages the uplink. Ssh uses the same uplink."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import netaddr
import pytest
from agents import BOOT_LIMIT, Start
from conftest import ImageOn
from docker.models.networks import Network
from persisted import ABSENT, IN_MACHINE, PERSISTED, Machine, assert_undone, by_text, lease_server, ssh_config

ORIGINAL = "/etc/systemd/network/20-uplink.network"
DROP_IN = "/etc/systemd/system/docker.service.d/mesos-dind-bridged-net.conf"

# Seconds. A fixture may build an image.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def image(request: pytest.FixtureRequest, networkd_image_on: ImageOn) -> str:
    """systemd 252 and 257, which differ in how they treat an existing bridge."""
    return networkd_image_on(request.param)


@pytest.fixture
def machine(machine_with: Callable[..., Machine]) -> Machine:
    return machine_with()


@pytest.mark.parametrize("configured_by", [{}, {"NETPLAN": "yes"}], ids=["networkd", "netplan"])
def test_the_bridge_outlasts_a_reboot_and_absent_gives_the_uplink_back(
    machine_with: Callable[..., Machine], configured_by: dict[str, str]
) -> None:
    machine = machine_with(**configured_by)
    before = machine.network()
    assert before["forwarding"] == "0\n"
    predicted = machine.module("--check", "--diff", **PERSISTED)
    assert machine.network() == before
    assert machine.files() == []
    assert machine.module(**PERSISTED)["actions"] == predicted["actions"]
    moved = machine.network()
    assert [link["ifname"] for link in moved["links"] if link.get("addr_info")] == ["docker0"]
    assert machine.module(**PERSISTED)["actions"] == []

    machine.reboot()
    assert machine.network() == moved
    assert machine.ssh("cat", "/sys/class/net/docker0/bridge/stp_state") == "0\n"
    assert machine.module(**PERSISTED)["actions"] == []
    assert "configured" in machine.run("networkctl", "list", "--no-legend", "--no-pager", "eth0").split()

    predicted = machine.module("--check", **ABSENT)
    assert machine.module(**ABSENT)["actions"] == predicted["actions"]
    assert machine.network() == before
    assert machine.files() == []
    assert machine.module(**ABSENT)["actions"] == []
    machine.reboot()
    assert machine.network() == before


def test_what_was_added_by_hand_stays_until_the_reboot_and_returns(machine: Machine) -> None:
    (gateway,) = {route["gateway"] for route in machine.network()["routes"] if route["dst"] == "default"}
    machine.run("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
    machine.run("ip", "route", "add", "203.0.113.0/24", "via", gateway)
    machine.run("ip", "neighbour", "add", "192.0.2.10", "lladdr", "02:00:00:00:00:10", "dev", "eth0")
    before = machine.network()
    machine.module(**PERSISTED)
    moved = machine.network()
    assert "192.0.2.9" in str(moved["links"])
    assert "203.0.113.0/24" in str(moved["routes"])
    assert "192.0.2.10" in str(moved["neighbours"])
    assert machine.module(**PERSISTED)["actions"] == []
    machine.module(**ABSENT)
    assert by_text(machine.network()) == by_text(before)


def test_a_change_of_the_original_is_a_change(machine: Machine) -> None:
    machine.module(**PERSISTED)
    machine.reboot()
    machine.write(f"{ORIGINAL}.d/x.conf", "[Network]\nAddress=192.0.2.7/24\n")
    predicted = machine.module("--check", **PERSISTED)["actions"]
    assert any(action.startswith("write /etc/systemd/network/") for action in predicted)
    assert machine.module(**PERSISTED)["actions"] == predicted
    assert "192.0.2.7" in str(machine.network()["links"])
    assert machine.module(**PERSISTED)["actions"] == []


def test_killed_at_any_point_both_ways_are_open(machine: Machine) -> None:
    script = f"{IN_MACHINE}/tests/container/interrupted.py"
    environment = ["env", "PYTHONPATH=/collections", "PYTHONDONTWRITEBYTECODE=1"]
    done = machine.run(*environment, "python3", script, json.dumps({**PERSISTED, "verify_timeout": 8.0}))
    assert len(done.splitlines()) > 20
    assert machine.files() == []


@pytest.mark.parametrize("configured_by", [{}, {"NETPLAN": "yes"}], ids=["networkd", "netplan"])
def test_a_lease_goes_on_with_the_bridge_and_is_the_same_after_a_reboot(
    machine_with: Callable[..., Machine], image: str, user_network: Network, start: Start, configured_by: dict[str, str]
) -> None:
    server, leased = lease_server(start, image, user_network)
    machine = machine_with(DHCP="yes", ADDRESS=leased, **configured_by)
    before = machine.network()
    client = server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases")
    assert leased in client
    answer = machine.module(**{**PERSISTED, "offset": "0.0.9.0"})
    assert answer.get("warnings", []) == []
    assert "valid_lft forever" not in machine.run("ip", "-4", "address", "show", "dev", "docker0")
    assert machine.module(**PERSISTED)["actions"] == []
    machine.reboot()
    assert server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases") == client
    assert machine.module(**PERSISTED)["actions"] == []
    machine.module(**ABSENT)
    assert machine.network() == before


def test_with_a_silent_gateway_all_is_undone_within_half_a_minute(machine: Machine) -> None:
    """The gateway's address is nobody's. The machine's configuration has it, so that it comes back with the uplink."""
    subnet = netaddr.IPNetwork(machine.run("ip", "-oneline", "-4", "address", "show", "dev", "eth0").split()[3])
    gateway = str(subnet.cidr[254])
    machine.write(ORIGINAL, f"[Match]\nName=eth*\n[Network]\nAddress={subnet}\nGateway={gateway}\n")
    machine.run("networkctl", "reload")
    arranged = 'until [ "$(ip route show default via "$0")" ]; do :; done'
    machine.run("timeout", str(BOOT_LIMIT), "sh", "-c", arranged, gateway)
    assert_undone(machine, gateway)


def test_with_a_gateway_that_falls_silent_when_networkd_has_followed_all_is_undone(machine: Machine) -> None:
    """The gateway's answers are dropped on the bridge once the module's files exist."""
    (gateway,) = {route["gateway"] for route in machine.network()["routes"] if route["dst"] == "default"}
    silence = 'until [ -e "$0" ]; do :; done; ebtables -I INPUT -p arp --arp-opcode Reply -j DROP'
    uplinks = "/etc/systemd/network/00-00-mesos-dind-eth0.network"
    machine.agent.container.exec_run(["sh", "-c", silence, uplinks], detach=True)
    assert_undone(machine, gateway)
    assert "arp" in machine.run("ebtables", "-L", "INPUT")


def test_without_an_answer_from_networkd_all_is_undone(machine: Machine) -> None:
    """The configuration asks for DHCP, and nobody answers, so networkd cannot configure the bridge."""
    before = machine.network()
    machine.write(ORIGINAL, "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\n")
    machine.run("rm", "-r", f"{ORIGINAL}.d")
    answer = machine.module(**PERSISTED)
    assert "systemd-networkd did not arrange docker0 within 20 s" in answer["msg"]
    assert by_text(machine.network()) == by_text(before)
    assert machine.files() == []


@pytest.fixture
def docker_machine(
    machine_image: str, key: Path, user_network: Network, start: Start, volume: str, tmp_path: Path
) -> Iterator[Machine]:
    """A machine with Docker under systemd. The outer engine manages its uplink, which makes no difference here."""
    resolv_conf = tmp_path / "resolv.conf"  # in place of the outer engine's resolver
    resolv_conf.write_text("nameserver 192.0.2.53\n")
    agent = start(
        image=f"{machine_image}:with-engine", standin=False, network=user_network.name, cgroupns="private",
        tmpfs={"/run": ""}, volumes={volume: "/var/lib/docker", str(resolv_conf): "/etc/resolv.conf"},
    )  # fmt: skip
    machine = Machine(agent, ssh_config(tmp_path, key, agent.address))
    machine.run("mkdir", "-p", "/root/.ssh")
    machine.write("/root/.ssh/authorized_keys", key.with_suffix(".pub").read_text())
    yield machine.await_network()
    subprocess.run(["ssh", "-F", machine.ssh_config, "-O", "exit", "machine"], capture_output=True, check=False)


def proxy_arp(machine: Machine) -> str:
    machine.run("systemctl", "start", "docker")  # waits until Docker is ready
    settings = "net/ipv4/ip_forward", "net/ipv4/conf/eth0/proxy_arp", "net/ipv4/neigh/eth0/proxy_delay"
    return machine.run("sysctl", *settings) + machine.run("iptables", "-S", "DOCKER-USER")


def test_proxy_arp_outlasts_a_reboot_with_the_engine(docker_machine: Machine, task_archive: bytes) -> None:
    machine, params = docker_machine, {**PERSISTED, "mode": "proxy_arp"}
    before = proxy_arp(machine)
    predicted = machine.module("--check", "--diff", **params)
    answer = machine.module(**params)
    assert answer["actions"] == predicted["actions"]
    assert machine.files() == [DROP_IN]
    assert machine.module(**params)["actions"] == []
    there = proxy_arp(machine)

    config = {name: answer[name] for name in ("bip", "mtu")} | {"fixed-cidr": answer["fixed_cidr"], "ip-masq": False}
    machine.write("/etc/docker/daemon.json", json.dumps(config))
    machine.run("systemctl", "restart", "docker")
    assert proxy_arp(machine) == there
    machine.agent.load(task_archive)
    machine.agent.inner("run", "--detach", "--restart=always", "--name=one", "mesos-dind-task", "sleep", "1000")
    inner = machine.agent.inner("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "one")

    machine.reboot()
    assert proxy_arp(machine) == there
    ping = ["docker", "run", "--rm", "--network", "host", "mesos-dind-task", "ping", "-c", "1", "-W", "5", inner]
    subprocess.run(ping, check=True, capture_output=True)
    assert machine.module(**params)["actions"] == []
    assert DROP_IN in machine.module(**{**params, "persist": "none"})["msg"]

    predicted = machine.module("--check", **ABSENT)
    assert machine.module(**ABSENT)["actions"] == predicted["actions"]
    assert machine.files() == []
    assert machine.module(**ABSENT)["actions"] == []
    assert proxy_arp(machine) == before
    machine.reboot()
    assert proxy_arp(machine) == before
