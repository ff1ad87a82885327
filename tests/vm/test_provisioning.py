"""Tests of the roles on a bare machine: check, converge, reboot and giving back, over ssh on the uplink that moves."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import machine as machines
import pytest
import system_disk
from limits import TASK_IMAGE
from machines import Played

REPOSITORY = Path(__file__).resolve().parents[2]
RUN_LIMIT = 1500  # seconds until a run counts as hung

# Shell commands whose output must be the same before provisioning and after the machine is given back.
TRACES = {
    "addresses": "ip -json address show | python3 -c 'import json, sys; [print(link[\"ifname\"], link.get(\"master\"), "
    'link["address"], *sorted(a["local"] for a in link["addr_info"])) for link in json.load(sys.stdin)]\'',
    "routes": "ip route show",
    "mounts": "findmnt --noheadings --raw --real --output TARGET,SOURCE,FSTYPE",
    "loop devices": "losetup --list --noheadings",
    "units": "find /etc/systemd /etc/mesos-dind -type f -o -type l 2>/dev/null | sort",
    "forwarding": "sysctl net.ipv4.ip_forward",
    "services": "systemctl is-active docker.service docker.socket containerd.service || true",
    "packages": "dpkg-query --show --showformat '${db:Status-Abbrev}${Package}\\n' | grep ^ii",
}  # fmt: skip


@pytest.fixture(scope="module")
def bare(say: Callable[[str], None]) -> Iterator[machines.Machine]:
    """A machine for these tests alone, which can reboot."""
    disk = system_disk.provide()
    with machines.booted(disk, system_disk.CACHE / "bare-console.log", reboots=True) as machine:
        say("ssh answers on the bare machine")
        yield machine


@pytest.fixture(scope="module")
def molecule(bare: machines.Machine) -> Callable[..., str]:
    """Run a command of Molecule with this machine's scenario. Returns the output."""

    def run(command: str, *options: str) -> str:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
            "ANSIBLE_NOCOLOR": "1",
            "NO_COLOR": "1",
            "MESOS_DIND_VM_SSH_CONFIG": str(bare.ssh_config),
        }
        argv = ["molecule", command, "--scenario-name", "vm", *options]
        done = subprocess.run(
            argv, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=RUN_LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="module")
def before(bare: machines.Machine, molecule: Callable[..., str], say: Callable[[str], None]) -> dict[str, str]:
    """The machine's traces before the first run."""
    molecule("prepare", "--force")
    say("prepared")
    return traces(bare)


@pytest.fixture(scope="module")
def provisioned(
    bare: machines.Machine, before: dict[str, str], molecule: Callable[..., str], say: Callable[[str], None]
) -> dict[str, str]:
    """The machine after Molecule's steps: check, converge, idempotence, reboot, idempotence, the scenario's tests."""
    boot = bare.run("cat", "/proc/sys/kernel/random/boot_id")
    foretold = molecule("check")
    say("checked")
    assert traces(bare) == before
    told = molecule("test", "--destroy=never")
    say("converged, rebooted, verified")
    return {**before, "foretold": foretold, "told": told, "former boot": boot}


def traces(machine: machines.Machine) -> dict[str, str]:
    return {name: machine.run("sh", "-c", command) for name, command in TRACES.items()}


def test_one_run_converges_and_all_is_there_again_after_a_reboot(
    bare: machines.Machine, provisioned: dict[str, str]
) -> None:
    """A second run changes nothing, nor does a run after the reboot."""
    assert provisioned["told"].count("changed=0 ") == 2
    assert bare.run("cat", "/proc/sys/kernel/random/boot_id") != provisioned["former boot"]


def test_check_mode_has_foretold_the_first_run(provisioned: dict[str, str]) -> None:
    foretold, done = (Played(0, provisioned[name].partition("PLAY RECAP")[0]) for name in ("foretold", "told"))
    assert foretold.changed_tasks
    assert foretold.changed_tasks <= done.changed_tasks
    # In check mode, systemd does not know the new units yet.
    unknown = {"mesos.dind.storage : Enable the mount unit", "mesos.dind.agent : Start the agent's service"}
    assert {task for _host, task in done.changed_tasks - foretold.changed_tasks} == unknown


