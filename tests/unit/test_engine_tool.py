# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The decisions of tools/engine.py: whose engine, whose archive, which subnet, what to remove. No network, no root."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import engine
import pytest
from engine import Choice, EngineError, Situation, Source, Way
from hypothesis import given
from hypothesis import strategies as st

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEBIAN = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"

DEB822 = f"""\
# What the installer wrote
Types: deb deb-src
URIs: {DEBIAN}
Suites: bookworm bookworm-updates
Components: main
# a comment inside a field
 non-free-firmware
Signed-By: {KEYRING}

types: deb
uris: {SECURITY}
suites: bookworm-security
components: main
Trusted: yes
  \t
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://vendor.example/linux
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJ
 -----END PGP PUBLIC KEY BLOCK-----
"""

ONE_LINE = f"""\
# deb {DEBIAN} buster main
deb [ arch=amd64,i386 signed-by={KEYRING} ] {DEBIAN} bookworm main non-free-firmware
deb-src {DEBIAN} bookworm main
  deb\t{SECURITY}   bookworm-security main   # urgent
deb [trusted=yes] http://flat.example/debs ./

deb cdrom:[Debian]/ bookworm main
deb {DEBIAN}
"""


def test_the_deb822_form() -> None:
    found = engine.parse_deb822(DEB822)
    components = ("main", "non-free-firmware")
    assert found[:3] == [
        Source(DEBIAN, "bookworm", components, signed_by=KEYRING),
        Source(DEBIAN, "bookworm-updates", components, signed_by=KEYRING),
        Source(SECURITY, "bookworm-security", ("main",), trusted=True),
    ]
    assert [source.uri for source in found[3:]] == ["https://vendor.example/linux"]


def test_the_one_line_form() -> None:
    assert engine.parse_list(ONE_LINE) == [
        Source(DEBIAN, "bookworm", ("main", "non-free-firmware"), signed_by=KEYRING),
        Source(SECURITY, "bookworm-security", ("main",)),
        Source("http://flat.example/debs", "./", (), trusted=True),
        Source("cdrom:[Debian]/", "bookworm", ("main",)),
    ]


def test_a_file_is_read_by_its_name_and_what_is_there_twice_counts_once() -> None:
    found = engine.parse_sources({"/a/sources.list": ONE_LINE, "/a/again.list": ONE_LINE, "/a/debian.sources": DEB822})
    assert found[:4] == engine.parse_list(ONE_LINE)
    # The first stanza's bookworm is in the other file already.
    assert found[4:] == engine.parse_deb822(DEB822)[1:]


words = st.text("abcxyz0123456789-", min_size=1, max_size=8)
sources = st.builds(
    Source,
    uri=words.map(lambda host: f"http://{host}/debian"),
    suite=words,
    components=st.lists(words, min_size=1, max_size=3).map(tuple),
    signed_by=st.sampled_from(["", KEYRING]),
    trusted=st.booleans(),
)


@given(sources)
def test_a_source_reads_back_as_it_is_written(source: Source) -> None:
    assert engine.parse_list(f"{source}\n") == [source]


@given(st.text())
def test_any_text_is_read_without_a_crash(text: str) -> None:
    engine.parse_list(text)
    engine.parse_deb822(text)


def test_only_the_distributions_own_archive_counts() -> None:
    everything = [
        *engine.parse_deb822(DEB822),
        Source("cdrom:[Debian]/", "bookworm", ("main",)),
        Source(DEBIAN, "bookworm-backports", ("main",)),
        Source("https://docker.example/linux/debian", "bookworm", ("stable",)),
        Source("https://vendor.example", "bookworm", ("main",), signed_by="/etc/apt/keyrings/vendor.gpg"),
        Source("mirror+file:/etc/apt/mirrors/debian.list", "bookworm", ("main",)),
    ]
    own = engine.distribution_sources(everything, "debian", "bookworm")
    assert [source.uri for source in own] == [DEBIAN, DEBIAN, SECURITY, "mirror+file:/etc/apt/mirrors/debian.list"]


