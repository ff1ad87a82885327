# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A minimal system of a release, made by mmdebstrap from the machine's own archives."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker_engine.apt_sources import Source, sources_for
from docker_engine.certificates import custom_ca
from docker_engine.terminal import Terminal, search_path


def serves_containers(proxy: str) -> bool:
    """Whether a proxy's address may stay in an image: in a container loopback is another machine, and no secrets."""
    url = urllib.parse.urlsplit(proxy)
    try:
        loopback = ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        loopback = url.hostname == "localhost"
    return not loopback and url.password is None


def parse_apt_settings(dump: str) -> dict[str, str]:
    """What archives may need of apt's configuration, from ``apt-config dump``: proxies, and leave to be out of date."""
    wanted = "Acquire::(?:Check-Valid-Until|Check-Date|https?::Proxy)"
    return dict(re.findall(rf'^({wanted}) "(.+)";$', dump, re.MULTILINE))


def bootstrap_command(
    suite: str, packages: Sequence[str], sources: Sequence[Source], settings: Mapping[str, str], ca: Path | None
) -> list[str]:
    """The mmdebstrap that writes a tar archive of ``suite`` to stdout, with apt sources that work in it.

    The system needs certificates only for https, and then the developer's own ones, too. mmdebstrap leaves its
    options for apt in it: not every proxy is among them, and the path of the certificates is removed.
    """
    secure = any(source.uri.startswith("https:") for source in sources)
    included = [*packages, "ca-certificates"] if secure else packages
    options = [f"--include={','.join(included)}"] if included else []
    options += [
        f'--aptopt={name} "{value}"'
        for name, value in settings.items()
        if not name.endswith("Proxy") or serves_containers(value)
    ]
    if secure and ca:
        options += [
            f'--aptopt=Acquire::https::CAInfo "{ca}"',
            f"--customize-hook=upload {shlex.quote(str(ca))} /usr/local/share/ca-certificates/developer.crt",
            '--customize-hook=chroot "$1" update-ca-certificates',
            '--customize-hook=sed -i /CAInfo/d "$1/etc/apt/apt.conf.d/99mmdebstrap"',
        ]
    return ["mmdebstrap", "--variant=minbase", *options, suite, "-", *map(str, sources)]


def start_bootstrap(terminal: Terminal, suite: str, packages: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start to make ``suite`` with ``packages``; the archive comes from the process's stdout.

    Raises EngineError if this machine has no sources for it, OSError if there is no mmdebstrap.
    """
    settings = parse_apt_settings(terminal.answer("apt-config", "dump") or "")
    command = bootstrap_command(suite, packages, sources_for(suite), settings, custom_ca())
    proxies = {f"{key.split('::')[1]}_proxy": value for key, value in settings.items() if key.endswith("Proxy")}
    environment = {**os.environ, **proxies, "PATH": search_path()}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