@pytest.mark.usefixtures("provisioned")
def test_an_inner_container_is_reached_and_gets_out_under_its_own_address(bare: machines.Machine) -> None:
    engine = bare.engine("provisioned")
    with subprocess.Popen(["docker", "save", TASK_IMAGE], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        engine.run("load", "--quiet", stdin=saved.stdout)
    container = engine.run("run", "--detach", TASK_IMAGE, "httpd", "-f", "-p", "8080").strip()
    address = engine.run("inspect", "--format={{.NetworkSettings.IPAddress}}", container).strip()
    assert ipaddress.ip_address(address) in ipaddress.ip_network("10.0.2.64/28")
    bare.run("timeout", "60", "bash", "-c", f"until exec 3<>/dev/tcp/{address}/8080; do sleep 0.5; done")
    engine.run("exec", container, "ping", "-c", "1", "-W", "20", "10.0.2.15")
    # qemu's gateway answers every ping on its network.
    engine.run("exec", container, "ping", "-c", "1", "-W", "20", "10.0.2.2")


@pytest.mark.usefixtures("provisioned")
def test_a_container_on_another_inner_network_gets_out_after_the_reboot(bare: machines.Machine) -> None:
    engine = bare.engine("provisioned")
    engine.run("network", "create", "own")
    engine.run("run", "--rm", "--network=own", TASK_IMAGE, "ping", "-c", "1", "-W", "20", "10.0.2.2")
    engine.run("network", "rm", "own")


@pytest.mark.usefixtures("provisioned")
def test_the_machine_is_given_back_as_it_was(
    bare: machines.Machine, before: dict[str, str], molecule: Callable[..., str], say: Callable[[str], None]
) -> None:
    """The container of the test above still runs."""
    molecule("cleanup")
    say("given back")
    assert traces(bare) == before


def move_uplink(machine: machines.Machine) -> subprocess.Popen[str]:
    """Run bridged_net as a single task, with its own connection."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": f"-F {machine.ssh_config} -o ControlPath=none",
    }
    ansible = [str(Path(sys.executable).with_name("ansible")), "vm", "--inventory=vm,"]
    module = ["--module-name=mesos.dind.bridged_net", "--args=offset=0.0.0.64 size=28 verify_timeout=5"]
    return subprocess.Popen(
        [*ansible, *module], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def silent_gateway(bare: machines.Machine, before: dict[str, str]) -> Iterator[dict[str, str]]:
    """The machine's traces with a gateway whose address nobody has."""
    tell_gateway(bare, "10.0.2.2", "10.0.2.99")
    yield traces(bare)
    tell_gateway(bare, "10.0.2.99", "10.0.2.2")
    assert traces(bare) == before


def tell_gateway(machine: machines.Machine, former: str, gateway: str) -> None:
    """Change the gateway in the machine's own configuration, which systemd-networkd then applies again."""
    machine.run("sed", "-i", f"s/^Gateway={former}$/Gateway={gateway}/", "/etc/systemd/network/10-vm.network")
    machine.run("networkctl", "reload")
    machine.run("networkctl", "reconfigure", "ens3")
    there = f"ip route show default | grep -qF 'via {gateway} ' && ! ip route show default | grep -qF 'via {former} '"
    machine.run("timeout", "60", "sh", "-c", f"until {there}; do sleep 0.5; done")


def test_where_the_gateway_does_not_answer_the_uplink_is_as_before(
    bare: machines.Machine, silent_gateway: dict[str, str]
) -> None:
    with move_uplink(bare) as moving:
        told = moving.communicate(timeout=machines.COMMAND_LIMIT)[0]
    assert moving.returncode != 0, told
    assert "the gateway 10.0.2.99 did not answer within 5 s, so all was undone" in told
    assert traces(bare) == silent_gateway


# Runs on the machine: waits until the uplink is a port, ends every other session, and prints the seconds that the
# uplink stays a port.
WATCH = """
until [ -e /sys/class/net/docker0/brif/ens3 ]; do :; done
read began _ </proc/uptime
pkill --signal KILL --full '^sshd-session: root@notty$'
while [ -e /sys/class/net/docker0/brif/ens3 ]; do sleep 0.2; done
read ended _ </proc/uptime
echo "${ended%.*} ${began%.*}" >/run/watched
"""


def test_it_is_as_before_within_30_s_also_when_nobody_is_connected_any_more(
    bare: machines.Machine, silent_gateway: dict[str, str]
) -> None:
    unit = ("--unit=watch", "--property=RemainAfterExit=yes", "--expand-environment=no")
    bare.run("systemd-run", *unit, "sh", "-c", WATCH)
    with move_uplink(bare) as moving:
        told = moving.communicate(timeout=machines.COMMAND_LIMIT)[0]
    assert "UNREACHABLE" in told, told
    bare.run("timeout", "120", "sh", "-c", "until [ -e /run/watched ]; do sleep 1; done")
    ended, began = map(int, bare.run("cat", "/run/watched").split())
    assert ended - began <= 30
    bare.run("systemctl", "stop", "watch")
    assert traces(bare) == silent_gateway
