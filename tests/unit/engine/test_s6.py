"""Tests of the engine's configuration and of the plan of its services under s6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils._engine import ipv6 as engine_ipv6
from ansible_collections.mesos.dind.plugins.module_utils._engine import s6
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError, ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected
from ansible_collections.mesos.dind.plugins.module_utils._runner import Command, Runner

LAYOUT = s6.Layout()
PARAMS = {
    "data_root": "/var/lib/docker",
    "storage_driver": "overlay2",
    "bip": "172.17.0.2/16",
    "fixed_cidr": "172.17.1.0/24",
    "gateway": "172.17.0.1",
    "ipv6": {},
    "address_pools": [],
    "masquerade": True,
    "dns": [],
    "dns_options": [],
    "mtu": 1400,
    "cgroup_parent": "",
    "args": [],
    "log": "stdio",
    "debug": False,
    "user_config": "/etc/docker/daemon.json",
}


class Down(Runner):
    """Answers as s6 does for services that are down, or that wait for a restart."""

    def run(self, *argv: str, **_options: object) -> Command:
        return Command(argv, 0, "false\n", "", 0.0)


@pytest.mark.parametrize("is_of_this_life", [False, True])
def test_only_what_an_engine_of_an_earlier_life_left_is_removed(tmp_path: Path, is_of_this_life: bool) -> None:
    """Both services can be down while containers live; the files in the exec root then belong to the containers."""
    layout = s6.Layout(run=tmp_path, exec_root=tmp_path / "docker")
    layout.exec_root.mkdir()
    files = {name: {str(layout.arguments_file(name)): "-a\0"} for name in s6.SERVICES}
    if is_of_this_life:
        layout.arguments_file("containerd").write_text("-a\0")
    paths = [path for texts in files.values() for path in texts]
    steps = s6.plan(files, layout, s6.inspect(layout, paths, Down()))
    assert any(isinstance(step, s6.RemoveLeftovers) for step in steps) is not is_of_this_life
    assert [str(step) for step in steps][-2:] == ["start containerd", "start dockerd"]


def config(user: dict[str, object] | None = None, **params: object) -> dict[str, Any]:
    files = s6.desired_files({**PARAMS, **params}, user or {}, LAYOUT)
    written: dict[str, Any] = json.loads(files["dockerd"][str(LAYOUT.config_file)])
    return written


def test_the_configuration_in_bridged_mode() -> None:
    assert config() == {
        "data-root": "/var/lib/docker",
        "exec-root": "/run/docker",
        "containerd": "/run/docker/containerd/containerd.sock",
        "storage-driver": "overlay2",
        "bip": "172.17.0.2/16",
        "fixed-cidr": "172.17.1.0/24",
        "default-gateway": "172.17.0.1",
        "live-restore": True,
        "log-level": "warn",
        "mtu": 1400,
    }


def test_what_is_not_known_is_left_to_the_engine() -> None:
    assert not {"bip", "fixed-cidr", "default-gateway", "storage-driver", "mtu"} & set(
        config(bip="", fixed_cidr="", gateway="", storage_driver="", mtu=None)
    )


def test_data_of_the_containerd_image_store_is_used_with_it() -> None:
    assert config(storage_driver="overlayfs")["features"] == {"containerd-snapshotter": True}
    assert config({"features": {"buildkit": True}}, storage_driver="overlayfs")["features"] == {
        "buildkit": True,
        "containerd-snapshotter": True,
    }
    assert "features" not in config()


@pytest.mark.parametrize(("driver", "snapshotter"), [("overlay2", "overlayfs"), ("vfs", "native"), ("aufs", "aufs")])
def test_a_user_who_asks_for_the_containerd_image_store_gets_a_driver_that_it_has(
    driver: str, snapshotter: str
) -> None:
    merged = config({"features": {"containerd-snapshotter": True}}, storage_driver=driver)
    assert merged["storage-driver"] == snapshotter
    assert merged["features"] == {"containerd-snapshotter": True}
    assert config({"features": {"containerd-snapshotter": False}}, storage_driver=driver)["storage-driver"] == driver


def test_ipv6_is_the_roles_with_a_range_and_the_users_without_one() -> None:
    keys = {"ipv6": True, "fixed-cidr-v6": "fd00:17::/64"}
    assert config(ipv6=keys).items() >= keys.items()
    assert config(keys).items() >= keys.items()
    with pytest.raises(DindError, match="sets fixed-cidr-v6, which the boot sets itself"):
        config({"fixed-cidr-v6": "fd00:18::/64"}, ipv6=keys)


class Installed(Runner):
    """A host on which `dockerd --version` prints this text."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said

    def run(self, *argv: str, **_options: object) -> Command:
        assert argv == ("dockerd", "--version")
        return Command(argv, 0, self.said, "", 0.0)


