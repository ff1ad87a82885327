# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The laws: a plan done leaves nothing to do, and a move taken back leaves no trace."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from uplink_states import arranged, facts, fresh, plan, states

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import dns, sysctls
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.record import Record
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.state import State
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.uplink import originals
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose


@given(states(), st.sampled_from(["bridge", "auto"]), st.booleans())
def test_a_move_done_leaves_nothing_to_do(state: State, mode: str, verify: bool) -> None:
    desired = Desired(offset="0.0.1.0", mode=mode, verify=verify)
    after = arranged(state, desired)
    assert plan(desired, after) == []
    assert after.uplink_link.master == "docker0"
    assert after.record is None or after.record.verified


@given(states(), st.sampled_from([Desired(state="absent"), Desired()]))
def test_a_restoration_done_leaves_nothing_to_do(state: State, desired: Desired) -> None:
    after = arranged(state, desired)
    assert plan(desired, after) == []
    assert after.record is None
    if desired.state == "absent":
        assert after.rules == ()
    if state.record:
        assert after.uplink_link.master == ""
        assert set(state.record.addresses) <= set(after.uplink_link.addresses)


@given(states())
def test_a_move_taken_back_is_as_it_was(state: State) -> None:
    before = replace(state, record=None, engine_addresses=(), rules=())
    if before.is_port or not before.uplink_link.addresses:
        return
    after = arranged(arranged(before), Desired(state="absent"))
    assert after.uplink_link == before.uplink_link
    assert after.bridge_link == before.bridge_link
    for name in ("net/ipv4/ip_forward", sysctls.ROUTE_LOCALNET):
        assert after.sysctls[name] == before.sysctls[name]
    assert after.rules == ()
    there = {route for route in before.network.routes if route.device != "docker0"}
    assert {route for route in after.network.routes if route.device != "docker0"} == there


@given(states())
def test_a_record_survives_its_file(state: State) -> None:
    record = originals(state)
    assert Record.loads(record.dumps()) == record


def test_proxy_arp_done_leaves_nothing_to_do() -> None:
    desired = Desired(offset="0.0.1.0", mode="proxy_arp")
    state = fresh()
    after = arranged(state, desired)
    assert plan(desired, after) == []
    assert after.network == state.network
    assert arranged(after, Desired(state="absent")).sysctls["net/ipv4/ip_forward"] == "0"


@given(states(), st.sampled_from([Desired(), Desired(offset="0.0.1.0", mode="bridge")]))
def test_names_done_leave_nothing_to_do(state: State, desired: Desired) -> None:
    after = arranged(state, desired)
    found = facts(desired, after)
    assert found["dns"] == ([found["bip"].partition("/")[0]] if state.resolver else [])
    assert found["dns_options"] == (["timeout:5"] if state.resolver else [])
    guarded = set(dns.GUARD) <= set(after.rules)
    if state.resolver:
        assert after.sysctls[sysctls.ROUTE_LOCALNET] == "1"
        assert len(after.rules_for(Purpose.REDIRECT)) == 5
        assert guarded or (state.sysctls[sysctls.ROUTE_LOCALNET] == "1" and not state.rules)
    else:
        assert {rule.table for rule in after.rules} <= {"filter"}
