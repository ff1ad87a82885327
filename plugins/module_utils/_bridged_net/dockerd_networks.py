# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""dockerd's own record of its networks, which outlives the container in the data root.

At its start dockerd first gives docker0 the address of that record, whatever `--bip` says, by taking away the one that
is there; only then does it drop the record and follow `--bip` (moby, libnetwork/drivers/bridge: populateNetworks,
setupBridgeIPv4). On a bridge with an uplink this means the machine's routes are lost and another machine's address is
held for a moment. A record that says InhibitIPv4 leaves the addresses alone. The file is a bbolt database, whose data
pages have no checksum, so this one word is changed in place, at the same length.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.steps import State
from ansible_collections.mesos.dind.plugins.module_utils._engine import data_root as engine_folders
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

STORE = "network/files/local-kv.db"
DISARM_SECONDS = 5.0
OBJECT = re.compile(rb"\{[^{}]*\}")
NAME = re.compile(rb'"BridgeName":"([^"]+)"')
ACTS, RESTS = b'"InhibitIPv4":false', b'"InhibitIPv4": true'


def addresses(data_root: Path, bridge: str) -> tuple[str, ...]:
    """The addresses that dockerd's next start would give ``bridge`` from its record.

    None while a dockerd has the file locked: Docker 26 has as long as it runs, Docker 20.10 has not (tried). Whoever
    restarts it does so in the context `disarming`.
    """
    return tuple(address for store in _stores(data_root) for _offset, address in _acting(_unlocked(store), bridge))


def bridges(data_root: Path) -> frozenset[str]:
    """The bridges of dockerd's networks, whether it runs or not, also of some that are gone (their pages are free)."""
    contents = [store.read_bytes() for store in _stores(data_root)]
    return frozenset(found[1].decode(errors="replace") for content in contents for found in NAME.finditer(content))


def _stores(data_root: Path) -> list[Path]:
    return [store for store in (folder / STORE for folder in engine_folders.of(data_root)) if store.is_file()]


def _unlocked(path: Path) -> bytes:
    with path.open("rb") as store:
        try:
            fcntl.flock(store, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return b""
        return store.read()


def _acting(content: bytes, bridge: str) -> Iterator[tuple[int, str]]:
    """Where a record of ``bridge`` says that addresses are to be set, and which."""
    for found in OBJECT.finditer(content):
        where = found[0].find(ACTS)
        if where < 0:
            continue
        try:
            record = json.loads(found[0])
        except ValueError:
            continue
        if record.get("BridgeName") == bridge and record.get("DefaultBridge"):
            yield found.start() + where, str(record.get("AddressIPv4", ""))


@dataclass(frozen=True)
class Disarm(Step[State]):
    """Let dockerd's records of other addresses than ``bip`` rest."""

    data_root: Path
    bridge: str
    bip: str

    def __str__(self) -> str:
        return f"keep dockerd from giving {self.bridge} an address of an earlier boot"

    def effect(self, state: State) -> State:
        return replace(state, engine_addresses=tuple(a for a in state.engine_addresses if a == self.bip))

    def do(self, runner: Runner) -> None:
        disarm(self.data_root, self.bridge, self.bip)


def disarm(data_root: Path, bridge: str, bip: str, *, wait: bool = False) -> None:
    """Let dockerd's records of other addresses of ``bridge`` than ``bip`` rest, where there are any.

    While a dockerd has the file locked, waits for its end or raises DindError.
    """
    for path in _stores(data_root):
        with path.open("r+b") as store:
            try:
                fcntl.flock(store, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise DindError(f"{path} is locked by a dockerd that runs", cure="stop that one first") from None
            for offset, address in _acting(store.read(), bridge):
                if address != bip:
                    os.pwrite(store.fileno(), RESTS, offset)
            os.fsync(store.fileno())


@contextmanager
def disarming(data_root: Path, bridge: str, bip: str) -> Iterator[None]:
    """Whoever restarts dockerd does so in this context.

    The record is let rest as soon as the dockerd that runs is gone, a moment before the next one, whoever starts it,
    gets so far as to lock the file: it talks to containerd first. Raises DindError where that was not so.
    """
    done = threading.Event()

    def disarm_in_between() -> None:
        disarm(data_root, bridge, bip, wait=True)
        done.set()

    threading.Thread(target=disarm_in_between, daemon=True).start()
    yield
    if not done.wait(DISARM_SECONDS):
        raise DindError(
            f"dockerd's record in {data_root} stayed locked while it was restarted", cure="see who has it open"
        )
