"""Tests of the head start's answers: given once, only for the same arguments, and only when complete."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._engine import core as engine
from ansible_collections.mesos.dind.plugins.module_utils._plan import Outcome
from ansible_collections.mesos.dind.plugins.plugin_utils._boot import head_start, settings

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
            pass  # until the reader waits (proc_locks(5): "->" marks a blocked process)
        assert not answers
        file.write(text)
    reader.join()
    (found,) = answers
    assert found is not None


def lock_lines() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


STATE = {"_": ""}
ANSWERS: dict[str, dict[str, Any]] = {
    "cgroup_mounts": {"cgroup_parent": "/mine/tasks"},
    "loop_storage": {"mountpoint": "/var/lib/docker", "storage_driver": "overlay2"},
    "bridged_net": {"mode": "bridge", "bip": "172.17.0.2/16", "dns": ["172.17.0.2"]},
    "engine": {"socket": "/var/run/docker.sock"},
}
EVERYTHING = {
    "DOCKER_NETWORK_OFFSET": "0.0.1.0",
    "DOCKER_NETWORK_SIZE": "25",
    "VAR_LIB_DOCKER_SIZE": "7",
    "DOCKER_DAEMON_ARGS": "--label=a --debug",
    "LOG": "file",
    "MESOS_DIND_STORAGE": "loop",
    "MESOS_DIND_FILESYSTEM": "xfs",
    "MESOS_DIND_IMAGE": "/data/x.img",
    "MESOS_DIND_GATEWAY": "bridge",
    "MESOS_DIND_NETWORK_MODE": "proxy_arp",
    "MESOS_DIND_PEERS": "172.17.2.0/24",
    "MESOS_DIND_IPV6_RANGE": "fd00:17::/64",
    "MESOS_DIND_UPLINK": "ens3",
    "MESOS_DIND_MTU": "1400",
    "MESOS_DIND_VERIFY": "0",
    "MESOS_DIND_VERIFY_TIMEOUT": "0.5",
    "MESOS_DIND_DEBUG": "1",
    "MESOS_DIND_STOP_TIMEOUT": "30",
}


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the cores: they do nothing and return ANSWERS."""

    def core(module: str) -> _argument_specs.Core:
        return lambda *_given: Outcome([], STATE, STATE, facts=ANSWERS[module])

    monkeypatch.setattr(_argument_specs, "core", core)
    monkeypatch.setattr(engine, "core", lambda *_given: Outcome([], STATE, STATE, facts={}))


def rendered(variables: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module of playbooks/tasks/converge.yml with all its arguments, as Ansible renders them."""
    loader = DataLoader()
    seen: dict[str, Any] = {**variables, "omit": "left out"}
    for imported in loader.load_from_file(str(ROOT / "playbooks/tasks/converge.yml"), trusted_as_template=True):
        role = imported["ansible.builtin.import_role"]["name"].removeprefix("mesos.dind.")
        defaults = loader.load_from_file(str(ROOT / f"roles/{role}/defaults/main.yml"), trusted_as_template=True)
        templar = Templar(loader, variables={**defaults, **imported.get("vars", {}), **seen})
        (task,) = loader.load_from_file(str(ROOT / f"roles/{role}/tasks/main.yml"), trusted_as_template=True)
        (name,) = (name for name in task if name.startswith("mesos.dind."))
        module = name.removeprefix("mesos.dind.")
        given = {key: value for key, value in templar.template(task[name]).items() if value != "left out"}
        spec = _argument_specs.ARGUMENT_SPECS[module]
        assert given.keys() <= spec.keys()
        yield module, {name: about.get("default") for name, about in spec.items()} | given
        # A registered result also has keys from Ansible.
        seen[task["register"]] = {**ANSWERS[module], "changed": True, "failed": False}


@pytest.mark.parametrize("environ", [{}, EVERYTHING], ids=["nothing", "everything"])
@pytest.mark.usefixtures("cores")
def test_the_playbook_asks_for_what_was_done_ahead(tmp_path: Path, environ: dict[str, str]) -> None:
    variables = settings.read(environ, ("mesos-slave",)).role_variables
    files = {module: (tmp_path / module).open("wb", buffering=0) for module in _argument_specs.ARGUMENT_SPECS}
    head_start.HeadStart(variables, files).run()
    asked = dict(rendered(variables))
    assert list(asked) == list(ANSWERS)
    for module, arguments in asked.items():
        assert head_start.take(module, arguments, tmp_path), (module, arguments)


def test_every_variable_is_among_those_compared() -> None:
    assert set(EVERYTHING) == {variable.name for variable in settings.VARIABLES}


def test_an_answer_that_is_passed_on_may_have_more_keys_and_no_fewer(tmp_path: Path) -> None:
    for asked, is_same in (({"a": 1, "changed": True}, True), ({"changed": True}, False), ({"a": 2}, False)):
        found = {"arguments": {"network": {"a": 1}}, "answer": {}, "began": 1.0, "ended": 2.5}
        (tmp_path / "engine").write_text(json.dumps(found))
        assert bool(head_start.take("engine", {"network": asked}, tmp_path)) is is_same
