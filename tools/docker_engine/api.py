# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The Docker Engine API: what an engine says of itself over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

DEFAULT_SOCKET = Path("/run/docker.sock")
ANSWER_SECONDS = 5.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; ``timeout`` is in seconds."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def engine_says(socket_path: Path, what: str) -> dict[str, object]:
    """The engine's answer to a GET of ``/version`` or ``/info`` within ANSWER_SECONDS, empty without one."""
    connection = UnixConnection(socket_path, ANSWER_SECONDS)
    try:
        connection.request("GET", what)
        answer = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def server_version(socket_path: Path) -> str | None:
    """The version of the engine that answers on a unix socket, None without an answer."""
    version = engine_says(socket_path, "/version").get("Version")
    return str(version) if version else None
