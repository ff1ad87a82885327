# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The drop-in for docker.service: what it has, when it is written, and when a mode is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from uplink_states import DEFAULT_ROUTE, ETH0, LASTING, OWN, ROOTS, arranged, fresh, plan

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import rules
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import drop_in as drop_ins
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import (
    Original,
    Persistence,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit
from ansible_collections.mesos.dind.plugins.module_utils._host.ifupdown import Ifupdown
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose, Rule
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Link
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected


def test_proxy_arp_is_persisted_last_and_cut_short_at_any_step_both_ways_are_open() -> None:
    state = fresh(has_systemd=True)
    steps = plan(LASTING, state)
    assert str(steps[-1]) == f"write {ROOTS.drop_in}"
    after = expected(state, steps)
    for start, way in ((state, steps), (after, plan(Desired(state="absent"), after))):
        for count in range(len(way) + 1):
            cut = expected(start, way[:count])
            there, back = arranged(cut, LASTING), arranged(cut, Desired(state="absent"))
            assert plan(LASTING, there) == plan(Desired(state="absent"), back) == []
            assert (there.drop_in, back.drop_in) == (after.drop_in, "")
            assert back.sysctls["net/ipv4/ip_forward"] == "0"


def test_the_drop_in_quotes_a_devices_name_and_notes_what_was_before() -> None:
    accepted = rules.let_in("e%t$0", "docker0", "172.17.1.0/24")
    noted = drop_ins.Noted("e%t$0", sysctls={"b": "0", "a": "1"})
    text = drop_ins.text_of(noted, accepted, {"net/ipv4/conf/e%t$0/proxy_arp": "1"})
    assert " /proc/sys/net/ipv4/conf/e%%t$$0/proxy_arp 1\n" in text
    assert " filter DOCKER-USER -i e%%t$$0 -o docker0 -m comment " in text
    assert ' raw PREROUTING "!" -s 127.0.0.0/8 -d 172.17.1.0/24 -i e%%t$$0 -m comment ' in text
    assert (
        'COMMIT | iptables-restore -w --noflush; fi" DOCKER-USER\n' in text.partition('ExecStartPost=-/bin/sh -c "')[2]
    )
    assert drop_ins.Noted.of(text) == noted
    assert drop_ins.Noted.of("") == drop_ins.Noted()
    early = text.replace('"mode": "proxy_arp", ', "")
    assert early != text
    assert drop_ins.Noted.of(early) == noted


@pytest.mark.parametrize(
    ("desired", "fields", "cause"),
    [
        (LASTING, {}, "systemd, which does not run here"),
        (replace(LASTING, persist="none"), {"drop_in": "x"}, "persisted in /etc/systemd/system/docker.service.d/"),
        (LASTING, {"has_systemd": True, "persistence": Persistence(files={"x": ""})}, "a bridge is persisted in x"),
    ],
)
def test_proxy_arp_that_cannot_last_is_refused(desired: Desired, fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(DindError, match=cause):
        plan(desired, fresh(**fields))


def test_a_drop_in_for_a_device_that_is_gone_is_taken_away() -> None:
    assert [str(step) for step in plan(Desired(state="absent"), fresh(drop_in="x"))] == [f"remove {ROOTS.drop_in}"]


LASTING_BRIDGE = Desired(offset="0.0.1.0", mode="bridge", persist="auto")


BY_NETWORKD = Persistence(True, original=Original("/etc/systemd/network/50-x.network", "[Network]\nDHCP=yes\n"))


BY_IFUPDOWN = Ifupdown({"eth0": "eth0"}, is_sourced=True)


MANAGED = pytest.mark.parametrize(
    "manager", [{"persistence": BY_NETWORKD}, {"ifupdown": BY_IFUPDOWN}], ids=lambda by: next(iter(by))
)


def rebooted(state: State, accepted: tuple[Rule, ...]) -> State:
    """With our files, the bridge is there again; the record and all rules but those of the drop-in are not."""
    return replace(state, record=None, rules=accepted)


@MANAGED
def test_the_rules_of_a_bridge_are_persisted_with_it_and_cut_short_at_any_step_both_ways_are_open(
    manager: dict[str, Any],
) -> None:
    state = fresh(has_systemd=True, **manager)
    steps = plan(LASTING_BRIDGE, state)
    told = [str(step) for step in steps]
    assert told[-2:] == [f"write {ROOTS.drop_in}", "note that eth0 is arranged"]
    after = expected(state, steps)
    assert len(after.rules_for(Purpose.FORWARD)) == 2
    for rule in after.rules_for(Purpose.FORWARD):
        assert systemd_unit.command(rule.words[1:]) in after.drop_in
    back = plan(Desired(state="absent"), after)
    assert f"remove {ROOTS.drop_in}" in [str(step) for step in back]
    for start, way in ((state, steps), (after, back)):
        for count in range(len(way) + 1):
            cut = expected(start, way[:count])
            there, given_back = arranged(cut, LASTING_BRIDGE), arranged(cut, Desired(state="absent"))
            assert plan(LASTING_BRIDGE, there) == plan(Desired(state="absent"), given_back) == []
            assert (there.drop_in, there.rules) == (after.drop_in, after.rules)
            assert (given_back.drop_in, given_back.rules) == ("", ())


@MANAGED
def test_after_a_reboot_the_drop_in_has_brought_the_rules_or_they_are_made_with_it(manager: dict[str, Any]) -> None:
    after = arranged(fresh(has_systemd=True, **manager), LASTING_BRIDGE)
    assert plan(LASTING_BRIDGE, rebooted(after, after.rules)) == []
    # The engine has not started yet.
    accept = "accept forwarded traffic that the engine would drop"
    assert [str(step) for step in plan(LASTING_BRIDGE, rebooted(after, ()))] == [accept]
    # It was persisted before there was a drop-in for that.
    former = replace(rebooted(after, ()), drop_in="")
    assert [str(step) for step in plan(LASTING_BRIDGE, former)] == [accept, f"write {ROOTS.drop_in}"]
    moved = replace(LASTING_BRIDGE, offset="0.0.2.0")
    assert [str(step) for step in plan(moved, after)] == [accept, f"write {ROOTS.drop_in}"]
    for state in (rebooted(after, after.rules), rebooted(after, ()), former):
        given_back = arranged(state, Desired(state="absent"))
        assert (given_back.drop_in, given_back.rules) == ("", ())


def test_without_systemd_nothing_would_read_a_drop_in() -> None:
    state = fresh(ifupdown=BY_IFUPDOWN)
    after = arranged(state, LASTING_BRIDGE)
    assert (after.drop_in, len(after.rules_for(Purpose.FORWARD))) == ("", 2)
    assert plan(LASTING_BRIDGE, rebooted(after, ())) == []


def test_a_bridge_that_somebody_else_has_at_each_boot_gets_no_rules() -> None:
    eth0 = replace(ETH0, addresses=(), master="docker0")
    bridge = Link("docker0", 9, ETH0.mac, 1500, up=True, kind="bridge", forward_delay=0, addresses=(OWN,))
    theirs = replace(BY_NETWORKD, original=Original("/etc/systemd/network/50-x.network", "[Network]\nBridge=docker0\n"))
    state = fresh(
        eth0, bridge, routes=(replace(DEFAULT_ROUTE, device="docker0"),), has_systemd=True, persistence=theirs
    )
    state = replace(state, sysctls={**state.sysctls, "net/ipv4/ip_forward": "1"})
    assert plan(LASTING_BRIDGE, state) == []
    assert plan(replace(LASTING_BRIDGE, persist="none"), state) == []


@pytest.mark.parametrize(
    ("desired", "mode", "cause"),
    [
        (
            replace(LASTING_BRIDGE, persist="none"),
            "bridge",
            r"a bridge is persisted in .*net\.conf, and persist is none",
        ),
        (LASTING_BRIDGE, "proxy_arp", r"proxy ARP is persisted in .*net\.conf, and the mode is bridge"),
        (LASTING, "bridge", r"a bridge is persisted in .*net\.conf, and the mode is proxy_arp"),
    ],
)
def test_a_drop_in_of_another_mode_or_for_what_is_not_to_last_is_refused(
    desired: Desired, mode: str, cause: str
) -> None:
    left = drop_ins.text_of(drop_ins.Noted("eth7", mode), (), {})
    with pytest.raises(DindError, match=cause):
        plan(desired, fresh(has_systemd=True, persistence=BY_NETWORKD, drop_in=left))


def test_a_container_and_a_machine_put_docker_user_first_in_the_same_way() -> None:
    check = (Path(__file__).parents[3] / "roles/engine/files/dockerd/data/check").read_text()
    lines = [line.strip() for line in check[check.index("if iptables") :].splitlines()]
    in_container = "; ".join(lines).replace("; then; ", "; then ").replace("'", '"')
    assert in_container == drop_ins.FIRST.replace('"$0"', "DOCKER-USER").replace("$0", "DOCKER-USER")
