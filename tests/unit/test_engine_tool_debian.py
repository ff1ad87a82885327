# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The engine tool's parsing of apt's answers, and the settings that the base image gets from this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker_engine import choice
from docker_engine.debian import archives, bootstrap_command, first_mirror, parse_apt_settings, serves_containers
from hypothesis import given
from hypothesis import strategies as st

DEBIAN = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"
# As `apt-get indextargets` tells it: origin, code name, address, component.
TARGETS = f"""\
Debian|bookworm|{DEBIAN}/|main
Debian|bookworm|{DEBIAN}/|non-free-firmware
Debian|bookworm|{DEBIAN}/|main
Debian|bookworm-updates|{DEBIAN}/|main
Debian|bookworm-security|{SECURITY}/|main
Debian Backports|bookworm-backports|{DEBIAN}/|main
Debian|trixie|{DEBIAN}/|main
A Vendor|bookworm|https://vendor.example/linux/|main
|bookworm|https://unknown.example/|main
"""


def test_another_release_is_on_the_distributions_own_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _path: False)
    assert archives(TARGETS, "debian", "bookworm", "trixie") == [
        f"deb {DEBIAN} trixie main non-free-firmware",
        f"deb {DEBIAN} trixie-updates main",
        f"deb {SECURITY} trixie-security main",
    ]
    assert archives("", "debian", "bookworm", "trixie") == []


def test_the_archive_is_verified_with_the_distributions_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    (source,) = archives(f"Ubuntu|noble|{DEBIAN}/|main", "ubuntu", "noble", "noble")
    assert source == f"deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] {DEBIAN} noble main"


@pytest.mark.parametrize("slashes", ["", "//"])
@pytest.mark.parametrize(
    ("text", "uri"), [(f"# primary\n\n{DEBIAN}\tpriority:1\nhttp://b.example\n", DEBIAN), ("# none\n", None)]
)
def test_the_first_mirror_of_a_cloud_images_list(tmp_path: Path, slashes: str, text: str, uri: str | None) -> None:
    listed = tmp_path / "debian.list"
    listed.write_text(text)
    given_uri = f"mirror+file:{slashes}{listed}"
    assert first_mirror(f"{given_uri}/") == (uri or given_uri)


@given(st.from_regex(r"https?://[a-z.]+(/[a-z]+)*", fullmatch=True))
def test_any_other_address_stays(uri: str) -> None:
    assert first_mirror(f"{uri}/") == first_mirror(uri) == uri


@pytest.mark.parametrize(
    ("policy", "candidate"),
    [
        ("docker.io:\n  Installed: (none)\n  Candidate: 26.1.5+dfsg1-9+b7\n", "26.1.5+dfsg1-9+b7"),
        ("docker.io:\n  Installed: 1\n  Candidate: (none)\n", ""),
    ],
)
def test_the_candidate_in_what_apt_says(monkeypatch: pytest.MonkeyPatch, policy: str, candidate: str) -> None:
    monkeypatch.setattr("shutil.which", lambda _program: "/usr/bin/apt-get")
    monkeypatch.setattr(choice, "answer", lambda *_argv: policy)
    assert choice.docker_candidate() == candidate


def test_what_an_archive_needs_of_apts_settings() -> None:
    dump = """\
Acquire "";
Acquire::Check-Valid-Until "false";
Acquire::http "";
Acquire::http::Proxy "http://127.0.0.1:3142";
Acquire::http::Proxy-Auto-Detect "/usr/bin/detect";
Acquire::https::Proxy "";
Dir::Cache::pkgcache "";
"""
    assert parse_apt_settings(dump) == {
        "Acquire::Check-Valid-Until": "false",
        "Acquire::http::Proxy": "http://127.0.0.1:3142",
    }


@pytest.mark.parametrize(
    ("setting", "serves"),
    [
        ("http://127.0.0.1:3142", False),
        ("http://127.1.2.3/", False),
        ("http://localhost:3142/", False),
        ("http://localhost", False),
        ("http://[::1]:8080/", False),
        ("http://user:word@proxy.example:3128", False),
        ("http://proxy.example:3142", True),
        ("http://10.0.0.1:3142", True),
        ("http://127.example:80", True),
        ("http://localhost.example:80", True),
        ("DIRECT", True),
        ("false", True),
    ],
)
def test_a_setting_that_may_stay_in_an_image(setting: str, serves: bool) -> None:
    assert serves_containers(setting) is serves


SETTINGS = {
    "Acquire::Check-Valid-Until": "false",
    "Acquire::http::Proxy": "http://localhost:3142",
    "Acquire::https::Proxy": "http://proxy.example:3142",
}
SECURE = ["deb https://mirror.example/debian trixie main"]


@pytest.fixture
def my_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "my ca.pem"))
    return tmp_path / "my ca.pem"


@pytest.mark.usefixtures("my_ca")
def test_the_bootstrap_leaves_nothing_in_the_image_that_only_works_outside() -> None:
    assert bootstrap_command("trixie", (), [f"deb {DEBIAN} trixie main"], SETTINGS, "-") == [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::https::Proxy "http://proxy.example:3142"',
        "trixie",
        "-",
        f"deb {DEBIAN} trixie main",
    ]


def test_an_https_mirror_has_certificates_in_the_image(my_ca: Path) -> None:
    command = bootstrap_command("trixie", (), SECURE, {}, "-")
    assert "--include=ca-certificates" in command
    assert f'--aptopt=Acquire::https::CAInfo "{my_ca}"' in command
    assert any(word.startswith(f"--customize-hook=upload '{my_ca}' ") for word in command)


def test_an_unpacked_system_runs_no_program(my_ca: Path) -> None:
    command = bootstrap_command("trixie", ("docker.io",), SECURE, {}, "/folder")
    assert f'--aptopt=Acquire::https::CAInfo "{my_ca}"' in command
    assert not [word for word in command if word.startswith("--customize-hook")]


def test_certificates_come_with_the_wanted_packages() -> None:
    command = bootstrap_command("trixie", ("udev", "dbus"), SECURE, {}, "-")
    assert [word for word in command if word.startswith("--include")] == ["--include=udev,dbus,ca-certificates"]
