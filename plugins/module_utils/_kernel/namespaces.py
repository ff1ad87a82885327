# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The identity of namespaces (namespaces(7))."""

from __future__ import annotations

import socket
from pathlib import Path

# asm-generic/socket.h, since Linux 5.14: a number that no other network namespace of this boot has or will have.
SO_NETNS_COOKIE = 71


def network_id(proc: Path) -> str:
    """A text that no other network namespace has, of this boot or of another.

    The inode alone is not enough: a restarted container may get the same one again.
    """
    inode = (proc / "self/ns/net").stat().st_ino
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    except OSError:
        cookie = 0
    return f"{_boot_id(proc)}/{inode}/{cookie}"


def mount_id(proc: Path) -> str:
    """A text that no other mount namespace has, also after a restart of the container or the machine.

    The kernel uses a namespace's number again; the time at which its first process started tells them apart.
    """
    # The program's name, in parentheses, may hold blanks and parentheses: proc_pid_stat(5).
    start_time = (proc / "1/stat").read_text().rpartition(")")[2].split()[19]
    return f"{_boot_id(proc)} {(proc / 'self/ns/mnt').readlink()} {start_time}"


def shares_mounts(pid: str, proc: Path = Path("/proc")) -> bool:
    """Whether a process is in this process's mount namespace.

    Raises FileNotFoundError without that process, and PermissionError without the right to trace it (ptrace(2)).
    """
    return (proc / pid / "ns/mnt").readlink() == (proc / "self/ns/mnt").readlink()


def _boot_id(proc: Path) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text().strip()
