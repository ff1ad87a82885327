# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of a link in systemd-networkd, and its configuration files (systemd.network(5)) by section and setting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A client identifier made of an IAID (4 octets) and a DUID has type 255 (RFC 4361).
CLIENT_ID_OF_DUID = re.compile(r"^CLIENTID=ff([0-9a-f]{8})", re.MULTILINE)


@dataclass(frozen=True)
class Setup:
    """networkd's progress with a link. ``state`` is empty for a link unknown to networkd."""

    state: str = ""
    network_file: str = ""

    @property
    def is_managed(self) -> bool:
        return bool(self.network_file) and self.state in ("configuring", "configured")


def setup(run: Path, index: int) -> Setup:
    """The progress with the link of this index.

    From a file that calls itself private, but is the same in systemd 247 to 257; networkctl has no output for programs
    before systemd 250.
    """
    try:
        text = (run / f"systemd/netif/links/{index}").read_text()
    except FileNotFoundError:
        return Setup()
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Setup(said.get("ADMIN_STATE", ""), said.get("NETWORK_FILE", ""))


def leased_iaid(run: Path, index: int) -> int | None:
    """The identity association (IAID) of the link's DHCPv4 lease; None without a lease or with another identifier."""
    try:
        found = CLIENT_ID_OF_DUID.search((run / f"systemd/netif/leases/{index}").read_text())
    except FileNotFoundError:
        return None
    return int(found[1], 16) if found else None


def drop_ins(path: Path, folders: Sequence[Path]) -> list[Path]:
    """The drop-ins of a configuration file, in order. The earlier folder wins for a name."""
    found = {
        each.name: each for folder in reversed(folders) for each in sorted((folder / f"{path.name}.d").glob("*.conf"))
    }
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class Setting:
    """``lines`` are those of the file; ``key`` is empty for comments and blank lines."""

    key: str
    value: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    name: str
    settings: tuple[Setting, ...]


def sections(text: str) -> list[Section]:
    """The sections of a file, without lines before the first one."""
    found: list[tuple[str, list[Setting]]] = []
    for lines in _logical(text.splitlines()):
        first = lines[0].strip()
        if first.startswith("[") and first.endswith("]"):
            found.append((first[1:-1], []))
        elif found:
            found[-1][1].append(_setting(lines))
    return [Section(name, tuple(settings)) for name, settings in found]


def _logical(lines: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Logical lines: a backslash at the end continues a line in the next."""
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if not line.endswith("\\") or line.lstrip().startswith(("#", ";")):
            yield tuple(pending)
            pending = []
    if pending:
        yield tuple(pending)


def _setting(lines: tuple[str, ...]) -> Setting:
    joined = " ".join(line.rstrip("\\").strip() for line in lines)
    key, separator, value = joined.partition("=")
    is_comment = joined.startswith(("#", ";")) or not separator
    return Setting("" if is_comment else key.strip(), value.strip(), lines)
