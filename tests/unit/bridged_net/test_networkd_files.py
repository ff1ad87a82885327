# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The settings of an uplink's .network file that go to the bridge, the state of systemd-networkd, and the refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist import networkd_files
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import Bridging, stated
from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.networkd_files import (
    Folders,
    Original,
    Persistence,
)
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import networkd
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address

BRIDGING = Bridging("eth0", "docker0", "02:42:ac:11:00:02", 1450, 1500, forwarding=False)
# As systemd 257 and 252 wrote them.
CONFIGURED = (
    "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=routable\nNETWORK_FILE={}\nDNS=\n"
)
UNMANAGED = "# This is private data. Do not parse.\nADMIN_STATE=unmanaged\nOPER_STATE=routable\n"
LEASE = "ADDRESS=10.231.0.123\nLIFETIME=120\nCLIENTID=ffa37aaebc00020000ab119cfec5a74cfa43f5\n"
# As people write them.
TEXT = """\
# mine
[Match]
Name=en* eth*

[Link]
MTUBytes=1450
RequiredForOnline=routable

[Network]
DHCP=yes
; both
VLAN=vlan7
DNS=192.0.2.53 \\
  192.0.2.54

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.1

[FairQueueing]
Parent=root
"""
# As netplan 0.106 (Debian 12) and 1.1.2 (Debian 13) generated them from `addresses: [192.0.2.10/24]`, `nameservers:
# {addresses: [192.0.2.53]}`, `mtu: 1450` and two `routes`, and from `dhcp4: true` with a match by MAC address.
NETPLAN_STATIC = """\
[Match]
Name=eth0

[Link]
MTUBytes=1450

[Network]
LinkLocalAddressing=ipv6
Address=192.0.2.10/24
DNS=192.0.2.53

[Route]
Destination=0.0.0.0/0
Gateway=192.0.2.1

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.1
"""
NETPLAN_DHCP = """\
[Match]
PermanentMACAddress=02:00:00:00:00:01
Name=eth1

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6

[DHCP]
RouteMetric=100
UseMTU=true
"""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "etc", tmp_path / "run", tmp_path / "usr", tmp_path / "run/mesos-dind/marker")
    for folder in (made.run / "systemd/netif/links", made.run / "systemd/netif/leases", *made.all):
        folder.mkdir(parents=True)
    (made.etc / "sysctl.d").mkdir()
    return made


def managed(
    folders: Folders, text: str = NETPLAN_STATIC, name: str = "10-netplan-eth0.network", index: int = 2
) -> Path:
    original = folders.run / networkd_files.FOLDER / name
    original.write_text(text)
    (folders.run / f"systemd/netif/links/{index}").write_text(CONFIGURED.format(original))
    return original


def made(text: str, folders: Folders, **fields: object) -> list[str]:
    """Ours for that original: .netdev, the bridge's, the uplink's; without the lines that say where they are from."""
    persistence = replace(Persistence(original=Original("/etc/systemd/network/50-x.network", text)), **fields)  # type: ignore[arg-type]
    return [text.split("\n\n", 1)[1] for text in networkd_files.wanted(BRIDGING, persistence, folders).values()]


def test_addresses_go_to_the_bridge_and_the_device_keeps_its_own(folders: Folders) -> None:
    netdev, bridge, uplink = made(TEXT, folders)
    assert "MACAddress=02:42:ac:11:00:02\n" in netdev
    assert "MTUBytes" not in netdev
    assert bridge == (
        "[Match]\nName=docker0\n\n[Link]\nMTUBytes=1450\n\n[Link]\nRequiredForOnline=routable\n\n"
        "[Network]\nDHCP=yes\n; both\nDNS=192.0.2.53 \\\n  192.0.2.54\n\n"
        "[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.1\n\n"
        "[Network]\n# By default not where IPv6 is forwarded, which the engine may do.\nIPv6AcceptRA=yes\n"
    )
    assert uplink == (
        "[Match]\nName=eth0\nMACAddress=02:42:ac:11:00:02\n\n"
        "[Network]\nBridge=docker0\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n[Network]\n; both\nVLAN=vlan7\n\n"
        "[Link]\nRequiredForOnline=no\n\n[Link]\nMTUBytes=1450\n\n[FairQueueing]\nParent=root\n"
    ).replace("; both\n", "")


def test_what_netplan_generates_is_divided(folders: Folders) -> None:
    _netdev, bridge, uplink = made(NETPLAN_STATIC, folders)
    assert bridge.startswith(
        "[Match]\nName=docker0\n\n[Link]\nMTUBytes=1450\n\n"
        "[Network]\nLinkLocalAddressing=ipv6\nAddress=192.0.2.10/24\nDNS=192.0.2.53\n\n"
        "[Route]\nDestination=0.0.0.0/0\nGateway=192.0.2.1\n\n[Route]\nDestination=198.51.100.0/24\n"
    )
    assert uplink.endswith("[Link]\nRequiredForOnline=no\n\n[Link]\nMTUBytes=1450\n")


def test_an_mtu_that_came_with_the_lease_stays_with_the_device(folders: Folders) -> None:
    _netdev, bridge, uplink = made(NETPLAN_DHCP, folders)
    assert uplink.endswith("[Link]\nRequiredForOnline=no\nMTUBytes=1500\n")
    assert "[DHCP]\nRouteMetric=100\nUseMTU=true\n" in bridge


