"""Tests of converging: the steps done and undone, check mode, and plans that miss their goal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._plan import Step, apply, converge
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner


@dataclass(frozen=True)
class State:
    done: tuple[str, ...] = ()


@dataclass
class World:
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Act(Step[State]):
    says = "act {self.name}"
    name: str
    world: World
    fails: bool = False

    def effect(self, state: State) -> State:
        return dataclasses.replace(state, done=(*state.done, self.name))

    def do(self, runner: Runner) -> None:
        self.world.log.append(self.name)
        if self.fails:
            raise DindError("it broke", cure="mend it")

    def undo(self, runner: Runner) -> None:
        self.world.log.append(f"undo {self.name}")


def test_a_failure_undoes_what_was_done_last_first_and_names_the_step() -> None:
    world = World()
    with pytest.raises(DindError, match="act b: it broke; mend it"):
        apply([Act("a", world), Act("b", world, fails=True), Act("c", world)], Runner())
    assert world.log == ["a", "b", "undo b", "undo a"]


def test_check_mode_does_nothing_and_predicts() -> None:
    world = World()
    done = converge(State, lambda state: [] if state.done else [Act("a", world)], Runner(), check=True)
    assert (done.actions, done.before, done.after, world.log) == (["act a"], State(), State(("a",)), [])


def test_a_plan_that_does_not_reach_its_goal_is_an_error() -> None:
    world = World()
    with pytest.raises(DindError, match="there is still to do: act a"):
        converge(State, lambda state: [Act("a", world)], Runner(), check=False)


def test_a_state_that_was_inspected_already_is_inspected_again_only_after_a_change() -> None:
    looks = iter([State(("a",))])

    def plan(state: State) -> list[Act]:
        return [] if state.done else [Act("a", World())]

    assert converge(lambda: next(looks), plan, Runner(), check=False, found=State(("a",))).actions == []
    assert converge(lambda: next(looks), plan, Runner(), check=False, found=State()).after == State(("a",))


def test_a_command_that_fails_says_which_with_what_status_and_why() -> None:
    with pytest.raises(DindError, match=r"`sh -c echo no >&2; exit 3` failed with status 3: no$"):
        Runner().run("sh", "-c", "echo no >&2; exit 3")
    with pytest.raises(DindError, match="there is no program 'no-such-program'"):
        Runner().run("no-such-program")
    with pytest.raises(DindError, match=r"did not end within 0\.1 s"):
        Runner().run("sleep", "5", timeout=0.1)
