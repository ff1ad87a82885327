"""A machine whose network survives reboots. Ansible reaches it by ssh over the uplink that the module moves."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netaddr
from agents import BOOT_LIMIT, Agent, Start
from docker.models.networks import Network

REPOSITORY = Path(__file__).resolve().parents[2]
IN_MACHINE = "/collections/ansible_collections/mesos/dind"
PERSISTED = {"offset": "0.0.9.0", "persist": "auto"}
ABSENT = {"state": "absent"}
VOLATILE = {"ifindex", "link_index", "valid_life_time", "preferred_life_time", "link_netnsid"}


@dataclass
class Machine:
    """A container on its own network, with an ssh connection that all commands of Ansible share."""

    agent: Agent
    ssh_config: Path

    def run(self, *argv: str) -> str:
        return self.agent.run(*argv)

    def module(self, *flags: str, **params: Any) -> dict[str, Any]:
        """The result of the module, which Ansible runs over ssh."""
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": f"-F {self.ssh_config}",
        }
        ansible = [str(Path(sys.executable).with_name("ansible")), "machine", "--inventory=machine,", *flags]
        module = ["--module-name=mesos.dind.bridged_net", f"--args={json.dumps(params)}"]
        done = subprocess.run([*ansible, *module], env=environment, capture_output=True, text=True, check=False)
        answer: dict[str, Any] = json.loads(done.stdout.partition("=> ")[2])
        assert (done.returncode == 0) == ("actions" in answer), done.stdout + done.stderr
        return answer

    def ssh(self, *argv: str) -> str:
        done = subprocess.run(
            ["ssh", "-F", str(self.ssh_config), "machine", shlex.join(argv)], capture_output=True, text=True, check=True
        )
        return done.stdout

    def await_network(self) -> Machine:
        """Wait until the machine has configured its addresses, so that ssh answers."""
        end = time.monotonic() + BOOT_LIMIT
        command = ["ssh", "-F", str(self.ssh_config), "machine", "ip -4 route show default"]
        while not subprocess.run(command, capture_output=True, check=False).stdout:
            assert time.monotonic() < end, self.run("ip", "address") + self.agent.logs()
        return self

    def reboot(self) -> None:
        """Restart the container, which gets a new network namespace and an empty /run."""
        subprocess.run(["ssh", "-F", self.ssh_config, "-O", "exit", "machine"], capture_output=True, check=False)
        self.agent.container.restart(timeout=5)
        self.await_network()
        assert self.run("find", "/run", "-name", "mesos-dind") == ""

    def network(self) -> Any:
        """The state that `ip` shows, without counters, lifetimes and link-local addresses."""
        shown = {
            "links": json.loads(self.run("ip", "-json", "address", "show", "scope", "global")),
            "routes": json.loads(self.run("ip", "-json", "route", "show", "table", "all", "type", "unicast")),
            "neighbours": json.loads(self.run("ip", "-json", "neighbour", "show", "nud", "permanent")),
            "forwarding": self.run("sysctl", "-n", "net.ipv4.ip_forward"),
        }
        return _settled(shown)

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'printf %s "$1" >"$0"', path, text)

    def files(self) -> list[str]:
        return self.run("find", "/etc", "-name", "*mesos-dind*").split()


def _settled(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {key: _settled(value) for key, value in sorted(shown.items()) if key not in VOLATILE}
    return [_settled(each) for each in shown] if isinstance(shown, list) else shown


def by_text(network: Any) -> Any:
    """The network in a comparable order: `ip` shows routes in the order of their creation."""
    return {name: sorted(map(str, part)) for name, part in network.items()}


def ssh_config(folder: Path, key: Path, address: str) -> Path:
    config = folder / "ssh_config"
    config.write_text(
        f"Host machine\n HostName {address}\n User root\n IdentityFile {key}\n IdentitiesOnly yes\n"
        " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n ConnectTimeout 5\n"
        " ControlMaster auto\n ControlPersist yes\n ControlPath /tmp/mesos-dind-%C\n"
    )
    return config


def assert_undone(machine: Machine, gateway: str) -> None:
    before = machine.network()
    began = time.monotonic()
    answer = machine.module(**PERSISTED)
    elapsed = time.monotonic() - began
    assert f"the gateway {gateway} did not answer within 5 s, so all was undone" in answer["msg"]
    assert elapsed < 30
    assert by_text(machine.network()) == by_text(before)
    assert machine.files() == []


def lease_server(start: Start, image: str, network: Network) -> tuple[Agent, str]:
    """A DHCP server on the network and the only address that it leases. The engine assigns none of its addresses."""
    subnet = netaddr.IPNetwork(network.attrs["IPAM"]["Config"][0]["Subnet"])
    leased = str(subnet[260])
    options = f"--dhcp-option=option:router,{subnet[1]} --dhcp-option=option:mtu,1400"
    dnsmasq = f"dnsmasq --port=0 --dhcp-range={leased},{leased},{subnet.netmask},2m {options}"
    server = start(
        "sh", "-c", f"touch /tmp/leases; exec {dnsmasq} --dhcp-leasefile=/tmp/leases --keep-in-foreground",
        image=image, standin=False, network=network.name, tmpfs={"/tmp": ""},
    )  # fmt: skip
    return server, leased