# The texts of Debian 12, 13 and testing.
DOCKER_20, DOCKER_26, DOCKER_28 = (
    Installed(f"Docker version {version}, build 411e817\n")
    for version in ("20.10.24+dfsg1", "26.1.5+dfsg1", "28.5.2+dfsg3")
)
BIP_V6, GATEWAY_V6 = "fd00:17::2/64", "fd00:17::1"


def test_ipv6_before_docker_28_is_the_whole_network() -> None:
    for docker in (DOCKER_20, DOCKER_26):
        assert engine_ipv6.config("fd00:17::/64", BIP_V6, GATEWAY_V6, docker) == {
            "ipv6": True,
            "fixed-cidr-v6": "fd00:17::/64",
            "default-gateway-v6": GATEWAY_V6,
        }


def test_ipv6_since_docker_28_is_a_part_of_the_network() -> None:
    assert engine_ipv6.config("fd00:17::1:0/112", BIP_V6, "", DOCKER_28) == {
        "ipv6": True,
        "fixed-cidr-v6": "fd00:17::1:0/112",
        "bip6": BIP_V6,
    }


@pytest.mark.parametrize(
    ("wanted", "bip", "docker", "cause"),
    [
        ("fd00:17::1:0/112", BIP_V6, DOCKER_26, "26, can give addresses of the whole network fd00:17::/64 only"),
        ("fd00:17::/96", "fd00:17::2/96", DOCKER_26, "26, makes addresses of MAC addresses only in a network of at mo"),
        ("fd00:17::/64", BIP_V6, DOCKER_28, "28, would give addresses of all of fd00:17::/64, others' too"),
    ],
)
def test_ipv6_ranges_that_the_engine_cannot_take(wanted: str, bip: str, docker: Runner, cause: str) -> None:
    with pytest.raises(ParameterError, match=cause) as refused:
        engine_ipv6.config(wanted, bip, GATEWAY_V6, docker)
    assert refused.value.parameter == "ipv6_range"


def test_without_an_ipv6_range_nobody_asks_for_the_engines_version() -> None:
    assert engine_ipv6.config("", "", "", Installed("")) == {}
    with pytest.raises(DindError, match="says no version but 'podman'"):
        engine_ipv6.config("fd00:17::/64", BIP_V6, "", Installed("podman\n"))


def test_without_masquerading() -> None:
    assert config(masquerade=False)["ip-masq"] is False


def test_the_nameservers_are_the_networks_unless_the_user_names_his_own() -> None:
    assert "dns" not in config()
    assert config(dns=["172.17.0.2"])["dns"] == ["172.17.0.2"]
    assert "dns" not in config(dns=["172.17.0.2"], args=["--dns=10.0.0.1"])
    assert config({"dns": ["10.0.0.1"]}, dns=["172.17.0.2"])["dns"] == ["10.0.0.1"]
    assert config(dns_options=["timeout:5"])["dns-opts"] == ["timeout:5"]
    assert "dns-opts" not in config(dns_options=["timeout:5"], args=["--dns-opt", "ndots:3"])


@pytest.mark.parametrize("flag", ["-D", "--debug", "--log-level=info", "-l"])
def test_a_users_flag_comes_before_a_default(flag: str) -> None:
    assert "log-level" not in config(args=[flag])


def test_a_users_file_is_merged_and_comes_before_a_default() -> None:
    merged = config({"labels": ["a=b"], "mtu": 9000, "storage-driver": "overlay2"})
    assert merged["labels"] == ["a=b"]
    assert merged["mtu"] == 9000


