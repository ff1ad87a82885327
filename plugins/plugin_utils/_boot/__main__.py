# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The entry point behind the command ``mesos-dind``: from the environment to a running boot playbook.

It refuses what is wrong before anything is changed, writes down what was asked for, and goes on as
``ansible-playbook``, whose last task becomes the agent.
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
ETC = Path("/etc/mesos-dind")
PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"

USAGE_STATUS = 64
FAILURE_STATUS = 70
NOT_FOUND_STATUS = 127


def main(argv: Sequence[str]) -> int:
    """``boot -- COMMAND…``, ``converge [--check] [--diff]`` or ``status``; returns only when it is refused."""
    try:
        match list(argv):
            case ["boot", "--", *command] if command:
                boot(settings.read(os.environ, command), os.environ)
            case ["converge", *options] if set(options) <= {"--check", "--diff"}:
                run_again("boot.yml", "--skip-tags", "hand_over", *options, log="ansible.builtin.default")
            case ["status"]:
                run_again("status.yml", log="mesos.dind.status")
            case _:
                return refuse(
                    "usage: mesos-dind boot -- COMMAND... | converge [--check] [--diff] | status", USAGE_STATUS
                )
    except (settings.SettingError, preflight.EngineConfigError) as error:
        return refuse(str(error), USAGE_STATUS)
    except preflight.CommandNotFoundError as error:
        return refuse(str(error), NOT_FOUND_STATUS)
    except DindError as error:
        return refuse(str(error), FAILURE_STATUS)


def refuse(line: str, status: int) -> int:
    sys.stderr.write(f"mesos-dind: {line}\n")
    return status


def boot(wanted: settings.Settings, environ: Mapping[str, str]) -> NoReturn:
    """Check everything that can be checked by looking, then become the boot playbook."""
    program = preflight.find_command(wanted, environ)
    preflight.require_privileges()
    preflight.require_own_processes()
    preflight.require_engine_settings(wanted, environ, Runner())
    preflight.require_network(wanted, environ)
    # Only on a v2 host is it worth the question.
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
        # Names only: what MESOS_* say is nobody's business but the agent's.
        "agent_environment_names": sorted(name for name in environ if name.startswith(("MESOS_", "DOCKER_"))),
    }
    write_down(wanted, variables)
    take_terminal()
    head_start.begin(wanted.role_variables)
    if wanted.role_variables["engine_debug"]:
        become_playbook("boot.yml", "-vvv", log="ansible.builtin.default", report=True)
    become_playbook("boot.yml", log="mesos.dind.boot_log", report=True)


def write_down(wanted: settings.Settings, variables: Mapping[str, Any]) -> None:
    """What was asked for, for the playbook and for the supervisor. Raises DindError."""
    try:
        # The supervisor, a shell, needs these two at stop, whenever that comes: an empty one would end it.
        atomic_file.write(RUN / "drain-signal", "USR1\n" if wanted.is_agent else "TERM\n")
        atomic_file.write(RUN / "stop-timeout", f"{wanted.role_variables['agent_stop_timeout']}\n")
        atomic_file.write(settings_file(), json.dumps(unsafe(variables), indent=2) + "\n")
    except OSError as error:
        raise DindError(str(error), step="preflight", cure=f"see to it that {RUN} can be written") from None


def run_again(playbook: str, *options: str, log: str, report: bool = False) -> NoReturn:
    """Run a playbook with what was asked for at the boot."""
    if not settings_file().exists():
        raise DindError(
            f"there is no {settings_file()}: this container was not booted", cure="start it by `mesos-dind boot`"
        )
    for module in _argument_specs.ARGUMENT_SPECS:
        _argument_specs.core(module)  # loaded here once, and not in the process of each task
    become_playbook(playbook, *options, log=log, report=report)


def unsafe(value: Any) -> Any:
    """Marked so that Ansible never takes what a user gave for a template (its ``!unsafe``, in JSON)."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list | tuple):
        return [unsafe(item) for item in value]
    if isinstance(value, dict):
        return {key: unsafe(item) for key, item in value.items()}
    return value


def settings_file() -> Path:
    return RUN / "settings.json"


def take_terminal() -> None:
    """A process group of its own, in the foreground of the terminal if there is one.

    So that the terminal's interrupts reach the boot, then the agent, and not the supervisor above them.
    """
    # The supervisor's shell has its background children ignore both (POSIX, 2.12 Signals and Error Handling).
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if os.isatty(0):
        # A background group that takes the foreground is sent SIGTTOU (tcsetpgrp(3)).
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def become_playbook(playbook: str, *options: str, log: str, report: bool = False) -> NoReturn:
    """Go on as ``ansible-playbook``, with an environment of its own: nothing of the agent's reaches Ansible or its log.

    In this very process, which has a Python already, and by the same call as the console script of that name. The
    hand-over takes the agent's environment from the supervisor, where it is as the container was given it. ``log`` is
    the callback that writes on stdout and stderr; ``report`` has the steps written to a file as well.
    """
    # The report first: the hand-over does not return.
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
    # The search for garbage takes a tenth of the time of a process that ends after a second (docs/performance.md).
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ansible.cli.playbook import main as ansible_playbook

    leave_packages_to_ansible()
    arguments = [*options, "-e", f"@{settings_file()}", str(PLAYBOOKS / playbook)]
    sys.exit(ansible_playbook(["ansible-playbook", "-i", "localhost,", *arguments]))


def leave_packages_to_ansible() -> None:
    """Forget the packages of collections, which Ansible wants to have loaded by its own loader, but not our modules.

    They were loaded with their bytecode, while that loader compiles each source anew (its get_code), in each process
    that a task is run in.
    """
    for name in [name for name, module in sys.modules.items() if hasattr(module, "__path__")]:
        if name.partition(".")[0] == "ansible_collections":
            del sys.modules[name]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
