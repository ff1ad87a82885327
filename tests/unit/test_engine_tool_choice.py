# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Whose engine the engine tool takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from docker_engine.choice import Choice, Situation, Way, choose, major
from docker_engine.distribution import Distribution
from docker_engine.errors import EngineError


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("26.1.5+dfsg1", 26),
        ("20.10.24+dfsg1-1+deb12u1+b6", 20),
        ("5:24.0.7-1~ubuntu.24.04~noble", 24),
        ("23.0.0-rc.1", 23),
        ("100.0", 100),
        ("dev", -1),
        ("", -1),
        (None, -1),
    ],
)
def test_versions_are_told_apart_by_their_first_number(version: str | None, number: int) -> None:
    assert major(version) == number


OLD, NEW = "20.10.24+dfsg1", "26.1.5+dfsg1"
BOOKWORM = Situation(root=True, answering=None, distribution=Distribution("debian", "bookworm"))
DEBIAN_13 = replace(BOOKWORM, distribution=Distribution("debian", "trixie"))
UBUNTU = replace(BOOKWORM, distribution=Distribution("ubuntu", "noble"))
UNPACKED_TRIXIE = Choice(Way.OWN, suite="trixie")


@pytest.mark.parametrize(
    ("situation", "choice"),
    [
        # (a) what answers and is new enough is used, by anybody, whatever else there is
        (replace(DEBIAN_13, root=False, answering="23.0.1"), Choice(Way.GIVEN)),
        (replace(DEBIAN_13, answering=NEW, unpacked=True, installed=NEW, candidate=NEW), Choice(Way.GIVEN)),
        # ... but who uses what one of us has started has a part in stopping it
        (replace(DEBIAN_13, answering=NEW, ours=True, installed=NEW, systemd=True), Choice(Way.SYSTEMD)),
        # (b) the distribution's own, installed or to be had
        (replace(DEBIAN_13, candidate=NEW, systemd=True), Choice(Way.SYSTEMD, install=True)),
        (replace(DEBIAN_13, candidate=NEW), Choice(Way.OWN, install=True)),
        (replace(DEBIAN_13, installed=NEW, systemd=True), Choice(Way.SYSTEMD)),
        (replace(DEBIAN_13, installed=NEW, unpacked=True), Choice(Way.OWN)),
        # (c) one of our own
        (replace(BOOKWORM, candidate=OLD), UNPACKED_TRIXIE),
        (replace(BOOKWORM, candidate=None), UNPACKED_TRIXIE),
        (replace(BOOKWORM, installed=OLD, candidate=OLD), UNPACKED_TRIXIE),
        (replace(UBUNTU, unpacked=True), UNPACKED_TRIXIE),
        # ... also beside an old one that is in use: its packages are not touched
        (replace(BOOKWORM, answering=OLD, installed=OLD, candidate=OLD), UNPACKED_TRIXIE),
        (replace(DEBIAN_13, answering=OLD, candidate=NEW, systemd=True), UNPACKED_TRIXIE),
        (replace(DEBIAN_13, installed=OLD, candidate=NEW), UNPACKED_TRIXIE),
        (replace(UBUNTU, answering=OLD, candidate="28.2.2"), Choice(Way.OWN, suite="noble")),
    ],
)
def test_where_the_engine_comes_from(situation: Situation, choice: Choice) -> None:
    assert choose(situation) == choice


@pytest.mark.parametrize("answering", [None, OLD])
def test_without_root_an_engine_must_be_given(answering: str | None) -> None:
    with pytest.raises(EngineError, match="only root can start one; start Docker, point DOCKER_HOST"):
        choose(replace(DEBIAN_13, root=False, answering=answering, installed=NEW, unpacked=True))


def test_a_distribution_without_a_new_docker_is_named() -> None:
    with pytest.raises(EngineError, match="ubuntu focal has no Docker 23 or newer; "):
        choose(replace(UBUNTU, candidate=OLD, distribution=Distribution("ubuntu", "focal")))
