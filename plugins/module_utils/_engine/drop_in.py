# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The drop-in of docker.service: dockerd's command line, and the wait for the bridge before its start."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit

# A variable in the drop-in holds the digest of all of our files, and the kernel shows dockerd's environment
# (proc_pid_environ(5)). So the next run finds a dockerd that still runs with older files, as after a run that was
# killed before the restart.
STARTED_WITH = "MESOS_DIND_ENGINE_FILES"
DIGEST = re.compile(rf"\b{STARTED_WITH}=([0-9a-f]{{64}})\b")

# The script that runs before dockerd in mode bridge. Without the script, dockerd would give the bridge another address.
# The script waits longer than a DHCP lease takes. Then the script fails, and systemd starts the service again.
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
    """The text of the drop-in. ``-H fd://`` and containerd's socket are the same in every distribution's unit.

    Raises DindError for flags that a unit file cannot hold.
    """
    containerd = "--containerd=/run/containerd/containerd.sock"
    flags = ["-H", "fd://", containerd, f"--config-file={config_file}", *params["args"]]
    waiting = [params["bridge"], params["uplink"], params["bip"], str(AWAIT_SECONDS)] if params["uplink"] else []
    return (
        f"# Written by mesos.dind.\n"
        f"[Unit]\nRequiresMountsFor={systemd_unit.word(params['data_root'])}\n\n"
        # As in every distribution's unit: the engine makes the control groups of its containers itself.
        f"[Service]\nDelegate=yes\nEnvironment=DOCKER_OPTS=\n"
        + (f"ExecStartPre={systemd_unit.command(['/bin/sh', str(await_bridge), *waiting])}\n" if waiting else "")
        + f"ExecStart=\nExecStart={systemd_unit.command([program, *flags])} $DOCKER_OPTS\n"
    )


def digest_line(texts: Iterable[str]) -> str:
    """The last line of the drop-in: the digest of all files, including the drop-in without this line."""
    return f"Environment={STARTED_WITH}={hashlib.sha256(chr(0).join(texts).encode()).hexdigest()}\n"
