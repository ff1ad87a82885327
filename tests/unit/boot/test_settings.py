"""Tests of the parser of the environment."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.plugin_utils._boot.settings import VARIABLES, SettingError, Variable, read

ROOT = Path(__file__).parents[3]
AGENT = ("mesos-slave",)


def values(**environ: str) -> dict[str, object]:
    return dict(read(environ, AGENT).role_variables)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert values() == {
        "network_offset": "",
        "network_size": None,
        "storage_size": "5",
        "engine_args": [],
        "engine_log": "stdio",
        "storage_strategy": "auto",
        "storage_fstype": "ext4",
        "storage_image": "/var/lib/mesos-dind/docker.img",
        "network_gateway": "outer",
        "network_mode": "auto",
        "network_peers": [],
        "network_ipv6_range": "",
        "network_uplink": "",
        "network_mtu": None,
        "network_verify": True,
        "network_verify_timeout": 5.0,
        "engine_debug": False,
        "agent_stop_timeout": 8,
    }


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_empty_is_the_same_as_not_given(variable: Variable) -> None:
    assert values(**{variable.name: ""}) == values()


@pytest.mark.parametrize(
    ("name", "text", "role_variable", "value"),
    [
        ("DOCKER_NETWORK_OFFSET", "0.0.1.0", "network_offset", "0.0.1.0"),
        ("DOCKER_NETWORK_OFFSET", "auto", "network_offset", "auto"),
        ("DOCKER_NETWORK_SIZE", "26", "network_size", 26),
        ("VAR_LIB_DOCKER_SIZE", "1.5", "storage_size", "1.5"),
        ("DOCKER_DAEMON_ARGS", "--label 'a=b c' -D", "engine_args", ["--label", "a=b c", "-D"]),
        ("LOG", "file", "engine_log", "file"),
        ("MESOS_DIND_STORAGE", "loop", "storage_strategy", "loop"),
        ("MESOS_DIND_FILESYSTEM", "xfs", "storage_fstype", "xfs"),
        ("MESOS_DIND_IMAGE", "/data/x.img", "storage_image", "/data/x.img"),
        ("MESOS_DIND_GATEWAY", "bridge", "network_gateway", "bridge"),
        ("MESOS_DIND_NETWORK_MODE", "proxy_arp", "network_mode", "proxy_arp"),
        ("MESOS_DIND_PEERS", "172.17.2.0/24, 172.17.3.0/24", "network_peers", ["172.17.2.0/24", "172.17.3.0/24"]),
        ("MESOS_DIND_IPV6_RANGE", "fd00:17::/64", "network_ipv6_range", "fd00:17::/64"),
        ("MESOS_DIND_UPLINK", "ens3.100", "network_uplink", "ens3.100"),
        ("MESOS_DIND_MTU", "1400", "network_mtu", 1400),
        ("MESOS_DIND_VERIFY", "0", "network_verify", False),
        ("MESOS_DIND_VERIFY_TIMEOUT", "0.5", "network_verify_timeout", 0.5),
        ("MESOS_DIND_DEBUG", "1", "engine_debug", True),
        ("MESOS_DIND_STOP_TIMEOUT", "30", "agent_stop_timeout", 30),
    ],
)
def test_a_variable_becomes_its_role_variable(name: str, text: str, role_variable: str, value: object) -> None:
    assert values(**{name: text}) == {**values(), role_variable: value}


@pytest.mark.parametrize(
    ("name", "least", "most", "beyond"),
    [
        ("DOCKER_NETWORK_SIZE", "1", "30", ("0", "31")),
        ("MESOS_DIND_MTU", "68", "65535", ("67", "65536")),
        ("MESOS_DIND_VERIFY_TIMEOUT", "0.001", "300", ("0", "300.001")),
        ("MESOS_DIND_STOP_TIMEOUT", "1", "3600", ("0", "3601", "1.5")),
    ],
)
def test_limits(name: str, least: str, most: str, beyond: tuple[str, ...]) -> None:
    for text in (least, most):
        values(**{name: text})
    for text in beyond:
        with pytest.raises(SettingError):
            values(**{name: text})


@given(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_is_taken_or_refused_in_one_line_that_names_variable_and_value(variable: Variable, text: str) -> None:
    refused = ""
    try:
        values(**{variable.name: text})
    except SettingError as error:
        refused = str(error)
    assert refused == "" or refused.startswith(f"{variable.name}={text!r} is refused: ")
    assert "\n" not in refused


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_daemon_args_are_split_as_a_shell_splits(words: list[str]) -> None:
    given_words = ["--label=" + word for word in words]
    assert values(DOCKER_DAEMON_ARGS=shlex.join(given_words))["engine_args"] == given_words


@pytest.mark.parametrize(
    "text",
    ["--data-root=/x", "--data-root /x", "-g /x", "-b none", "--bip=1.2.3.4/8", "-D --live-restore=false", "-Dg/x"],
)
def test_a_flag_that_a_role_owns_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="which the boot sets itself"):
        values(DOCKER_DAEMON_ARGS=text)


@pytest.mark.parametrize("text", ["--label -b", "--label=-b", "-l -g"])
def test_a_value_that_looks_like_such_a_flag_is_none(text: str) -> None:
    assert values(DOCKER_DAEMON_ARGS=text)["engine_args"] == text.split()


@pytest.mark.parametrize("text", ["--bip6=fd00::1/64", "--fixed-cidr-v6 fd00::/64", "-D --ipv6"])
def test_flags_for_what_a_range_of_ipv6_sets_are_refused_beside_it(text: str) -> None:
    assert values(DOCKER_DAEMON_ARGS=text)["engine_args"] == text.split()
    with pytest.raises(SettingError, match="beside MESOS_DIND_IPV6_RANGE"):
        values(DOCKER_DAEMON_ARGS=text, MESOS_DIND_IPV6_RANGE="fd00:17::/64")


def test_an_unknown_variable_of_ours_is_refused_and_another_is_nobodys_business() -> None:
    with pytest.raises(SettingError, match="MESOS_DIND_STORAGE"):
        values(MESOS_DIND_STORE="loop")
    assert values(MESOS_WORK_DIR="/x", STORAGE="y") == values()


@pytest.mark.parametrize(
    ("command", "is_agent"),
    [("mesos-slave", True), ("mesos-agent", True), ("/opt/mesos/sbin/mesos-agent", True), ("bash", False)],
)
def test_what_is_an_agent(command: str, is_agent: bool) -> None:
    assert read({}, (command, "--x")).is_agent is is_agent


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_each_variable_is_documented_and_has_a_role_variable(variable: Variable) -> None:
    assert f"| `{variable.name}` |" in (ROOT / "README.md").read_text()
    role = variable.role_variable.partition("_")[0]
    specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    assert variable.role_variable in specs["argument_specs"]["main"]["options"]
