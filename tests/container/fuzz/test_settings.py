"""Fuzzing of the settings: odd environments and odd daemon.json files, each given to a boot."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from agents import Start
from fuzz_ends import COMMAND, assert_ends_well
from fuzz_seed import CASES, generator, names

from ansible_collections.mesos.dind.plugins.plugin_utils._boot.settings import VARIABLES

pytestmark = pytest.mark.fuzz

GOOD = {
    "DOCKER_NETWORK_OFFSET": ["0.0.1.0", "0.0.7.0", "auto"],
    "DOCKER_NETWORK_SIZE": ["24", "27", "30"],
    "VAR_LIB_DOCKER_SIZE": ["64M", "1", "300M", "2.5G", "1T"],
    "DOCKER_DAEMON_ARGS": ["--debug", "--label a=b", "--icc=false -D", "--dns 10.0.0.1", "--userland-proxy=false"],
    "LOG": ["stdio", "file"],
    "MESOS_DIND_STORAGE": ["auto", "loop", "vfs"],
    "MESOS_DIND_FILESYSTEM": ["ext4", "xfs"],
    "MESOS_DIND_IMAGE": ["/srv/docker.img", "/var/lib/mesos-dind/a b/ü.img"],
    "MESOS_DIND_GATEWAY": ["outer", "bridge"],
    "MESOS_DIND_NETWORK_MODE": ["auto", "bridge", "proxy_arp"],
    "MESOS_DIND_PEERS": ["172.31.2.0/24", "172.31.2.0/24, 172.31.3.0/24"],
    "MESOS_DIND_IPV6_RANGE": ["fd00:17::/64"],
    "MESOS_DIND_UPLINK": ["eth0"],
    "MESOS_DIND_MTU": ["1400", "1500"],
    "MESOS_DIND_VERIFY": ["0", "1"],
    "MESOS_DIND_VERIFY_TIMEOUT": ["0.5", "300"],
    "MESOS_DIND_DEBUG": ["0"],
    "MESOS_DIND_STOP_TIMEOUT": ["1", "3600"],
}  # fmt: skip
ODD = [
    " ", "-", "--", "0", "-1", "1e9", "00", "+5", "٣", "NaN", "1" * 5000, "x" * 300, "\x1b[2J", "a\nb", "a\tb", "\\",
    "'", '"', "$(touch /srv/p)", "`id`", "{{ 7 * 7 }}", "{% raw %}", "!!python/none", "null", "true", "[]", "{}",
    "../..", "/", "/..", "/dev/null", "/proc/self/mem", "//x", "255.255.255.255", "::", "fe80::1/64", "0.0.0.0/0",
    "999999999T", "--help", "-v", "--cgroup-parent", "-H", "--host=tcp://[::1]:0", "--config-file=/etc/passwd",
    "ü" * 99, "eth0:1", "a=b", ",", ";", "/var/lib/docker", "/run/mesos-dind/x", "0.0.1", "33", "4294967296",
    "\U0001f40b",
]  # fmt: skip
# Variables of other programs, which must not act on the boot.
FOREIGN = [
    "PATH", "HOME", "ENV", "BASH_ENV", "SHELLOPTS", "IFS", "PS4", "TMPDIR", "LANG", "LC_ALL", "TZ", "PYTHONPATH",
    "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "ANSIBLE_CONFIG", "ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_LIBRARY",
    "ANSIBLE_CHECK_MODE", "DOCKER_HOST", "DOCKER_DRIVER", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG",
    "DOCKER_CONTEXT", "XTABLES_LIBDIR", "NOTIFY_SOCKET", "LISTEN_FDS", "MESOS_WORK_DIR", "MESOS_RESOURCES", "GODEBUG",
]  # fmt: skip


def environment(rng: random.Random) -> dict[str, str]:
    """Some good settings, at most two odd ones, and some variables of other programs."""
    documented = [variable.name for variable in VARIABLES]
    chosen = {name: rng.choice(GOOD[name]) for name in documented if rng.random() < 0.2}
    for name in rng.sample(documented, rng.choice((0, 0, 1, 1, 2))):
        chosen[name] = rng.choice(ODD)
    for name in rng.sample(FOREIGN, rng.randrange(4)):
        chosen[name] = rng.choice([*ODD, "/nonexistent"])
    return chosen


@pytest.mark.parametrize("case", names(2 * CASES))
def test_an_odd_environment_boots_or_is_refused_in_one_line(start: Start, case: str) -> None:
    given = environment(generator(case))
    print(f"environment: {given}")
    assert_ends_well(start(*COMMAND, env=given))


KEYS = [
    "hosts", "features", "labels", "dns", "log-level", "log-driver", "log-opts", "mtu", "exec-opts", "debug", "icc",
    "iptables", "userland-proxy", "insecure-registries", "registry-mirrors", "default-address-pools", "runtimes",
    "default-runtime", "storage-opts", "storage-driver", "data-root", "live-restore", "bip", "group", "tls",
    "cgroup-parent", "max-concurrent-downloads", "default-ulimits", "shutdown-timeout", "init", "seccomp-profile",
    "no-such-key", "", "userns-remap", "experimental", "proxies", "builder", "containerd", "pidfile", "ipv6",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1500, 1e400, 10**30, "", "x", "debug", "info", "unix:///run/other.sock", [], {}, ["x"],
    [None], [1], {"x": 1}, {"x": None}, [[]], {"": {}}, "nofile=1", "json-file", ["a=b"], "\x00", "ü", "x" * 5000,
    {"containerd-snapshotter": False}, {"containerd-snapshotter": "yes"}, ["1.1.1.1"], "/nonexistent",
]  # fmt: skip
TEXTS = [
    b"", b" ", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{", b"null", b"[]", b"0", b'""', b"{}{}", b"NaN",
    b'{"debug": true,}', b'{"debug": true, "debug": "x"}', b"[" * 50_000, b'{"a":' * 50_000, b"// comment\n{}", b"'{}'",
    b"{" + b" " * 2_000_000 + b"}", b'{"mtu": NaN}', b'{"mtu": 1' + b"0" * 5000 + b"}", b'{"labels": ["\\ud800"]}',
]  # fmt: skip


def config(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return rng.choice(TEXTS)
    chosen: dict[str, Any] = {key: rng.choice(VALUES) for key in rng.sample(KEYS, rng.choice((1, 1, 2, 3)))}
    return json.dumps(chosen).encode()


@pytest.mark.parametrize("case", names(CASES))
def test_an_odd_daemon_json_boots_or_is_refused_in_one_line(start: Start, tmp_path: Path, case: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(config(generator(case)))
    print(f"daemon.json: {path.read_bytes()[:300]!r}")
    assert_ends_well(start(*COMMAND, volumes={str(path): "/etc/docker/daemon.json"}))
