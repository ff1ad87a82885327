# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of an uplink and its bridge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Folders, Persistence
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Ifupdown, Places
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose, Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Link, Network


@dataclass(frozen=True)
class Roots:
    """The folders of the kernel, the record and the machine's own configuration."""

    proc: Path = Path("/proc")
    resolv_conf: Path = Path("/etc/resolv.conf")
    record: Path = Path("/run/mesos-dind/bridged_net.json")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    usr: Path = Path("/usr")
    var: Path = Path("/var")

    @property
    def folders(self) -> Folders:
        return Folders(self.etc, self.run, self.usr, marker=self.record.with_name("networkd-reads"))

    @property
    def ifupdown(self) -> Places:
        return Places(self.etc, self.run, self.var)

    @property
    def drop_in(self) -> Path:
        return self.etc / "systemd/system/docker.service.d/mesos-dind-bridged-net.conf"


@dataclass(frozen=True)
class Survey:
    """The neighbours' answers on the uplink before the first change.

    ``taken`` are addresses of the range that somebody has. ``foreign_mac``: the link carries frames of MAC addresses
    other than the uplink's.
    """

    taken: tuple[str, ...] = ()
    foreign_mac: bool = True


@dataclass(frozen=True)
class State:
    namespace: str
    uplink: str
    bridge: str
    network: Network
    sysctls: Mapping[str, str]
    record: Record | None = None
    survey: Survey = Survey()
    engine_addresses: tuple[str, ...] = ()  # the bridge's, in dockerd's own record
    engine_bridges: frozenset[str] = (
        frozenset()
    )  # the bridges of dockerd's networks, in the same record; read in default mode
    rules: tuple[Rule, ...] = ()  # ours
    resolver: Resolver | None = None  # the outer engine's, on a loopback address
    persistence: Persistence = dataclasses.field(default_factory=Persistence)
    ifupdown: Ifupdown = dataclasses.field(default_factory=Ifupdown)
    drop_in: str = ""  # ours for docker.service; empty without one
    has_systemd: bool = False  # as PID 1

    @property
    def uplink_link(self) -> Link:
        link = self.network.link(self.uplink)
        if link is None:
            raise DindError(f"there is no network device {self.uplink!r}", cure="name the uplink")
        return link

    @property
    def is_port(self) -> bool:
        """Whether the uplink is a port of the bridge."""
        return self.uplink_link.master == self.bridge

    @property
    def bridge_link(self) -> Link | None:
        return self.network.link(self.bridge)

    @property
    def is_half_done(self) -> bool:
        """Whether a run was killed before it could verify its changes."""
        return self.record is not None and not self.record.verified

    @property
    def files(self) -> Mapping[str, str]:
        """Our files for the bridge's manager, by path."""
        return {**self.persistence.files, **self.ifupdown.files}

    def rules_for(self, purpose: Purpose) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.purpose is purpose)
