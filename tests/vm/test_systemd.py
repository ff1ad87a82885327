"""Tests under systemd as PID 1, which owns the control groups: the module does not change them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from machine import COMMAND_LIMIT, Machine

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_module_by_ssh_changes_nothing_and_no_process_leaves_its_slice(machine: Machine) -> None:
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache/collections"),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_ARGS": f"-F {machine.ssh_config}",
    }
    ansible = [str(Path(sys.executable).with_name("ansible")), "vm", "--inventory=vm,"]
    module = ["--module-name=mesos.dind.cgroup_mounts"]
    done = subprocess.run(
        [*ansible, *module], env=environment, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.partition("=> ")[2])
    assert (answer["changed"], answer["actions"], answer["version"]) == (False, [], "v2")
    # The root group has the kernel's threads, the children of pid 2.
    groups = machine.run("ps", "--ppid=2", "--pid=2", "--deselect", "--format=cgroup=").split()
    assert {group.split("/")[1] for group in groups} <= {"init.scope", "system.slice", "user.slice"}
    assert machine.run("find", "/sys/fs/cgroup", "-name", "mesos-dind") == ""
