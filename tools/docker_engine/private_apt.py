# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""An apt beside the machine's own, for packages that are fetched but not installed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from docker_engine.apt_sources import sources_for
from docker_engine.certificates import custom_ca
from docker_engine.distribution import machine_distribution
from docker_engine.packages import ENGINE, parse_candidates
from docker_engine.terminal import Terminal


class PrivateApt:
    """An apt with sources, state, preferences and cache of its own, that takes the machine for what it is.

    It reads a copy of dpkg's status, so that only what the machine lacks is fetched, and prefers the machine's own
    release for all but Docker's packages, since the newer one's others (runc is one) want a newer libc.
    """

    def __init__(self, terminal: Terminal, folder: Path, suite: str) -> None:
        self._terminal, self._folder, self._suite = terminal, folder, suite
        self._config = folder / "apt.conf"

    def prepare(self) -> None:
        """Write the configuration and fetch the package lists; raises EngineError without sources, or if apt fails."""
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile("/var/lib/dpkg/status", self._folder / "status")
        own = machine_distribution().codename
        sources = dict.fromkeys([*sources_for(self._suite), *sources_for(own)])
        (self._folder / "sources.list").write_text("".join(f"{source}\n" for source in sources))
        (self._folder / "preferences").write_text(self._preferences(own))
        self._config.write_text(self._configuration())
        self._terminal.say(f"fetching the package lists of {self._suite}")
        self._apt("update")
        # What an interrupted run has fetched counts only if it is still current.
        self._apt("autoclean")

    def _preferences(self, own: str) -> str:
        if self._suite == own:
            return ""
        pin = f"Pin: release n={self._suite}*"
        dockers = " ".join(ENGINE.packages)
        return f"Package: *\n{pin}\nPin-Priority: 100\n\nPackage: {dockers}\n{pin}\nPin-Priority: 990\n"

    def _configuration(self) -> str:
        settings = {
            "Dir::Etc::SourceList": self._folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": self._folder / "preferences",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": self._folder / "state",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            # Images of distributions switch it off, and every apt command would read all lists anew.
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "false",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
            **({"Acquire::https::CAInfo": ca} if (ca := custom_ca()) else {}),
        }
        # The machine's hooks are for the machine's own lists.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        return "".join(f"#clear {hook};\n" for hook in hooks) + "".join(
            f'{name} "{value}";\n' for name, value in settings.items()
        )

    def _apt(self, *arguments: str) -> None:
        # -c is read after the machine's own configuration, APT_CONFIG would be read before it.
        self._terminal.show("apt-get", "-c", str(self._config), "--quiet", "--yes", *arguments)

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Fetch those of ``packages`` that the release has, with what the machine lacks for them.

        Returns the files of all of them; raises EngineError if apt fails.
        """
        policy = self._terminal.ask("apt-cache", "-c", str(self._config), "policy", *packages)
        known = list(parse_candidates(policy))
        self._terminal.say(f"fetching {', '.join(known)} of {self._suite}")
        self._apt("--download-only", "install", *known)
        return sorted((self._folder / "cache/archives").glob("*.deb"))
