# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where the engine comes from, by what there is on the machine. No I/O."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from docker_engine.distribution import SUITE, Distribution
from docker_engine.errors import EngineError

# Older engines ask for every capability there is in `docker run --privileged`, and fail where one is missing.
OLDEST_ENGINE = 23


def major(version: str | None) -> int:
    """The first number of a version: 26 for ``5:26.1.5+dfsg1-9``; -1 for none. Engines are told apart by no more."""
    match = re.match(r"(?:\d+:)?(\d+)", version or "")
    return int(match[1]) if match else -1


def new_enough(version: str | None) -> bool:
    """Whether an engine of this version will do; False for none."""
    return major(version) >= OLDEST_ENGINE


@dataclass(frozen=True)
class Situation:
    """What decides where the engine comes from. Versions are None where there is none."""

    root: bool
    answering: str | None
    """Version of the engine that answers in the environment."""
    distribution: Distribution
    ours: bool = False
    """The answering engine is the distribution's, and one of us has started it through systemd."""
    unpacked: bool = False
    """An engine of our own is in the cache."""
    installed: str | None = None
    """Version of the ``dockerd`` on the search path."""
    candidate: str | None = None
    """Version of ``docker.io`` that apt would install; not looked for where ``unpacked`` or ``installed``."""
    systemd: bool = False


class Way(enum.Enum):
    """Who runs the engine."""

    GIVEN = "the environment has one"
    SYSTEMD = "systemd runs the distribution's own"
    OWN = "this tool runs one"


@dataclass(frozen=True)
class Choice:
    """Where the engine comes from. ``suite`` names the release to unpack it from, empty for the machine's own.

    Once it is unpacked, that stays what it is.
    """

    way: Way
    install: bool = False
    suite: str = ""


def choose(situation: Situation) -> Choice:
    """Choose an engine; raises EngineError if there can be none."""
    if new_enough(situation.answering) and not situation.ours:
        return Choice(Way.GIVEN)
    if not situation.root:
        raise EngineError(
            f"no Docker engine of version {OLDEST_ENGINE} or newer answers, and only root can start one",
            "start Docker, point DOCKER_HOST to one, or run this as root",
        )
    # An old engine that answers has users: its packages are left alone, and ours goes beside it.
    alone = situation.ours or not situation.answering
    machines_own = Way.SYSTEMD if situation.systemd else Way.OWN
    if alone and new_enough(situation.installed):
        return Choice(machines_own)
    if situation.unpacked:
        return Choice(Way.OWN, suite=SUITE)
    if alone and not situation.installed and new_enough(situation.candidate):
        return Choice(machines_own, install=True)
    return Choice(Way.OWN, suite=private_suite(situation))


def private_suite(situation: Situation) -> str:
    """The release to unpack Docker from; raises EngineError where there is none to be had."""
    if new_enough(situation.candidate):
        return situation.distribution.codename
    if situation.distribution.name == "debian":
        return SUITE
    raise EngineError(
        f"{situation.distribution.name} {situation.distribution.codename} has no Docker {OLDEST_ENGINE} or newer",
        "install one from elsewhere and start it, or point DOCKER_HOST to one",
    )
