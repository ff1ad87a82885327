# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What systemd-networkd says of a link, and its configuration files (systemd.network(5)) as sections and settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# RFC 4361: the type of a client identifier that is made of an IAID (4 octets) and a DUID.
CLIENT_ID_OF_DUID = re.compile(r"^CLIENTID=ff([0-9a-f]{8})", re.MULTILINE)


@dataclass(frozen=True)
class Setup:
    """How far networkd is with a link. ``state`` is empty for a link that it does not know."""

    state: str = ""
    network_file: str = ""

    @property
    def is_managed(self) -> bool:
        return bool(self.network_file) and self.state in ("configuring", "configured")


def setup(run: Path, index: int) -> Setup:
    """Of the link with that index. Known to systemd 247 to 257, although the file calls itself private: what
    networkctl says of it has no form for programs before systemd 250."""
    try:
        text = (run / f"systemd/netif/links/{index}").read_text()
    except FileNotFoundError:
        return Setup()
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Setup(said.get("ADMIN_STATE", ""), said.get("NETWORK_FILE", ""))


def leased_iaid(run: Path, index: int) -> int | None:
    """The identity association by which the link has its DHCPv4 lease; None without one or with another identifier."""
    try:
        found = CLIENT_ID_OF_DUID.search((run / f"systemd/netif/leases/{index}").read_text())
    except FileNotFoundError:
        return None
    return int(found[1], 16) if found else None


def drop_ins(path: Path, folders: Sequence[Path]) -> list[Path]:
    """Those of a configuration file, in the order in which they count. Of two that have the same name, that of the
    earlier folder does."""
    found = {
        each.name: each for folder in reversed(folders) for each in sorted((folder / f"{path.name}.d").glob("*.conf"))
    }
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class Setting:
    """``lines`` are as they stand in the file; ``key`` is empty for comments and blank lines."""

    key: str
    value: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    name: str
    settings: tuple[Setting, ...]


def sections(text: str) -> list[Section]:
    """What stands before the first section is left out."""
    found: list[tuple[str, list[Setting]]] = []
    for lines in _logical(text.splitlines()):
        first = lines[0].strip()
        if first.startswith("[") and first.endswith("]"):
            found.append((first[1:-1], []))
        elif found:
            found[-1][1].append(_setting(lines))
    return [Section(name, tuple(settings)) for name, settings in found]


def _logical(lines: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Lines that belong together: a backslash at the end goes on in the next."""
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
