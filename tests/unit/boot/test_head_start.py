"""The answers of work that was done ahead: waited for, given once, and only to who asked for the same."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path

import pytest
import yaml

from ansible_collections.mesos.dind.plugins.module_utils._modules import ARGUMENT_SPECS
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import head_start

ROOT = Path(__file__).parents[3]
ARGUMENTS = {"size": "5", "peers": ("a", "b")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = {"arguments": ARGUMENTS, "answer": {"changed": True}, "began": 1.0, "ended": 2.5}
    (tmp_path / "engine").write_text(json.dumps(found))
    return tmp_path


def test_an_answer_is_given_once_to_who_asks_for_the_same(folder: Path) -> None:
    found = head_start.take("engine", ARGUMENTS, folder)
    assert found is not None
    assert (found.answer, found.began, found.ended) == ({"changed": True}, 1.0, 2.5)
    assert head_start.take("engine", ARGUMENTS, folder) is None


def test_other_arguments_get_no_answer_and_nobody_does_afterwards(folder: Path) -> None:
    assert head_start.take("engine", {**ARGUMENTS, "size": "6"}, folder) is None
    assert head_start.take("engine", ARGUMENTS, folder) is None


def test_work_that_came_to_no_answer_gives_none(folder: Path) -> None:
    (folder / "engine").write_text("")
    assert head_start.take("engine", ARGUMENTS, folder) is None


def test_nothing_ahead_is_no_answer(tmp_path: Path) -> None:
    assert head_start.take("engine", ARGUMENTS, tmp_path) is None


def test_an_answer_is_waited_for(folder: Path) -> None:
    path = folder / "engine"
    text = path.read_text()
    answers: list[head_start.Found | None] = []
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        reader = threading.Thread(target=lambda: answers.append(head_start.take("engine", ARGUMENTS, folder)))
        reader.start()
        inode = path.stat().st_ino
        while not any(line.split()[1] == "->" and f":{inode} " in line for line in lock_lines()):
            pass  # until the reader waits (proc_locks(5): "->" is a blocked one)
        assert not answers
        file.write(text)
    reader.join()
    (found,) = answers
    assert found is not None


def lock_lines() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


@pytest.mark.parametrize("role", ["cgroups", "storage", "network", "engine"])
def test_role_defaults_are_the_modules(role: str) -> None:
    """What the head start leaves to the argument spec, the boot's playbook says, or the role's own defaults do."""
    (task,) = yaml.safe_load((ROOT / f"roles/{role}/tasks/main.yml").read_text())
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())
    for imported in yaml.safe_load((ROOT / "playbooks/tasks/converge.yml").read_text()):
        if imported["ansible.builtin.import_role"]["name"] == f"mesos.dind.{role}":
            defaults |= {name: value for name, value in imported.get("vars", {}).items() if "{{" not in str(value)}
    (module,) = (name.rpartition(".")[2] for name in task if name.startswith("mesos.dind."))
    for name, template in task[f"mesos.dind.{module}"].items():
        variable = template.strip("{} ")
        if variable in defaults:
            assert defaults[variable] == ARGUMENT_SPECS[module][name]["default"], name