def test_another_release_is_on_the_same_mirrors() -> None:
    own = engine.distribution_sources(engine.parse_deb822(DEB822), "debian", "bookworm")
    assert [str(source) for source in engine.retargeted(own, "bookworm", "trixie")] == [
        f"deb [signed-by={KEYRING}] {DEBIAN} trixie main non-free-firmware",
        f"deb [signed-by={KEYRING}] {DEBIAN} trixie-updates main non-free-firmware",
        f"deb [trusted=yes] {SECURITY} trixie-security main",
    ]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("mirror+file:/etc/apt/mirrors/debian.list", "/etc/apt/mirrors/debian.list"),
        ("mirror+file:///etc/apt/mirrors/debian.list", "/etc/apt/mirrors/debian.list"),
        (DEBIAN, None),
    ],
)
def test_a_cloud_images_mirror_list(uri: str, file: str | None) -> None:
    assert engine.mirror_list(uri) == (Path(file) if file else None)


@pytest.mark.parametrize(
    ("text", "uri"), [(f"# primary\n\n{DEBIAN}\tpriority:1\nhttp://b.example\n", DEBIAN), ("# none\n", ""), ("", "")]
)
def test_the_first_mirror_of_a_list(text: str, uri: str) -> None:
    assert engine.first_mirror(text) == uri


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
    assert engine.major(version) == number


def test_candidates_in_what_apt_says() -> None:
    policy = """\
docker.io:
  Installed: (none)
  Candidate: 26.1.5+dfsg1-9+b7
  Version table:
     26.1.5+dfsg1-9+b7 500
docker-cli:
  Installed: 1
  Candidate: (none)
runc:
  Installed: (none)
  Candidate: 1.1.15
"""
    assert engine.parse_candidates(policy) == {"docker.io": "26.1.5+dfsg1-9+b7", "runc": "1.1.15"}
    assert engine.parse_candidates("") == {}


OLD, NEW = "20.10.24+dfsg1", "26.1.5+dfsg1"
BOOKWORM = Situation(root=True, answering=None, codename="bookworm")
DEBIAN_13 = Situation(root=True, answering=None, codename="trixie")
UBUNTU = Situation(root=True, answering=None, distribution="ubuntu", codename="noble")
UNPACKED_TRIXIE = Choice(Way.OWN, suite="trixie")


@pytest.mark.parametrize(
    ("situation", "choice"),
    [
        # (a) what answers and is new enough is used, by anybody, whatever else there is
        (Situation(root=False, answering="23.0.1"), Choice(Way.GIVEN)),
        (Situation(root=True, answering=NEW, unpacked=True, installed=NEW, candidate=NEW), Choice(Way.GIVEN)),
        # ... but who uses what one of us has started has a part in stopping it
        (Situation(root=True, answering=NEW, ours=True, installed=NEW, systemd=True), Choice(Way.SYSTEMD)),
        # (b) the distribution's own, installed or to be had
        (Situation(root=True, answering=None, candidate=NEW, systemd=True), Choice(Way.SYSTEMD, install=True)),
        (Situation(root=True, answering=None, candidate=NEW), Choice(Way.OWN, install=True)),
        (Situation(root=True, answering=None, installed=NEW, systemd=True), Choice(Way.SYSTEMD)),
        (Situation(root=True, answering=None, installed=NEW, unpacked=True), Choice(Way.OWN)),
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
    assert engine.choose(situation) == choice


@pytest.mark.parametrize("answering", [None, OLD])
def test_without_root_an_engine_must_be_given(answering: str | None) -> None:
    with pytest.raises(EngineError, match="only root can start one; start Docker, point DOCKER_HOST"):
        engine.choose(Situation(root=False, answering=answering, installed=NEW, unpacked=True))


def test_a_distribution_without_a_new_docker_is_named() -> None:
    with pytest.raises(EngineError, match="ubuntu focal has no Docker 23 or newer; "):
        engine.choose(replace(UBUNTU, candidate=OLD, codename="focal"))


def test_the_first_subnet_that_meets_nothing() -> None:
    assert str(engine.free_subnet([])) == "172.17.0.0/16"
    taken = ["172.17.0.1/16", "172.16.0.0/14", "172.20.5.0/24", "10.0.0.0/8"]
    assert str(engine.free_subnet(taken, ["172.21.0.53"])) == "172.22.0.0/16"
    with pytest.raises(EngineError, match=r"172\.17\.0\.0/16 to 172\.31\.0\.0/16 is in use"):
        engine.free_subnet(["172.16.0.0/12"])


@given(st.lists(st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Network((n, 20), strict=False))), max_size=9))
def test_a_free_subnet_is_free(taken: list[str]) -> None:
    subnet = engine.free_subnet(taken)
    assert not any(subnet.overlaps(ipaddress.IPv4Network(network)) for network in taken)


