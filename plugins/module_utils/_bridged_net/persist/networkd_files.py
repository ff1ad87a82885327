# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Our files for systemd-networkd, which make the bridge again at each boot.

We divide the uplink's configuration. Addresses, routes, leases and names go to the bridge; settings of the device stay
with the uplink. The original stays as it is; by their names, networkd finds our files before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._bridged_net.persist.bridging import MADE_BY, Bridging, stated
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._host import networkd
from ansible_collections.mesos.dind.plugins.module_utils._host.networkd import Section, Setting, Setup
from ansible_collections.mesos.dind.plugins.module_utils._kernel.links import Address

# networkd takes the first match by name, whatever the folder. Names by netplan and cloud-init begin with 10-.
PREFIX = "00-00-mesos-dind-"
FOLDER = "systemd/network"
FORWARDING = "sysctl.d/60-mesos-dind-bridged-net.conf"
REMEMBERED_IAID = re.compile(r"^# The uplink had its lease with this one\.\nIAID=(\d+)$", re.MULTILINE)

# Sections of systemd.network(5) about addresses, which follow the addresses to the bridge.
ADDRESS_SECTIONS = frozenset({
    "Address", "DHCP", "DHCPPrefixDelegation", "DHCPServer", "DHCPServerStaticLease", "DHCPv4", "DHCPv6",
    "DHCPv6PrefixDelegation", "IPv6AcceptRA", "IPv6AddressLabel", "IPv6PREF64Prefix", "IPv6Prefix",
    "IPv6PrefixDelegation", "IPv6RoutePrefix", "IPv6SendRA", "Neighbor", "NextHop", "Route", "RoutingPolicyRule",
})  # fmt: skip
# Settings of [Network] about the device, which would be wrong on a bridge or refer to devices stacked on the uplink.
DEVICE_SETTINGS = frozenset({
    "ActiveSlave", "BatmanAdvanced", "Bond", "Bridge", "IPVLAN", "IPVTAP", "IPoIB", "MACVLAN", "MACVTAP", "MACsec",
    "PrimarySlave", "Tunnel", "VLAN", "VRF", "VXLAN", "Xfrm",
})  # fmt: skip
# Settings of [Link] about when the machine counts as online.
ONLINE_SETTINGS = frozenset({"RequiredForOnline", "RequiredFamilyForOnline"})
YES = frozenset({"1", "yes", "true", "on", "y", "t"})


@dataclass(frozen=True)
class Original:
    """The machine's own .network file, with its drop-ins at its end."""

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
    """The uplink in systemd-networkd.

    ``is_managing``: networkd has configured the uplink. ``found`` says for people who manages the uplink. ``files`` are
    ours, by path. ``is_followed``: networkd has read exactly these files. ``is_used``: networkd uses our file of the
    uplink. ``iaid`` is the identity of the uplink's lease.
    """

    is_managing: bool = False
    found: str = ""
    original: Original | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    is_followed: bool = True
    is_used: bool = False
    iaid: int | None = None


@dataclass(frozen=True)
class Folders:
    """The folders of configuration and state.

    The ``marker`` exists from before a change of our files until networkd has read them, and names the original.
    """

    etc: Path
    run: Path
    usr: Path
    marker: Path

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
    """Our files on this machine, by path; the uplink's comes last."""
    paths = [folders.forwarding] if folders.forwarding.exists() else []
    paths += [path for path in sorted(folders.own.glob(f"{PREFIX}*")) if path.suffix != ".new"]
    files = {str(path): path.read_text() for path in paths}
    uplinks = folders.network(stated(files)[0])
    return {path: files[path] for path in sorted(files, key=lambda path: path == uplinks)}


def read(folders: Folders, indices: Sequence[int]) -> Persistence:
    """``indices`` are the device numbers of the uplink and, if there is one, of the bridge."""
    files = own_files(folders)
    setup = networkd.setup(folders.run, indices[0])
    is_ours = Path(setup.network_file).name.startswith(PREFIX)
    marked = folders.marker.read_text() if folders.marker.exists() else ""
    path = stated(files)[1] or marked or ("" if is_ours else setup.network_file)
    remembered = next(filter(None, map(REMEMBERED_IAID.search, files.values())), None)
    return Persistence(
        # For a moment, networkd does not know a link that has just left its bridge.
        is_managing=setup.is_managed or folders.marker.exists(),
        found=_found(folders.run, indices[0], setup),
        original=_original(Path(path), folders) if path else None,
        files=files,
        is_followed=_is_followed(files, folders, indices) if files else not is_ours and not folders.marker.exists(),
        is_used=is_ours,
        iaid=int(remembered[1]) if remembered else networkd.leased_iaid(folders.run, indices[0]),
    )