def test_a_users_file_that_contradicts_a_role_is_refused_and_named() -> None:
    with pytest.raises(DindError, match=r"/etc/docker/daemon\.json sets bip, data-root, which the boot sets itself"):
        config({"data-root": "/elsewhere", "bip": "10.0.0.1/8"})


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_flags_survive_the_file_between_the_module_and_the_service(args: list[str]) -> None:
    text = s6.desired_files({**PARAMS, "args": args}, {}, LAYOUT)["dockerd"][str(LAYOUT.arguments_file("dockerd"))]
    assert text.split("\0")[3:-1] == args


paths = [path for files in s6.desired_files(PARAMS, {}, LAYOUT).values() for path in files]
states = st.builds(
    s6.State,
    files=st.dictionaries(st.sampled_from(paths), st.text(max_size=3)),
    up=st.frozensets(st.sampled_from(s6.SERVICES)),
    leftovers=st.booleans(),
    filters=st.frozensets(st.sampled_from(s6.BRIDGE_FILTERS)),
)


@given(states, st.booleans())
def test_the_plan_reaches_its_goal(state: s6.State, passes_frames: bool) -> None:
    desired = s6.desired_files(PARAMS, {}, LAYOUT)
    steps = s6.plan(desired, LAYOUT, state, passes_frames=passes_frames)
    after = expected(state, steps)
    assert s6.plan(desired, LAYOUT, after, passes_frames=passes_frames) == []
    assert after.up == set(s6.SERVICES)


@pytest.mark.parametrize("settings", [{}, dict.fromkeys(s6.BRIDGE_FILTERS, "1\n")], ids=["not loaded", "loaded"])
def test_frames_skip_iptables_from_before_the_start_of_dockerd(tmp_path: Path, settings: dict[str, str]) -> None:
    layout = s6.Layout(run=tmp_path, exec_root=tmp_path / "docker", bridge_nf=tmp_path)
    for name, value in settings.items():
        (tmp_path / name).write_text(value)
    files: dict[str, dict[str, str]] = {name: {} for name in s6.SERVICES}
    state = s6.inspect(layout, [], Down())
    skip = s6.plan(files, layout, state, passes_frames=True)[:-2]
    for step in skip:
        step.do(Down())
    assert len(skip) == bool(settings)
    assert {name: (tmp_path / name).read_text() for name in settings} == dict.fromkeys(settings, "0\n")
    assert s6.plan(files, layout, s6.inspect(layout, [], Down()), passes_frames=True)[:-2] == []


def test_what_dockerd_has_switched_on_stays_while_it_runs() -> None:
    desired = s6.desired_files(PARAMS, {}, LAYOUT)
    files = {**desired["containerd"], **desired["dockerd"]}
    running = s6.State(files, frozenset(s6.SERVICES), False, frozenset(s6.BRIDGE_FILTERS))
    assert s6.plan(desired, LAYOUT, running, passes_frames=True) == []


@pytest.mark.parametrize(
    ("args", "config", "needed"),
    [
        ([], {}, False),
        (["--userland-proxy"], {"icc": True}, False),
        (["--icc=true"], {}, False),
        (["--icc=false"], {}, True),
        (["--userland-proxy=F"], {}, True),
        (["--icc=false", "--icc=1"], {}, False),
        ([], {"icc": False}, True),
        ([], {"userland-proxy": False}, True),
    ],
)
def test_filters_stay_for_who_has_told_dockerd_what_takes_them(
    args: list[str], config: dict[str, bool], needed: bool
) -> None:
    assert s6.needs_filters(args, config) is needed


def test_only_the_service_whose_files_change_is_started_anew() -> None:
    desired = s6.desired_files(PARAMS, {}, LAYOUT)
    running = s6.State({**desired["containerd"], **desired["dockerd"]}, frozenset(s6.SERVICES), False)
    other = s6.desired_files({**PARAMS, "mtu": 1500}, {}, LAYOUT)
    assert [str(step) for step in s6.plan(other, LAYOUT, running)] == [
        "stop dockerd",
        "write /run/mesos-dind/daemon.json",
        "start dockerd",
    ]