# As `iptables -S` tells it with two engines on one machine.
RULES = """\
-P FORWARD ACCEPT
-N DOCKER
-N DOCKER-USER
-N md1a2b3c
-N md1a2b3c-ISOLATION-STAGE-1
-N md1a2b3c-USER
-A FORWARD -j md1a2b3c-USER
-A FORWARD -o br-0123456789ab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-0123456789ab -j md1a2b3c
-A FORWARD -o md1a2b3c -j md1a2b3c
-A FORWARD -i md1a2b3c ! -o md1a2b3c -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -m comment --comment "their own" -j ACCEPT
-A md1a2b3c-USER -j RETURN
"""


def test_the_bridges_of_one_of_two_engines() -> None:
    assert engine.leftover_bridges(RULES, "md1a2b3c") == ["br-0123456789ab", "md1a2b3c"]
    assert engine.leftover_bridges(RULES, "md999999") == []


def test_the_rules_of_one_of_two_engines_are_removed_before_its_chains() -> None:
    commands = [" ".join(arguments) for arguments in engine.undo_rules(RULES, "md1a2b3c", ["br-0123456789ab"])]
    assert commands == [
        "-D FORWARD -j md1a2b3c-USER",
        "-D FORWARD -o br-0123456789ab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-D FORWARD -o br-0123456789ab -j md1a2b3c",
        "-D FORWARD -o md1a2b3c -j md1a2b3c",
        "-D FORWARD -i md1a2b3c ! -o md1a2b3c -j ACCEPT",
        "-D md1a2b3c-USER -j RETURN",
        "-X md1a2b3c",
        "-X md1a2b3c-ISOLATION-STAGE-1",
        "-X md1a2b3c-USER",
    ]


@pytest.mark.parametrize(
    ("chain", "renamed"),
    [
        ("DOCKER", "md1a2b3c"),
        ("DOCKER-ISOLATION-STAGE-1", "md1a2b3c-ISOLATION-STAGE-1"),
        # These are in a container's own namespace, and looked for there.
        ("DOCKER_OUTPUT", "DOCKER_OUTPUT"),
        ("MY-DOCKER", "MY-DOCKER"),
        ("a b*", "a b*"),
    ],
)
def test_the_wrapper_renames_chains_and_nothing_else(tmp_path: Path, chain: str, renamed: str) -> None:
    wrapper = tmp_path / "iptables"
    wrapper.write_text(engine.WRAPPER.format(prefix="md1a2b3c", real="printf '%s\\n'"))
    command = ["sh", str(wrapper), "--wait", "-t", "nat", "-A", chain, "-j", "DOCKER-USER", ""]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert told.splitlines() == ["--wait", "-t", "nat", "-A", renamed, "-j", "md1a2b3c-USER", ""]


@given(st.text("abcdefghijklmnopqrstuvwxyz/.", min_size=1, max_size=300))
def test_names_stay_within_the_kernels_limits_however_long_the_cache_is(path: str) -> None:
    layout = engine.Layout(Path("/") / path)
    assert len(layout.tag) < 16, "IFNAMSIZ"
    assert len(f"{layout.tag}-ISOLATION-STAGE-1") <= 28, "XT_EXTENSION_MAXNAMELEN"
    assert len(str(layout.run / "exec/containerd/containerd-debug.sock")) < 108, "sun_path"


