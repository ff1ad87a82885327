"""Machines under systemd, as containers with an ssh server, and Ansible's command line to provision them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import BOOT_LIMIT, Agent

REPOSITORY = Path(__file__).resolve().parents[2]
RUN_LIMIT = 900  # seconds until a run counts as hung

# Shell commands whose output must be the same before provisioning and after a machine is given back.
TRACES = {
    "addresses": "ip -brief address show",
    "routes": "ip route show",
    "mounts": "findmnt --noheadings --raw --output TARGET,SOURCE,FSTYPE | grep -v '^/run/docker/netns/'",
    "units": "find /etc/systemd /etc/mesos-dind -not -type d -printf '%p %l\\n' 2>/dev/null | sort",
    "engine": "find /etc/docker -type f -exec sha256sum {} + 2>/dev/null | sort",
    # Without the tables and chains that a query creates.
    "rules": "iptables-save | grep -e '^-A' -e ' DROP ' | sed 's/ \\[[0-9:]*\\]$//'",
    "forwarding": "sysctl net.ipv4.ip_forward",
    "services": "systemctl is-active docker.service docker.socket containerd.service || true",
    "packages": "dpkg-query --show --showformat '${db:Status-Abbrev}${Package}\\n' | grep ^ii",
}


@dataclass(frozen=True)
class Played:
    """The result of a run of ``ansible-playbook``."""

    status: int
    output: str = field(repr=False)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The recap by host: ``ok``, ``changed``, ``failed`` and so on. A host whose batch never ran has none."""
        recap = self.output.rpartition("PLAY RECAP")[2]
        lines = re.findall(r"^(\S+)\s+: (ok=.*)$", recap, re.MULTILINE)
        return {host: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", rest)} for host, rest in lines}

    @property
    def changed(self) -> dict[str, int]:
        assert self.status == 0, self.output
        return {host: counts["changed"] for host, counts in self.counts.items()}

    @property
    def changed_tasks(self) -> set[tuple[str, str]]:
        """Each host with each task that changed it, in any role or play."""
        tasks = re.findall(r"^TASK \[(.*)\] \**\n((?:(?!TASK |PLAY ).*\n)*)", self.output, re.MULTILINE)
        return {(host, task) for task, told in tasks for host in re.findall(r"^changed: \[(\w+)\]", told, re.MULTILINE)}

    def changed_tasks_of(self, *hosts: str) -> set[tuple[str, str]]:
        return {(host, task) for host, task in self.changed_tasks if host in hosts}

    @property
    def refusals(self) -> dict[str, str]:
        """The message of each failed host."""
        told = re.findall(r"^(?:fatal|failed): \[(\w+)\].*? => (\{.*\})$", self.output, re.MULTILINE)
        return {host: json.loads(answer)["msg"] for host, answer in told}


@dataclass
class Control:
    """A control host's folder: an inventory with the variables of groups and hosts, and a key."""

    folder: Path
    addresses: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, variables: Mapping[str, Any]) -> None:
        """A file of variables, such as ``group_vars/mesos_agents/test.yml``. JSON is YAML."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(variables))

    def play(self, playbook: Path | str, *flags: str) -> Played:
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "--inventory=hosts.yml",
            str(playbook),
            *flags,
        ]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=RUN_LIMIT,
        )  # fmt: skip
        return Played(done.returncode, done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": shlex.join(["-F", str(self.ssh_config)]),
        }

    @property
    def ssh_config(self) -> Path:
        config = self.folder / "ssh_config"
        if not config.exists():
            config.write_text(
                f"User root\nIdentityFile {self.folder}/key\nIdentitiesOnly yes\nStrictHostKeyChecking no\n"
                f"UserKnownHostsFile /dev/null\nLogLevel ERROR\nConnectTimeout 5\nControlMaster auto\n"
                f"ControlPersist yes\nControlPath {self.folder}/%C\n"
            )
        return config

    def ssh(self, host: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command on a host, through its shell."""
        command = ["ssh", "-F", str(self.ssh_config), self.addresses[host], *argv]
        return subprocess.run(command, capture_output=True, text=True, check=check)

    def ask(self, host: str, *argv: str) -> str:
        return self.ssh(host, shlex.join(argv)).stdout

    def admit(self, host: str, agent: Agent) -> None:
        """Install the key in the container, and wait until ssh answers."""
        self.addresses[host] = agent.address
        public = self.folder.joinpath("key.pub").read_text()
        agent.run("sh", "-c", f"mkdir -p -m 700 /root/.ssh && echo {shlex.quote(public)} >/root/.ssh/authorized_keys")
        end = time.monotonic() + BOOT_LIMIT
        while self.ssh(host, "true", check=False).returncode:
            assert time.monotonic() < end, agent.logs()

    def leave(self) -> None:
        """Close the connections."""
        for address in self.addresses.values():
            command = ["ssh", "-F", str(self.ssh_config), "-O", "exit", address]
            subprocess.run(command, capture_output=True, check=False)

    def traces(self) -> dict[str, dict[str, str]]:
        return {
            host: {name: self.ssh(host, command).stdout for name, command in TRACES.items()} for host in self.addresses
        }


def new_control(folder: Path) -> Control:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    return Control(folder)
