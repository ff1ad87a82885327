"""The disk of a Debian 13 VM with systemd, an engine and the tests' programs, so that the VM needs no network.

The disk is kept in ``.cache/vm``, and made anew when this file changes. A machine does not write to the disk, but to a
snapshot that is deleted at the machine's end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from docker_engine.debian import SUITE, bootstrap
from docker_engine.terminal import say, search_path

CACHE = Path(__file__).resolve().parents[2] / ".cache/vm"
SIZE = "12G"  # a sparse file
PACKAGES = (
    "apparmor",
    "dbus",
    "docker-cli",
    "docker.io",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-netaddr",
    "systemd-sysv",
    "udev",
    "util-linux",
    "xfsprogs",
)
# qemu's user networking forwards to this address.
FILES = {
    "etc/hostname": "mesos-dind-vm\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 mesos-dind-vm\n",
    "etc/systemd/network/10-vm.network": """\
[Match]
Name=en* eth*

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
    # The second serial line reports when ssh answers, so that the host need not poll.
    "etc/systemd/system/vm-ready.service": """\
[Unit]
Description=Tell the test run that ssh answers
Wants=network-online.target
After=ssh.service network-online.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c "echo ready >/dev/ttyS1"

[Install]
WantedBy=multi-user.target
""",
}
SERVICES = ("ssh", "systemd-networkd", "vm-ready")
# Units that a machine of some minutes does not need. The engine loads its own AppArmor profile. Debian's other profiles
# take 46 s to load in this VM.
MASKED = (
    "apparmor.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
    "getty@tty1.service",
    "ldconfig.service",
    "modprobe@.service",
    "serial-getty@ttyS0.service",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-networkd-persistent-storage.service",
)


@dataclass(frozen=True)
class SystemDisk:
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "disk.ext4"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def key(self) -> Path:
        return self.folder / "key"


def provide(cache: Path = CACHE) -> SystemDisk:
    """The disk of this recipe. Makes it if it does not exist, and removes older ones."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    disk = SystemDisk(cache / f"system-{recipe}")
    if disk.folder.is_dir():
        return disk
    cache.mkdir(parents=True, exist_ok=True)
    say(f"making {disk.image}, which takes some minutes")
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
        make(SystemDisk(Path(made, "system")), Path(made, "root"))
        for outdated in cache.glob("system-*"):
            shutil.rmtree(outdated)
        Path(made, "system").rename(disk.folder)
    return disk


def make(disk: SystemDisk, root: Path) -> None:
    disk.folder.mkdir()
    root.mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mesos.dind tests/vm", "-f", str(disk.key))
    bootstrap(SUITE, ["tar", "--extract", "--numeric-owner", f"--directory={root}"], PACKAGES)
    for name, text in FILES.items():
        place(root / name, text, 0o644)
    place(root / "root/.ssh/authorized_keys", disk.key.with_suffix(".pub").read_text(), 0o600)
    run("chroot", str(root), "systemctl", "enable", *SERVICES)
    run("chroot", str(root), "systemctl", "mask", *MASKED)
    shutil.copyfile(next(root.glob("boot/vmlinuz-*")), disk.kernel)
    shutil.copyfile(next(root.glob("boot/initrd.img-*")), disk.initrd)
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-L", "root", "-d", str(root), str(disk.image), SIZE)


def place(file: Path, text: str, mode: int) -> None:
    file.parent.mkdir(mode=0o700 if mode == 0o600 else 0o755, parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def run(*argv: str) -> None:
    environment = {**os.environ, "PATH": search_path()}
    subprocess.run(argv, check=True, env=environment, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    print(provide().image)
