# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a Mesos agent finds of its former life, in a container that may have got another host name since."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

# In the work directory: the host name of the last agent that was started there.
NOTE = "mesos-dind-hostname"


def setting(name: str, argv: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """What the agent is told: by a flag ``--name=value``, which wins, or by ``MESOS_NAME``."""
    prefix = f"--{name}="
    given = [word.removeprefix(prefix) for word in argv if word.startswith(prefix)]
    return given[-1] if given else environment.get(f"MESOS_{name.upper()}")


def host_name(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the agent calls its host: what it is told, or the name of its address, or that address itself.

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
    """Let an agent whose host name has changed since its last life start as a new one; returns what to tell of it.

    It would refuse to recover otherwise ("Incompatible agent info detected"), and end. Only the link to its last id
    goes: no sandbox, no image. Raises OSError.
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
