# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What ifupdown 0.8 has read (interfaces(5)) and what it says is up."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

CONFIGURATION = "network/interfaces"
STANZAS = "network/interfaces.d/mesos-dind-bridged-net"
MAPPING = "network/mesos-dind-bridged-net"
STATES = "network/ifstate"


@dataclass(frozen=True)
class Places:
    """Where configuration and state are found; ``stanzas`` and ``mapping`` are our files."""

    etc: Path
    run: Path

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
        """Those that are there, by path; what refers to another comes last."""
        return {str(path): path.read_text() for path in (self.mapping, self.stanzas) if path.exists()}


@dataclass(frozen=True)
class Ifupdown:
    """``logical`` is the name of the stanzas by which a device was brought up, by device. ``options`` are those of the
    uplink's own stanzas, in order. ``is_sourced``: ifupdown reads the folder that ours is in. ``files`` are ours."""

    logical: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[tuple[str, str]] = ()
    is_sourced: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


def read(places: Places, uplink: str, runner: Runner, *, with_options: bool) -> Ifupdown:
    """The options of what it did not bring up are not looked at."""
    logical, files = states(places.states), places.own_files()
    if uplink not in logical or not with_options:
        return Ifupdown(logical, files=files)
    shown = runner.run("ifquery", "--no-mappings", uplink, ok=(0, 1)).stdout  # 1: no stanza of this name
    words = (line.partition(": ") for line in shown.splitlines())
    options = tuple((name, value) for name, separator, value in words if separator)
    return Ifupdown(logical, options, is_sourced(places.configuration.read_text(), places.stanzas), files)


def is_sourced(text: str, path: Path) -> bool:
    """Whether that /etc/network/interfaces has ifupdown read ``path``, which is in a folder beside it, as well."""
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
    """As ifupdown does (traced): a file a device, and one for all that is replaced under a lock. A device with an
    empty name is not up."""
    with _locked(path.with_name(".ifstate.lock")):
        for device, name in names.items():
            path.with_name(f"ifstate.{device}").write_text(f"{name}\n" if name else "")
        known = {**states(path), **names}
        unfinished = path.with_name(".ifstate.tmp")
        unfinished.write_text("".join(f"{device}={name}\n" for device, name in known.items() if name))
        unfinished.rename(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """By fcntl(2), which is the lock that ifupdown takes."""
    with path.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield
