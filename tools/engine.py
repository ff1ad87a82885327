#!/usr/bin/env python3
# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A Docker engine for the developer's commands, wherever they are run.

    python3 tools/engine.py run -- COMMAND...      run COMMAND with an engine, started and stopped if need be
    python3 tools/engine.py stop                   stop an engine that was left running
    python3 tools/engine.py base-image [...]       (inside `run`) make the Debian image that images are built on
    python3 tools/engine.py task-image [...]       (inside `run`) make the small image that tests run as a task

The engine of the environment is used if it is new enough; else the distribution's own is installed and started if
that is; else Debian's newer one is unpacked into the cache folder (``$XDG_CACHE_HOME/mesos-dind``) and run from
there, with every file, its bridge and its firewall chains its own. No apt source of the machine is edited.

Exit status: COMMAND's own, 128+n if signal n ended it; 64 for wrong usage, 70 if there can be no engine.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import platform
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

USAGE, FAILURE = 64, 70
# Older engines ask for every capability there is in `docker run --privileged`, and fail where one is missing.
OLDEST_ENGINE = 23
SUITE = "trixie"
BASE_IMAGE, TASK_IMAGE = f"mesos-dind-base:{SUITE}", "mesos-dind-task:latest"
CLIENT_PACKAGES = ("docker-cli", "docker-buildx")
ENGINE_PACKAGES = ("docker.io", "containerd", *CLIENT_PACKAGES)
DEFAULT_SOCKET = Path("/run/docker.sock")
# apt's StringToBool.
TRUE = frozenset({"yes", "true", "with", "on", "enable", "1"})
FALSE = frozenset({"no", "false", "without", "off", "disable", "0"})
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
# The default bridge's candidates, like Docker's own: a /16 each, since agents are given /24s of it.
SUBNETS = tuple(ipaddress.IPv4Network((f"172.{n}.0.0", 16)) for n in range(17, 32))
START_SECONDS = 60.0
# For the environment's engine, which may be far away, or be started by systemd when it is asked.
CLIENT_SECONDS = 30.0
# dockerd gives its containers 15 s (its --shutdown-timeout) and then needs a moment for itself.
STOP_SECONDS = 30.0


class EngineError(Exception):
    """There can be no engine, or no image: one line that says why and what to do."""

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(f"{cause}; {cure}" if cure else cause)


class Stopped(BaseException):
    """A signal asked the tool to end while it ran no command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


# -- apt's sources: pure ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One suite of one archive, as apt knows it. ``signed_by`` is a path, or a key itself, or empty."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False

    def __str__(self) -> str:
        """The source in apt's one-line form, which every apt and mmdebstrap takes."""
        options = [f"signed-by={self.signed_by}"] if self.signed_by else []
        options += ["trusted=yes"] if self.trusted else []
        bracketed = [f"[{' '.join(options)}]"] if options else []
        return " ".join(["deb", *bracketed, self.uri, self.suite, *self.components])


def parse_list(text: str) -> list[Source]:
    """Read apt's one-line form (``sources.list``, ``*.list``); see sources.list(5)."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]*)", line)
        if match and len(words := match["rest"].split()) >= 2:
            pairs = (option.partition("=") for option in (match["options"] or "").split())
            options = {name.lower(): value for name, _, value in pairs}
            found.append(
                Source(
                    words[0],
                    words[1],
                    tuple(words[2:]),
                    signed_by=options.get("signed-by", ""),
                    trusted=options.get("trusted", "").lower() in TRUE,
                )
            )
    return found


def parse_deb822(text: str) -> list[Source]:
    """Read apt's deb822 form (``*.sources``); see sources.list(5). A stanza of n URIs and m suites is n·m sources."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found = []
    for stanza in re.split(r"\n\s*\n", uncommented):
        fields = _fields(stanza)
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "").lower() not in FALSE:
            found += [
                Source(
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    signed_by=fields.get("signed-by", ""),
                    trusted=fields.get("trusted", "").lower() in TRUE,
                )
                for uri in fields.get("uris", "").split()
                for suite in fields.get("suites", "").split()
            ]
    return found


def _fields(stanza: str) -> dict[str, str]:
    """The fields of one deb822 stanza, names in lower case, continuation lines joined."""
    unfolded = re.sub(r"\n[ \t]+", " ", stanza)
    pairs = (line.partition(":") for line in unfolded.splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def parse_sources(files: Mapping[str, str]) -> list[Source]:
    """Read the files of apt's configuration, given as name and text, in apt's order and without repetitions."""
    found: list[Source] = []
    for name, text in files.items():
        found += parse_deb822(text) if name.endswith(".sources") else parse_list(text)
    return list(dict.fromkeys(found))


def distribution_sources(sources: Iterable[Source], distribution: str, codename: str) -> list[Source]:
    """Those of ``sources`` that are the distribution's own archive, and not a vendor's or a local disc.

    A vendor's archive may use the distribution's code name as its suite: its key gives it away.
    """
    suites = {codename, f"{codename}-updates", f"{codename}-security"}
    keyring = f"{distribution}-archive"
    return [
        source
        for source in sources
        if source.suite in suites
        and "main" in source.components
        and source.uri.startswith(("http://", "https://", "mirror"))
        and (not source.signed_by or keyring in source.signed_by)
    ]


def retargeted(sources: Iterable[Source], codename: str, suite: str) -> list[Source]:
    """The same archives for another release: ``codename-updates`` becomes ``suite-updates``."""
    return [replace(source, suite=suite + source.suite.removeprefix(codename)) for source in sources]


def mirror_list(uri: str) -> Path | None:
    """The file behind a ``mirror+file:`` URI (Debian's cloud images), None for any other; apt-transport-mirror(1)."""
    match = re.fullmatch(r"mirror\+file:(?://)?(/.*)", uri)
    return Path(match[1]) if match else None


def first_mirror(text: str) -> str:
    """The first address of a mirror list; empty if it has none."""
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return next((words[0] for words in lines if words), "")


# -- choosing: pure -----------------------------------------------------------------------------------------------


def major(version: str | None) -> int:
    """The first number of a version: 26 for ``5:26.1.5+dfsg1-9``; -1 for none. Engines are told apart by no more."""
    match = re.match(r"(?:\d+:)?(\d+)", version or "")
    return int(match[1]) if match else -1


def parse_candidates(policy: str) -> dict[str, str]:
    """Each package's candidate in the output of ``apt-cache policy PACKAGE...``; those without one are left out."""
    found = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", policy, re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


@dataclass(frozen=True)
class Situation:
    """What decides where the engine comes from. Versions are None where there is none."""

    root: bool
    answering: str | None
    """Version of the engine that answers in the environment."""
    ours: bool = False
    """The answering engine is the distribution's, and one of us has started it through systemd."""
    unpacked: bool = False
    """An engine of our own is in the cache."""
    installed: str | None = None
    """Version of the ``dockerd`` on the search path."""
    candidate: str | None = None
    """Version of ``docker.io`` that apt would install; not looked for where ``unpacked`` or ``installed``."""
    systemd: bool = False
    distribution: str = "debian"
    codename: str = ""


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
    if major(situation.answering) >= OLDEST_ENGINE and not situation.ours:
        return Choice(Way.GIVEN)
    if not situation.root:
        raise EngineError(
            f"no Docker engine of version {OLDEST_ENGINE} or newer answers, and only root can start one",
            "start Docker, point DOCKER_HOST to one, or run this as root",
        )
    # An old engine that answers has users: its packages are left alone, and ours goes beside it.
    alone = situation.ours or not situation.answering
    machines_own = Way.SYSTEMD if situation.systemd else Way.OWN
    if alone and major(situation.installed) >= OLDEST_ENGINE:
        return Choice(machines_own)
    if situation.unpacked:
        return Choice(Way.OWN, suite=SUITE)
    if alone and not situation.installed and major(situation.candidate) >= OLDEST_ENGINE:
        return Choice(machines_own, install=True)
    return Choice(Way.OWN, suite=private_suite(situation))


def private_suite(situation: Situation) -> str:
    """The release to unpack Docker from; raises EngineError where there is none to be had."""
    if major(situation.candidate) >= OLDEST_ENGINE:
        return situation.codename
    if situation.distribution == "debian":
        return SUITE
    raise EngineError(
        f"{situation.distribution} {situation.codename} has no Docker {OLDEST_ENGINE} or newer",
        "install one from elsewhere and start it, or point DOCKER_HOST to one",
    )


# -- network: pure ------------------------------------------------------------------------------------------------


def free_subnet(taken: Iterable[str], avoid: Iterable[str] = ()) -> ipaddress.IPv4Network:
    """The first of Docker's usual subnets that meets no network of ``taken`` and holds no address of ``avoid``."""
    networks = [ipaddress.IPv4Network(network, strict=False) for network in taken]
    networks += [ipaddress.IPv4Network(address) for address in avoid]
    for subnet in SUBNETS:
        if not any(subnet.overlaps(network) for network in networks):
            return subnet
    raise EngineError(
        f"every subnet from {SUBNETS[0]} to {SUBNETS[-1]} is in use on this machine",
        "remove unused networks (docker network prune, ip route)",
    )


def leftover_bridges(rules: str, prefix: str) -> list[str]:
    """The bridges of an engine whose chains start with ``prefix``, from ``iptables -S``: it filters what goes there."""
    found = re.findall(rf"^-A FORWARD -o (\S+) .*-j {re.escape(prefix)}\S*$", rules, re.MULTILINE)
    return list(dict.fromkeys(found))


def undo_rules(rules: str, prefix: str, bridges: Iterable[str]) -> list[list[str]]:
    """Arguments for iptables that remove what an engine left behind: its rules first, then its emptied chains."""
    links = set(bridges)
    added = [shlex.split(line) for line in rules.splitlines() if line.startswith("-A ")]
    ours = [rule for rule in added if links & set(rule) or any(word.startswith(prefix) for word in rule)]
    chains = re.findall(rf"^-N ({re.escape(prefix)}\S*)$", rules, re.MULTILINE)
    return [["-D", *rule[1:]] for rule in ours] + [["-X", chain] for chain in chains]


# -- the cache ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where everything is. Two caches are two engines: bridge, chains and run directory carry the cache's hash."""

    cache: Path

    @property
    def tag(self) -> str:
        # With it the longest of Docker's chain names (DOCKER-ISOLATION-STAGE-1) has 26 of the 28 possible letters.
        return "md" + hashlib.sha256(os.fsencode(self.cache)).hexdigest()[:6]

    @property
    def run(self) -> Path:
        # Not in the cache: containerd's socket lies further down, and a socket's path may have 107 bytes (unix(7)).
        return Path("/run") / f"mesos-dind-{self.tag}"

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def pid_file(self) -> Path:
        return self.run / "docker.pid"

    @property
    def config(self) -> Path:
        return self.cache / "engine" / "daemon.json"

    @property
    def data(self) -> Path:
        return self.cache / "engine" / "data"

    @property
    def log(self) -> Path:
        return self.cache / "engine" / "dockerd.log"

    @property
    def started_by_systemd(self) -> Path:
        return self.run / "started-by-systemd"

    def programs(self, packages: Sequence[str]) -> Path:
        return self.cache / "programs" / ("engine" if packages == ENGINE_PACKAGES else "client")

    def lock(self, name: str) -> Path:
        return self.cache / f"{name}.lock"


def default_layout() -> Layout:
    """The layout below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Layout(Path(home).absolute() / "mesos-dind")


class Lock:
    """A flock(2) on a file that stays. The kernel drops it with the last process that has it, however that ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, kind: int) -> bool:
        """Take the lock, or change its kind, without waiting; False if somebody else's is in the way."""
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, kind: int) -> None:
        fcntl.flock(self.descriptor, kind)

    def close(self) -> None:
        # Unlocked by name: a process that COMMAND has left behind may have the descriptor still.
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


# -- commands -----------------------------------------------------------------------------------------------------


class Terminal:
    """Tells the developer what happens, and runs commands, never through a shell."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One line on stderr with the seconds since the start."""
        self.tell(f"engine: [{time.monotonic() - self._started:6.1f} s] {text}")

    def tell(self, line: str) -> None:
        """One line on stderr. If nobody reads it any more, an engine is to be stopped all the same."""
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    def ask(self, *argv: str, timeout: float | None = None) -> str:
        """Stdout of a command; raises EngineError if it fails, or takes longer than ``timeout`` seconds."""
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
                env={**os.environ, "PATH": search_path(), "LC_ALL": "C"},
            )
        except OSError as error:
            raise cannot_run(argv[0], error) from None
        except subprocess.TimeoutExpired:
            raise EngineError(f"`{shlex.join(argv)}` did not end within {timeout:g} s") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise EngineError(f"`{shlex.join(argv)}` failed with status {done.returncode}: {said}")
        return done.stdout

    def answer(self, *argv: str, timeout: float | None = None) -> str | None:
        """Stdout of a command that may fail, or not be there: None then."""
        try:
            return self.ask(*argv, timeout=timeout)
        except EngineError:
            return None

    def show(self, *argv: str) -> None:
        """Run a command with all its output on stderr as it comes; raises EngineError if it fails."""
        environment = {**os.environ, "PATH": search_path(), "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, check=False, env=environment)
        except OSError as error:
            raise cannot_run(argv[0], error) from None
        if done.returncode:
            raise EngineError(f"`{shlex.join(argv)}` failed with status {done.returncode}", "its output is above")


def search_path() -> str:
    """The search path, with the folders that only root's has by default: mmdebstrap and dockerd need them."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def cannot_run(program: str, error: OSError) -> EngineError:
    cure = "install the package that has it" if isinstance(error, FileNotFoundError) else ""
    return EngineError(f"cannot run {program}: {error.strerror}", cure)


# -- packages -----------------------------------------------------------------------------------------------------


def apt_install(terminal: Terminal, *packages: str) -> None:
    """Install packages of the machine's own distribution; raises EngineError, also if not root."""
    if os.geteuid() != 0:
        raise EngineError(f"this needs {', '.join(packages)}", f"apt-get install {' '.join(packages)}")
    terminal.say(f"installing {', '.join(packages)} with apt-get")
    terminal.show("apt-get", "--quiet", "update")
    options = ("--quiet", "--yes", "--no-install-recommends", "-oDPkg::Lock::Timeout=300", "-oDpkg::Use-Pty=false")
    terminal.show("apt-get", *options, "install", *packages)


def require_programs(terminal: Terminal, needs: Mapping[str, str]) -> None:
    """Install the packages of those programs (name: package) that the machine lacks."""
    missing = [package for program, package in needs.items() if not shutil.which(program, path=search_path())]
    if missing:
        apt_install(terminal, *dict.fromkeys(missing))


def machine_sources() -> list[Source]:
    """The machine's own apt sources, with mirror lists looked up; empty where there is no apt."""
    parts = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]
    found = parse_sources({str(file): file.read_text() for file in files if file.is_file()})
    return [replace(source, uri=resolve_mirror(source.uri)) for source in found]


def resolve_mirror(uri: str) -> str:
    """The first address of a ``mirror+file:`` list that is there; any other URI as it is."""
    file = mirror_list(uri)
    return (first_mirror(file.read_text()) if file and file.is_file() else "") or uri


def sources_for(suite: str) -> list[Source]:
    """The distribution's archives on the machine's mirrors, for ``suite``; raises EngineError if there are none."""
    release = os_release()
    own = distribution_sources(machine_sources(), release["ID"], release.get("VERSION_CODENAME", ""))
    if not own:
        cause = f"no apt source of this machine is {release['ID']}'s own archive"
        raise EngineError(cause, "add one in /etc/apt/sources.list.d")
    return retargeted(own, release["VERSION_CODENAME"], suite)


def os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {"ID": "unknown"}


def custom_ca() -> Path | None:
    """The bundle of certificates that the environment names, where it is not the system's own."""
    for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
        bundle = os.environ.get(variable)
        if bundle and Path(bundle).is_file() and Path(bundle).resolve() != SYSTEM_CA.resolve():
            return Path(bundle).absolute()
    return None


class PrivateApt:
    """An apt with sources, state, preferences and cache of its own, that takes the machine for what it is.

    It reads a copy of dpkg's status, so that only what the machine lacks is fetched, and prefers the machine's own
    release for all but Docker's packages, since the newer one's others (runc is one) want a newer libc.
    """

    def __init__(self, terminal: Terminal, folder: Path, suite: str) -> None:
        self._terminal, self._folder, self._suite = terminal, folder, suite
        self._config = folder / "apt.conf"

    @property
    def archives(self) -> Path:
        return self._folder / "cache" / "archives"

    def prepare(self) -> None:
        """Write the configuration and fetch the package lists."""
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile("/var/lib/dpkg/status", self._folder / "status")
        own = os_release().get("VERSION_CODENAME", "")
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
        return (
            f"Package: *\n{pin}\nPin-Priority: 100\n\nPackage: {' '.join(ENGINE_PACKAGES)}\n{pin}\nPin-Priority: 990\n"
        )

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
        """Fetch those of ``packages`` that the release has, with what the machine lacks for them."""
        policy = self._terminal.ask("apt-cache", "-c", str(self._config), "policy", *packages)
        known = list(parse_candidates(policy))
        self._terminal.say(f"fetching {', '.join(known)} of {self._suite}")
        self._apt("--download-only", "install", *known)
        return sorted(self.archives.glob("*.deb"))


def provide_programs(terminal: Terminal, layout: Layout, packages: Sequence[str], suite: str) -> Path:
    """The folder with ``packages`` unpacked in it, made if need be; without network once it is there."""
    programs = layout.programs(packages)
    if programs.is_dir():
        return programs
    apt_folder = layout.cache / "apt"
    apt = PrivateApt(terminal, apt_folder, suite)
    apt.prepare()
    debs = apt.download(packages)
    if libc := [deb.name for deb in debs if deb.name.startswith("libc6_")]:
        cause = f"the Docker of {suite} needs {libc[0]}, newer than this machine's"
        raise EngineError(cause, "use a newer release, or point DOCKER_HOST to an engine")
    fresh = programs.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for deb in debs:
        name, version = deb.name.split("_")[:2]
        terminal.say(f"unpacking {name} {version}")
        terminal.ask("dpkg-deb", "-x", str(deb), str(fresh))
    fresh.rename(programs)
    shutil.rmtree(apt_folder, ignore_errors=True)
    return programs


# -- engines ------------------------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; ``timeout`` is in seconds."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def engine_says(socket_path: Path, what: str, timeout: float = 5) -> dict[str, object]:
    """The engine's answer to a GET of ``/version`` or ``/info`` within ``timeout`` seconds, empty without one."""
    connection = UnixConnection(socket_path, timeout)
    try:
        connection.request("GET", what)
        answer = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def server_version(socket_path: Path) -> str | None:
    """The version of the engine that answers on a unix socket, None without an answer."""
    version = engine_says(socket_path, "/version").get("Version")
    return str(version) if version else None


