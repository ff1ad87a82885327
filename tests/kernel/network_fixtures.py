# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Network namespaces, veths and bridges as context managers.

A namespace lives by a file descriptor and nothing else: no name, no mount. It is gone, with everything in it, when
the last process that holds it is, however that process ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from in_child import call_in_child

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass(frozen=True)
class Namespace:
    """A network namespace, held by an open descriptor."""

    fd: int

    def enter(self) -> None:
        """Move this thread into the namespace, for good: only ever called in a child."""
        _check(LIBC.setns(self.fd, CLONE_NEWNET))

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``function`` called in a child of this process, in the namespace; its answer or its exception."""

        def inside() -> T:
            self.enter()
            return function(*args, **kwargs)

        return call_in_child(inside)

    def popen(self, *argv: str, **kwargs: Any) -> subprocess.Popen[str]:
        """A process of this namespace."""
        return subprocess.Popen(argv, preexec_fn=self.enter, text=True, **kwargs)  # noqa: PLW1509 - no threads here

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(argv, preexec_fn=self.enter, text=True, capture_output=True, check=False, input=stdin)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: status {done.returncode}: {done.stderr or done.stdout}")
        return done

    def ip(self, *lines: str) -> None:
        """Lines of `ip`, in order."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def show(self, *argv: str) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = json.loads(self.run("ip", "-json", *argv).stdout or "[]")
        return shown

    def addresses(self, device: str) -> list[str]:
        links = self.show("address", "show", "dev", device)
        return [f"{a['local']}/{a['prefixlen']}" for link in links for a in link["addr_info"] if a["scope"] == "global"]

    def sysctl(self, name: str, value: str | None = None) -> str:
        """The setting below /proc/sys/net, set first if there is a value."""

        def access() -> str:
            path = f"/proc/sys/net/{name}"
            if value is not None:
                with open(path, "w", encoding="ascii") as setting:  # noqa: PTH123
                    setting.write(value)
            with open(path, encoding="ascii") as setting:  # noqa: PTH123
                return setting.read().strip()

        return self.call(access)

    def pings(self, target: str, *, size: int = 56, seconds: int = 2) -> bool:
        """Whether ``target`` answers an unfragmented echo request with ``size`` bytes of data."""
        argv = ("ping", "-n", "-c", "1", "-W", str(seconds), "-M", "do", "-s", str(size), target)
        return self.run(*argv, check=False).returncode == 0

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace, usable from the caller's."""
        receiving, sending = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                self.enter()
                with socket.socket(family, kind, protocol) as made:
                    socket.send_fds(sending, [b"1"], [made.fileno()])
            finally:
                os._exit(0)
        sending.close()
        with receiving:
            _, fds, _, _ = socket.recv_fds(receiving, 1, 1)
        os.waitpid(child, 0)
        return socket.socket(family, kind, protocol, fileno=fds[0])


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A new network namespace with its loopback up."""
    receiving, sending = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            _check(LIBC.unshare(CLONE_NEWNET))
            fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            socket.send_fds(sending, [b"1"], [fd])
        finally:
            os._exit(0)
    sending.close()
    with receiving:
        _, fds, _, _ = socket.recv_fds(receiving, 1, 1)
    os.waitpid(child, 0)
    made = Namespace(fds[0])
    try:
        made.ip("link set dev lo up")
        # Nobody has the same link-local address here, and duplicate detection would keep every test waiting.
        made.sysctl("ipv6/conf/default/accept_dad", "0")
        # Else it has what this machine has (devinet_init_net), which is 0 until an engine is started.
        made.sysctl("ipv4/ip_forward", "1")
        yield made
    finally:
        os.close(made.fd)


def bridge(inside: Namespace, name: str, *, mac: str = "", mtu: int = 1500) -> None:
    """A bridge that forwards at once."""
    address = f"address {mac}" if mac else ""
    inside.ip(
        f"link add dev {name} {address} mtu {mtu} type bridge stp_state 0 forward_delay 0",
        f"link set dev {name} up",
    )


def veth(one: Namespace, name: str, other: Namespace, other_name: str, *, mtu: int = 1500, mac: str = "") -> None:
    """A pair of veths, one end up in each namespace; ``mac`` is the other end's."""
    address = f"address {mac}" if mac else ""
    target = f"/proc/{os.getpid()}/fd/{other.fd}"
    one.ip(
        f"link add dev {name} mtu {mtu} type veth peer name {other_name} {address} mtu {mtu} netns {target}",
        f"link set dev {name} up",
    )
    other.ip(f"link set dev {other_name} up")
