"""Tests of the modules alone. The tests run the examples that ``ansible-doc`` shows a new user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from agents import Agent, Start
from conftest import ImageOn
from docker.models.networks import Network
from machines import Control

# Seconds. The first test that runs builds the image.
pytestmark = pytest.mark.timeout(1500)

HOST = "stranger"
TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}


@pytest.fixture(scope="module")
def machine(control: Control, networkd_image_on: ImageOn, machines_network: Network, start_for_all: Start) -> Agent:
    """A machine with systemd-networkd and the modules' documented requirements, but without an engine."""
    agent = start_for_all(
        image=networkd_image_on("bookworm"), standin=False, network=machines_network.name, cgroupns="private",
        tmpfs={"/run": "", "/volume": ""},
    )  # fmt: skip
    control.admit(HOST, agent)
    agent.run("/lib/systemd/systemd-networkd-wait-online", "--interface=eth0")
    control.write("hosts.yml", {"all": {"hosts": {HOST: {"ansible_host": agent.address}}}})
    return agent


def documentation(control: Control, full_name: str) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", full_name]
    shown = subprocess.run(command, env=control.environment, capture_output=True, text=True, check=True).stdout
    about: dict[str, Any] = json.loads(shown)[full_name]
    return about


def stranger_play(full_name: str, examples: list[dict[str, Any]], results: Path) -> list[dict[str, Any]]:
    """Run each example of the module in check mode, for real and once more. Returns all results."""
    tasks = []
    names = []
    for number, example in enumerate(examples):
        if full_name not in example:
            tasks.append(example)  # keys of a task that use the result
            continue
        name = example.get("register", f"example_{number}")
        tasks += [
            {**example, "check_mode": True, "diff": True, "register": f"foretold_{number}"},
            {**example, "register": name},
            {**example, "register": f"repeated_{number}"},
        ]
        names.append(f"[foretold_{number}, {name}, repeated_{number}]")
    kept = {"content": "{{ [" + ", ".join(names) + "] | to_json }}", "dest": str(results), "mode": "0600"}
    tasks.append({"name": "Keep what was returned", "ansible.builtin.copy": kept, "delegate_to": "localhost"})
    return [{"name": "The examples", "hosts": HOST, "gather_facts": False, "tasks": tasks}]


@pytest.mark.parametrize("full_name", ["mesos.dind.cgroup_mounts", "mesos.dind.loop_storage", "mesos.dind.bridged_net"])
def test_the_examples_of_the_documentation_do_what_it_says(control: Control, machine: Agent, full_name: str) -> None:
    about = documentation(control, full_name)
    before = control.traces()
    examples = yaml.safe_load(about["examples"])
    playbook, results = control.folder / "stranger.yml", control.folder / "results.json"
    playbook.write_text(json.dumps(stranger_play(full_name, examples, results)))
    played = control.play(playbook)
    assert played.status == 0, played.output + machine.logs()
    # The last example undoes the others.
    assert control.traces() == before
    told = json.loads(results.read_text())
    assert any(done["changed"] for _foretold, done, _repeated in told)
    states = [(example[full_name] or {}).get("state", "present") for example in examples if full_name in example]
    for state, (foretold, done, repeated) in zip(states, told, strict=True):
        assert (foretold["changed"], foretold["actions"]) == (done["changed"], done["actions"])
        assert set(foretold["diff"]) == {"before", "after"}
        assert (repeated["changed"], repeated["actions"]) == (False, [])
        for name, described in about["return"].items():
            if state == "present" or described["returned"] != "when O(state=present)":
                assert done[name] is None or isinstance(done[name], TYPES[described["type"]]), name
