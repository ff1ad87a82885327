"""Tests of the keys that the engine reads from bridged_net's answer."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._engine.core import NO_NETWORK, of_network
from ansible_collections.mesos.dind.plugins.module_utils._errors import ParameterError

BRIDGED = {"mode": "bridge", "bridge": "docker0", "uplink": "eth0", "bip": "172.17.0.2/16", "mtu": 1400}


class Tagged(str):
    """A text of an Ansible type, a subclass of str."""


def test_without_an_answer_the_engine_has_a_network_of_its_own() -> None:
    assert of_network({}) == {**NO_NETWORK, "mtu": None}


def test_keys_of_a_registered_result_are_ignored() -> None:
    assert of_network({**BRIDGED, "changed": True, "actions": []}) == {**NO_NETWORK, **BRIDGED}
    assert of_network({**BRIDGED, "bip": Tagged("172.17.0.2/16"), "gateway": None}) == {**NO_NETWORK, **BRIDGED}


@pytest.mark.parametrize(("mode", "uplink"), [("bridge", "eth0"), ("proxy_arp", ""), ("default", "")])
def test_the_uplink_is_named_only_where_the_bridge_has_that_port(mode: str, uplink: str) -> None:
    assert of_network({**BRIDGED, "mode": mode})["uplink"] == uplink


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mtu", "1400", "a whole number"),
        ("mtu", True, "a whole number"),
        ("bip", ["172.17.0.2/16"], "a text"),
        ("masquerade", 1, "true or false"),
        ("dns", "172.17.0.2", "a list"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_line(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ParameterError, match=f"^network: {name} is .*, and allowed is {allowed}$"):
        of_network({name: value})
