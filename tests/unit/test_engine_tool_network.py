# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which subnet an engine of the engine tool gets, and which firewall rules are its own."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

import pytest
from docker_engine.bridge import free_subnet
from docker_engine.errors import EngineError
from docker_engine.firewall import WRAPPER, leftover_bridges, undo_rules
from hypothesis import given
from hypothesis import strategies as st


def test_the_first_subnet_that_meets_nothing() -> None:
    assert str(free_subnet([])) == "172.17.0.0/16"
    taken = ["172.17.0.1/16", "172.16.0.0/14", "172.20.5.0/24", "10.0.0.0/8"]
    assert str(free_subnet(taken, ["172.21.0.53"])) == "172.22.0.0/16"
    with pytest.raises(EngineError, match=r"172\.17\.0\.0/16 to 172\.31\.0\.0/16 is in use"):
        free_subnet(["172.16.0.0/12"])


@given(st.lists(st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Network((n, 20), strict=False))), max_size=9))
def test_a_free_subnet_is_free(taken: list[str]) -> None:
    subnet = free_subnet(taken)
    assert not any(subnet.overlaps(ipaddress.IPv4Network(network)) for network in taken)


# As `iptables -S` tells it with two engines on one machine.
RULES = """\
-P FORWARD ACCEPT
-N DOCKER
-N DOCKER-USER
-N md1a2b3c
-N md1a2b3c-ISOLATION-STAGE-1
-N md1a2b3c-USER
-A FORWARD -j md1a2b3c-USER
-A FORWARD -o br-0123456789ab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-0123456789ab -j md1a2b3c
-A FORWARD -o md1a2b3c -j md1a2b3c
-A FORWARD -i md1a2b3c ! -o md1a2b3c -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -m comment --comment "their own" -j ACCEPT
-A md1a2b3c-USER -j RETURN
"""


def test_the_bridges_of_one_of_two_engines() -> None:
    assert leftover_bridges(RULES, "md1a2b3c") == ["br-0123456789ab", "md1a2b3c"]
    assert leftover_bridges(RULES, "md999999") == []


def test_the_rules_of_one_of_two_engines_are_removed_before_its_chains() -> None:
    commands = [" ".join(arguments) for arguments in undo_rules(RULES, "md1a2b3c", ["br-0123456789ab"])]
    assert commands == [
        "-D FORWARD -j md1a2b3c-USER",
        "-D FORWARD -o br-0123456789ab -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-D FORWARD -o br-0123456789ab -j md1a2b3c",
        "-D FORWARD -o md1a2b3c -j md1a2b3c",
        "-D FORWARD -i md1a2b3c ! -o md1a2b3c -j ACCEPT",
        "-D md1a2b3c-USER -j RETURN",
        "-X md1a2b3c",
        "-X md1a2b3c-ISOLATION-STAGE-1",
        "-X md1a2b3c-USER",
    ]


@pytest.mark.parametrize(
    ("chain", "renamed"),
    [
        ("DOCKER", "md1a2b3c"),
        ("DOCKER-ISOLATION-STAGE-1", "md1a2b3c-ISOLATION-STAGE-1"),
        # These are in a container's own namespace, and looked for there.
        ("DOCKER_OUTPUT", "DOCKER_OUTPUT"),
        ("MY-DOCKER", "MY-DOCKER"),
        ("a b*", "a b*"),
    ],
)
def test_the_wrapper_renames_chains_and_nothing_else(tmp_path: Path, chain: str, renamed: str) -> None:
    wrapper = tmp_path / "iptables"
    wrapper.write_text(WRAPPER.format(prefix="md1a2b3c", real="printf '%s\\n'"))
    command = ["sh", str(wrapper), "--wait", "-t", "nat", "-A", chain, "-j", "DOCKER-USER", ""]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert told.splitlines() == ["--wait", "-t", "nat", "-A", renamed, "-j", "md1a2b3c-USER", ""]
