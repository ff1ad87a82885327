# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the base image gets from this machine, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker_engine.apt_sources import Source
from docker_engine.bootstrap import bootstrap_command, parse_apt_settings, serves_containers

DEBIAN = "http://mirror.example/debian"


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
    ("proxy", "serves"),
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
        ("DIRECT", True),
    ],
)
def test_a_proxy_that_may_stay_in_an_image(proxy: str, serves: bool) -> None:
    assert serves_containers(proxy) is serves


SETTINGS = {
    "Acquire::Check-Valid-Until": "false",
    "Acquire::http::Proxy": "http://localhost:3142",
    "Acquire::https::Proxy": "http://proxy.example:3142",
}


def test_the_bootstrap_leaves_nothing_in_the_image_that_only_works_outside() -> None:
    command = bootstrap_command("trixie", (), [Source(DEBIAN, "trixie", ("main",))], SETTINGS, Path("/my/ca.pem"))
    assert command == [
        "mmdebstrap",
        "--variant=minbase",
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::https::Proxy "http://proxy.example:3142"',
        "trixie",
        "-",
        f"deb {DEBIAN} trixie main",
    ]


def test_an_https_mirror_has_certificates_in_the_image() -> None:
    secure = [Source("https://mirror.example/debian", "trixie", ("main",))]
    assert "--include=ca-certificates" in bootstrap_command("trixie", (), secure, {}, None)
    command = bootstrap_command("trixie", (), secure, {}, Path("/my cas/ca.pem"))
    assert '--aptopt=Acquire::https::CAInfo "/my cas/ca.pem"' in command
    assert any(word.startswith("--customize-hook=upload '/my cas/ca.pem' ") for word in command)


def test_certificates_come_with_the_wanted_packages() -> None:
    secure = [Source("https://mirror.example/debian", "trixie", ("main",))]
    command = bootstrap_command("trixie", ("udev", "dbus"), secure, {}, None)
    assert [word for word in command if word.startswith("--include")] == ["--include=udev,dbus,ca-certificates"]
