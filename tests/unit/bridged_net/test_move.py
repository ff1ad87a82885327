# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps of the move to the bridge, and what cannot move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from uplink_states import BRIDGED, CONNECTED, DEFAULT_ROUTE, ETH0, LO, OWN, arranged, fresh, plan

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.move import Move, Remember, move_lines
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.neighbours import AskGateway
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import (
    Original,
    Persistence,
)
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import originals
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import arp, links
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address, Link, Route


def bridge_of(state: State) -> Link:
    assert state.bridge_link
    return state.bridge_link


def test_the_whole_road() -> None:
    assert [str(step) for step in plan(BRIDGED, fresh())] == [
        "remember the addresses and routes of eth0",
        "make the bridge docker0 (address 02:42:ac:11:00:02, mtu 1500)",
        "set net/ipv4/ip_forward to 1",
        "set net/ipv6/conf/docker0/disable_ipv6 to 0",
        "accept forwarded traffic that the engine would drop",
        "move addresses and routes of eth0 to docker0",
        "announce 172.17.0.2 on docker0",
        "check that 172.17.0.1 answers through docker0",
        "note that eth0 is arranged",
    ]


def test_the_batch_of_the_move() -> None:
    state = fresh()
    assert move_lines(originals(state), state.network) == (
        "link set dev eth0 master docker0",
        "address replace 172.17.0.2/16 broadcast 172.17.255.255 scope global dev docker0",
        "address flush dev eth0",
        "route flush dev eth0 table all",
        "route append default via 172.17.0.1 dev docker0",
    )


def test_nothing_is_changed_before_the_record_is_written() -> None:
    assert isinstance(plan(BRIDGED, fresh())[0], Remember)


def test_what_was_found_good_once_is_repaired_without_being_torn_down() -> None:
    good = arranged(fresh())
    lost = replace(good, network=replace(good.network, routes=()))
    steps = plan(BRIDGED, lost)
    assert not any(isinstance(step, AskGateway) for step in steps)
    assert [step.reversible for step in steps if isinstance(step, Move)] == [False]


def test_an_address_that_the_uplink_gets_later_moves_as_well() -> None:
    good = arranged(fresh())
    late = Address(4, "172.17.3.3", 16)
    port = replace(good.uplink_link, addresses=(late,))
    changed = replace(good, network=replace(good.network, links=(*good.network.links[:1], port, bridge_of(good))))
    after = arranged(changed)
    assert bridge_of(after).addresses == (OWN, late)
    assert after.record
    assert after.record.addresses == (OWN, late)


def test_a_label_that_is_too_long_on_the_bridge_is_refused() -> None:
    labelled = replace(OWN, local="172.17.0.3", alias=":backup99")
    state = fresh(replace(ETH0, addresses=(OWN, labelled)))
    with pytest.raises(DindError, match=r"172\.17\.0\.3 would have the label docker0:backup99 .* than 15 characters"):
        plan(BRIDGED, state)
    assert plan(replace(BRIDGED, bridge="br0"), replace(state, bridge="br0"))


def test_without_its_lease_the_uplink_is_given_back_all_the_same() -> None:
    eth0 = replace(ETH0, addresses=(OWN, Address(6, "fd00::2", 64)), master="docker0")
    routes = (Route(6, "default", "eth0", "fd00::1"),)
    record = replace(originals(fresh(eth0, routes=routes)), addresses=eth0.addresses[1:], verified=True)
    original = Original("/etc/systemd/network/eth0.network", "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    ours = {"/etc/systemd/network/00-00-mesos-dind-eth0.network": ""}
    persistence = Persistence(True, "", original, ours, is_used=True)
    state = fresh(replace(eth0, addresses=()), routes=(), record=record, persistence=persistence)
    (question,) = (step for step in plan(Desired(state="absent"), state) if isinstance(step, AskGateway))
    assert (question.gateways, question.sender) == (("fd00::1",), arp.ANYBODY)


@pytest.mark.parametrize("extra", [{"encap": "mpls"}, {"nhid": 7}, {"metrics": [{"lock": 1}]}])
def test_what_a_route_has_that_cannot_be_made_again_is_named(extra: dict[str, Any]) -> None:
    (route,) = links.parse_route({"dst": "10.1.0.0/16", "dev": "eth0", "flags": [], **extra}, 4)
    assert len(route.foreign) == 1
    with pytest.raises(DindError, match=f"cannot be moved: {route.foreign[0]}"):
        plan(BRIDGED, fresh(routes=(DEFAULT_ROUTE, route)))


STALE = Route(4, "10.1.0.0/16", "eth0", "10.9.0.1")


@pytest.mark.parametrize(
    ("route", "others", "is_refused"),
    [
        (Route(4, "10.1.0.0/16", "eth0", "172.17.0.9"), (), False),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"), (), True),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1", options=("onlink",)), (), False),
        (
            Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"),
            (Route(4, "10.9.0.1", "eth0", options=("scope", "link")),),
            False,
        ),
        (Route(4, "10.1.0.0/16", "eth0", "10.9.0.1"), (Route(4, "10.9.0.1", "eth0"),), True),
        (Route(4, "10.1.0.0/16", "eth0", "10.8.0.1"), (), True),
        (Route(4, "10.1.0.0/16", "eth0", "inet6 fe80::1"), (), False),
        (Route(6, "fd00:1::/64", "eth0", "fd00::9"), (), True),
        (Route(6, "fd00:1::/64", "eth0", "fd00::9"), (Route(6, "fd00::/64", "eth0"),), False),
    ],
)
def test_a_gateway_that_is_no_neighbour_any_more_is_refused(
    route: Route, others: tuple[Route, ...], is_refused: bool
) -> None:
    eth0 = replace(ETH0, addresses=(OWN, Address(4, "10.8.0.2", 16, noprefixroute=True)))
    state = fresh(eth0, routes=(DEFAULT_ROUTE, CONNECTED, *others, route))
    if is_refused:
        with pytest.raises(DindError, match=f"the route to {route.dst} .* leads to the gateway {route.gateway}"):
            plan(BRIDGED, state)
    else:
        assert plan(BRIDGED, arranged(state)) == []


def test_the_link_local_address_that_dockerd_takes_away_is_not_missed() -> None:
    local = Address(6, "fe80::2", 64, "link")
    good = arranged(fresh(replace(ETH0, addresses=(OWN, local))))
    bridge = replace(bridge_of(good), addresses=(OWN, replace(local, local="fe80::1")))
    after = replace(good, network=replace(good.network, links=(LO, good.uplink_link, bridge)))
    assert plan(BRIDGED, after) == []
    assert local in arranged(after, Desired(state="absent")).uplink_link.addresses
