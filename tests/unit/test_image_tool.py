# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Tests of the build's arguments from tools/image.py, without an engine: the base, a Mesos and a proxy's settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import image
import pytest

WANTED = "ubuntu:24.04"


class Engine:
    """Stands in for `docker` and tools/engine.py, with the images that exist and the success of a pull."""

    def __init__(self, there: set[str], can_pull: bool) -> None:
        self.there, self.can_pull = there, can_pull
        self.made: list[str] = []

    def run(self, argv: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        status = 0
        if argv[1:3] == ["image", "inspect"]:
            status = 0 if argv[3] in self.there else 1
        elif argv[1] == "pull":
            status = 0 if self.can_pull else 1
        else:
            assert argv[2] == "base-image"
            self.made.append(argv[-1])
        return subprocess.CompletedProcess(argv, status, "", "denied\n")


@pytest.mark.parametrize(
    ("there", "can_pull", "chosen", "made"),
    [
        ({WANTED}, False, WANTED, []),
        (set(), True, WANTED, []),
        (set(), False, "mesos-dind-base:trixie", ["mesos-dind-base:trixie"]),
        ({"mesos-dind-base:trixie"}, True, "mesos-dind-base:trixie", []),
    ],
)
def test_a_debian_is_made_where_the_default_base_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, there: set[str], can_pull: bool, chosen: str, made: list[str]
) -> None:
    engine = Engine(there, can_pull)
    monkeypatch.setattr(subprocess, "run", engine.run)
    assert image.choose_base() == chosen
    assert engine.made == made


def test_a_mesos_and_its_packages_reach_the_build() -> None:
    given = {"MESOS_DEB_URL": "https://packages.example/m.deb", "MESOS_DEB_SHA256": "00", "MESOS_PACKAGES": "a b"}
    command = image.build_command("t", "b", "docker-image://NAME", {**given, "HOME": "/nonexistent", "OTHER": "x"})
    assert {f"--build-arg={name}={value}" for name, value in given.items()} <= set(command)
    assert "--build-context=mesos=docker-image://NAME" in command
    assert "--build-arg=BASE_IMAGE=b" in command
    assert "OTHER" not in "".join(command)


def test_what_is_not_given_is_not_said() -> None:
    command = image.build_command("t", "b", "", {"MESOS_DEB_URL": "", "HOME": "/nonexistent"})
    assert not [word for word in command if "mesos=" in word or "MESOS" in word]


@pytest.mark.parametrize("name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_machines_bundle_is_passed_as_a_secret(tmp_path: Path, name: str) -> None:
    passed = image.secrets({name: "/some/bundle.pem", "HOME": str(tmp_path)})
    assert "--secret=id=ca_bundle,src=/some/bundle.pem" in passed


@pytest.mark.parametrize("place", [".config/pip/pip.conf", ".pip/pip.conf"])
def test_pips_configuration_is_passed_as_a_secret(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    assert f"--secret=id=pip_conf,src={tmp_path / place}" in image.secrets({"HOME": str(tmp_path)})
    asked = tmp_path / "asked.conf"
    asked.touch()
    assert f"--secret=id=pip_conf,src={asked}" in image.secrets({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(asked)})


def test_the_secrets_are_those_that_the_dockerfile_takes() -> None:
    taken = (image.ROOT / "Dockerfile").read_text()
    for name in ("ca_bundle", "pip_conf"):
        assert f"--mount=type=secret,id={name} " in taken
    for name in (*image.BUILD_ARGUMENTS, "BASE_IMAGE"):
        assert f"\nARG {name}=" in taken
