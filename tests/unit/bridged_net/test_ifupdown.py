# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bridge in ifupdown's terms: what is planned, what is refused, and what is read and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from uplink_states import plan

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.ifupdown import WriteStanzas
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import ifupdown as host_ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Ifupdown, Places
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Network, Route
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

PERSISTED, ABSENT = Desired(offset="0.0.1.0", persist="auto"), Desired(state="absent")
OWN = Address(4, "172.17.0.2", 16)
UP = Ifupdown({"lo": "lo", "eth0": "eth0"}, [("address", "172.17.0.2"), ("up", "true $IFACE")], is_sourced=True)
PORT = {"lo": "lo", "eth0": "mesos-dind-eth0", "docker0": "eth0"}


def fresh(name: str = "eth0", kind: str = "", own: Address = OWN, ifupdown: Ifupdown = UP) -> State:
    link = Link(name, 2, "02:42:ac:11:00:02", 1500, up=True, kind=kind, addresses=(own,))
    network = Network((link,), (Route(4, "default", name, "172.17.0.1"),))
    return State("here", name, "docker0", network, {"net/ipv4/ip_forward": "0"}, ifupdown=ifupdown)


@pytest.mark.parametrize("leasing", [(), ("eth0",)])
def test_killed_after_any_step_both_ways_are_open(leasing: tuple[str, ...]) -> None:
    state = fresh(ifupdown=replace(UP, leasing=leasing))
    steps = plan(PERSISTED, state)
    after = expected(state, steps)
    assert after.ifupdown.logical == PORT
    assert len(after.ifupdown.files) == 2
    assert after.ifupdown.leasing == (("docker0",) if leasing else ())
    for start, way in ((state, steps), (after, plan(ABSENT, after))):
        for count in range(len(way) + 1):
            cut = expected(start, way[:count])
            there, back = (expected(cut, plan(desired, cut)) for desired in (PERSISTED, ABSENT))
            assert (there.ifupdown, back.ifupdown) == (after.ifupdown, state.ifupdown)
            assert plan(PERSISTED, there) == plan(ABSENT, back) == []
            assert back.network == state.network
            assert back.sysctls == state.sysctls


def test_after_a_reboot_there_is_nothing_to_do_and_all_to_give_back() -> None:
    state = fresh()
    rebooted = replace(expected(state, plan(PERSISTED, state)), record=None)
    assert plan(PERSISTED, rebooted) == []
    back = expected(rebooted, plan(ABSENT, rebooted))
    assert (back.network, back.sysctls, back.ifupdown) == (state.network, state.sysctls, UP)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (fresh(ifupdown=replace(UP, is_sourced=False)), "/etc/network/interfaces does not have ifupdown read"),
        (fresh(ifupdown=replace(UP, logical={"eth0": "office"})), "brought up by the stanza office"),
        (fresh(ifupdown=replace(UP, options=[("bond_slaves", "none")])), "'bond_slaves', which ifupdown would do to"),
        (fresh(ifupdown=replace(UP, options=[("up", "ip route add x dev eth0")])), "names the device"),
        (fresh(own=replace(OWN, valid=120)), "by DHCP, but no dhclient"),
        (fresh(ifupdown=replace(UP, has_dhcpv6=True)), "by DHCPv6"),
        (fresh("eth0.7", "vlan", ifupdown=Ifupdown({"eth0.7": "eth0.7"})), "eth0.7 is a vlan"),
        (fresh("eth$", ifupdown=Ifupdown({"eth$": "eth$"})), "a name with special characters"),
        (fresh(ifupdown=Ifupdown({"lo": "lo"})), "neither systemd-networkd nor ifupdown manages eth0"),
    ],
)
def test_what_would_not_last_is_refused(state: State, cause: str) -> None:
    with pytest.raises(DindError, match=cause):
        plan(PERSISTED, state)


@pytest.mark.parametrize(
    ("persist", "who"), [("networkd", "systemd-networkd does not manage"), ("none", "is persisted")]
)
def test_another_manager_than_asked_for_is_refused(persist: str, who: str) -> None:
    state = fresh(ifupdown=replace(UP, files={"x": ""}))
    with pytest.raises(DindError, match=who):
        plan(replace(PERSISTED, persist=persist), state)


def test_a_command_may_have_a_name_that_only_begins_alike() -> None:
    plan(PERSISTED, fresh(ifupdown=replace(UP, options=[("up", "true eth01 veth0")])))


@pytest.mark.parametrize(
    ("line", "sourced"),
    [
        ("source /etc/network/interfaces.d/*", True),
        ("source interfaces.d/*", True),
        ("source-directory /etc/network/interfaces.d", True),
        ("source-directory interfaces.d/", True),
        ("source /etc/network/interfaces.d/*.cfg", False),
        ("# source /etc/network/interfaces.d/*", False),
        ("", False),
    ],
)
def test_whether_our_folder_is_read(line: str, sourced: bool) -> None:
    text = f"auto lo\n{line}\niface lo inet loopback\n"
    assert host_ifupdown.is_sourced(text, Path("/etc/network/interfaces.d/mesos-dind-bridged-net")) == sourced


def test_what_is_up_is_written_as_it_is_read(tmp_path: Path) -> None:
    places = Places(tmp_path / "etc", tmp_path / "run", tmp_path / "var")
    places.states.parent.mkdir(parents=True)
    places.states.write_text("lo=lo\neth0=eth0\n")
    host_ifupdown.set_states(places.states, {"eth0": "mesos-dind-eth0", "docker0": "eth0"})
    assert places.states.read_text() == "lo=lo\neth0=mesos-dind-eth0\ndocker0=eth0\n"
    assert places.states.with_name("ifstate.docker0").read_text() == "eth0\n"
    host_ifupdown.set_states(places.states, {"eth0": "eth0", "docker0": ""})
    assert host_ifupdown.states(places.states) == {"lo": "lo", "eth0": "eth0"}
    assert places.states.with_name("ifstate.docker0").read_text() == ""


def test_our_files_are_never_read_unfinished(tmp_path: Path) -> None:
    places = Places(tmp_path / "etc", tmp_path / "run", tmp_path / "var")
    texts = {str(places.mapping): "#!/bin/sh\n", str(places.stanzas): "mapping eth0\n"}
    step = WriteStanzas({}, texts, places)
    step.do(Runner())
    assert places.own_files() == texts
    assert [path.name for path in places.stanzas.parent.iterdir()] == [places.stanzas.name]
    assert places.mapping.stat().st_mode & 0o777 == 0o755
    assert places.stanzas.stat().st_mode & 0o777 == 0o644
    step.undo(Runner())
    assert places.own_files() == {}
