# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The process half of the hand-over: after a play that succeeded, ansible-playbook becomes the program."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hand_over
type: notification
short_description: Becomes the program that mesos.dind.hand_over names
description:
  - Remembers the result of a C(mesos.dind.hand_over) task and, at the end of a play in which no host failed,
    replaces the C(ansible-playbook) process by the task's program.
  - The program gets the environment of the process that started C(ansible-playbook), plus what the task adds.
requirements:
  - to be listed in C(callbacks_enabled)
options:
  marker:
    description: A file that is made just before the program starts. By this file, the supervisor tells the
      program's exit status from Ansible's.
    type: path
    default: /run/mesos-dind/handed-over
    ini:
      - section: callback_hand_over
        key: marker
"""

import errno
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from ansible import constants
from ansible.plugins.callback import CallbackBase

from ansible_collections.mesos.dind.plugins.plugin_utils._callback_results import task_and_answer
from ansible_collections.mesos.dind.plugins.plugin_utils._recovery import prepare


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mesos.dind.hand_over"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._wanted: dict[str, Any] | None = None

    def v2_runner_on_ok(self, result: Any) -> None:
        task, answer = task_and_answer(result)
        if task.action == self.CALLBACK_NAME:
            self._wanted = answer["hand_over"]

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self._wanted is None or stats.failures or stats.dark:
            return
        try:
            become(self._wanted, Path(self.get_option("marker")))
        except Exception as error:
            # Ansible would only warn and exit with 0, without a program.
            print(f"mesos-dind: agent: {error}; this is a bug, please report it", file=sys.stderr, flush=True)
            os._exit(70)


def become(wanted: dict[str, Any], marker: Path) -> NoReturn:
    """Exec the program in this process. If the exec fails, the process exits with 126 or 127, as a shell does."""
    end_workers()
    environment = starter_environment()
    environment.update({os.fsencode(name): os.fsencode(value) for name, value in wanted["environment"].items()})
    # Ansible's clean-up at exit would remove this folder, and os.execve skips it.
    shutil.rmtree(constants.DEFAULT_LOCAL_TMP, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if wanted["recovery"]:
            told = prepare(
                wanted["argv"], {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
            )
            if told:
                print(f"mesos-dind: agent     {told}", file=sys.stderr, flush=True)
        for descriptor in (0, 1, 2):
            os.set_inheritable(descriptor, True)  # ansible-core 2.19 clears it
        marker.touch()
        default_signals()
        os.execve(wanted["program"], wanted["argv"], environment)  # noqa: S606 - the purpose of this plugin
    except OSError as error:
        marker.unlink(missing_ok=True)
        print(
            f"mesos-dind: agent: {error.filename or wanted['program']}: {error.strerror}", file=sys.stderr, flush=True
        )
        os._exit(127 if error.errno == errno.ENOENT else 126)


def end_workers() -> None:
    """End and reap this process's children: the agent would never reap them.

    Ansible's workers are the only children: an action plugin or a program is a child of its worker, and the head start
    is a child of init. Every worker has delivered its result, the last one perhaps a moment ago. SIGKILL also ends a
    worker that is stopped, so the wait has an end.
    """
    for worker in multiprocessing.active_children():  # reaps the others
        worker.kill()
        worker.join()


def starter_environment() -> dict[bytes, bytes]:
    """The parent process's initial environment, byte for byte.

    Ansible's own environment differs: the entry point cleans it, and Python adds to it (PEP 538).
    """
    entries = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def default_signals() -> None:
    """Reset every signal to its default action, and unblock all signals.

    Python ignores SIGPIPE and SIGXFSZ; a shell's background child ignores SIGINT and SIGQUIT.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < signal.SIGRTMIN or signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
