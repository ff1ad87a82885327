"""Places that call each other over TCP and report the caller's address: the host, agents and inner containers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jmespath
from agents import Agent

TASK = "mesos-dind-task"
PORT = 8000
ADDRESS = {4: "IPAddress", 6: "GlobalIPv6Address"}  # keys of `docker inspect`'s entry for a network
# Serves the caller's address.
SERVE = (
    r"mkdir -p /www/cgi-bin && printf '#!/bin/sh\necho; echo $REMOTE_ADDR\n' >/www/cgi-bin/who "
    "&& chmod +x /www/cgi-bin/who && exec httpd -f -h /www -p "
)
CALL = 'for url in "$@"; do echo "$url $(wget -q -T 20 -O - "$url" 2>&1)"; done'

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Place:
    """``run`` runs a command in the place and returns its output. Others call the place's ``address``."""

    name: str
    run: Callable[..., str]
    address: IPAddress
    port: int = PORT

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"http://{host}:{self.port}/cgi-bin/who"

    @property
    def addresses(self) -> set[IPAddress]:
        """The place's addresses, except those of the loopback device."""
        shown = self.run("ip", "-o", "address", "show").splitlines()
        found = {ipaddress.ip_interface(line.split()[3]).ip for line in shown}
        return {address for address in found if not address.is_loopback}

    def seen_by(self, others: Iterable[Place]) -> dict[str, IPAddress | str]:
        """The caller's address that each other place saw, by the place's name; the output if the call failed."""
        names = {place.url: place.name for place in others}
        said = self.run("sh", "-c", CALL, "sh", *names)
        answers = dict(line.partition(" ")[::2] for line in said.splitlines())
        return {name: caller(answers.get(url, "")) for url, name in names.items()}


def caller(answer: str) -> IPAddress | str:
    """The address in httpd's answer. An IPv4 caller may appear as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)."""
    try:
        address = ipaddress.ip_address(answer.strip("[]"))
    except ValueError:
        return answer
    return getattr(address, "ipv4_mapped", None) or address


def inner_place(agent: Agent, name: str, version: int = 4) -> Place:
    """A new inner container that serves. Others call its address of that IP version on the inner bridge."""
    agent.inner("run", "--detach", "--name", name, TASK, "sh", "-c", f"{SERVE} {PORT}")
    address = agent.inner("inspect", "--format", f"{{{{.NetworkSettings.Networks.bridge.{ADDRESS[version]}}}}}", name)

    def run(*argv: str) -> str:
        return agent.inner("exec", name, *argv)

    return Place(f"{agent.container.name}/{name}", run, ipaddress.ip_address(address))


def agents_place(agent: Agent, version: int = 4) -> Place:
    """The agent itself: an inner container in the agent's network namespace serves."""
    agent.inner("run", "--detach", "--name", "itself", "--network", "host", TASK, "sh", "-c", f"{SERVE} {PORT}")

    def run(*argv: str) -> str:
        return agent.inner("exec", "itself", *argv)

    agent.container.reload()
    (address,) = jmespath.search(f"NetworkSettings.Networks.*.{ADDRESS[version]}", agent.container.attrs)
    return Place(str(agent.container.name), run, ipaddress.ip_address(address))
