# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The configuration (interfaces(5)) and the state of ifupdown 0.8."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

CONFIGURATION = "network/interfaces"
STANZAS = "network/interfaces.d/mesos-dind-bridged-net"
MAPPING = "network/mesos-dind-bridged-net"
STATES = "network/ifstate"


@dataclass(frozen=True)
class Places:
    """The files of configuration and state; ``stanzas`` and ``mapping`` are ours."""

    etc: Path
    run: Path
    var: Path

    def client(self, device: str, family: int = 4) -> Path:
        """The pid file of dhclient, as ifupdown names it."""
        return self.run / f"dhclient{'' if family == 4 else family}.{device}.pid"

    def leases(self, device: str) -> Path:
        return self.var / f"lib/dhcp/dhclient.{device}.leases"

    @property
    def configuration(self) -> Path:
        return self.etc / CONFIGURATION

    @property
    def stanzas(self) -> Path:
        return self.etc / STANZAS

    @property
    def mapping(self) -> Path:
        return self.etc / MAPPING

    @property
    def states(self) -> Path:
        return self.run / STATES

    def own_files(self) -> dict[str, str]:
        """Our existing files, by path; a file that refers to another comes last."""
        return {str(path): path.read_text() for path in (self.mapping, self.stanzas) if path.exists()}


@dataclass(frozen=True)
class Ifupdown:
    """The uplink and the bridge in ifupdown.

    ``logical`` has, for each device that is up, the name of its stanzas. ``options`` are those of the uplink's own
    stanzas, in order. ``is_sourced``: ifupdown reads the folder of our stanzas. ``files`` are ours, by path.
    ``leasing`` are the devices with a dhclient; ``has_dhcpv6``: one of them has a dhclient for DHCPv6.
    """

    logical: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[tuple[str, str]] = ()
    is_sourced: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    leasing: tuple[str, ...] = ()
    has_dhcpv6: bool = False


def read(places: Places, uplink: str, bridge: str, runner: Runner, *, with_options: bool) -> Ifupdown:
    """Reads no options of an uplink that ifupdown did not bring up."""
    logical, files = states(places.states), places.own_files()
    leasing = tuple(device for device in (uplink, bridge) if places.client(device).exists())
    has_dhcpv6 = any(places.client(device, 6).exists() for device in (uplink, bridge))
    found = Ifupdown(logical, files=files, leasing=leasing, has_dhcpv6=has_dhcpv6)
    if uplink not in logical or not with_options:
        return found
    shown = runner.run("ifquery", "--no-mappings", uplink, ok=(0, 1)).stdout  # 1: no stanza of this name
    words = (line.partition(": ") for line in shown.splitlines())
    options = tuple((name, value) for name, separator, value in words if separator)
    sourced = is_sourced(places.configuration.read_text(), places.stanzas)
    return replace(found, options=options, is_sourced=sourced)


def is_sourced(text: str, path: Path) -> bool:
    """Whether ``text``, of /etc/network/interfaces, includes ``path``, which is in a folder beside it."""
    for words in map(str.split, text.splitlines()):
        patterns = [str(path.parents[1] / word) for word in words[1:]]
        sought = {"source": str(path), "source-directory": str(path.parent)}.get("".join(words[:1]), "")
        if any(fnmatch(sought, pattern.rstrip("/")) for pattern in patterns):
            return True
    return False


def states(path: Path) -> dict[str, str]:
    text = path.read_text() if path.exists() else ""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def set_states(path: Path, names: Mapping[str, str]) -> None:
    """Write the names of stanzas by device; empty for a device that is down.

    As ifupdown does (traced): one file for each device, and one for all, which is replaced under a lock.
    """
    with _locked(path.with_name(".ifstate.lock")):
        for device, name in names.items():
            path.with_name(f"ifstate.{device}").write_text(f"{name}\n" if name else "")
        known = {**states(path), **names}
        unfinished = path.with_name(".ifstate.tmp")
        unfinished.write_text("".join(f"{device}={name}\n" for device, name in known.items() if name))
        unfinished.rename(path)


def start_client(device: str, stanza: str, runner: Runner) -> None:
    """Start dhclient as ``ifup`` would for the device, by the stanza. Returns when dhclient has a lease."""
    said = runner.run("ifup", "--no-act", "--force", "--verbose", "--no-mappings", f"{device}={stanza}").stderr
    for line in said.splitlines():
        if "dhclient " in line:
            runner.run("sh", "-c", line)


def is_alive(client: Path) -> bool:
    """Whether the dhclient of this pid file runs."""
    try:
        return Path(f"/proc/{int(client.read_text())}/comm").read_text().strip() == "dhclient"
    except (OSError, ValueError):
        return False


def kill_client(client: Path) -> None:
    """End dhclient without releasing its lease."""
    if is_alive(client):
        os.kill(int(client.read_text()), signal.SIGKILL)
    client.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """With ifupdown's lock, by fcntl(2)."""
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
