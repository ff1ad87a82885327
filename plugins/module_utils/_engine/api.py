# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The API of a running engine, over its socket (https://docs.docker.com/reference/api/engine/)."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError

TIMEOUT = 60.0  # seconds; a busy engine may need long after its start


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def facts(path: Path, *, is_running: bool) -> dict[str, str]:
    """The module's facts about an engine; empty versions unless the engine runs. Raises DindError without an answer."""
    about = _version(path) if is_running else {}
    return {"socket": str(path), "version": about.get("Version", ""), "api_version": about.get("ApiVersion", "")}


def _version(path: Path) -> dict[str, Any]:
    with contextlib.closing(_UnixConnection(path)) as connection:
        try:
            connection.request("GET", "/version")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DindError(f"the engine does not answer on {path}: {error}") from None
    return answer


@contextlib.contextmanager
def reloading(path: Path) -> Iterator[None]:
    """The context manager in which to tell the engine to reload its configuration; it ends after the reload.

    Raises DindError if the engine sends no event of a reload within TIMEOUT seconds.
    """
    wanted = urllib.parse.quote(json.dumps({"type": ["daemon"], "event": ["reload"]}))
    with contextlib.closing(_UnixConnection(path)) as connection:
        try:
            connection.request("GET", f"/events?filters={wanted}")
            events = connection.getresponse()
            yield
            events.readline()
        except (OSError, http.client.HTTPException) as error:
            raise DindError(f"the engine does not say that it has read its configuration: {error}") from None