def _is_followed(files: Mapping[str, str], folders: Folders, indices: Sequence[int]) -> bool:
    names = [networkd.setup(folders.run, index).network_file for index in indices]
    return len(names) > 1 and all(name in files for name in names) and not folders.marker.exists()


def _found(run: Path, index: int, setup: Setup) -> str:
    found = [f"systemd-networkd says it is {setup.state}"] if setup.state else []
    found += ["NetworkManager manages it"] if (run / f"NetworkManager/devices/{index}").exists() else []
    found += ["ifupdown brought interfaces up here"] if any((run / "network").glob("ifstate*")) else []
    return ", ".join(found) or "no known network manager runs here"


def promised(original: Original | None, addresses: Iterable[Address]) -> frozenset[Address]:
    """The ``addresses`` that networkd will give: leases, and addresses in the original."""
    values = original.values("Network", "Address") + original.values("Address", "Address") if original else []
    said = {value.partition("/")[0].lower() for value in values}
    return frozenset(address for address in addresses if address.is_leased or address.local in said)


def _original(path: Path, folders: Folders) -> Original | None:
    if not path.is_file():
        return None
    parts = [path, *networkd.drop_ins(path, folders.all)]
    return Original(str(path), "\n".join(part.read_text() for part in parts))


def wanted(bridging: Bridging, persistence: Persistence, folders: Folders) -> dict[str, str]:
    """Our files by path; the uplink's comes last. Raises DindError if networkd would not use them."""
    original = persistence.original
    if original is None:
        raise DindError(
            f"the .network file of {bridging.uplink} is gone, so the configuration of its bridge is unknown",
            cure="put the file back (our own files name it)",
        )
    if bridging.bridge in original.values("Network", "Bridge"):
        return {}  # somebody else made it a port
    name = Path(original.path).name
    if name < PREFIX:
        raise DindError(f"{original.path} comes before {PREFIX}*", cure="give the file a name that sorts after that")
    head = [MADE_BY, bridging.made_of(original.path), ""]
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
    """The port, by its name and MAC address: another device of this name keeps the original.

    Not by its permanent MAC address, which some virtual devices lack.
    """
    yield from ("[Match]", f"Name={bridging.uplink}")
    if not original.values("Link", "MACAddress"):
        yield f"MACAddress={bridging.mac}"
    yield from ("", "[Network]", f"Bridge={bridging.bridge}", "LinkLocalAddressing=no", "IPv6AcceptRA=no")
    yield from _kept(original, {"Network"}, lambda setting: setting.key in DEVICE_SETTINGS)
    yield from ("", "[Link]", "RequiredForOnline=no")
    if _leases_mtu(original):  # the port has no lease
        yield f"MTUBytes={bridging.uplink_mtu}"
    others = {section.name for section in original.sections} - ADDRESS_SECTIONS - {"Match", "Network"}
    yield from _kept(original, others, lambda setting: setting.key not in ONLINE_SETTINGS)


def _bridge(bridging: Bridging, original: Original, iaid: int | None) -> Iterator[str]:
    # Not in the .netdev: a bridge follows the smallest MTU of its ports until it is set to another value (br_if.c).
    yield from ("[Match]", f"Name={bridging.bridge}", "", "[Link]", f"MTUBytes={bridging.mtu}")
    for section in original.sections:
        yield from _written(section, [setting for setting in section.settings if _is_bridges(section, setting)])
    if _accepts_advertisements(original):
        yield from ("", "[Network]", "# By default not where IPv6 is forwarded, which the engine may do.")
        yield "IPv6AcceptRA=yes"
    if iaid is not None and not original.values("DHCP", "IAID"):
        for name in ("DHCPv4", "DHCPv6"):
            if not original.values(name, "IAID"):
                yield from ("", f"[{name}]", "# The uplink had its lease with this one.", f"IAID={iaid}")


def _is_bridges(section: Section, setting: Setting) -> bool:
    if section.name == "Link":
        return setting.key in ONLINE_SETTINGS
    return setting.key not in DEVICE_SETTINGS if section.name == "Network" else section.name in ADDRESS_SECTIONS


def _leases_mtu(original: Original) -> bool:
    used = [value for section in ("DHCP", "DHCPv4") for value in original.values(section, "UseMTU")]
    return any(value.lower() in YES for value in used) and not original.values("Link", "MTUBytes")


def _accepts_advertisements(original: Original) -> bool:
    """Whether the uplink accepts advertisements by default. Without link-local addresses it never does."""
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
