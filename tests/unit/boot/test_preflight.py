"""Tests of the checks before the boot's first change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import preflight, settings


@pytest.mark.parametrize("is_v2", [True, False])
def test_pure_v2_is_seen_by_its_roots_controllers(tmp_path: Path, is_v2: bool) -> None:
    if is_v2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert preflight.is_pure_v2(tmp_path) is is_v2


class Asked(Runner):
    """Gives the output of dpkg-query and of the agent, or raises the error."""

    def __init__(self, owners: str | Exception, version: str | Exception) -> None:
        super().__init__()
        self.owners, self.version = owners, version

    def run(self, *argv: str, **options: Any) -> Command:
        assert options["timeout"] <= 5
        said = self.owners if argv[0] == "dpkg-query" else self.version
        if isinstance(said, Exception):
            raise said
        return Command(argv, 0, said, "", 0.0)


HANGS = DindError("did not end within 5 s")


@pytest.mark.parametrize(
    ("owners", "version", "known"),
    [
        ("aventer-mesos: /usr/sbin/mesos-agent\n", "mesos 1.11.0\n", True),
        ("clusterd: /usr/sbin/mesos-agent\n", HANGS, True),
        ("mesos: /usr/sbin/mesos-agent\n", "mesos 1.11.0\n", False),
        ("", "mesos 1.11.0 (ClusterD 0.11.0)\n", True),
        ("", "mesos 1.12.0\n", False),
        ("", HANGS, False),
        (HANGS, "mesos 1.11.0\n", False),
        ("", PermissionError(), False),
    ],
)
def test_clusterd_is_known_by_its_package_or_its_word(
    owners: str | Exception, version: str | Exception, known: bool
) -> None:
    assert preflight.knows_cgroup_v2("/usr/sbin/mesos-agent", Asked(owners, version)) is known


def test_what_is_another_device_persists(tmp_path: Path) -> None:
    assert not preflight.persists(tmp_path / "not/there", tmp_path)
    assert preflight.persists(Path("/proc/not-there"), tmp_path)


def processes(proc: Path, first: str, second: str = "") -> Path:
    """A /proc where number 1 has the mount namespace ``first``, and this process "mnt:[7]"."""
    for pid, namespace in (("1", first), ("self", "mnt:[7]")):
        (proc / pid / "ns").mkdir(parents=True)
        (proc / pid / "ns/mnt").symlink_to(namespace)
    if second:
        (proc / "2").mkdir()
        (proc / "2/comm").write_text(f"{second}\n")
    return proc


@pytest.mark.parametrize("second", ["", "mesos-dind"])
def test_a_pid_namespace_of_its_own_is_fine(tmp_path: Path, second: str) -> None:
    preflight.require_own_processes(processes(tmp_path, "mnt:[7]", second))


@pytest.mark.parametrize(
    ("second", "shared"), [("kthreadd", "of the host"), ("", "of another container"), ("sh", "of another container")]
)
def test_a_pid_namespace_with_others_processes_is_refused(tmp_path: Path, second: str, shared: str) -> None:
    with pytest.raises(DindError, match=shared):
        preflight.require_own_processes(processes(tmp_path, "mnt:[8]", second))


def test_a_pid_namespace_that_cannot_be_looked_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", refused)
    with pytest.raises(DindError, match="of another container"):
        preflight.require_own_processes(processes(tmp_path, "mnt:[7]"))


class Dockerd(Runner):
    """Answers as Docker 28: to ``--version``, and to ``--validate`` with a refusal."""

    def run(self, *argv: str, **_options: Any) -> Command:
        if "--validate" in argv:
            return Command(argv, 1, "", "the following directives are specified both as a flag and in the file\n", 0.0)
        return Command(argv, 0, "Docker version 28.5.2, build 5d6db84\n", "", 0.0)


@pytest.mark.parametrize(
    ("args", "config", "kind", "line"),
    [
        ("-D", "", settings.SettingError, "DOCKER_DAEMON_ARGS='-D' is refused: the following directives"),
        ("", '{"mtu": 1}', preflight.EngineConfigError, "daemon.json is refused: the following directives"),
        ("-D", '{"debug": true}', preflight.EngineConfigError,
         "daemon.json (beside DOCKER_DAEMON_ARGS='-D') is refused: the following directives"),
        ("", '{"bip": "10.0.0.1/8"}', preflight.EngineConfigError, "sets bip, which the boot sets itself"),
        ("", "{", preflight.EngineConfigError, "is not JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_flags_and_file_is_refused(
    tmp_path: Path, args: str, config: str, kind: type[Exception], line: str
) -> None:
    path = tmp_path / "daemon.json"
    if config:
        path.write_text(config)
    environ = {"DOCKER_DAEMON_ARGS": args}
    with pytest.raises(kind, match=re.escape(line)):
        preflight.require_engine_settings(settings.read(environ, ["bash"]), environ, Dockerd(), path)


def test_dockerd_is_asked_nothing_where_the_user_says_nothing(tmp_path: Path) -> None:
    runner = Dockerd()
    preflight.require_engine_settings(settings.read({}, ["bash"]), {}, runner, tmp_path / "daemon.json")
    assert runner.commands == []


def test_a_container_needs_no_capability_that_only_some_hosts_give(tmp_path: Path) -> None:
    """Some hosts withhold CAP_SYS_RESOURCE, bit 24, even from a privileged container."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"CapEff:\t{(1 << 41) - 1 - (1 << 24):016x}\n")
    preflight.require_privileges(tmp_path)
    (tmp_path / "self/status").write_text("CapEff:\t00000000a80425fb\n")
    with pytest.raises(DindError, match=r"not privileged \(CAP_NET_ADMIN, CAP_SYS_ADMIN missing\)"):
        preflight.require_privileges(tmp_path)
