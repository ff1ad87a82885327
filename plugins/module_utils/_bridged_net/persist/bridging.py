# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bridge that a reboot must bring back, and the head of the files for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MADE_BY = "# Made by the Ansible module mesos.dind.bridged_net, which also takes it away (state: absent)."
MADE_OF = re.compile(r"^# The uplink is (\S+), the bridge is \S+, the original is (.+)\.$", re.MULTILINE)


@dataclass(frozen=True)
class Bridging:
    """``forwarding``: IPv4 forwarding is off unless we switch it on."""

    uplink: str
    bridge: str
    mac: str
    mtu: int
    uplink_mtu: int
    forwarding: bool

    def made_of(self, original: object) -> str:
        """The line by which `stated` finds uplink and original again."""
        return f"# The uplink is {self.uplink}, the bridge is {self.bridge}, the original is {original}."


def stated(files: Mapping[str, str]) -> tuple[str, str]:
    """The uplink and the original that our files name; empty without files."""
    found = next(filter(None, map(MADE_OF.search, files.values())), None)
    return (found[1], found[2]) if found else ("", "")
