# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The bridge in systemd-networkd's own files, so that it is there after a reboot without anybody's help.

The uplink's configuration is divided: what is about addresses, routes, leases and names goes to the bridge, what is
about the device stays with it. The original is left as it is; ours are found before it, by their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import networkd
from ansible_collections.mesos.dind.plugins.module_utils._host.networkd import Section, Setting, Setup
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address

NETWORKD = "networkd"
# networkd takes the first that matches, by name, whatever the folder: netplan's begin with 10-, cloud-init's too.
PREFIX = "00-00-mesos-dind-"
FOLDER = "systemd/network"
FORWARDING = "sysctl.d/60-mesos-dind-bridged-net.conf"
MADE_BY = "# Made by the Ansible module mesos.dind.bridged_net, which also takes it away (state: absent)."
MADE_OF = "# The uplink is {uplink}, the bridge is {bridge}, the original is {original}."
MADE_OF_PATTERN = re.compile(r"^# The uplink is (\S+), the bridge is \S+, the original is (.+)\.$", re.MULTILINE)
REMEMBERED_IAID = re.compile(r"^# The uplink had its lease with this one\.\nIAID=(\d+)$", re.MULTILINE)

# Sections and settings of systemd.network(5) that are about addresses and so follow them to the bridge. All others
# are the device's: they would be wrong on a bridge, or refer to devices that are stacked on the uplink.
ADDRESS_SECTIONS = frozenset({
    "Address", "DHCP", "DHCPPrefixDelegation", "DHCPServer", "DHCPServerStaticLease", "DHCPv4", "DHCPv6",
    "DHCPv6PrefixDelegation", "IPv6AcceptRA", "IPv6AddressLabel", "IPv6PREF64Prefix", "IPv6Prefix",
    "IPv6PrefixDelegation", "IPv6RoutePrefix", "IPv6SendRA", "Neighbor", "NextHop", "Route", "RoutingPolicyRule",
})  # fmt: skip
DEVICE_SETTINGS = frozenset({
    "ActiveSlave", "BatmanAdvanced", "Bond", "Bridge", "IPVLAN", "IPVTAP", "IPoIB", "MACVLAN", "MACVTAP", "MACsec",
    "PrimarySlave", "Tunnel", "VLAN", "VRF", "VXLAN", "Xfrm",
})  # fmt: skip
# Of [Link], what is about when the machine counts as online.
ONLINE_SETTINGS = frozenset({"RequiredForOnline", "RequiredFamilyForOnline"})
YES = frozenset({"1", "yes", "true", "on", "y", "t"})


@dataclass(frozen=True)
class Original:
    """A .network file of somebody else's, its drop-ins at its end."""

    path: str
    text: str

    @property
    def sections(self) -> list[Section]:
        return networkd.sections(self.text)

    def values(self, section: str, *keys: str) -> list[str]:
        return [
            setting.value
            for each in self.sections
            if each.name == section
            for setting in each.settings
            if setting.key in keys
        ]


@dataclass(frozen=True)
class Persistence:
    """How the machine's own network configuration stands to the uplink.

    ``manager`` is networkd or empty, ``found`` what was found, for people. ``files`` are ours, by path, and
    ``is_followed`` says that networkd has read them as they are, or has none of ours where there are none, and
    ``is_used`` that the uplink's is in use.
    """

    manager: str = ""
    found: str = ""
    original: Original | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    is_followed: bool = True
    is_used: bool = False
    iaid: int | None = None


@dataclass(frozen=True)
class Folders:
    """Where configuration and state are found."""

    etc: Path
    run: Path
    usr: Path
    marker: Path  # there from before files are changed until networkd has read them; names the original

    @property
    def own(self) -> Path:
        return self.etc / FOLDER

    @property
    def forwarding(self) -> Path:
        return self.etc / FORWARDING

    @property
    def all(self) -> tuple[Path, ...]:
        """By precedence (systemd.network(5))."""
        return tuple(root / FOLDER for root in (self.etc, self.run, self.usr / "local/lib", self.usr / "lib"))

    def network(self, device: str) -> str:
        return str(self.own / f"{PREFIX}{device}.network")

    def netdev(self, device: str) -> str:
        return str(self.own / f"{PREFIX}{device}.netdev")


