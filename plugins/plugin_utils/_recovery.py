# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Prepare a Mesos agent's recovery, in a container whose host name may have changed since the agent's last run."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

# A file in the work directory: the host name of the last agent that was started there.
NOTE = "mesos-dind-hostname"


def setting(name: str, argv: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """The agent's setting: the flag ``--name=value``, or without the flag the variable ``MESOS_NAME``."""
    prefix = f"--{name}="
    given = [word.removeprefix(prefix) for word in argv if word.startswith(prefix)]
    return given[-1] if given else environment.get(f"MESOS_{name.upper()}")


def host_name(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """The agent's name for its host: the ``hostname`` setting, the name of its address, or the address itself.

    https://mesos.apache.org/documentation/latest/configuration/agent/ (hostname, hostname_lookup). Raises OSError.
    """
    told = setting("hostname", argv, environment)
    if told:
        return told
    looked_up = setting("hostname_lookup", argv, environment)
    if looked_up not in ("false", "0") and "--no-hostname_lookup" not in argv:
        return socket.gethostname()
    return setting("ip", argv, environment) or socket.gethostbyname(socket.gethostname())


def prepare(argv: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """If the host name has changed since the agent's last run, let the agent start as a new one.

    Otherwise the agent would refuse to recover ("Incompatible agent info detected") and end. Only the link to its last
    id is removed: no sandbox, no image. Returns a line for the log, or None. Raises OSError.
    """
    work = setting("work_dir", argv, environment)
    if not work:
        return None
    host = host_name(argv, environment)
    note, latest = Path(work) / NOTE, Path(work) / "meta/slaves/latest"
    former = note.read_text().strip() if note.exists() else host
    told = None
    if former != host and latest.is_symlink():
        latest.unlink()
        told = f"the host name was {former} and is {host}: the agent starts as a new one, in {work}"
    if former != host or not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{host}\n")
    return told
