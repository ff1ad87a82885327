"""Tests of the user's settings of the engine, in daemon.json and in flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._engine import user_settings
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner


class Answering(Runner):
    """A runner with the same answer for every command."""

    def __init__(self, status: int = 0, stdout: str = "", stderr: str = "") -> None:
        super().__init__()
        self._answer = (status, stdout, stderr)

    def run(self, *argv: str, **_options: Any) -> Command:
        self.commands.append(Command(argv, *self._answer, 0.0))
        return self.commands[-1]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("--label=a=b", "--label"),
        ("--label -b -D", "--label -D"),
        ("--label", "--label"),
        ("--debug -b none", "--debug -b"),
        ("--debug=true -D=false -b none", "--debug -D -b"),
        ("-lwarn -Hunix:///x", "-l -H"),
        ("-l -b -Dg/x", "-l -D -g"),
        ("-Dg /x -DH -b", "-D -g -D -H"),
        ("word --ipv6 word", "--ipv6"),
    ],
)
def test_the_names_of_flags(words: str, names: str) -> None:
    assert list(user_settings.flag_names(words.split())) == names.split()


def test_a_file_that_is_no_json_object(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    assert user_settings.read(file) == {}
    for text in ("{", "[]", '"x"', '{"features": []}'):
        file.write_text(text)
        with pytest.raises(DindError, match=r"daemon\.json(: features)? is not"):
            user_settings.read(file)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, None),
        ({"labels": ["a=b"], "mtu": 9000, "storage-driver": "overlay2"}, None),
        ({"data-root": "/var/lib/docker", "live-restore": True}, None),
        ({"data-root": "/elsewhere", "bip": "10.0.0.1/8"}, "bip, data-root"),
        ({"live-restore": False}, "live-restore"),
        ({"bridge": "none"}, "bridge"),
        ({"pidfile": ""}, "pidfile"),
    ],
)
def test_what_the_boot_sets_itself_is_refused(config: dict[str, Any], named: str | None) -> None:
    if named is None:
        user_settings.require_no_owned(config, user_settings.USER_CONFIG, user_settings.OWNED_KEYS)
        return
    with pytest.raises(DindError, match=rf"^/etc/docker/daemon\.json sets {named}, which the boot sets itself"):
        user_settings.require_no_owned(config, user_settings.USER_CONFIG, user_settings.OWNED_KEYS)


@pytest.mark.parametrize(
    ("args", "config", "rest", "merged"),
    [
        (["-D", "--label", "a=b"], {"mtu": 1}, ["-D", "--label", "a=b"], {"mtu": 1}),
        (["--feature", "a", "-D"], {}, ["-D"], {"features": {"a": True}}),
        (["--feature=a=false", "--feature=b=1"], {}, [], {"features": {"a": False, "b": True}}),
        (["--feature=a"], {"features": {"b": False}}, [], {"features": {"a": True, "b": False}}),
        ([], {"hosts": ["tcp://127.0.0.1:1"]}, ["--host=tcp://127.0.0.1:1"], {}),
    ],
)
def test_each_thing_is_where_the_boot_has_the_same(
    args: list[str], config: dict[str, Any], rest: list[str], merged: dict[str, Any]
) -> None:
    assert user_settings.arranged(args, config) == (rest, merged)


@pytest.mark.parametrize(
    ("version", "has_one"), [("20.10.24+dfsg1", False), ("23.0.0", True), ("26.1.5+dfsg1", True), ("28.5.2", True)]
)
def test_an_engine_without_the_image_store_is_named(version: str, has_one: bool) -> None:
    runner = Answering(stdout=f"Docker version {version}, build 5d6db84\n")
    if has_one:
        user_settings.require_image_store(runner)
        return
    with pytest.raises(DindError, match=rf"^Docker {version.replace('+', '.')} has no containerd image store"):
        user_settings.require_image_store(runner)


def test_dockerd_itself_looks_at_the_flags() -> None:
    runner = Answering(stderr="configuration OK\n")
    user_settings.require_valid(["--label", "a=b"], runner)
    assert [command.argv for command in runner.commands] == [("dockerd", "--validate", "--label", "a=b")]


def test_what_dockerd_does_not_like_is_one_line() -> None:
    said = "Status: unknown flag: --nope\nSee 'dockerd --help'., Code: 125\n"
    with pytest.raises(DindError, match=r"^unknown flag: --nope$"):
        user_settings.require_valid(["--nope"], Answering(125, stderr=said))


def test_a_dockerd_that_validates_nothing_is_refused() -> None:
    with pytest.raises(DindError, match="prints a text instead of starting"):
        user_settings.require_valid(["--new-flag", "-v"], Answering(stdout="Docker version 99.0\n"))


class Docker20(Runner):
    """Parses flags and cannot validate: ``--validate`` is unknown, ``--help`` prints the help."""

    def run(self, *argv: str, **options: Any) -> Command:
        assert options["timeout"] <= 20
        unknown = next((word for word in argv[1:] if word in ("--validate", "--nope")), "")
        said = f"Status: unknown flag: {unknown}\nSee 'dockerd --help'., Code: 125\n" if unknown else ""
        self.commands.append(Command(argv, 125 if unknown else 0, "", said, 0.0))
        return self.commands[-1]


def test_an_engine_that_validates_nothing_parses_the_flags() -> None:
    runner = Docker20()
    user_settings.require_valid(["-D"], runner)
    assert [command.argv[1:] for command in runner.commands] == [("--validate", "-D"), ("--help", "-D")]
    with pytest.raises(DindError, match=r"^unknown flag: --nope$"):
        user_settings.require_valid(["--nope"], Docker20())


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("-D --label a=b -H -v", ""),
        ("-v", "-v"),
        ("-Dv", "-v"),
        ("--debug -h", "-h"),
        ("--help", "--help"),
        ("--version=true", "--version"),
        ("--new-flag --validate=false", "--validate"),
        ("--validated", ""),
    ],
)
def test_flags_with_which_dockerd_does_not_start(words: str, flag: str) -> None:
    assert user_settings.not_to_start(words.split()) == flag