def own_files(folders: Folders) -> dict[str, str]:
    """Ours that are there, by path."""
    paths = [*sorted(folders.own.glob(f"{PREFIX}*"))]
    paths += [folders.forwarding] if folders.forwarding.exists() else []
    return {str(path): path.read_text() for path in paths if path.suffix != ".new"}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """For people: which files, by path, are written and which removed."""
    written = [path for path, text in after.items() if before.get(path) != text]
    removed = [path for path in before if path not in after]
    said = [("write", written), ("remove", removed)]
    return " and ".join(f"{verb} {', '.join(paths)}" for verb, paths in said if paths)


def uplink_of(files: Mapping[str, str]) -> str:
    """The uplink that our files are for; empty without any."""
    found = next(filter(None, map(MADE_OF_PATTERN.search, files.values())), None)
    return found[1] if found else ""


def read(folders: Folders, indices: Sequence[int]) -> Persistence:
    """``indices`` are those of the uplink and, where there is one, of the bridge."""
    files = own_files(folders)
    setup = networkd.setup(folders.run, indices[0])
    is_ours = Path(setup.network_file).name.startswith(PREFIX)
    path = _stated_original(files, folders.marker) or ("" if is_ours else setup.network_file)
    names = [Path(networkd.setup(folders.run, index).network_file) for index in indices]
    followed = all(str(name) in files for name in names) and len(names) > 1 if files else not is_ours
    remembered = next(filter(None, map(REMEMBERED_IAID.search, files.values())), None)
    return Persistence(
        # A link that has just left its bridge is unknown to networkd for a moment.
        manager=NETWORKD if setup.is_managed or folders.marker.exists() else "",
        found=_found(folders.run, indices[0], setup),
        original=_original(Path(path), folders) if path else None,
        files=files,
        is_followed=followed and not folders.marker.exists(),
        is_used=is_ours,
        iaid=int(remembered[1]) if remembered else networkd.leased_iaid(folders.run, indices[0]),
    )


def _found(run: Path, index: int, setup: Setup) -> str:
    found = [f"systemd-networkd says it is {setup.state}"] if setup.state else []
    found += ["NetworkManager manages it"] if (run / f"NetworkManager/devices/{index}").exists() else []
    found += ["ifupdown brought interfaces up here"] if any((run / "network").glob("ifstate*")) else []
    return ", ".join(found) or "neither systemd-networkd nor another known one runs here"


def promised(original: Original | None, addresses: Iterable[Address]) -> frozenset[Address]:
    """Those of ``addresses`` that networkd will give: leases, and what the original says."""
    values = original.values("Network", "Address") + original.values("Address", "Address") if original else []
    said = {value.partition("/")[0].lower() for value in values}
    return frozenset(address for address in addresses if address.is_leased or address.local in said)


def _stated_original(files: Mapping[str, str], marker: Path) -> str:
    stated = next(filter(None, map(MADE_OF_PATTERN.search, files.values())), None)
    if stated:
        return stated[2]
    return marker.read_text() if marker.exists() else ""


def _original(path: Path, folders: Folders) -> Original | None:
    if not path.is_file():
        return None
    parts = [path, *networkd.drop_ins(path, folders.all)]
    return Original(str(path), "\n".join(part.read_text() for part in parts))


@dataclass(frozen=True)
class Bridging:
    """What is to outlast a reboot. ``forwarding``: IPv4 forwarding is off but for us."""

    uplink: str
    bridge: str
    mac: str
    mtu: int
    uplink_mtu: int
    forwarding: bool


def wanted(bridging: Bridging, persistence: Persistence, folders: Folders) -> dict[str, str]:
    """Our files by path.

    Raises DindError where networkd would not take ours.
    """
    original = persistence.original
    if original is None:
        raise DindError(
            f"the .network file that {bridging.uplink} had is gone, so what its bridge is to have cannot be known",
            cure="put it back (our own files name it)",
        )
    if bridging.bridge in original.values("Network", "Bridge"):
        return {}  # it is somebody else's port already
    name = Path(original.path).name
    if name < PREFIX:
        raise DindError(f"{original.path} comes before {PREFIX}*", cure="give it a name that sorts after that")
    head = [MADE_BY, MADE_OF.format(uplink=bridging.uplink, bridge=bridging.bridge, original=original.path), ""]
    files = {
        folders.netdev(bridging.bridge): [*head, *_netdev(bridging)],
        folders.network(bridging.bridge): [*head, *_bridge(bridging, original, persistence.iaid)],
        folders.network(bridging.uplink): [*head, *_uplink(bridging, original)],
    }
    forwarding = {str(folders.forwarding): [*head, "net.ipv4.ip_forward = 1"]} if bridging.forwarding else {}
    return {path: "\n".join(lines) + "\n" for path, lines in {**forwarding, **files}.items()}


