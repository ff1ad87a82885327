"""Tests of the engine under systemd: its drop-in, and the plans that run the engine or give it back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mesos.dind.plugins.module_utils import _argument_specs
from ansible_collections.mesos.dind.plugins.module_utils._engine import core as engine
from ansible_collections.mesos.dind.plugins.module_utils._engine import drop_in as engine_drop_in
from ansible_collections.mesos.dind.plugins.module_utils._engine import systemd, systemd_steps
from ansible_collections.mesos.dind.plugins.module_utils._engine.systemd import Layout
from ansible_collections.mesos.dind.plugins.module_utils._engine.systemd_steps import Bridge, State
from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import expected
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

LAYOUT = Layout()
PATHS = [str(path) for path in LAYOUT.files]
NOTE = str(LAYOUT.note)
BRIDGE = Bridge("docker0", "10.0.0.2/16", Path("/nonexistent"))
UNTOUCHED = State({}, up=True, enabled=True)


def params(**given: Any) -> dict[str, Any]:
    defaults = {name: about.get("default") for name, about in _argument_specs.ARGUMENT_SPECS["engine"].items()}
    # No such file: the host of the tests may have its own configuration.
    places = {"supervisor": "systemd", "user_config": "/nonexistent/daemon.json"}
    return {**defaults, **places, **engine.of_network({}), "ipv6": {}, **given}


def files(state: State = UNTOUCHED, **given: Any) -> dict[str, str]:
    return systemd.desired_files(params(**given), LAYOUT, state, check=True)


def drop_in(**given: Any) -> list[str]:
    return files(**given)[str(LAYOUT.drop_in)].splitlines()


notes = st.builds(
    json.dumps, st.fixed_dictionaries({}, optional=dict.fromkeys(("active", "enabled", "bridge"), st.booleans()))
)
states = st.builds(
    State,
    files=st.builds(
        lambda others, note: {**others, **note},
        st.dictionaries(st.sampled_from([path for path in PATHS if path != NOTE]), st.text(max_size=3)),
        st.dictionaries(st.just(NOTE), notes),
    ),
    up=st.booleans(),
    enabled=st.booleans(),
    is_outdated=st.booleans(),
)


@given(states)
def test_the_plan_reaches_its_goal(state: State) -> None:
    desired = files(state)
    after = expected(state, systemd.plan(desired, BRIDGE, LAYOUT, state))
    assert systemd.plan(desired, BRIDGE, LAYOUT, after) == []
    assert (after.files, after.up, after.is_outdated, after.enabled) == (desired, True, False, True)


@given(states)
def test_killed_at_any_point_the_next_run_restarts_it_all_the_same(state: State) -> None:
    desired = files(state)
    steps = systemd.plan(desired, BRIDGE, LAYOUT, state)
    restart = systemd_steps.Restart(BRIDGE)
    for count in range(steps.index(restart) + 1 if restart in steps else 0):
        cut = expected(state, steps[:count])
        assert restart in systemd.plan(desired, BRIDGE, LAYOUT, cut)


def test_each_change_is_one_of_the_digest_in_the_drop_in() -> None:
    """The digest alone shows that a dockerd was started with these files."""
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"mtu": 1400},
        {"args": ["--debug"]},
        {"uplink": "ens3"},
        {"data_root": "/data"},
    )
    digests = [engine_drop_in.DIGEST.findall("\n".join(drop_in(**changed))) for changed in changes]
    assert len({digest for (digest,) in digests}) == len(changes)
    # The note about the engine's former state does not start the engine anew.
    assert drop_in(had_bridge=True) == drop_in(had_bridge=False)


@given(states)
def test_the_engine_is_given_back(state: State) -> None:
    after = expected(state, systemd.plan({}, BRIDGE, LAYOUT, state))
    assert set(after.files) <= {NOTE}
    assert systemd.plan({}, BRIDGE, LAYOUT, after) == []


@given(states)
def test_killed_at_any_point_the_next_run_gives_it_back_all_the_same(state: State) -> None:
    state = dataclasses.replace(state, files={**files(state), **state.files})
    steps = systemd.plan({}, BRIDGE, LAYOUT, state)
    for count in range(len(steps)):
        cut = expected(state, steps[:count])
        rest = systemd.plan({}, BRIDGE, LAYOUT, cut)
        assert systemd_steps.Reload() in rest  # the state does not show a reload
        assert expected(cut, rest) == expected(state, steps)


@given(up=st.booleans(), enabled=st.booleans(), bridge=st.booleans())
def test_how_it_was_before_outlives_what_is_done_to_it(up: bool, enabled: bool, bridge: bool) -> None:
    state = State({}, up, enabled, has_bridge=True)
    for changed in ({"had_bridge": bridge}, {"mtu": 1400}):
        desired = files(state, **changed)
        state = expected(state, systemd.plan(desired, BRIDGE, LAYOUT, state))
        assert systemd.before(state, LAYOUT) == {"active": up, "enabled": enabled, "bridge": bridge}
    given_back = expected(state, systemd.plan({}, BRIDGE, LAYOUT, state))
    assert given_back.enabled == enabled
    # A later run, which gives the rest back, reads this, too.
    assert systemd.before(given_back, LAYOUT) == {"active": up, "enabled": enabled, "bridge": bridge}


def test_an_engine_that_was_never_changed_is_left_alone() -> None:
    assert systemd.plan({}, BRIDGE, LAYOUT, State({}, up=True, enabled=False)) == []


def test_no_container_outlives_an_engine_that_is_given_back() -> None:
    for is_outdated in (False, True):
        running = State(files(), up=True, enabled=True, is_outdated=is_outdated)
        assert [str(step) for step in systemd.plan({}, BRIDGE, LAYOUT, running)][:2] == [
            "have docker.service end its containers with it",
            "stop docker.service",
        ]
    stopped = State(files(), up=False, enabled=True)
    assert str(systemd.plan({}, BRIDGE, LAYOUT, stopped)[0]) == "stop docker.service"


def test_only_a_change_restarts_it() -> None:
    running = State(files(), up=True, enabled=True)
    assert [str(step) for step in systemd.plan(files(running, mtu=1400), BRIDGE, LAYOUT, running)] == [
        "write /etc/mesos-dind/daemon.json",
        "write /etc/systemd/system/docker.service.d/mesos-dind.conf",
        "reload systemd",
        "restart docker.service",
    ]
    assert systemd.plan(files(running), BRIDGE, LAYOUT, running) == []


def test_the_machines_own_places_are_left_to_the_engine() -> None:
    config = json.loads(files(storage_driver="overlay2")[str(LAYOUT.config_file)])
    assert config == {
        "data-root": "/var/lib/docker",
        "storage-driver": "overlay2",
        "live-restore": True,
        "log-level": "warn",
    }


def test_the_drop_in_waits_for_the_data_root_and_the_bridge() -> None:
    assert "RequiresMountsFor=/data" in drop_in(data_root="/data")
    bridged: dict[str, Any] = {"uplink": "ens3", "bip": "10.0.2.15/24"}
    assert "ExecStartPre=/bin/sh /etc/mesos-dind/await-bridge docker0 ens3 10.0.2.15/24 30" in drop_in(**bridged)
    assert str(LAYOUT.await_bridge) in files(**bridged)
    assert not [line for line in drop_in() if line.startswith("ExecStartPre")]
    assert str(LAYOUT.await_bridge) not in files()


def test_control_groups_are_delegated_whatever_the_unit_says() -> None:
    assert "Delegate=yes" in drop_in()


def awaiting(devices: Path, addresses: str) -> subprocess.CompletedProcess[str]:
    """Run the script that runs before dockerd, with these devices and this output of `ip`."""
    script = engine_drop_in.AWAIT_BRIDGE.replace("/sys/class/net", str(devices))
    script = f"ip() {{ printf '{addresses}'; }}\n{script}"
    command = ["sh", "-c", script, "await-bridge", "docker0", "ens3", "10.0.2.15/24", "0"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_dockerd_is_not_started_while_the_bridge_is_not_what_it_was_told(tmp_path: Path) -> None:
    other = "4: docker0    inet 10.0.2.99/24 scope global docker0\\n"
    own = "4: docker0    inet 10.0.2.15/24 scope global docker0\\n"
    cure = ", and dockerd would take this machine off its network; run the playbook mesos.dind.vm again\n"
    assert awaiting(tmp_path, own).stderr == "ens3 is no port of docker0" + cure
    (tmp_path / "docker0/brif/ens3").mkdir(parents=True)
    refused = awaiting(tmp_path, other)
    assert (refused.returncode, refused.stderr) == (
        1,
        f"docker0 has the address 10.0.2.99/24 and not 10.0.2.15/24{cure}",
    )
    assert "the address none and not" in awaiting(tmp_path, "").stderr
    for addresses in (own, other + own):
        assert awaiting(tmp_path, addresses).returncode == 0


class Machine:
    """A machine whose docker.service runs, as systemd and the kernel show it."""

    def __init__(self, proc: Path) -> None:
        self.process, self.said = proc / "7", {"NeedDaemonReload": "no"}
        self.process.mkdir()
        self.runs()

    def runs(self, program: str = "/usr/sbin/dockerd", environment: str = "") -> None:
        (self.process / "exe").unlink(missing_ok=True)
        (self.process / "exe").symlink_to(program)
        (self.process / "environ").write_text(environment)

    @property
    def state(self) -> State:
        told = {"ActiveState": "active", "UnitFileState": "enabled", "MainPID": "7", **self.said}
        systemctl = "".join(f"{name}={value}\n" for name, value in told.items())
        return systemd.inspect(LAYOUT, "docker0", Failing({"systemctl": systemctl}), self.process.parent)


def test_an_engine_whose_program_was_replaced_does_not_run_as_it_is_to(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert (machine.state.up, machine.state.is_outdated) == (True, False)
    machine.runs("/usr/sbin/dockerd (deleted)")
    assert (machine.state.up, machine.state.is_outdated) == (True, True)
    # That engine ran, too, and runs again once the machine is given back.
    assert systemd.before(machine.state, LAYOUT)["active"]


def test_an_engine_that_was_started_with_other_files_does_not_run_as_it_is_to(tmp_path: Path) -> None:
    (line,) = (line for line in drop_in() if engine_drop_in.DIGEST.search(line))
    word, machine = line.removeprefix("Environment="), Machine(tmp_path)
    other = f"{engine_drop_in.STARTED_WITH}={'0' * 64}"
    machine.said["Environment"] = f'"A=b c" {word} DOCKER_OPTS='
    for has, is_outdated in ((f"A=b c\0{word}\0DOCKER_OPTS=\0", False), (f"A=b c\0{other}\0", True), ("", True)):
        machine.runs(environment=has)
        assert machine.state.is_outdated is is_outdated
    # An administrator's drop-in has emptied the environment: nothing is known.
    machine.said["Environment"] = "A=b"
    assert not machine.state.is_outdated
    machine.said["NeedDaemonReload"] = "yes"
    assert machine.state.is_outdated


def test_an_environment_of_several_lines_is_no_obstacle(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.said["Environment"] = "A=one\ntwo"
    assert machine.state.up


def test_no_word_can_hold_a_nul() -> None:
    with pytest.raises(DindError, match=r"holds a NUL"):
        drop_in(args=["a\0b"])


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_no_flag_adds_a_line_to_the_drop_in(args: list[str]) -> None:
    text = files(args=args)[str(LAYOUT.drop_in)]
    assert len(text.split("\n")) == len(files()[str(LAYOUT.drop_in)].split("\n"))


class Failing(Runner):
    """A machine on which the engine does not start, as systemd and its journal show it."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        super().__init__()
        self.asked: list[tuple[str, ...]] = []
        self.answers = answers

    def run(self, *argv: str, **options: Any) -> Any:
        self.asked.append(argv)
        if argv[:2] == ("systemctl", "restart"):
            raise DindError("Job for docker.service failed")
        return type("Answer", (), {"stdout": self.answers.get(argv[0], "")})()


