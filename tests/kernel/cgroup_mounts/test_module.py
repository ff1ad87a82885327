# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The module, run by Ansible as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cgroup_fixtures import (
    ROOT,
    Container,
    run,
)

REPOSITORY = Path(__file__).resolve().parents[3]


def module(*arguments: str) -> dict[str, Any]:
    """The module's answer, when Ansible runs it."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline",
        "ANSIBLE_VERBOSITY": "3",  # shows the diff
        "ANSIBLE_LOCAL_TEMP": "/run/ansible",
        "ANSIBLE_REMOTE_TEMP": "/run/ansible",
    }
    ansible = Path(sys.executable).parent / "ansible"
    argv = [str(ansible), "localhost", "-m", "mesos.dind.cgroup_mounts", *arguments]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("localhost | ")]
    return dict(json.loads(answer.partition("=> ")[2]))


def test_the_module_in_check_mode_then_for_real_then_again_then_absent(box: Container) -> None:
    def drive() -> list[dict[str, Any]]:
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("umount", str(ROOT / "memory"))
        return [
            module("--check", "--diff"),
            module("--diff"),
            module(),
            module("-a", "state=absent"),
            module("-a", "state=absent"),
            module("-a", "leaf=a/b"),
        ]

    foretold, done, again, absent, gone, wrong = box.call(drive)
    assert foretold["changed"]
    assert foretold["actions"] == done["actions"]
    assert foretold["diff"] == done["diff"]
    assert foretold["diff"]["before"]["mounts"] != foretold["diff"]["after"]["mounts"]
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["version"] == "v1"
    assert absent["changed"]
    assert not gone["changed"]
    assert wrong["msg"] == "leaf is 'a/b'; give a name of letters, digits, - and _"
