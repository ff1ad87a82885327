"""Tests that the bridge survives a reboot if ifupdown manages the uplink. The tests use ssh over that uplink."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from agents import Start
from conftest import ImageOn
from docker.models.networks import Network
from persisted import ABSENT, IN_MACHINE, PERSISTED, Machine, by_text, lease_server

INTERFACES = "/etc/network/interfaces"
OURS = ["/etc/network/interfaces.d/mesos-dind-bridged-net", "/etc/network/mesos-dind-bridged-net"]

# Seconds. A fixture may build an image.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def image(request: pytest.FixtureRequest, ifupdown_image_on: ImageOn) -> str:
    return ifupdown_image_on(request.param)


@pytest.fixture
def machine(machine_with: Callable[..., Machine]) -> Machine:
    return machine_with()


def states(machine: Machine) -> str:
    """The devices that are up according to ifupdown, which has a file for all devices and one for each."""
    said = sorted(machine.run("ifquery", "--state").splitlines())
    each = [f"{device}={machine.run('cat', f'/run/network/ifstate.{device}')}" for device in ("docker0", "eth0", "lo")]
    assert sorted("".join(line for line in each if not line.endswith("=")).splitlines()) == said
    return "\n".join(said)


def test_the_bridge_outlasts_a_reboot_and_absent_gives_the_uplink_back(machine: Machine) -> None:
    before, up, interfaces = machine.network(), machine.run("ifquery", "--state"), machine.run("cat", INTERFACES)
    assert before["forwarding"] == "0\n"
    predicted = machine.module("--check", "--diff", **PERSISTED)
    assert machine.network() == before
    assert machine.files() == []
    assert machine.module(**PERSISTED)["actions"] == predicted["actions"]
    moved, as_port = machine.network(), states(machine)
    assert [link["ifname"] for link in moved["links"] if link.get("addr_info")] == ["docker0"]
    assert as_port == "docker0=eth0\neth0=mesos-dind-eth0\nlo=lo"
    assert sorted(machine.files()) == OURS
    assert machine.module(**PERSISTED)["actions"] == []

    machine.reboot()
    assert by_text(machine.network()) == by_text(moved)
    assert states(machine) == as_port
    assert machine.ssh("cat", "/sys/class/net/docker0/bridge/stp_state") == "0\n"
    assert machine.module(**PERSISTED)["actions"] == []

    predicted = machine.module("--check", **ABSENT)
    assert machine.module(**ABSENT)["actions"] == predicted["actions"]
    assert by_text(machine.network()) == by_text(before)
    assert machine.files() == []
    assert machine.run("ifquery", "--state") == up
    assert machine.run("cat", INTERFACES) == interfaces
    assert machine.module(**ABSENT)["actions"] == []
    machine.reboot()
    assert machine.network() == before


def test_killed_at_any_point_both_ways_are_open(machine: Machine) -> None:
    interrupt(machine)
    # After the moves back, ifupdown itself must be able to remove the whole configuration.
    machine.module(**PERSISTED)
    machine.run("sh", "-c", "ifdown eth0 && ifup eth0")
    assert machine.await_network().module(**PERSISTED)["actions"] == []


def interrupt(machine: Machine) -> None:
    script = f"{IN_MACHINE}/tests/container/interrupted.py"
    environment = ["env", "PYTHONPATH=/collections", "PYTHONDONTWRITEBYTECODE=1"]
    done = machine.run(*environment, "python3", script, json.dumps({**PERSISTED, "verify_timeout": 8.0}))
    assert len(done.splitlines()) > 20
    assert machine.files() == []


def test_what_ifupdown_has_brought_up_since_is_still_there_after_a_reboot(machine: Machine) -> None:
    """The user's stanza stays in use."""
    machine.module(**PERSISTED)
    machine.write("/etc/network/interfaces.d/more", "iface eth0 inet static\n  address 192.0.2.7/24\n")
    machine.reboot()
    assert "192.0.2.7" in str(machine.network()["links"])
    assert machine.module(**PERSISTED)["actions"] == []


def test_a_lease_goes_on_with_the_bridge_and_is_the_same_after_a_reboot(
    machine_with: Callable[..., Machine], image: str, user_network: Network, start: Start
) -> None:
    server, leased = lease_server(start, image, user_network)
    machine = machine_with(DHCP="yes", ADDRESS=leased)
    before, files = machine.network(), machine.run("ls", "/var/lib/dhcp")
    client = server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases")
    assert leased in client
    predicted = machine.module("--check", **PERSISTED)
    assert machine.module(**PERSISTED)["actions"] == predicted["actions"]
    assert clients(machine) == "docker0\n"
    assert machine.module(**PERSISTED)["actions"] == []
    machine.run("sh", "-c", "ifdown eth0; ifup eth0")  # ends our dhclient and starts ifupdown's
    assert clients(machine) == "docker0\n"
    machine.reboot()
    assert clients(machine) == "docker0\n"
    assert "valid_lft forever" not in machine.run("ip", "-4", "address", "show", "dev", "docker0")
    assert server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases") == client
    assert machine.module(**PERSISTED)["actions"] == []
    predicted = machine.module("--check", **ABSENT)
    assert machine.module(**ABSENT)["actions"] == predicted["actions"]
    # dhclient renews the address's lifetime with the lease.
    assert str(by_text(machine.network())) == str(by_text(before)).replace("'dynamic': True, ", "")
    assert (clients(machine), machine.run("ls", "/var/lib/dhcp")) == ("eth0\n", files)
    assert machine.files() == []
    assert server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases") == client
    interrupt(machine)
    assert server.run("cut", "-d", " ", "-f", "2-", "/tmp/leases") == client


def clients(machine: Machine) -> str:
    """The devices that have a running dhclient."""
    return machine.run("sh", "-c", "for each in $(pgrep -x dhclient); do ps -o args= $each | sed 's/.* //'; done")


def test_what_would_not_last_is_refused_before_anything_is_changed(machine: Machine) -> None:
    before, stanzas = machine.network(), machine.run("cat", INTERFACES)
    for text, cause in (
        (stanzas.replace("interfaces.d/*", "interfaces.d/*.cfg"), "does not have ifupdown read"),
        (f"{stanzas}\toffload-tso off\n", "'offload-tso', which ifupdown would do to the bridge"),
        (stanzas.replace("dev $IFACE", "dev eth0"), "which names the device; write $IFACE"),
    ):
        machine.write(INTERFACES, text)
        assert cause in machine.module(**PERSISTED)["msg"]
        assert machine.network() == before
        assert machine.files() == []
