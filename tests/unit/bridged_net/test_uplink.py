# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Choosing the uplink, and reading the record of what it had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from uplink_states import BRIDGED, DEFAULT_ROUTE, ETH0, LO, arranged, fresh

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import record as records
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import choose, originals
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Link, Network, Route


@pytest.mark.parametrize(
    ("routes", "chosen"),
    [
        ([DEFAULT_ROUTE], "eth0"),
        ([replace(DEFAULT_ROUTE, device="eth1", metric=5), replace(DEFAULT_ROUTE, metric=9)], "eth1"),
        ([Route(6, "default", "eth1", "fd00::1"), DEFAULT_ROUTE], "eth0"),
        ([Route(6, "default", "eth1", "fd00::1")], "eth1"),
        ([replace(DEFAULT_ROUTE, options=("table", "7"), device="eth1"), DEFAULT_ROUTE], "eth0"),
    ],
)
def test_the_uplink_is_the_default_routes_device(routes: list[Route], chosen: str) -> None:
    assert choose(BRIDGED, Network((LO, ETH0, replace(ETH0, name="eth1")), tuple(routes)), None) == chosen


def test_without_a_default_route_only_a_single_candidate_will_do() -> None:
    eth1 = replace(ETH0, name="eth1")
    assert choose(BRIDGED, Network((LO, ETH0, replace(eth1, up=False))), None) == "eth0"
    with pytest.raises(DindError, match="candidates: eth0, eth1"):
        choose(BRIDGED, Network((LO, ETH0, eth1)), None)
    with pytest.raises(DindError, match="candidates: none"):
        choose(BRIDGED, Network((LO,)), None)
    assert choose(Desired(), Network((LO,)), None) == ""


def test_a_default_route_on_the_bridge_leads_to_the_port_that_gave_its_address() -> None:
    good = replace(arranged(fresh()), record=None).network
    inner_veth = Link("veth1", 7, "02:00:00:00:00:07", 1500, up=True, master="docker0")
    assert choose(BRIDGED, replace(good, links=(*good.links, inner_veth)), None) == "eth0"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"namespace": "x"}'])
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record"
    path.write_text(text)
    assert records.read(path, "here", fresh().network) is None


def test_a_record_of_another_namespace_device_or_boot_is_none(tmp_path: Path) -> None:
    path = tmp_path / "record"
    record = originals(fresh())
    path.write_text(record.dumps())
    network = fresh().network
    assert records.read(path, "here", network) == record
    assert records.read(path, "elsewhere", network) is None
    for other in (replace(ETH0, index=7), replace(ETH0, mac="02:00:00:00:00:99"), replace(ETH0, name="eth9")):
        assert records.read(path, "here", Network((other,))) is None


def test_a_state_can_be_shown() -> None:
    assert json.dumps(bridged_net._described(arranged(fresh())))