class Daemon(Protocol):
    """An engine that this tool may start and stop. All three are called with the "change" lock held."""

    @property
    def socket(self) -> Path: ...

    def running(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class SystemdDaemon:
    """The distribution's own engine, as its units start it. A mark tells ours from one that was there before."""

    def __init__(self, terminal: Terminal, layout: Layout) -> None:
        self._terminal, self._layout = terminal, layout

    @property
    def socket(self) -> Path:
        return DEFAULT_SOCKET

    def running(self) -> bool:
        return self._layout.started_by_systemd.exists() and server_version(self.socket) is not None

    def start(self) -> None:
        self._terminal.say("starting docker.service")
        self._layout.run.mkdir(mode=0o711, exist_ok=True)
        self._layout.started_by_systemd.touch()
        # systemctl returns once the service has told that it is ready, or has failed.
        self._terminal.show("systemctl", "start", "docker.service")

    def stop(self) -> None:
        self._terminal.say("stopping docker.service")
        self._terminal.show("systemctl", "stop", "docker.socket", "docker.service")
        shutil.rmtree(self._layout.run, ignore_errors=True)


class OwnDaemon:
    """A dockerd of our own, on this machine's kernel but with nothing of this machine's Docker.

    ``programs`` is the folder that it was unpacked in, None for the programs that are installed.
    """

    def __init__(self, terminal: Terminal, layout: Layout, programs: Path | None) -> None:
        self._terminal, self._layout, self._programs = terminal, layout, programs
        self._bridge = layout.tag
        self._answered = False
        self._rules = Firewall(terminal, layout.tag)

    @property
    def socket(self) -> Path:
        return self._layout.socket

    def running(self) -> bool:
        """Whether it is there and answers; raises EngineError if it is there and does not."""
        pid = self._pid()
        if pid is not None:
            self._await_answer(pid)
        return pid is not None

    def start(self) -> None:
        """Start it and wait until it answers; raises EngineError with the log's end shown if it does not."""
        require_programs(self._terminal, engine_needs())
        self._layout.run.mkdir(mode=0o711, exist_ok=True)
        self._layout.config.parent.mkdir(parents=True, exist_ok=True)
        # Of an engine that was killed: dockerd takes any process of that number for a living engine.
        self._layout.pid_file.unlink(missing_ok=True)
        self._make_bridge()
        self._layout.config.write_text(json.dumps(self._configuration(), indent=2) + "\n")
        if self._layout.log.exists():
            self._layout.log.replace(self._layout.log.with_suffix(".log.1"))
        self._terminal.say("starting dockerd")
        process = self._spawn()
        try:
            self._await_answer(process.pid)
        except BaseException:
            self._end(process.pid)
            raise
        driver = engine_says(self.socket, "/info").get("Driver")
        self._terminal.say(f"Docker {server_version(self.socket)} answers, with its files on {driver}")
        if driver == "vfs":
            self._terminal.say("that is slow: set XDG_CACHE_HOME to a folder where overlay works (ext4, xfs)")

    def stop(self) -> None:
        """Stop it and its containers, and remove its bridges, chains, sockets and mounts. Its images stay."""
        if self._pid() is None and self._answered:
            self._terminal.say(f"dockerd has ended while it was in use; its log is {self._layout.log}")
        if self._pid() is None and self._orphans():
            self._terminal.say("a dockerd that was killed has left processes behind, which a new one ends")
            self.start()
        pid = self._pid()
        if pid is not None:
            self._terminal.say("stopping dockerd")
            self._end(pid)
        bridges = self._rules.remove()
        for bridge in dict.fromkeys([*bridges, self._bridge]):
            self._terminal.answer("ip", "link", "delete", bridge)
        # A dockerd that was killed leaves its network namespace, and its data root mounted on itself.
        mountinfo = Path("/proc/self/mountinfo").read_text()
        for folder in (self._layout.run, self._layout.data):
            for point in mounts_at_or_below(mountinfo, folder):
                self._terminal.answer("umount", str(point))
        shutil.rmtree(self._layout.run, ignore_errors=True)

    def _pid(self) -> int | None:
        """The number of our dockerd, None if there is none. Its pid file may be missing yet, or have outlived it."""
        ours = [b"--config-file", os.fsencode(self._layout.config)]
        return next((pid for pid, arguments in command_lines() if arguments[1:3] == ours), None)

    def _orphans(self) -> bool:
        """Whether a containerd or a container's shim of ours lives: each has our containerd's files as an argument."""
        mark = os.fsencode(self._layout.run / "exec")
        return any(argument.startswith(mark) for _, arguments in command_lines() for argument in arguments)

    def _await_answer(self, pid: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        with contextlib.closing(Process(pid)) as process:
            while server_version(self.socket) is None:
                # This is where the time is spent, and it ends at once if dockerd does.
                if process.ended(within=0.05):
                    raise self._failure("dockerd ended while it was starting")
                if time.monotonic() > deadline:
                    raise self._failure(f"dockerd (process {pid}) does not answer after {START_SECONDS:g} s")
        self._answered = True

    def _failure(self, cause: str) -> EngineError:
        """An error about dockerd, with the end of its log shown before it."""
        lines = self._layout.log.read_text(errors="replace").splitlines() if self._layout.log.exists() else []
        for line in lines[-15:]:
            self._terminal.tell(f"dockerd: {line}")
        return EngineError(cause, f"the end of its log is above, all of it in {self._layout.log}")

    def _end(self, pid: int) -> None:
        with contextlib.closing(Process(pid)) as process:
            process.send(signal.SIGTERM)
            if not process.ended(within=STOP_SECONDS):
                self._terminal.say(f"dockerd did not stop within {STOP_SECONDS:g} s, killing it")
                process.send(signal.SIGKILL)
                process.ended(within=STOP_SECONDS)

    def _configuration(self) -> dict[str, object]:
        return {
            "hosts": [f"unix://{self.socket}"],
            "data-root": str(self._layout.data),
            "exec-root": str(self._layout.run / "exec"),
            "pidfile": str(self._layout.pid_file),
            "bridge": self._bridge,
            "mtu": self._uplink_mtu(),
            "group": "root",
        }

    def _spawn(self) -> subprocess.Popen[bytes]:
        roots = [self._programs] if self._programs else []
        path = [str(root / folder) for root in roots for folder in ("usr/sbin", "usr/bin")]
        path = [str(self._rules.wrappers(self._layout.run)), *path, search_path()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        environment["PATH"] = ":".join(path)
        if libraries := [str(folder) for root in roots for folder in library_folders(root)]:
            environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        dockerd = shutil.which("dockerd", path=environment["PATH"])
        if not dockerd:
            raise EngineError("there is no dockerd", f"remove {self._layout.cache / 'programs'} and run this again")
        with self._layout.log.open("wb") as log:
            return subprocess.Popen(
                [dockerd, "--config-file", str(self._layout.config)],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _make_bridge(self) -> None:
        """A bridge of a name that no other engine has: dockerd uses it as it is, and would have to share docker0."""
        if Path("/sys/class/net", self._bridge).exists():
            return
        addresses = [
            f"{address['local']}/{address['prefixlen']}"
            for link in json.loads(self._terminal.ask("ip", "-json", "-4", "address", "show"))
            for address in link.get("addr_info", [])
        ]
        routes = json.loads(self._terminal.ask("ip", "-json", "-4", "route", "show", "table", "all"))
        taken = [route["dst"] for route in routes if route["dst"] != "default"]
        resolvers = re.findall(r"^nameserver (\d+\.\S+)", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
        subnet = free_subnet([*addresses, *taken], resolvers)
        self._terminal.say(f"adding bridge {self._bridge} with {subnet}")
        self._terminal.ask("ip", "link", "add", self._bridge, "type", "bridge")
        self._terminal.ask("ip", "address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", self._bridge)
        self._terminal.ask("ip", "link", "set", self._bridge, "up")

    def _uplink_mtu(self) -> int:
        """The MTU of the default route's device: a tunnel's is smaller, and packets of 1500 bytes vanish in it."""
        routes = json.loads(self._terminal.ask("ip", "-json", "-4", "route", "show", "default"))
        devices = [route["dev"] for route in routes if "dev" in route]
        return int(Path("/sys/class/net", devices[0], "mtu").read_text()) if devices else 1500


class Process:
    """A process that is or is not our child, held by a pidfd, so that its number is never another's."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        if self._descriptor is None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def send(self, number: signal.Signals) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


class Firewall:
    """Keeps the chains of our engine apart from those of another one on this machine.

    At its start dockerd empties the chains that it knows (removeIPChains in moby's bridge driver), whosoever they
    are: the published ports of an engine that runs already would be gone. So ours calls iptables through a wrapper
    that gives its chains names of their own; by these they are also found again and removed.
    """

    COMMANDS = ("iptables", "ip6tables")

    def __init__(self, terminal: Terminal, prefix: str) -> None:
        self._terminal, self._prefix = terminal, prefix

    def wrappers(self, run: Path) -> Path:
        """Write the wrappers; the folder that is to come first in dockerd's search path."""
        folder = run / "firewall"
        folder.mkdir(exist_ok=True)
        for command in self.COMMANDS:
            if real := shutil.which(command, path=search_path()):
                wrapper = folder / command
                wrapper.write_text(WRAPPER.format(prefix=self._prefix, real=shlex.quote(real)))
                wrapper.chmod(0o755)
        return folder

    def remove(self) -> list[str]:
        """Remove the chains and the rules about them; returns the bridges that they were for."""
        bridges: list[str] = []
        for command in self.COMMANDS:
            filtering = self._terminal.answer(command, "--wait", "-S") or ""
            bridges += leftover_bridges(filtering, self._prefix)
            for table in ("filter", "nat"):
                rules = self._terminal.answer(command, "--wait", "-t", table, "-S") or ""
                for arguments in undo_rules(rules, self._prefix, bridges):
                    self._terminal.answer(command, "--wait", "-t", table, *arguments)
        return bridges


WRAPPER = """\
#!/bin/sh
for word do
    shift
    case $word in DOCKER | DOCKER-*) word={prefix}${{word#DOCKER}} ;; esac
    set -- "$@" "$word"
done
exec {real} "$@"
"""


def engine_needs() -> dict[str, str]:
    """Programs that dockerd calls, with their packages in Debian and Ubuntu."""
    needs = {"iptables": "iptables", "ip": "iproute2"}
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    if apparmor.is_file() and apparmor.read_text().startswith("Y"):
        needs["apparmor_parser"] = "apparmor"
    return needs


def library_folders(programs: Path) -> list[Path]:
    """Where unpacked packages have brought libraries along."""
    folders = [*programs.glob("usr/lib/*-linux-gnu*"), *programs.glob("lib/*-linux-gnu*")]
    return [folder for folder in folders if any(folder.glob("*.so.*"))]


def command_lines() -> Iterator[tuple[int, list[bytes]]]:
    """The number and the arguments of every process that lives; a zombie has none."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(process.name), (process / "cmdline").read_bytes().split(b"\0")


def mounts_at_or_below(mountinfo: str, folder: Path) -> list[Path]:
    """Mount points, innermost first, from the text of ``/proc/self/mountinfo``; see proc(5)."""
    points = [
        Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4]))
        for line in mountinfo.splitlines()
    ]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def look(terminal: Terminal, layout: Layout) -> Situation:
    """Look at the machine; asks apt, which is slow, only where its answer counts."""
    release = os_release()
    situation = Situation(
        root=os.geteuid() == 0,
        answering=answering_version(terminal),
        ours=layout.started_by_systemd.exists(),
        unpacked=layout.programs(ENGINE_PACKAGES).is_dir(),
        installed=installed_version(terminal),
        systemd=Path("/run/systemd/system").is_dir(),
        distribution=release["ID"],
        codename=release.get("VERSION_CODENAME", ""),
    )
    settled = major(situation.answering) >= OLDEST_ENGINE or major(situation.installed) >= OLDEST_ENGINE
    if settled or situation.unpacked or not situation.root:
        return situation
    return replace(situation, candidate=docker_candidate(terminal))


def answering_version(terminal: Terminal) -> str | None:
    """The version of the environment's engine, by its own client if there is one (contexts, TLS, ssh)."""
    if shutil.which("docker"):
        asked = terminal.answer("docker", "version", "--format", "{{.Server.Version}}", timeout=CLIENT_SECONDS)
        return (asked or "").strip() or None
    scheme, _, path = os.environ.get("DOCKER_HOST", f"unix://{DEFAULT_SOCKET}").partition("://")
    return server_version(Path(path)) if scheme == "unix" else None


def installed_version(terminal: Terminal) -> str | None:
    match = re.search(r"version ([^\s,]+)", terminal.answer("dockerd", "--version") or "")
    return match[1] if match else None


def docker_candidate(terminal: Terminal) -> str | None:
    """The version of docker.io that apt would install, after an update where apt knows nothing yet."""
    policy = terminal.answer("apt-cache", "policy", "docker.io")
    if policy == "":
        terminal.say("fetching the package lists")
        terminal.show("apt-get", "--quiet", "update")
        policy = terminal.answer("apt-cache", "policy", "docker.io")
    return parse_candidates(policy or "").get("docker.io")


def make_daemon(terminal: Terminal, layout: Layout, choice: Choice) -> Daemon:
    """The engine that was chosen, with its programs in place but not started."""
    if choice.install:
        known = [name for name in ("docker-cli", "docker-buildx") if terminal.answer("apt-cache", "show", name)]
        apt_install(terminal, "docker.io", *known)
    if choice.way is Way.SYSTEMD:
        return SystemdDaemon(terminal, layout)
    programs = provide_programs(terminal, layout, ENGINE_PACKAGES, choice.suite) if choice.suite else None
    return OwnDaemon(terminal, layout, programs)


# -- clients ------------------------------------------------------------------------------------------------------


def client_environment(layout: Layout, host: str | None, programs: Path | None) -> dict[str, str]:
    """The environment for COMMAND: the engine's address, None for the environment's own, and a client with buildx.

    ``programs`` is the folder with an unpacked client, None to use the installed one.
    """
    environment = dict(os.environ)
    if host:
        for name in ("CONTEXT", "TLS", "TLS_VERIFY", "CERT_PATH", "API_VERSION"):
            environment.pop(f"DOCKER_{name}", None)
        environment["DOCKER_HOST"] = host
    if programs:
        folder = layout.cache / "client"
        write_client(folder, programs)
        environment["DOCKER_CONFIG"] = str(folder)
        environment["PATH"] = f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    return environment


def write_client(folder: Path, programs: Path) -> None:
    """A docker on a search path of its own, and a configuration that finds the buildx beside it."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    replace_text(folder / "config.json", json.dumps(client_configuration(programs), indent=2) + "\n")
    fresh = folder / f"docker.{os.getpid()}"
    fresh.symlink_to(programs / "usr/bin/docker")
    fresh.replace(folder / "bin" / "docker")


def client_configuration(programs: Path) -> dict[str, object]:
    """Our client's configuration; of the developer's own only the proxies, which builds and containers need."""
    plugins = sorted({str(plugin.parent) for plugin in programs.glob("usr/lib*/docker/cli-plugins/*")})
    theirs = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        proxies = json.loads(theirs.read_text()).get("proxies")
    except (OSError, ValueError):
        proxies = None
    return {"cliPluginsExtraDirs": plugins, **({"proxies": proxies} if proxies else {})}


def replace_text(path: Path, text: str) -> None:
    """Write a file that others may be reading."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def client_programs(terminal: Terminal, layout: Layout) -> Path | None:
    """The folder with an unpacked client, where the installed one has no buildx and another is to be had; else None."""
    if terminal.answer("docker", "buildx", "version"):
        return None
    own = terminal.answer("apt-cache", "policy", "docker-buildx") or ""
    suite = os_release().get("VERSION_CODENAME", "") if parse_candidates(own) else SUITE
    try:
        with changing(terminal, layout):
            return provide_programs(terminal, layout, CLIENT_PACKAGES, suite)
    except EngineError as error:
        terminal.say(f"images cannot be built, since docker has no buildx here: {error}")
        return None


# -- run and stop -------------------------------------------------------------------------------------------------


class Signals:
    """INT, TERM and HUP end the tool while it starts an engine, are COMMAND's while that runs, and wait while it stops.

    What is ignored already (nohup, a shell's background job) stays so.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._held = False
        self._pending: list[int] = []

    def install(self) -> None:
        for number in self.NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        if self._child:
            self._pass_on(self._child, number)
        elif self._held:
            self._pending.append(number)
        else:
            raise Stopped(number)

    @staticmethod
    def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
        # Ctrl-C reaches the whole foreground process group, so the child has had it already.
        typed = number == signal.SIGINT and sys.stdin.isatty() and os.tcgetpgrp(0) == os.getpgrp()
        if not typed:
            child.send_signal(number)

    def hold(self) -> None:
        """From here on nothing is interrupted: what comes is COMMAND's, or too late."""
        self._held = True

    def wait_for(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the child, passing signals on; returns a status as a shell gives it."""
        self._child = child
        for number in self._pending:
            self._pass_on(child, number)
        status = child.wait()
        self._child = None
        return status if status >= 0 else 128 - status


def execute(
    terminal: Terminal, signals: Signals, command: Sequence[str], environment: Mapping[str, str], keep: Sequence[int]
) -> int:
    """Run COMMAND to its end; returns its status, 127 or 126 if it cannot be run. It inherits ``keep``."""
    signals.hold()
    program = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    try:
        child = subprocess.Popen([program, *command[1:]], env=dict(environment), pass_fds=keep)
    except OSError as error:
        terminal.tell(f"engine: {cannot_run(command[0], error)}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    return signals.wait_for(child)


@contextlib.contextmanager
def exclusive(terminal: Terminal, layout: Layout, name: str, what: str) -> Iterator[None]:
    """Be the only one of us that does ``what``; waits for another one."""
    lock = Lock(layout.lock(name))
    try:
        if not lock.take(fcntl.LOCK_EX):
            terminal.say(f"waiting for another run that {what}")
            lock.wait(fcntl.LOCK_EX)
        yield
    finally:
        lock.close()


def changing(terminal: Terminal, layout: Layout) -> contextlib.AbstractContextManager[None]:
    """Be the only one of us that starts or stops an engine, or fetches its programs."""
    return exclusive(terminal, layout, "change", "starts or stops the engine")


@contextlib.contextmanager
def using(terminal: Terminal, layout: Layout, daemon: Daemon, signals: Signals) -> Iterator[int]:
    """Have the engine run; the last of its users stops it. Gives the descriptor that makes a process a user."""
    users = Lock(layout.lock("users"))
    # Nobody has it exclusively but who stops the engine, and that under the other lock.
    with changing(terminal, layout):
        users.wait(fcntl.LOCK_SH)
    try:
        with changing(terminal, layout):
            if daemon.running():
                terminal.say(f"using the engine that runs already at {daemon.socket}")
            else:
                daemon.start()
        yield users.descriptor
    finally:
        signals.hold()
        with changing(terminal, layout):
            if users.take(fcntl.LOCK_EX):
                daemon.stop()
            else:
                terminal.say("the engine has other users, and stays")
            users.close()


def run(terminal: Terminal, layout: Layout, signals: Signals, command: Sequence[str]) -> int:
    """Run COMMAND with an engine; returns its status."""
    situation = look(terminal, layout)
    choice = choose(situation)
    if choice.way is Way.GIVEN:
        terminal.say(f"using Docker {situation.answering}, which answers already")
        environment = client_environment(layout, None, client_programs(terminal, layout))
        return execute(terminal, signals, command, environment, keep=())
    with changing(terminal, layout):
        daemon = make_daemon(terminal, layout, choice)
    programs = layout.programs(ENGINE_PACKAGES) if choice.suite else client_programs(terminal, layout)
    with using(terminal, layout, daemon, signals) as descriptor:
        environment = client_environment(layout, f"unix://{daemon.socket}", programs)
        return execute(terminal, signals, command, environment, keep=(descriptor,))


def stop(terminal: Terminal, layout: Layout) -> int:
    """Stop the engine that was left running; raises EngineError if somebody uses it."""
    users = Lock(layout.lock("users"))
    with changing(terminal, layout):
        if not users.take(fcntl.LOCK_EX):
            pids = ", ".join(map(str, holders(layout.lock("users"))))
            raise EngineError(f"the engine is in use by process {pids}", "end that first")
        if layout.started_by_systemd.exists():
            SystemdDaemon(terminal, layout).stop()
        elif layout.run.exists():
            unpacked = layout.programs(ENGINE_PACKAGES)
            OwnDaemon(terminal, layout, unpacked if unpacked.is_dir() else None).stop()
        else:
            terminal.say("no engine of ours runs")
        users.close()
    return 0


def holders(path: Path) -> list[int]:
    """The processes that have a file open. (/proc/locks names who took a lock, who may be dead.)"""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # or close this one, and yet have the file open by another
                    if link.readlink() == path.resolve():
                        found.add(int(process.name))
    return sorted(found - {os.getpid()})


# -- images -------------------------------------------------------------------------------------------------------


def image_exists(terminal: Terminal, name: str) -> bool:
    """Whether the engine of the environment has an image; raises EngineError without an engine."""
    try:
        return bool(terminal.ask("docker", "image", "ls", "--quiet", name).strip())
    except EngineError as error:
        raise EngineError(str(error), "run this inside `tools/engine.py run --`") from None


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


def bootstrap_command(suite: str, sources: Sequence[Source], settings: Mapping[str, str], ca: Path | None) -> list[str]:
    """The mmdebstrap that writes a tar archive of ``suite`` to stdout, with apt sources that work in it.

    The image needs certificates only for https, and then the developer's own ones, too. mmdebstrap leaves its
    options for apt in the image: not every proxy is among them, and the path of the certificates is removed.
    """
    options = [
        f'--aptopt={name} "{value}"'
        for name, value in settings.items()
        if not name.endswith("Proxy") or serves_containers(value)
    ]
    if any(source.uri.startswith("https:") for source in sources):
        options.append("--include=ca-certificates")
        if ca:
            options += [
                f'--aptopt=Acquire::https::CAInfo "{ca}"',
                f"--customize-hook=upload {shlex.quote(str(ca))} /usr/local/share/ca-certificates/developer.crt",
                '--customize-hook=chroot "$1" update-ca-certificates',
                '--customize-hook=sed -i /CAInfo/d "$1/etc/apt/apt.conf.d/99mmdebstrap"',
            ]
    return ["mmdebstrap", "--variant=minbase", *options, suite, "-", *map(str, sources)]


def base_image(terminal: Terminal, layout: Layout, suite: str, name: str) -> None:
    """Make the image ``name`` of Debian's (or Ubuntu's) minimal system, unless it exists."""
    if image_exists(terminal, name):
        terminal.say(f"{name} exists")
        return
    release = os_release()
    if suite == SUITE and release["ID"] != "debian":
        cure = f"tag one as {name}, or give --suite {release.get('VERSION_CODENAME', 'SUITE')} and a --name"
        raise EngineError(f"{release['ID']}'s archive has no {suite} to make an image of", cure)
    require_programs(terminal, {"mmdebstrap": "mmdebstrap"})
    settings = parse_apt_settings(terminal.answer("apt-config", "dump") or "")
    command = bootstrap_command(suite, sources_for(suite), settings, custom_ca())
    proxies = {f"{key.split('::')[1]}_proxy": value for key, value in settings.items() if key.endswith("Proxy")}
    terminal.say(f"making {name} with mmdebstrap, which takes half a minute")
    # Not under its name yet: the import also succeeds where mmdebstrap broke off.
    terminal.ask("docker", "tag", bootstrap_and_import(command, proxies), name)
    terminal.say(f"{name} is made")


def bootstrap_and_import(command: Sequence[str], proxies: Mapping[str, str]) -> str:
    """The id of the image that the engine makes of the command's tar archive; raises EngineError if either fails."""
    environment = {**os.environ, **proxies, "PATH": search_path()}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as bootstrap:
        try:
            imported = subprocess.run(
                ["docker", "import", "-"],
                stdin=bootstrap.stdout,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        except BaseException:
            bootstrap.terminate()
            raise
    image = imported.stdout.strip()
    if bootstrap.returncode:
        subprocess.run(["docker", "image", "rm", image], stdout=subprocess.DEVNULL, check=False)
    if bootstrap.returncode or imported.returncode:
        raise EngineError(f"`{command[0]} | docker import` failed", "its output is above")
    return image


def task_image(terminal: Terminal, layout: Layout, base: str, name: str) -> None:
    """Build the image ``name`` that the tests run as a task, unless it exists."""
    if image_exists(terminal, name):
        terminal.say(f"{name} exists")
        return
    if base == BASE_IMAGE:
        base_image(terminal, layout, SUITE, base)
    terminal.say(f"building {name} from {base}")
    folder = Path(__file__).resolve().parents[1] / "tests" / "images" / "task"
    argument = f"--build-arg=BASE_IMAGE={base}"
    terminal.show("docker", "buildx", "build", "--load", argument, f"--tag={name}", str(folder))
    terminal.say(f"{name} is built")


# -- command line -------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 64 if it is wrong."""
    parser = Parser(description="A Docker engine for the developer's commands.")
    commands = parser.add_subparsers(dest="action", required=True, metavar="run|stop|base-image|task-image")
    with_engine = commands.add_parser("run", help="run COMMAND with an engine", usage="%(prog)s -- COMMAND...")
    with_engine.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    commands.add_parser("stop", help="stop an engine that was left running")
    base = commands.add_parser("base-image", help="make the base image (inside `run`)")
    base.add_argument("--suite", default=SUITE, help="release (%(default)s)")
    base.add_argument("--name", help="name of the image (mesos-dind-base:SUITE)")
    task = commands.add_parser("task-image", help="build the image that tests run as a task (inside `run`)")
    task.add_argument("--base", default=BASE_IMAGE, help="image to build it from (%(default)s)")
    task.add_argument("--name", default=TASK_IMAGE, help="name of the image (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.action == "run":
        arguments.command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        if not arguments.command:
            with_engine.error("there is no COMMAND to run")
    return arguments


def perform(terminal: Terminal, arguments: argparse.Namespace, signals: Signals) -> int:
    """Do what the command line says; returns the exit status."""
    layout = default_layout()
    if arguments.action == "run":
        return run(terminal, layout, signals, arguments.command)
    if arguments.action == "stop":
        return stop(terminal, layout)
    with exclusive(terminal, layout, "images", "makes an image"):
        if arguments.action == "base-image":
            name = arguments.name or f"{BASE_IMAGE.partition(':')[0]}:{arguments.suite}"
            base_image(terminal, layout, arguments.suite, name)
        else:
            task_image(terminal, layout, arguments.base, arguments.name)
    return 0


def main(argv: Sequence[str]) -> int:
    arguments = parse_arguments(argv)
    terminal, signals = Terminal(), Signals()
    signals.install()
    try:
        return perform(terminal, arguments, signals)
    except EngineError as error:
        terminal.tell(f"engine: {error}")
        return FAILURE
    except OSError as error:
        terminal.tell(f"engine: {error.filename or 'this machine'}: {error.strerror}")
        return FAILURE
    except Stopped as stopped:
        terminal.tell(f"engine: ended by {stopped}")
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
