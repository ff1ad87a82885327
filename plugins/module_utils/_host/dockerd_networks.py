# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""dockerd's own record of its networks, which outlives the container in the data root.

At its start, dockerd first gives docker0 the address in the record, whatever `--bip` says, and removes the address that
docker0 has. Only then does it drop the record and follow `--bip` (moby, libnetwork/drivers/bridge: populateNetworks,
setupBridgeIPv4). On a bridge with an uplink, the machine loses its routes and holds another machine's address for a
moment. dockerd ignores the address of a record with InhibitIPv4. The file is a bbolt database, whose data pages have no
checksum, so we change this one word in place, at the same length.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd

STORE = "network/files/local-kv.db"
DISARM_SECONDS = 5.0
OBJECT = re.compile(rb"\{[^{}]*\}")
NAME = re.compile(rb'"BridgeName":"([^"]+)"')
ACTS, RESTS = b'"InhibitIPv4":false', b'"InhibitIPv4": true'


def addresses(data_root: Path, bridge: str) -> tuple[str, ...]:
    """The addresses in the record that dockerd's next start would give ``bridge``.

    Empty while dockerd holds the lock: Docker 26 always does, Docker 20.10 never (tried). To restart a dockerd, use the
    context `disarming`.
    """
    return tuple(address for store in _stores(data_root) for _offset, address in _acting(_unlocked(store), bridge))


def bridges(data_root: Path) -> frozenset[str]:
    """The bridges of dockerd's networks, whether dockerd runs or not. Includes removed networks in free pages."""
    contents = [store.read_bytes() for store in _stores(data_root)]
    return frozenset(found[1].decode(errors="replace") for content in contents for found in NAME.finditer(content))


def _stores(data_root: Path) -> list[Path]:
    return [store for store in (folder / STORE for folder in dockerd.data_folders(data_root)) if store.is_file()]


def _unlocked(path: Path) -> bytes:
    with path.open("rb") as store:
        try:
            fcntl.flock(store, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return b""
        return store.read()


def _acting(content: bytes, bridge: str) -> Iterator[tuple[int, str]]:
    """The offset of the word to change and the address, for each record that would set an address of ``bridge``."""
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


def disarm(data_root: Path, bridge: str, bip: str, *, wait: bool = False) -> None:
    """Have dockerd ignore its records of other addresses of ``bridge`` than ``bip``.

    While a dockerd holds the lock, ``wait`` for its end or raise DindError.
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
    """Restart dockerd in this context, as `disarm` between its end and its next start.

    The record changes as soon as the running dockerd is gone. The next one, whoever starts it, locks the file a moment
    later: it talks to containerd first. Raises DindError if the lock was never free.
    """
    done = threading.Event()

    def disarm_in_between() -> None:
        disarm(data_root, bridge, bip, wait=True)
        done.set()

    threading.Thread(target=disarm_in_between, daemon=True).start()
    yield
    if not done.wait(DISARM_SECONDS):
        raise DindError(
            f"dockerd's record in {data_root} stayed locked while dockerd was restarted",
            cure="find the process that has it open",
        )
