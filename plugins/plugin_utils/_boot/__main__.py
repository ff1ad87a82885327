# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The entry point behind the command ``mesos-dind``: from the environment to a running boot playbook.

The entry point refuses wrong settings before it changes anything, writes the others to a file, and becomes
``ansible-playbook``. The last task of the boot playbook becomes the agent.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._kernel import atomic_file
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import head_start, preflight, settings

RUN = Path("/run/mesos-dind")
SETTINGS = RUN / "settings.json"
ETC = Path("/etc/mesos-dind")
PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"

USAGE = "usage: mesos-dind boot -- COMMAND... | converge [--check] [--diff] | status"
USAGE_STATUS = 64
STATUSES: Mapping[type[DindError], int] = {
    settings.SettingError: USAGE_STATUS,
    preflight.EngineConfigError: USAGE_STATUS,
    preflight.CommandNotFoundError: 127,
}
FAILURE_STATUS = 70


def main(argv: Sequence[str]) -> int:
    """Run ``boot -- COMMAND…``, ``converge [--check] [--diff]`` or ``status``; returns only the status of a refusal."""
    try:
        match list(argv):
            case ["boot", "--", *command] if command:
                boot(settings.read(os.environ, command), os.environ)
            case ["converge", *options] if set(options) <= {"--check", "--diff"}:
                run_again("boot.yml", "--skip-tags", "hand_over", *options, log="ansible.builtin.default")
            case ["status"]:
                run_again("status.yml", log="mesos.dind.status")
            case _:
                return refuse(USAGE, USAGE_STATUS)
    except DindError as error:
        return refuse(str(error), STATUSES.get(type(error), FAILURE_STATUS))


def refuse(line: str, status: int) -> int:
    sys.stderr.write(f"mesos-dind: {line}\n")
    return status


def boot(wanted: settings.Settings, environ: Mapping[str, str]) -> NoReturn:
    """Check everything that needs no change, then become the boot playbook."""
    program = preflight.find_command(wanted, environ)
    preflight.require_privileges()
    preflight.require_own_processes()
    preflight.require_engine_settings(wanted, environ, Runner())
    preflight.require_network(wanted, environ)
    # On other hosts the answer does not matter.
    is_on_v2 = wanted.is_agent and preflight.is_pure_v2()
    knows_v2 = is_on_v2 and preflight.knows_cgroup_v2(program, Runner())
    if is_on_v2 and not knows_v2:
        sys.stderr.write(f"mesos-dind: {preflight.NOT_ON_V2}\n")
    variables = {
        **wanted.role_variables,
        "agent_program": program,
        "agent_command": wanted.command,
        "agent_is_mesos": wanted.is_agent,
        "agent_knows_cgroup_v2": knows_v2,
        "agent_state_persists": preflight.persists(Path("/var/lib/mesos-dind")),
        # Names only: the values, which may be secret, are for the agent alone.
        "agent_environment_names": sorted(name for name in environ if name.startswith(("MESOS_", "DOCKER_"))),
    }
    write_down(wanted, variables)
    take_terminal()
    head_start.begin(wanted.role_variables)
    if wanted.role_variables["engine_debug"]:
        become_playbook("boot.yml", "-vvv", log="ansible.builtin.default", report=True)
    become_playbook("boot.yml", log="mesos.dind.boot_log", report=True)


def write_down(wanted: settings.Settings, variables: Mapping[str, Any]) -> None:
    """Write the settings for the playbook and for the supervisor. Raises DindError if the folder is not writable."""
    try:
        # The supervisor, a shell, reads these two at the stop. An empty file would end the supervisor.
        atomic_file.write(RUN / "drain-signal", "USR1\n" if wanted.is_agent else "TERM\n")
        atomic_file.write(RUN / "stop-timeout", f"{wanted.role_variables['agent_stop_timeout']}\n")
        atomic_file.write(SETTINGS, json.dumps(unsafe(variables), indent=2) + "\n")
    except OSError as error:
        raise DindError(str(error), step="preflight", cure=f"make {RUN} writable") from None


def run_again(playbook: str, *options: str, log: str) -> NoReturn:
    """Become a playbook with the settings of the boot. Raises DindError in a container that was not booted."""
    if not SETTINGS.exists():
        raise DindError(
            f"there is no {SETTINGS}: this container was not booted", cure="start it with `mesos-dind boot`"
        )
    for module in _argument_specs.ARGUMENT_SPECS:
        _argument_specs.core(module)  # load it here once instead of in the process of each task
    become_playbook(playbook, *options, log=log)


def unsafe(value: Any) -> Any:
    """The value, marked so that Ansible never renders a user's text as a template (``!unsafe``, in JSON)."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list | tuple):
        return [unsafe(item) for item in value]
    if isinstance(value, dict):
        return {key: unsafe(item) for key, item in value.items()}
    return value


def take_terminal() -> None:
    """Enter a new process group, in the foreground of the terminal if there is one.

    The terminal's interrupts then reach the boot, and later the agent, but not the supervisor above them.
    """
    # Background children of the supervisor's shell ignore both signals (POSIX, 2.12 Signals and Error Handling).
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if os.isatty(0):
        # The kernel sends SIGTTOU to a background group that takes the foreground (tcsetpgrp(3)).
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def become_playbook(playbook: str, *options: str, log: str, report: bool = False) -> NoReturn:
    """Become ``ansible-playbook``, with a new environment: the agent's variables reach neither Ansible nor its log.

    The call is that of the console script ``ansible-playbook``; this process saves the start of another Python. The
    hand-over reads the agent's environment from the supervisor, which has the container's environment unchanged.
    ``log`` is the callback that writes to stdout and stderr. ``report`` also writes the steps to a file.
    """
    # The report comes first: the hand-over does not return.
    callbacks = ["mesos.dind.boot_report", "mesos.dind.hand_over"] if report else ["mesos.dind.hand_over"]
    os.environ.clear()
    os.environ.update(
        {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ETC / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": log,
            "ANSIBLE_CALLBACKS_ENABLED": ",".join(callbacks),
        }
    )
    # Garbage collection takes a tenth of the time of a process that ends after a second (docs/performance.md).
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ansible.cli.playbook import main as ansible_playbook

    leave_packages_to_ansible()
    arguments = [*options, "-e", f"@{SETTINGS}", str(PLAYBOOKS / playbook)]
    sys.exit(ansible_playbook(["ansible-playbook", "-i", "localhost,", *arguments]))


def leave_packages_to_ansible() -> None:
    """Unload the collections' packages, which Ansible's loader must load itself, and keep the loaded modules.

    Python loaded these modules from bytecode. Ansible's loader would compile each source again (its get_code), in the
    process of every task.
    """
    for name in [name for name, module in sys.modules.items() if hasattr(module, "__path__")]:
        if name.partition(".")[0] == "ansible_collections":
            del sys.modules[name]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
