# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""IPv6 addresses of the outer network for inner containers: the keys of daemon.json, by the engine's version.

Before Docker 28, dockerd gives docker0 an address of the range and removes the present address (setupBridgeIPv6). So
the range must be the whole network of that address. dockerd then makes a container's address from the MAC address, and
the MAC address from the IPv4 address. Docker 28 has `bip6` for the bridge's address and hands out the range in order:
two engines with the whole network would give the same addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import ParameterError
from ansible_collections.mesos.dind.plugins.module_utils._host import dockerd
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

if TYPE_CHECKING:
    from netaddr import IPNetwork

# The keys of daemon.json, and the flags of dockerd without their dashes, that an IPv6 range sets.
KEYS = ("bip6", "default-gateway-v6", "fixed-cidr-v6", "ipv6")
WITH_BIP6 = 28  # major version of dockerd
MADE_OF_MAC = 80  # prefix length (moby, daemon/daemon_unix.go: deferIPv6Alloc)


def config(fixed_cidr: str, bip: str, gateway: str, runner: Runner) -> dict[str, Any]:
    """The keys of daemon.json; none without a range. Raises ParameterError if this engine cannot take the range."""
    if not fixed_cidr:
        return {}
    # Loaded only here: a boot without an IPv6 range needs no netaddr.
    from netaddr import IPNetwork

    major = dockerd.version(runner).major
    fault = _fault(major, IPNetwork(fixed_cidr), IPNetwork(bip).cidr)
    if fault:
        raise ParameterError(f"the inner engine, Docker {major}, {fault}", "ipv6_range")
    keys: dict[str, Any] = {"ipv6": True, "fixed-cidr-v6": fixed_cidr}
    keys |= {"default-gateway-v6": gateway} if gateway else {}
    return keys | ({"bip6": bip} if major >= WITH_BIP6 else {})


def _fault(major: int, wanted: IPNetwork, network: IPNetwork) -> str:
    if major >= WITH_BIP6:
        return f"would give addresses of all of {network}, others' too; give it a part" if wanted == network else ""
    if wanted != network:
        return f"can give addresses of the whole network {network} only, not of {wanted}"
    if network.prefixlen > MADE_OF_MAC:
        return f"makes addresses of MAC addresses only in a network of at most /{MADE_OF_MAC}, and this is {network}"
    return ""
