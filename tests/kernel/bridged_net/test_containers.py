# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inner containers on the outer network, and the module's answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from agent_bench import GATEWAY, Bench, connects, record_of_dockerd
from network_fixtures import namespace, veth

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net import core as bridged_net
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.ranges import RangeError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import namespaces


def test_inner_containers_are_on_the_outer_network(bench: Bench) -> None:
    """Host, a machine behind the gateway, two agents and four inner containers: each reaches each, as itself."""
    beyond = bench.cleanup.enter_context(namespace())
    veth(bench.host, "out", beyond, "eth0")
    bench.host.ip("address add 198.51.100.1/24 dev out")
    bench.host.sysctl("ipv4/ip_forward", "1")
    beyond.ip("address add 198.51.100.9/24 dev eth0", "route add default via 198.51.100.1")
    agents = [bench.agent("172.17.0.2/16"), bench.agent("172.17.0.3/16")]
    for agent in agents:
        agent.converge(offset="auto")
    everyone = {GATEWAY: bench.host, "198.51.100.9": beyond}
    everyone |= {agent.address: agent.namespace for agent in agents}
    for host, agent in zip((2, 3), agents, strict=True):
        for last in (2, 3):
            everyone[f"172.17.{host}.{last}"] = bench.inner(agent, f"172.17.{host}.{last}/16")
    for (source, client), (target, server) in permutations(everyone.items(), 2):
        assert client.pings(target), f"{source} -> {target}"
        if {source, target} != {GATEWAY, "198.51.100.9"}:
            assert connects(client, server, target) == source


def test_by_the_agent_as_gateway_inner_containers_reach_what_is_beyond_as_themselves(bench: Bench) -> None:
    beyond = bench.cleanup.enter_context(namespace())
    veth(bench.host, "out", beyond, "eth0")
    bench.host.ip("address add 198.51.100.1/24 dev out")
    beyond.ip("address add 198.51.100.9/24 dev eth0", "route add default via 198.51.100.1")
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0", gateway="bridge")
    inner = bench.inner(agent, "172.17.1.2/16", gateway=agent.address)
    for address, server in ((GATEWAY, bench.host), ("198.51.100.9", beyond)):
        assert connects(inner, server, address) == "172.17.1.2"
        assert connects(server, inner, "172.17.1.2") == address


def test_twelve_agents_at_once_are_disjoint_and_reach_each_other(bench: Bench) -> None:
    agents = [bench.agent(f"172.17.0.{n}/16") for n in range(2, 14)]
    ranges = [agent.converge(offset="auto").facts["fixed_cidr"] for agent in agents]
    assert ranges == [f"172.17.{n}.0/24" for n in range(2, 14)]
    inners = [bench.inner(agent, f"172.17.{n}.2/16") for n, agent in enumerate(agents, 2)]
    for n in range(2, 14):
        following = 2 + (n - 1) % 12
        assert connects(inners[n - 2], inners[following - 2], f"172.17.{following}.2") == f"172.17.{n}.2"


def test_the_result_says_what_the_engine_needs(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    mac = agent.namespace.show("link", "show", "dev", "eth0")[0]["address"]
    facts = agent.converge(offset="0.0.1.0").facts
    assert facts == {
        "uplink": "eth0",
        "bridge": "docker0",
        "bip": "172.17.0.2/16",
        "fixed_cidr": "172.17.1.0/24",
        "fixed_cidr_v6": "",
        "bip_v6": "",
        "gateway": GATEWAY,
        "gateway_v6": "",
        "address_pools": [],
        "dns": [],
        "dns_options": [],
        "mtu": 1500,
        "mac": mac,
        "mode": "bridge",
        "masquerade": True,
    }
    assert agent.converge(offset="0.0.1.0", gateway="bridge").facts["gateway"] == ""


def test_the_second_run_changes_nothing_and_forks_three_times(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16", "172.17.0.20/16", "fd00:17::2/64")
    first = agent.converge(offset="0.0.1.0")
    after = agent.snapshot()
    record = agent.record.read_text()
    second = agent.converge(offset="0.0.1.0")
    assert second.actions == []
    assert second.before == second.after == first.after
    assert second.facts == first.facts
    assert agent.runner_commands <= 3
    assert agent.snapshot() == after
    assert agent.record.read_text() == record


def test_check_mode_predicts_and_changes_nothing(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    predicted = agent.converge(check=True, offset="0.0.1.0")
    assert agent.snapshot() == before
    assert not agent.record.exists()
    done = agent.converge(offset="0.0.1.0")
    assert predicted.actions == done.actions
    assert predicted.before == done.before
    assert predicted.facts == done.facts


def test_the_module_by_ansible(bench: Bench) -> None:
    """Check mode with diff, a run, another run, and absent, in one container's worth of namespaces."""
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    ansible = f"{Path(sys.executable).parent / 'ansible'} localhost -m mesos.dind.bridged_net"
    ansible += f" -e ansible_python_interpreter={sys.executable}"
    runs = ("--check --diff -a offset=auto", "--diff -a offset=auto", "-a offset=auto", "-a state=absent")
    script = "mount -t tmpfs none /run\n" + "".join(f"{ansible} {run} && echo END\n" for run in runs)
    collections = Path(__file__).parents[3] / ".cache" / "collections"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}
    with agent.namespace.popen("unshare", "-m", "sh", "-ec", script, stdout=subprocess.PIPE, env=environment) as shell:
        said = shell.communicate()[0]
    assert shell.returncode == 0, said
    texts = [text[text.index("=> {") + 3 :] for text in said.split("END\n")[:-1]]
    check, done, again, absent = (json.loads(text) for text in texts)
    assert check["changed"] is done["changed"] is absent["changed"] is True
    assert again["changed"] is False
    assert check["actions"] == done["actions"]
    assert done["fixed_cidr"] == again["fixed_cidr"] == "172.17.2.0/24"
    assert said.count('"kind": "bridge"') == 2  # once in each diff
    assert agent.snapshot() == before


def test_the_preflight_carves_without_changing_anything(bench: Bench) -> None:
    agent = bench.agent("172.17.0.2/16")
    before = agent.snapshot()
    agent.namespace.call(bridged_net.require, agent.roots, offset="auto", size=None)
    with pytest.raises(RangeError, match="size 16"):
        agent.namespace.call(bridged_net.require, agent.roots, offset="auto", size=16)
    assert agent.snapshot() == before


def test_two_namespaces_never_have_the_same_id() -> None:
    """By the kernel's cookie: the inode of a namespace that is gone is given out again."""
    ids = []
    for _ in range(3):
        with namespace() as inside:
            ids.append(inside.call(namespaces.network_id, Path("/proc")))
    cookies = {found.rpartition("/")[2] for found in ids}
    assert len(cookies) == 3
    assert "0" not in cookies


def test_dockerds_record_of_another_address_is_laid_to_rest(bench: Bench, tmp_path: Path) -> None:
    record = {"AddressIPv4": "172.17.0.9/16", "BridgeName": "docker0", "DefaultBridge": True, "InhibitIPv4": False}
    store = record_of_dockerd(tmp_path / "data", record)
    agent = bench.agent("172.17.0.2/16")
    agent.converge(offset="0.0.1.0", data_root=str(tmp_path / "data"))
    assert json.loads(store.read_text()) == {**record, "InhibitIPv4": True}
    assert agent.converge(offset="0.0.1.0", data_root=str(tmp_path / "data")).actions == []
