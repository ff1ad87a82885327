# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Writing our files for systemd-networkd, and having it follow them without losing what it does not know of.

When networkd is told to read its files again it takes every address and route off a link whose file is another one
now, and gives it those of the new file; measured with systemd 252 on one machine: 5 ms without addresses, no ping out
of 300 lost. What somebody added by hand is gone then, so it is given again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Folders, Original
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import (
    Record,
    Restore,
    State,
    leaving,
    move_lines,
    restore_lines,
    unleased,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import networkd
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._kernel import links as _links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# A lease takes less. To solicit routers in vain takes longer, but is not waited for.
SETTLE_SECONDS = 20.0
# For what is given back by hand if need be.
UNDO_SECONDS = 8.0
LOOK_SECONDS = 0.1
DONE = "configured"


@dataclass(frozen=True)
class WriteFiles(Step[State]):
    """Ours get the owner and the permissions of the original: it may hold secrets."""

    folders: Folders
    record: Record
    before: Mapping[str, str]
    after: Mapping[str, str]
    original: Original | None

    def __str__(self) -> str:
        return networkd_files.difference(self.before, self.after)

    def effect(self, state: State) -> State:
        return replace(state, persistence=replace(state.persistence, files=dict(self.after), is_followed=False))

    def do(self, runner: Runner) -> None:
        self._change(self.before, self.after)

    def undo(self, runner: Runner) -> None:
        self._change(self.after, self.before)
        Follow(self.folders, self.record, self.original, bool(self.before), UNDO_SECONDS).do(runner)

    def _change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """The uplink's own file is removed first and written last: without it the uplink is what it was, whatever
        else of ours a reboot finds."""
        uplinks = self.folders.network(self.record.uplink)
        self.folders.marker.parent.mkdir(parents=True, exist_ok=True)
        self.folders.marker.write_text(self.original.path if self.original else "")
        for path in sorted(before.keys() - after.keys(), key=lambda path: path != uplinks):
            Path(path).unlink(missing_ok=True)
        for path in sorted(after, key=lambda path: path == uplinks):
            if not Path(path).exists() or Path(path).read_text() != after[path]:
                self._write(Path(path), after[path])

    def _write(self, path: Path, text: str) -> None:
        if self.original:
            like = Path(self.original.path).stat()
            atomic_file.write_lasting(path, text, mode=like.st_mode & 0o777, owner=(like.st_uid, like.st_gid))
        else:
            atomic_file.write_lasting(path, text)


@dataclass(frozen=True)
class Follow(Step[State]):
    """Have networkd follow its files, and wait until the addresses are where they belong."""

    folders: Folders
    record: Record
    original: Original | None
    is_bridged: bool
    seconds: float = SETTLE_SECONDS

    @property
    def device(self) -> str:
        return self.record.bridge if self.is_bridged else self.record.uplink

    def __str__(self) -> str:
        return f"have systemd-networkd arrange {self.device}"

    def effect(self, state: State) -> State:
        return replace(state, persistence=replace(state.persistence, is_followed=True))

    def do(self, runner: Runner) -> None:
        is_news = self.is_bridged or self._follows_ours(runner)
        runner.run("networkctl", "reload")
        if self.is_bridged:
            self._introduce(runner)
        if is_news:  # else it would never give back what it has not taken
            network = self._settled(runner)
            _links.change(runner, move_lines(unleased(self.record), network) if self.is_bridged else ())
        self.folders.marker.unlink(missing_ok=True)

    def _follows_ours(self, runner: Runner) -> bool:
        link = _links.read(runner).link(self.record.uplink)
        ours = self.folders.network(self.record.uplink)
        return link is not None and networkd.setup(self.folders.run, link.index).network_file == ours

    def _introduce(self, runner: Runner) -> None:
        """Have networkd take up the bridge that is there already, for which it would wait with the uplink.

        systemd 252 does so when the kernel speaks of the bridge again, so it is set to what it is. systemd 257 has
        failed by then ("Failed to create netdev: File exists"), but knows the bridge when it reads that file again,
        for which its time stamp must differ. Measured with both; the second reading changes no address.
        """
        if _links.read(runner).link(self.record.bridge) is None:
            return
        _links.change(runner, [f"link set dev {self.record.bridge} group default"])
        os.utime(self.folders.netdev(self.record.bridge))
        runner.run("networkctl", "reload")

    def _settled(self, runner: Runner) -> Network:
        """What there is once the addresses are where they belong. What networkd still has to do with a port by then is
        waited for as well, but is no reason to give up."""
        end = time.monotonic() + self.seconds
        while True:
            network = _links.read(runner)
            links = [network.link(name) for name in (self.record.uplink, self.record.bridge)]
            setups = {link.name: networkd.setup(self.folders.run, link.index) for link in links if link}
            is_arranged = self._is_arranged(network, setups)
            is_late = time.monotonic() > end
            if is_arranged and (is_late or not self.is_bridged or setups[self.record.uplink].state == DONE):
                return network
            if is_late:
                said = ", ".join(f"{name} {setup.state or 'unknown'}" for name, setup in setups.items())
                raise DindError(
                    f"systemd-networkd did not arrange {self.device} within {self.seconds:g} s (it says: {said})",
                    cure="`journalctl -u systemd-networkd` tells why",
                )
            time.sleep(LOOK_SECONDS)  # it tells nobody but D-Bus, and writes what we read

    def _is_arranged(self, network: Network, setups: Mapping[str, networkd.Setup]) -> bool:
        """That networkd has the right files, and is done or has given all addresses that it can: to find out that no
        router answers takes it long.

        Its note on a link changes after it has taken the addresses away (systemd, networkd-link.c:
        link_reconfigure_impl), so none of those is mistaken for one that is back.
        """
        link, setup = network.link(self.device), setups.get(self.device)
        asked = setups if self.is_bridged else {self.record.uplink: setups[self.record.uplink]}
        ours = {self.folders.network(name) for name in setups}
        if link is None or setup is None or not setup.is_managed:
            return False
        if any((found.network_file in ours) != self.is_bridged for found in asked.values()):
            return False
        promised = networkd_files.promised(self.original, (a for a in self.record.addresses if not a.is_link_local))
        return setup.state == DONE or (bool(promised) and promised <= {*leaving(link)})


@dataclass(frozen=True)
class GiveBack(Restore):
    """What networkd did not give back itself: the lines are found when it is done. Leases are left to it where it had
    followed our files; where it had not, it does not know that they are gone."""

    has_followed: bool = True

    def do(self, runner: Runner) -> None:
        """Looked at again when a line fails: networkd begins anew with a port that leaves its bridge, meanwhile."""
        record = unleased(self.record) if self.has_followed else self.record
        end = time.monotonic() + UNDO_SECONDS
        while lines := restore_lines(record, _links.read(runner)):
            try:
                _links.change(runner, lines)
            except DindError:
                if time.monotonic() > end:
                    raise