def _netdev(bridging: Bridging) -> list[str]:
    return [
        "[NetDev]",
        f"Name={bridging.bridge}",
        "Kind=bridge",
        f"MACAddress={bridging.mac}",
        "",
        "[Bridge]",
        "STP=no",
        "ForwardDelaySec=0",
    ]


def _uplink(bridging: Bridging, original: Original) -> Iterator[str]:
    """The port. Another device that gets the same name is left with the original; a permanent address, which could
    be asked for as well, some virtual devices have none of."""
    yield from ("[Match]", f"Name={bridging.uplink}")
    if not original.values("Link", "MACAddress"):
        yield f"MACAddress={bridging.mac}"
    yield from ("", "[Network]", f"Bridge={bridging.bridge}", "LinkLocalAddressing=no", "IPv6AcceptRA=no")
    yield from _kept(original, {"Network"}, lambda setting: setting.key in DEVICE_SETTINGS)
    yield from ("", "[Link]", "RequiredForOnline=no")
    if _leases_mtu(original):  # and the port has no lease
        yield f"MTUBytes={bridging.uplink_mtu}"
    others = {section.name for section in original.sections} - ADDRESS_SECTIONS - {"Match", "Network"}
    yield from _kept(original, others, lambda setting: setting.key not in ONLINE_SETTINGS)


def _bridge(bridging: Bridging, original: Original, iaid: int | None) -> Iterator[str]:
    # Not in the .netdev: a bridge follows the smallest MTU of its ports until one is set that differs (br_if.c).
    yield from ("[Match]", f"Name={bridging.bridge}", "", "[Link]", f"MTUBytes={bridging.mtu}")
    for section in original.sections:
        if section.name == "Link":
            yield from _written(section, [each for each in section.settings if each.key in ONLINE_SETTINGS])
        elif section.name == "Network":
            yield from _written(section, [each for each in section.settings if each.key not in DEVICE_SETTINGS])
        elif section.name in ADDRESS_SECTIONS:
            yield from _written(section, section.settings)
    if _accepts_advertisements(original):
        yield from ("", "[Network]", "# By default not where IPv6 is forwarded, which the engine may do.")
        yield "IPv6AcceptRA=yes"
    if iaid is not None:
        for section_name in ("DHCPv4", "DHCPv6"):
            if not original.values(section_name, "IAID") and not original.values("DHCP", "IAID"):
                yield from ("", f"[{section_name}]", "# The uplink had its lease with this one.", f"IAID={iaid}")


def _leases_mtu(original: Original) -> bool:
    used = [value for section in ("DHCP", "DHCPv4") for value in original.values(section, "UseMTU")]
    return any(value.lower() in YES for value in used) and not original.values("Link", "MTUBytes")


def _accepts_advertisements(original: Original) -> bool:
    """Whether the uplink does by default. (Without link-local addresses it would not, whatever is set.)"""
    if original.values("Network", "IPv6AcceptRA", "IPv6AcceptRouterAdvertisements"):
        return False
    forwards = original.values("Network", "IPForward", "IPv6Forwarding")[-1:]
    return not any(value.lower() in YES | {"ipv6"} for value in forwards)


def _kept(original: Original, names: Iterable[str], is_kept: Callable[[Setting], bool]) -> Iterator[str]:
    for section in original.sections:
        if section.name in names:
            yield from _written(section, [each for each in section.settings if is_kept(each)])


def _written(section: Section, settings: Sequence[Setting]) -> Iterator[str]:
    if any(setting.key for setting in settings):
        yield from ("", f"[{section.name}]", *(line for setting in settings for line in setting.lines if line.strip()))
