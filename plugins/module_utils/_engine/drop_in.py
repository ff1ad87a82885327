# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What is put beside the distribution's unit of the engine: how dockerd is started, and for what it waits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit

# The drop-in names the files of which it is one by their digest, in a variable, which the kernel shows as dockerd was
# given it (proc_pid_environ(5)). So a dockerd that runs still with others, of a run that was killed before it could
# restart it, is told from one that was started with these, whoever did it, and whatever the clock said.
STARTED_WITH = "MESOS_DIND_ENGINE_FILES"
DIGEST = re.compile(rf"\b{STARTED_WITH}=([0-9a-f]{{64}})\b")

# What is run before dockerd where the uplink is under the bridge, which without it would get another or a former
# address. How long it waits is more than a lease takes. It fails then, and systemd starts the service again.
AWAIT_BRIDGE = """\
# Written by mesos.dind.
bridge=$1 uplink=$2 address=$3 seconds=$4
missing() {
    if [ ! -e "/sys/class/net/$bridge/brif/$uplink" ]; then
        echo "$uplink is no port of $bridge"
    elif [ "$address" ]; then
        found=$(ip -oneline -4 address show dev "$bridge" | awk '{ print $4 }')
        case " $(echo $found) " in
        *" $address "*) ;;
        *) echo "$bridge has the address ${found:-none} and not $address" ;;
        esac
    fi
}
while why=$(missing); [ "$why" ]; do
    if [ "$seconds" -le 0 ]; then
        echo "$why, and dockerd would take this machine off its network; run the playbook mesos.dind.vm again" >&2
        exit 1
    fi
    seconds=$((seconds - 1))
    sleep 1
done
"""
AWAIT_SECONDS = 30


def text(params: Mapping[str, Any], program: str, config_file: Path, await_bridge: Path) -> str:
    """The drop-in. ``-H fd://`` and containerd's socket are what every distribution's unit has.

    Raises DindError for flags that no unit file can hold.
    """
    containerd = "--containerd=/run/containerd/containerd.sock"
    flags = ["-H", "fd://", containerd, f"--config-file={config_file}", *params["args"]]
    waiting = [params["bridge"], params["uplink"], params["bip"], str(AWAIT_SECONDS)] if params["uplink"] else []
    return (
        f"# Written by mesos.dind.\n"
        f"[Unit]\nRequiresMountsFor={systemd_unit.word(params['data_root'])}\n\n"
        # As every distribution's unit has it: the engine makes control groups of its own for its containers.
        f"[Service]\nDelegate=yes\nEnvironment=DOCKER_OPTS=\n"
        + (f"ExecStartPre={systemd_unit.command(['/bin/sh', str(await_bridge), *waiting])}\n" if waiting else "")
        + f"ExecStart=\nExecStart={systemd_unit.command([program, *flags])} $DOCKER_OPTS\n"
    )


def digest_line(texts: Iterable[str]) -> str:
    """What the drop-in ends with where these are the files, itself without this line included."""
    return f"Environment={STARTED_WITH}={hashlib.sha256(chr(0).join(texts).encode()).hexdigest()}\n"
