# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""DNS through an outer resolver on a loopback address."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from uplink_states import BRIDGED, RESOLVER, arranged, fresh, plan

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import sysctls
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.parameters import Desired
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.rules import SetRules
from ansible_collections.mesos.dind.plugins.module_utils._host import resolver as outer_resolver
from ansible_collections.mesos.dind.plugins.module_utils._host.resolver import Resolver
from ansible_collections.mesos.dind.plugins.module_utils._kernel.iptables import Purpose


def test_the_guard_is_there_before_the_loopback_is_opened_and_goes_after_it_is_closed() -> None:
    desired = Desired()
    state = fresh(resolver=RESOLVER)
    assert [str(step) for step in plan(desired, state)] == [
        "drop outside traffic for the loopback",
        "set net/ipv4/conf/all/route_localnet to 1",
        "redirect inner containers' DNS queries to the outer resolver",
    ]
    assert [str(step) for step in plan(Desired(state="absent"), arranged(state, desired))] == [
        "no longer redirect inner containers' DNS queries to the outer resolver",
        "set net/ipv4/conf/all/route_localnet to 0",
        "no longer drop outside traffic for the loopback",
    ]


def test_other_ports_after_a_start_change_the_redirection_only() -> None:
    state = replace(arranged(fresh(resolver=RESOLVER), Desired()), resolver=Resolver(udp=1, tcp=2))
    (step,) = plan(Desired(), state)
    assert isinstance(step, SetRules)
    assert step.purpose is Purpose.REDIRECT
    targets = [
        rule.words[-1] for rule in arranged(state, Desired()).rules_for(Purpose.REDIRECT) if "DNAT" in rule.words
    ]
    assert targets == ["127.0.0.11:1", "127.0.0.11:2"]


def test_a_loopback_that_somebody_else_opened_stays_open() -> None:
    state = fresh(resolver=RESOLVER)
    state = replace(state, sysctls={**state.sysctls, sysctls.ROUTE_LOCALNET: "1"})
    after = arranged(state, Desired())
    assert {rule.table for rule in after.rules} == {"nat"}
    assert arranged(after, Desired(state="absent")) == state


@pytest.mark.parametrize(
    ("desired", "outside"),
    [
        (Desired(), ["-i", "eth0"]),
        (Desired(offset="0.0.1.0", mode="proxy_arp"), ["-i", "eth0"]),
        (BRIDGED, ["!", "-s", "172.17.1.0/24", "-i", "docker0"]),
    ],
    ids=["default", "proxy_arp", "bridge"],
)
def test_nobody_outside_is_served(desired: Desired, outside: list[str]) -> None:
    rules = arranged(fresh(resolver=RESOLVER), desired).rules_for(Purpose.REDIRECT)
    (spared,) = (rule for rule in rules if "RETURN" in rule.words)
    assert list(spared.words[2 : 2 + len(outside)]) == outside
    assert rules.index(spared) < min(rules.index(rule) for rule in rules if "DNAT" in rule.words)


# As the kernel prints them; the other sockets are another's, connected, or at another address.
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41 2 0000000000000000 0
  102: 0B00007F:8001 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 0
  103: 0B00007F:9C41 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43 2 0000000000000000 0
"""


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:8002 0100007F:8003 01 00000000:00000000 00:00000000 00000000     0        0 44 1 0000000000000000
   1: 0B00007F:9C42 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 45 1 0000000000000000
   2: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 46 1 0000000000000000
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the samples were taken on a little-endian machine")
@pytest.mark.parametrize(
    ("resolv_conf", "udp", "found"),
    [
        ("nameserver 127.0.0.11\noptions ndots:2\n", UDP, RESOLVER),
        ("nameserver 127.0.0.11\noptions ndots:0\n", UDP, replace(RESOLVER, options=("timeout:5",))),
        ("options a ndots:0 b\nnameserver 127.0.0.11", UDP, replace(RESOLVER, options=("a", "b"))),
        ("# ExtServers: [host(10.0.0.2)]\nsearch a.b\n\tnameserver\t127.0.0.11\nnameserver ::1", UDP, RESOLVER),
        ("nameserver 127.0.0.11\nnameserver 10.0.0.2\n", UDP, None),
        ("nameserver 127.0.0.53\n", UDP, None),
        ("#nameserver 127.0.0.11\nnameserver\n", UDP, None),
        ("", UDP, None),
        ("nameserver 127.0.0.11\n", UDP.splitlines()[0], None),
    ],
)
def test_the_outer_engines_resolver_is_found_by_its_sockets(
    tmp_path: Path, resolv_conf: str, udp: str, found: Resolver | None
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/udp").write_text(udp)
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    assert outer_resolver.find(tmp_path / "resolv.conf", tmp_path) == found


def test_without_a_resolv_conf_there_is_no_resolver(tmp_path: Path) -> None:
    assert outer_resolver.find(tmp_path / "resolv.conf", tmp_path) is None