def test_two_caches_are_two_engines() -> None:
    one, other = engine.Layout(Path("/a")), engine.Layout(Path("/b"))
    assert one.tag != other.tag
    assert one.socket != other.socket


def test_mounts_are_found_innermost_first_and_under_their_real_names() -> None:
    mountinfo = "\n".join(
        f"{number} 1 0:{number} / {point} rw - ext4 /dev/vda rw"
        for number, point in enumerate(["/", "/run/a", r"/run/a/with\040space", "/run/ab", "/run/a/top"])
    )
    found = engine.mounts_at_or_below(mountinfo, Path("/run/a"))
    assert found == [Path("/run/a/top"), Path("/run/a/with space"), Path("/run/a")]


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
    assert engine.parse_apt_settings(dump) == {
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
    assert engine.serves_containers(proxy) is serves


SETTINGS = {
    "Acquire::Check-Valid-Until": "false",
    "Acquire::http::Proxy": "http://localhost:3142",
    "Acquire::https::Proxy": "http://proxy.example:3142",
}


def test_the_bootstrap_leaves_nothing_in_the_image_that_only_works_outside() -> None:
    command = engine.bootstrap_command("trixie", [Source(DEBIAN, "trixie", ("main",))], SETTINGS, Path("/my/ca.pem"))
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
    assert "--include=ca-certificates" in engine.bootstrap_command("trixie", secure, {}, None)
    command = engine.bootstrap_command("trixie", secure, {}, Path("/my cas/ca.pem"))
    assert '--aptopt=Acquire::https::CAInfo "/my cas/ca.pem"' in command
    assert any(word.startswith("--customize-hook=upload '/my cas/ca.pem' ") for word in command)


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["run", "--", "true"], ["true"]),
        (["run", "make", "test"], ["make", "test"]),
        (["run", "--", "sh", "-c", "--", "--help"], ["sh", "-c", "--", "--help"]),
    ],
)
def test_the_command_is_taken_as_it_is(argv: list[str], command: list[str]) -> None:
    assert engine.parse_arguments(argv).command == command


@pytest.mark.parametrize(
    "argv", [[], ["run"], ["run", "--"], ["start"], ["stop", "now"], ["base-image", "--size", "1"]]
)
def test_wrong_usage_is_told_apart_from_a_failure(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        engine.parse_arguments(argv)
    assert caught.value.code == 64
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "status"),
    [("raise SystemExit(7)", 7), (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", 137)],
)
def test_a_commands_status_is_passed_on(script: str, status: int) -> None:
    assert (
        engine.execute(engine.Terminal(), engine.Signals(), [sys.executable, "-c", script], os.environ, keep=())
        == status
    )


@pytest.mark.parametrize(("command", "status"), [("/nonexistent", 127), ("/", 126)])
def test_a_command_that_cannot_be_run(command: str, status: int) -> None:
    assert engine.execute(engine.Terminal(), engine.Signals(), [command], os.environ, keep=()) == status


def test_the_last_user_and_nobody_else_can_have_the_engine_for_itself(tmp_path: Path) -> None:
    first, second = engine.Lock(tmp_path / "users.lock"), engine.Lock(tmp_path / "users.lock")
    assert first.take(fcntl.LOCK_SH)
    assert second.take(fcntl.LOCK_SH)
    assert not first.take(fcntl.LOCK_EX)
    first.close()
    assert second.take(fcntl.LOCK_EX)
    second.close()


def test_a_command_outlives_its_tool_as_a_user(tmp_path: Path) -> None:
    ours, other = engine.Lock(tmp_path / "users.lock"), engine.Lock(tmp_path / "users.lock")
    ours.wait(fcntl.LOCK_SH)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[ours.descriptor]) as user:
        # As if the tool were killed: closed, but not unlocked.
        os.close(ours.descriptor)
        assert not other.take(fcntl.LOCK_EX)
        assert engine.holders(tmp_path / "users.lock") == [user.pid]
        user.communicate(b"\n")
    assert other.take(fcntl.LOCK_EX)
    other.close()