@pytest.mark.parametrize(
    ("network", "added"),
    [
        ("", True),
        ("IPv6AcceptRA=no", False),
        ("IPv6AcceptRouterAdvertisements=yes", False),
        ("IPForward=yes", False),
        ("IPForward=ipv6", False),
        ("IPForward=ipv4", True),
        ("IPv6Forwarding=true", False),
    ],
)
def test_advertisements_are_accepted_as_on_the_uplink(folders: Folders, network: str, added: bool) -> None:
    bridge = made(f"[Network]\nDHCP=no\n{network}\n", folders)[1]
    assert bridge.endswith("IPv6AcceptRA=yes\n") == added


def test_an_address_given_to_the_device_stays_and_it_is_matched_by_name_alone(folders: Folders) -> None:
    _netdev, bridge, uplink = made("[Link]\nMACAddress=02:00:00:00:00:07\n", folders)
    assert uplink.startswith("[Match]\nName=eth0\n\n")
    assert uplink.endswith("[Link]\nMACAddress=02:00:00:00:00:07\n")
    assert "02:00:00:00:00:07" not in bridge


def test_the_lease_goes_on_with_the_same_identity(folders: Folders) -> None:
    (folders.run / "systemd/netif/leases/2").write_text(LEASE)
    original = managed(folders)
    first = networkd_files.read(folders, [2, 3])
    assert first.iaid == 0xA37AAEBC
    ours = networkd_files.wanted(BRIDGING, first, folders)
    assert ours[folders.network("docker0")].count(f"IAID={0xA37AAEBC}") == 2
    for path, text in ours.items():
        Path(path).write_text(text)
    (folders.run / "systemd/netif/leases/2").unlink()
    again = networkd_files.read(folders, [2, 3])
    assert again.iaid == first.iaid
    assert networkd_files.wanted(BRIDGING, again, folders) == again.files
    original.write_text("[DHCPv4]\nIAID=7\n[DHCPv6]\nIAID=8\n")
    assert str(0xA37AAEBC) not in "".join(
        networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2, 3]), folders).values()
    )


def test_a_change_of_the_original_or_of_a_drop_in_is_a_difference(folders: Folders) -> None:
    original = managed(folders)
    for path, text in networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2, 3]), folders).items():
        Path(path).write_text(text)
    for index, device in ((2, "eth0"), (3, "docker0")):
        (folders.run / f"systemd/netif/links/{index}").write_text(CONFIGURED.format(folders.network(device)))
    seen = networkd_files.read(folders, [2, 3])
    assert seen.is_followed
    assert seen.is_used
    assert stated(seen.files)[0] == "eth0"
    assert networkd_files.wanted(BRIDGING, seen, folders) == seen.files
    drop_in = folders.own / f"{original.name}.d/x.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Network]\nDNS=192.0.2.99\n")
    changed = networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2, 3]), folders)
    assert [path for path in changed if changed[path] != seen.files[path]] == [folders.network("docker0")]
    folders.marker.parent.mkdir()
    folders.marker.write_text(str(original))
    assert not networkd_files.read(folders, [2, 3]).is_followed
    original.unlink()
    with pytest.raises(DindError, match="is gone"):
        networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2, 3]), folders)


def test_forwarding_that_is_ours_alone_outlasts_the_reboot(folders: Folders) -> None:
    managed(folders)
    wanted = networkd_files.wanted(replace(BRIDGING, forwarding=True), networkd_files.read(folders, [2]), folders)
    assert wanted[str(folders.forwarding)].endswith("\nnet.ipv4.ip_forward = 1\n")


def test_a_port_of_somebody_elses_making_needs_no_files(folders: Folders) -> None:
    managed(folders, "[Network]\nBridge=docker0\n")
    assert networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2]), folders) == {}


def test_what_networkd_will_give_is_told_from_what_was_added_by_hand() -> None:
    original = Original("x", "[Network]\nAddress=192.0.2.1/24\n[Address]\nLabel=x\nAddress=2001:DB8::1/64\n")
    said = (Address(4, "192.0.2.1", 24), Address(6, "2001:db8::1", 64), Address(4, "192.0.2.7", 24, valid=120))
    assert networkd_files.promised(original, (*said, Address(4, "192.0.2.9", 24))) == {*said}


def test_an_original_that_would_win_is_refused(folders: Folders) -> None:
    managed(folders, name="00-0.network")
    with pytest.raises(DindError, match="comes before"):
        networkd_files.wanted(BRIDGING, networkd_files.read(folders, [2]), folders)


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("systemd/netif/links/2", UNMANAGED, "systemd-networkd says it is unmanaged"),
        ("NetworkManager/devices/2", "", "NetworkManager manages it"),
        ("network/ifstate", "eth0=eth0\n", "ifupdown"),
        ("nothing", "", "no known network manager"),
    ],
)
def test_who_else_manages_the_uplink_is_told(folders: Folders, path: str, text: str, found: str) -> None:
    (folders.run / path).parent.mkdir(parents=True, exist_ok=True)
    (folders.run / path).write_text(text)
    seen = networkd_files.read(folders, [2])
    assert not seen.is_managing
    assert found in seen.found


def test_drop_ins_count_by_their_names_and_folders(folders: Folders) -> None:
    for root, name in (
        (folders.etc, "b.conf"),
        (folders.run, "b.conf"),
        (folders.run, "a.conf"),
        (folders.usr / "lib", "c.conf"),
    ):
        path = root / networkd_files.FOLDER / "x.network.d" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = networkd.drop_ins(Path("x.network"), folders.all)
    expected = [(folders.run, "a.conf"), (folders.etc, "b.conf"), (folders.usr / "lib", "c.conf")]
    assert found == [root / networkd_files.FOLDER / "x.network.d" / name for root, name in expected]
