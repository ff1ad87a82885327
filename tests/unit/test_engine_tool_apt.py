# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the engine tool reads of apt's sources and answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docker_engine import private_apt
from docker_engine.apt_sources import (
    Source,
    distribution_sources,
    first_mirror,
    mirror_list,
    parse_deb822,
    parse_list,
    parse_sources,
    retargeted,
)
from docker_engine.distribution import Distribution
from docker_engine.packages import parse_candidates
from docker_engine.terminal import Terminal
from hypothesis import given
from hypothesis import strategies as st

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEBIAN = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"

DEB822 = f"""\
# What the installer wrote
Types: deb deb-src
URIs: {DEBIAN}
Suites: bookworm bookworm-updates
Components: main
# a comment inside a field
 non-free-firmware
Signed-By: {KEYRING}

types: deb
uris: {SECURITY}
suites: bookworm-security
components: main
Trusted: yes
  \t
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://vendor.example/linux
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJ
 -----END PGP PUBLIC KEY BLOCK-----
"""

ONE_LINE = f"""\
# deb {DEBIAN} buster main
deb [ arch=amd64,i386 signed-by={KEYRING} ] {DEBIAN} bookworm main non-free-firmware
deb-src {DEBIAN} bookworm main
  deb\t{SECURITY}   bookworm-security main   # urgent
deb [trusted=yes] http://flat.example/debs ./

deb cdrom:[Debian]/ bookworm main
deb {DEBIAN}
"""


def test_the_deb822_form() -> None:
    found = parse_deb822(DEB822)
    components = ("main", "non-free-firmware")
    assert found[:3] == [
        Source(DEBIAN, "bookworm", components, signed_by=KEYRING),
        Source(DEBIAN, "bookworm-updates", components, signed_by=KEYRING),
        Source(SECURITY, "bookworm-security", ("main",), trusted=True),
    ]
    assert [source.uri for source in found[3:]] == ["https://vendor.example/linux"]


def test_the_one_line_form() -> None:
    assert parse_list(ONE_LINE) == [
        Source(DEBIAN, "bookworm", ("main", "non-free-firmware"), signed_by=KEYRING),
        Source(SECURITY, "bookworm-security", ("main",)),
        Source("http://flat.example/debs", "./", (), trusted=True),
        Source("cdrom:[Debian]/", "bookworm", ("main",)),
    ]


def test_a_file_is_read_by_its_name_and_what_is_there_twice_counts_once() -> None:
    found = parse_sources({"/a/sources.list": ONE_LINE, "/a/again.list": ONE_LINE, "/a/debian.sources": DEB822})
    assert found[:4] == parse_list(ONE_LINE)
    # The first stanza's bookworm is in the other file already.
    assert found[4:] == parse_deb822(DEB822)[1:]


words = st.text("abcxyz0123456789-", min_size=1, max_size=8)

sources = st.builds(
    Source,
    uri=words.map(lambda host: f"http://{host}/debian"),
    suite=words,
    components=st.lists(words, min_size=1, max_size=3).map(tuple),
    signed_by=st.sampled_from(["", KEYRING]),
    trusted=st.booleans(),
)


@given(sources)
def test_a_source_reads_back_as_it_is_written(source: Source) -> None:
    assert parse_list(f"{source}\n") == [source]


@given(st.text())
def test_any_text_is_read_without_a_crash(text: str) -> None:
    parse_list(text)
    parse_deb822(text)


def test_only_the_distributions_own_archive_counts() -> None:
    everything = [
        *parse_deb822(DEB822),
        Source("cdrom:[Debian]/", "bookworm", ("main",)),
        Source(DEBIAN, "bookworm-backports", ("main",)),
        Source("https://docker.example/linux/debian", "bookworm", ("stable",)),
        Source("https://vendor.example", "bookworm", ("main",), signed_by="/etc/apt/keyrings/vendor.gpg"),
        Source("mirror+file:/etc/apt/mirrors/debian.list", "bookworm", ("main",)),
    ]
    own = distribution_sources(everything, Distribution("debian", "bookworm"))
    assert [source.uri for source in own] == [DEBIAN, DEBIAN, SECURITY, "mirror+file:/etc/apt/mirrors/debian.list"]


def test_another_release_is_on_the_same_mirrors() -> None:
    own = distribution_sources(parse_deb822(DEB822), Distribution("debian", "bookworm"))
    assert [str(source) for source in retargeted(own, "bookworm", "trixie")] == [
        f"deb [signed-by={KEYRING}] {DEBIAN} trixie main non-free-firmware",
        f"deb [signed-by={KEYRING}] {DEBIAN} trixie-updates main non-free-firmware",
        f"deb [trusted=yes] {SECURITY} trixie-security main",
    ]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("mirror+file:/etc/apt/mirrors/debian.list", "/etc/apt/mirrors/debian.list"),
        ("mirror+file:///etc/apt/mirrors/debian.list", "/etc/apt/mirrors/debian.list"),
        (DEBIAN, None),
    ],
)
def test_a_cloud_images_mirror_list(uri: str, file: str | None) -> None:
    assert mirror_list(uri) == (Path(file) if file else None)


@pytest.mark.parametrize(
    ("text", "uri"), [(f"# primary\n\n{DEBIAN}\tpriority:1\nhttp://b.example\n", DEBIAN), ("# none\n", ""), ("", "")]
)
def test_the_first_mirror_of_a_list(text: str, uri: str) -> None:
    assert first_mirror(text) == uri


def test_candidates_in_what_apt_says() -> None:
    policy = """\
docker.io:
  Installed: (none)
  Candidate: 26.1.5+dfsg1-9+b7
  Version table:
     26.1.5+dfsg1-9+b7 500
docker-cli:
  Installed: 1
  Candidate: (none)
runc:
  Installed: (none)
  Candidate: 1.1.15
"""
    assert parse_candidates(policy) == {"docker.io": "26.1.5+dfsg1-9+b7", "runc": "1.1.15"}
    assert parse_candidates("") == {}


class Recorder(Terminal):
    """Notes what would be run."""

    def __init__(self) -> None:
        super().__init__()
        self.run: list[tuple[str, ...]] = []

    def show(self, *argv: str) -> None:
        self.run.append(argv)

    def ask(self, *argv: str, timeout: float | None = None) -> str:
        self.run.append(argv)
        return ""


def test_another_release_is_fetched_without_the_machines_own_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt is given sources, lists and a state below the tool's own folder, and none of the machine's."""
    monkeypatch.setattr(private_apt, "sources_for", lambda suite: [Source(DEBIAN, suite, ("main",))])
    terminal = Recorder()
    apt = private_apt.PrivateApt(terminal, tmp_path, "trixie")
    apt.prepare()
    apt.download(["docker.io"])
    config = tmp_path / "apt.conf"
    assert terminal.run
    assert all(argv[1:3] == ("-c", str(config)) for argv in terminal.run)
    folders = dict(re.findall(r'^(Dir::\S+) "(/.*)";$', config.read_text(), re.MULTILINE))
    assert {"Dir::Etc::SourceList", "Dir::Etc::SourceParts", "Dir::State", "Dir::Cache"} <= set(folders)
    assert {path for path in folders.values() if not Path(path).is_relative_to(tmp_path)} == {"/dev/null"}
    assert f"{DEBIAN} trixie main" in (tmp_path / "sources.list").read_text()
