# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The machine's distribution, and the release of Debian that is taken where there is a choice."""

from __future__ import annotations

import platform
from dataclasses import dataclass

SUITE = "trixie"


@dataclass(frozen=True)
class Distribution:
    """A distribution and its release, as os-release(5) names them. ``codename`` is empty where it has none."""

    name: str
    codename: str = ""


def machine_distribution() -> Distribution:
    """The machine's; its name is ``unknown`` where the machine does not say."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return Distribution("unknown")
    return Distribution(release["ID"], release.get("VERSION_CODENAME", ""))
