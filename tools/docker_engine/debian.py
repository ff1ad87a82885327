# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Packages of the machine's distribution, and systems of any release from the machine's own mirrors."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker_engine.choice import distribution
from docker_engine.terminal import EngineError, answer, run, say, search_path

SUITE = "trixie"
DOCKER = ("docker.io", "docker-cli", "docker-buildx", "iproute2", "apparmor")
INDEXES = ("apt-get", "indextargets", "--format=$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)", "Created-By: Packages")
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


def require(**programs: str) -> None:
    """Install the packages (program=package) of missing programs; raises EngineError, also if not root."""
    missing = [package for program, package in programs.items() if not shutil.which(program, path=search_path())]
    if missing and os.geteuid() != 0:
        raise EngineError(f"no {', '.join(missing)} here; apt-get install {' '.join(missing)}")
    if missing:
        apt_install(*missing)


def apt_install(*packages: str) -> None:
    """Install packages; raises EngineError if that fails."""
    say(f"installing {', '.join(packages)} with apt-get")
    run("apt-get", "--quiet", "update")
    options = ("--quiet", "--yes", "--no-install-recommends", "-oDPkg::Lock::Timeout=300", "-oDpkg::Use-Pty=false")
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, "install", *packages)


def archives(targets: str, name: str, codename: str, suite: str) -> list[str]:
    """The distribution's own archives for ``suite``, as apt's one-line sources, from `apt-get indextargets`."""
    found: dict[str, list[str]] = {}
    keyring = Path(f"/usr/share/keyrings/{name}-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.is_file() else ""
    for line in dict.fromkeys(targets.splitlines()):
        origin, release, uri, component = line.split("|")
        pocket = release.removeprefix(codename)
        if origin.lower() == name and pocket in ("", "-updates", "-security"):
            found.setdefault(f"deb {signed}{first_mirror(uri)} {suite}{pocket}", []).append(component)
    return [" ".join([source, *components]) for source, components in found.items()]


def first_mirror(uri: str) -> str:
    """The first of a ``mirror+file:`` list (apt-transport-mirror(1)); any other URI without its last slash."""
    match = re.fullmatch(r"mirror\+file:(?://)?(/.*?)/?", uri)
    listed = re.search(r"^\s*([^#\s]+)", Path(match[1]).read_text(), re.MULTILINE) if match else None
    return (listed[1] if listed else uri).rstrip("/")


def machine_archives(suite: str) -> list[str]:
    """The machine's own archives for ``suite``; raises EngineError without any."""
    if not answer(*INDEXES) and os.geteuid() == 0:  # apt knows origins once it has the lists
        run("apt-get", "--quiet", "update")
    name, codename = distribution()
    found = archives(answer(*INDEXES), name, codename, suite)
    if not found:
        raise EngineError(f"apt knows no archive of {name}; add one in /etc/apt/sources.list.d, then `apt-get update`")
    return found


def custom_ca() -> Path | None:
    """The bundle of certificates that the environment names, if it is not the system's own."""
    names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    bundles = (Path(os.environ[name]).resolve() for name in names if os.environ.get(name))
    return next((bundle for bundle in bundles if bundle.is_file() and bundle != SYSTEM_CA.resolve()), None)


def parse_apt_settings(dump: str) -> dict[str, str]:
    """The settings of ``apt-config dump`` that archives may need: proxies, and leave to be out of date."""
    wanted = "Acquire::(?:Check-Valid-Until|Check-Date|https?::Proxy)"
    return dict(re.findall(rf'^({wanted}) "(.+)";$', dump, re.MULTILINE))


def serves_containers(setting: str) -> bool:
    """Whether an image may keep a setting: a container has another loopback, and no image has passwords."""
    return not re.search(r"//(localhost(?![^:/])|127\.\d+\.|\[::1\]|[^/]*:[^/]*@)", setting)


def bootstrap_command(
    suite: str, packages: Sequence[str], sources: Sequence[str], settings: Mapping[str, str], target: str
) -> list[str]:
    """The mmdebstrap that writes a system to stdout (``-``) or unpacks packages into a folder, and configures none.

    apt works in the system, also with a mirror that has https.
    """
    secure = any("https://" in source for source in sources)
    included = [*packages, *(["ca-certificates"] if secure else [])]
    options = [f"--include={','.join(included)}"] if included else []
    # mmdebstrap leaves its options for apt in the system.
    options += [f'--aptopt={name} "{value}"' for name, value in settings.items() if serves_containers(value)]
    ca = custom_ca() if secure else None
    options += [f'--aptopt=Acquire::https::CAInfo "{ca}"'] if ca else []
    if ca and target == "-":
        options += [
            f"--customize-hook=upload {shlex.quote(str(ca))} /usr/local/share/ca-certificates/developer.crt",
            '--customize-hook=chroot "$1" update-ca-certificates',
            '--customize-hook=sed -i /CAInfo/d "$1/etc/apt/apt.conf.d/99mmdebstrap"',
        ]
    variant = "minbase" if target == "-" else "extract"
    return ["mmdebstrap", "--quiet", f"--variant={variant}", *options, suite, target, *sources]


def bootstrap(suite: str, consumer: Sequence[str], packages: Sequence[str] = (), target: str = "-") -> str:
    """Make a system of ``suite`` and give its tar archive to a command, whose stdout is returned.

    Raises EngineError if this machine has no sources for the suite, or if one of the two fails.
    """
    require(mmdebstrap="mmdebstrap")
    settings = parse_apt_settings(answer("apt-config", "dump"))
    command = bootstrap_command(suite, packages, machine_archives(suite), settings, target)
    proxies = {f"{name.split('::')[1]}_proxy": value for name, value in settings.items() if name.endswith("Proxy")}
    environment = {**os.environ, **proxies, "PATH": search_path()}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as made:
        try:
            taken = subprocess.run(consumer, stdin=made.stdout, stdout=subprocess.PIPE, text=True, check=False)
        except BaseException:  # a signal
            made.terminate()
            raise
    if made.returncode or taken.returncode:
        raise EngineError(f"`mmdebstrap | {consumer[0]}` failed; its output is above")
    return taken.stdout.strip()


def provide_docker(cache: Path) -> Path:
    """The newer Debian's Docker, unpacked but not installed, in a folder of the cache; made if need be."""
    root, fresh = cache / SUITE, cache / f"{SUITE}.new"
    if not root.is_dir():
        say(f"unpacking the Docker of Debian {SUITE} into {root}")
        shutil.rmtree(fresh, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        bootstrap(SUITE, ["true"], DOCKER, str(fresh))
        fresh.rename(root)
    return root
