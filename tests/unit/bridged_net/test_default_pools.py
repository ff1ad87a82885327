# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The subnets of default mode."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork
from uplink_states import ETH0, LO, fresh

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import default_pools
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Link, Network, Route


def test_the_default_mode_takes_dockers_own_order() -> None:
    pools = default_pools.pools(fresh().network, "docker0", "eth0")
    assert [pool.base for pool in pools[:2]] == ["172.18.0.0/16", "172.19.0.0/16"]
    assert default_pools.first_address(pools[0]) == "172.18.0.1/16"


@given(st.lists(st.tuples(st.sampled_from(["10", "172", "192"]), st.integers(0, 255), st.integers(8, 30)), max_size=8))
def test_no_inner_subnet_meets_a_visible_route(outer: list[tuple[str, int, int]]) -> None:
    subnets = [IPNetwork(f"{first}.{second}.0.0/{prefix}").cidr for first, second, prefix in outer]
    network = Network((LO, ETH0), tuple(Route(4, str(subnet), "eth0") for subnet in subnets))
    try:
        pools = default_pools.pools(network, "docker0", "eth0")
    except DindError:
        return
    chosen = [IPNetwork(pool.base) for pool in pools]
    assert len(set(chosen)) == len(chosen)
    assert not any(one in other or other in one for one in chosen for other in subnets)


def test_routes_that_leave_nothing_are_an_error() -> None:
    subnets = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    with pytest.raises(DindError, match="leave no private subnet"):
        default_pools.pools(Network((), tuple(Route(4, subnet, "eth0") for subnet in subnets)), "docker0", "eth0")


def test_a_single_address_as_a_route_counts() -> None:
    network = Network((), (Route(4, "172.17.3.3", "wg0"),))
    assert default_pools.pools(network, "docker0", "eth0")[0].base == "172.18.0.0/16"


BRIDGE_OF_A_PERSON = Link("mybr", 7, "02:42:00:00:00:07", 1500, up=True, kind="bridge")


PORT = Link("veth1", 8, "02:42:00:00:00:08", 1500, up=True, kind="veth", master="mybr")


@pytest.mark.parametrize(
    ("links", "uplink", "gateway", "recorded", "is_engines"),
    [
        ((), "eth0", "", {"mybr"}, True),
        ((PORT,), "eth0", "", {"mybr"}, True),
        ((), "eth0", "", {"docker0"}, False),
        ((PORT,), "eth0", "", set(), False),
        ((PORT,), "eth0", "172.18.0.9", {"mybr"}, False),
        ((PORT, replace(PORT, name="eth1", kind="")), "eth0", "", {"mybr"}, False),
        ((replace(PORT, name="eth1"),), "eth1", "", {"mybr"}, False),
        ((PORT,), "mybr", "", {"mybr"}, False),
    ],
)
def test_a_bridge_in_the_engines_record_is_the_engines_unless_it_leads_out(
    links: tuple[Link, ...], uplink: str, gateway: str, recorded: set[str], is_engines: bool
) -> None:
    network = Network((ETH0, BRIDGE_OF_A_PERSON, *links), (Route(4, "172.18.0.0/16", "mybr", gateway),))
    found = [pool.base for pool in default_pools.pools(network, "docker0", uplink, recorded)]
    assert ("172.18.0.0/16" in found) == is_engines