def test_an_engine_that_does_not_start_is_stopped_and_says_why() -> None:
    runner = Failing({"journalctl": "starting up\nunable to configure the Docker daemon\n"})
    with pytest.raises(DindError, match=r"did not start; its last log lines: starting up \| unable to configure"):
        systemd_steps.Restart(BRIDGE).do(runner)
    assert runner.asked[2] == ("systemctl", "stop", "docker.service", "docker.socket")


def test_an_engine_that_is_restarted_leaves_the_mount_on_its_data_root_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "unmount-on-shutdown"
    note.touch()
    monkeypatch.setattr(systemd_steps, "UNMOUNT_ON_SHUTDOWN", note)
    with pytest.raises(DindError, match="did not start"):
        systemd_steps.Restart(BRIDGE).do(Failing({}))
    assert not note.exists()


def test_a_container_has_no_engine_to_give_back() -> None:
    with pytest.raises(DindError, match=r"state absent needs supervisor systemd"):
        engine.core(params(supervisor="s6", state="absent"), Runner(), False)


def test_without_an_engine_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_given, **_options: None)
    with pytest.raises(DindError, match=r"there is no dockerd; have the role engine install a package"):
        systemd.desired_files(params(), LAYOUT, UNTOUCHED, check=False)


def test_an_engine_that_is_to_be_installed_is_predicted_as_its_package_leaves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_given, **_options: None)
    said = {"systemctl": "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\n"}
    outcome = systemd.core(params(had_bridge=True), Failing(said), True)
    assert outcome.actions == [
        "write /var/lib/mesos-dind/engine-before.json",
        "write /etc/mesos-dind/daemon.json",
        "write /etc/systemd/system/docker.service.d/mesos-dind.conf",
        "reload systemd",
        "restart docker.service",
    ]
    assert json.loads(outcome.after["files"][NOTE]) == {"active": False, "enabled": True, "bridge": True}
