# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""systemd-networkd as the bridge's manager: it follows our files and loses nothing that it does not know of.

When networkd reads its files again, it removes every address and route from a link with another file than before, and
adds those of the new file. Measured with systemd 252 on one machine: 5 ms without addresses, no ping out of 300 lost.
Addresses that a person added by hand are gone then, so we add them again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Restore, move_lines, restore_lines
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import Bridging
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import Folders, Original
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.write_files import WriteFiles
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import own_addresses
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import networkd
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file, links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Network
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

# Longer than a lease takes. Vain router solicitations take longer, but nobody waits for them.
SETTLE_SECONDS = 20.0
# Shorter, since `GiveBack` restores what networkd does not.
UNDO_SECONDS = 8.0
LOOK_SECONDS = 0.1
DONE = "configured"


@dataclass(frozen=True)
class NetworkdManager:
    """See `manager.Manager`."""

    folders: Folders
    name: str = "networkd"
    program: str = "systemd-networkd"

    def manages(self, state: State) -> bool:
        return state.persistence.is_managing

    def is_used(self, state: State) -> bool:
        return bool(state.persistence.files) or not state.persistence.is_followed

    def keeps_forwarding(self, state: State) -> bool:
        return str(self.folders.forwarding) in state.persistence.files

    def refuse(self, state: State, record: Record) -> None:
        """`files` refuses more."""

    def files(self, bridging: Bridging, state: State) -> Mapping[str, str]:
        return networkd_files.wanted(bridging, state.persistence, self.folders)

    def keep(
        self, state: State, record: Record, files: Mapping[str, str], verification: Sequence[Step[State]]
    ) -> list[Step[State]]:
        there = state.persistence
        write = [] if files == there.files else [self._write(state, record, files)]
        if not write and there.is_followed:
            return []
        return [*write, Follow(self.folders, record, there.original, is_bridged=True), *verification]

    def give_back(self, state: State, record: Record, verification: Sequence[Step[State]]) -> list[Step[State]]:
        there = state.persistence
        if there.original is None:
            raise DindError(
                f"the .network file of {state.uplink} is gone, so {state.uplink} would have no address",
                cure="put the file back (our own files name it), or write another one and remove ours",
            )
        write = [self._write(state, record, {})] if there.files else []
        return [
            *write,
            Follow(self.folders, record, there.original, is_bridged=False),
            # Otherwise the uplink is a port until the next step.
            *(verification if there.is_used else ()),
            GiveBack(record, (), has_followed=there.is_used),
        ]

    def _write(self, state: State, record: Record, files: Mapping[str, str]) -> Step[State]:
        return WriteNetworkFiles(state.persistence.files, files, self.folders, record, state.persistence.original)


@dataclass(frozen=True)
class WriteNetworkFiles(WriteFiles):
    """Our files get the owner and the permissions of the original, which may hold secrets."""

    folders: Folders
    record: Record
    original: Original | None

    def effect(self, state: State) -> State:
        return replace(state, persistence=replace(state.persistence, files=dict(self.after), is_followed=False))

    def undo(self, runner: Runner) -> None:
        super().undo(runner)
        Follow(self.folders, self.record, self.original, bool(self.before), UNDO_SECONDS).do(runner)

    def change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        self.folders.marker.parent.mkdir(parents=True, exist_ok=True)
        self.folders.marker.write_text(self.original.path if self.original else "")
        super().change(before, after)

    def write(self, path: Path, text: str) -> None:
        if self.original:
            like = Path(self.original.path).stat()
            atomic_file.write_lasting(path, text, mode=like.st_mode & 0o777, owner=(like.st_uid, like.st_gid))
        else:
            atomic_file.write_lasting(path, text)


@dataclass(frozen=True)
class Follow(Step[State]):
    """Have networkd follow its files, and wait until the addresses are on the device."""

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
        if is_news:  # otherwise networkd has removed nothing
            network = self._settled(runner)
            links.change(runner, move_lines(self.record.unleased, network) if self.is_bridged else ())
        self.folders.marker.unlink(missing_ok=True)

    def _follows_ours(self, runner: Runner) -> bool:
        link = links.read(runner).link(self.record.uplink)
        ours = self.folders.network(self.record.uplink)
        return link is not None and networkd.setup(self.folders.run, link.index).network_file == ours

    def _introduce(self, runner: Runner) -> None:
        """Have networkd adopt the existing bridge; otherwise it would wait for a bridge of its own.

        systemd 252 adopts the bridge at the kernel's next message about it, so we set it to what it is. systemd 257 has
        failed by then ("Failed to create netdev: File exists"). It adopts the bridge when it reads the .netdev file
        again, with another time stamp. Measured with both; the second reading changes no address.
        """
        if links.read(runner).link(self.record.bridge) is None:
            return
        links.change(runner, [f"link set dev {self.record.bridge} group default"])
        os.utime(self.folders.netdev(self.record.bridge))
        runner.run("networkctl", "reload")

    def _settled(self, runner: Runner) -> Network:
        """The network once the addresses are on the device.

        Also waits until networkd is done with the port, but a time-out of that is no failure.
        """
        end = time.monotonic() + self.seconds
        while True:
            network = links.read(runner)
            there = [network.link(name) for name in (self.record.uplink, self.record.bridge)]
            setups = {link.name: networkd.setup(self.folders.run, link.index) for link in there if link}
            is_arranged = self._is_arranged(network, setups)
            is_late = time.monotonic() > end
            if is_arranged and (is_late or not self.is_bridged or setups[self.record.uplink].state == DONE):
                return network
            if is_late:
                raise self._time_out(setups)
            time.sleep(LOOK_SECONDS)  # networkd tells only D-Bus when it is done; we read its files

    def _time_out(self, setups: Mapping[str, networkd.Setup]) -> DindError:
        said = ", ".join(f"{name} {setup.state or 'unknown'}" for name, setup in setups.items())
        return DindError(
            f"systemd-networkd did not arrange {self.device} within {self.seconds:g} s (it says: {said})",
            cure="`journalctl -u systemd-networkd` tells why",
        )

    def _is_arranged(self, network: Network, setups: Mapping[str, networkd.Setup]) -> bool:
        """Whether networkd uses the right files, and is done or has given all promised addresses.

        It needs long to find out that no router answers. Its note on a link changes after it has removed the addresses
        (systemd, networkd-link.c: link_reconfigure_impl), so we never take an old address for a new one.
        """
        link, setup = network.link(self.device), setups.get(self.device)
        asked = setups if self.is_bridged else {self.record.uplink: setups[self.record.uplink]}
        ours = {self.folders.network(name) for name in setups}
        if link is None or setup is None or not setup.is_managed:
            return False
        if any((found.network_file in ours) != self.is_bridged for found in asked.values()):
            return False
        promised = networkd_files.promised(self.original, self.record.without_link_local.addresses)
        return setup.state == DONE or (bool(promised) and promised <= {*own_addresses(link)})


@dataclass(frozen=True)
class GiveBack(Restore):
    """Give the uplink back what networkd did not.

    If networkd had followed our files, it restores leases itself; otherwise it does not know that they are gone.
    """

    has_followed: bool = True

    def do(self, runner: Runner) -> None:
        """Try again when a line fails: meanwhile networkd starts anew with a port that leaves its bridge."""
        record = self.record.unleased if self.has_followed else self.record
        end = time.monotonic() + UNDO_SECONDS
        while lines := restore_lines(record, links.read(runner)):
            try:
                links.change(runner, lines)
            except DindError:
                if time.monotonic() > end:
                    raise
