# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""apt's sources (sources.list(5)): what they say, and which of them are the distribution's own archive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from docker_engine.distribution import Distribution, machine_distribution
from docker_engine.errors import EngineError

# apt's StringToBool.
TRUE = frozenset({"yes", "true", "with", "on", "enable", "1"})
FALSE = frozenset({"no", "false", "without", "off", "disable", "0"})


@dataclass(frozen=True)
class Source:
    """One suite of one archive, as apt knows it. ``signed_by`` is a path, or a key itself, or empty."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False

    def __str__(self) -> str:
        """The source in apt's one-line form, which every apt and mmdebstrap takes."""
        options = [f"signed-by={self.signed_by}"] if self.signed_by else []
        options += ["trusted=yes"] if self.trusted else []
        bracketed = [f"[{' '.join(options)}]"] if options else []
        return " ".join(["deb", *bracketed, self.uri, self.suite, *self.components])


def parse_list(text: str) -> list[Source]:
    """Read apt's one-line form (``sources.list``, ``*.list``); see sources.list(5)."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]*)", line)
        if match and len(words := match["rest"].split()) >= 2:
            pairs = (option.partition("=") for option in (match["options"] or "").split())
            options = {name.lower(): value for name, _, value in pairs}
            found.append(
                Source(
                    words[0],
                    words[1],
                    tuple(words[2:]),
                    signed_by=options.get("signed-by", ""),
                    trusted=options.get("trusted", "").lower() in TRUE,
                )
            )
    return found


def parse_deb822(text: str) -> list[Source]:
    """Read apt's deb822 form (``*.sources``); see sources.list(5). A stanza of n URIs and m suites is n·m sources."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found = []
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = _fields(stanza)
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "").lower() not in FALSE:
            found += [
                Source(
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    signed_by=fields.get("signed-by", ""),
                    trusted=fields.get("trusted", "").lower() in TRUE,
                )
                for uri in fields.get("uris", "").split()
                for suite in fields.get("suites", "").split()
            ]
    return found


def _fields(stanza: str) -> dict[str, str]:
    """The fields of one deb822 stanza, names in lower case, continuation lines joined."""
    unfolded = re.sub(r"\n[ \t]+", " ", stanza)
    pairs = (line.partition(":") for line in unfolded.splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def parse_sources(files: Mapping[str, str]) -> list[Source]:
    """Read the files of apt's configuration, given as name and text, in apt's order and without repetitions."""
    found: list[Source] = []
    for name, text in files.items():
        found += parse_deb822(text) if name.endswith(".sources") else parse_list(text)
    return list(dict.fromkeys(found))


def distribution_sources(sources: Iterable[Source], distribution: Distribution) -> list[Source]:
    """Those of ``sources`` that are the distribution's own archive, and not a vendor's or a local disc.

    A vendor's archive may use the distribution's code name as its suite: its key gives it away.
    """
    suites = {f"{distribution.codename}{pocket}" for pocket in ("", "-updates", "-security")}
    keyring = f"{distribution.name}-archive"
    return [
        source
        for source in sources
        if source.suite in suites
        and "main" in source.components
        and source.uri.startswith(("http://", "https://", "mirror"))
        and (not source.signed_by or keyring in source.signed_by)
    ]


def retargeted(sources: Iterable[Source], codename: str, suite: str) -> list[Source]:
    """The same archives for another release: ``codename-updates`` becomes ``suite-updates``."""
    return [replace(source, suite=suite + source.suite.removeprefix(codename)) for source in sources]


def mirror_list(uri: str) -> Path | None:
    """The file behind a ``mirror+file:`` URI (Debian's cloud images), None for any other; apt-transport-mirror(1)."""
    match = re.fullmatch(r"mirror\+file:(?://)?(/.*)", uri)
    return Path(match[1]) if match else None


def first_mirror(text: str) -> str:
    """The first address of a mirror list; empty if it has none."""
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return next((words[0] for words in lines if words), "")


def machine_sources() -> list[Source]:
    """The machine's own apt sources, with mirror lists looked up; empty where there is no apt."""
    parts = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    found = parse_sources({str(file): file.read_text() for file in files if file.is_file()})
    return [replace(source, uri=resolve_mirror(source.uri)) for source in found]


def resolve_mirror(uri: str) -> str:
    """The first address of a ``mirror+file:`` list that is there; any other URI as it is."""
    file = mirror_list(uri)
    return (first_mirror(file.read_text()) if file and file.is_file() else "") or uri


def sources_for(suite: str) -> list[Source]:
    """The distribution's archives on the machine's mirrors, for ``suite``; raises EngineError if there are none."""
    distribution = machine_distribution()
    own = distribution_sources(machine_sources(), distribution)
    if not own:
        cause = f"no apt source of this machine is {distribution.name}'s own archive"
        raise EngineError(cause, "add one in /etc/apt/sources.list.d")
    return retargeted(own, distribution.codename, suite)
