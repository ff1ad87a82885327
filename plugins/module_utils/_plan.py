# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inspect, plan, apply: the frame of every module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar, Generic, TypeVar

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

S = TypeVar("S")


class Described:
    """Anything that ``says`` in one line what it does, with its own attributes, as in ``mount {self.path}``."""

    says: ClassVar[str]

    def __str__(self) -> str:
        return self.says.format(self=self)


class Step(Described, Generic[S]):
    """One change, as a frozen dataclass.

    ``str()`` describes the step. ``effect`` is pure and gives the state after the step, for the diff, check mode and
    property tests. ``do`` makes the change. ``undo`` takes the change back, if a later failure could cut a host off.
    """

    def effect(self, state: S) -> S:
        raise NotImplementedError

    def do(self, runner: Runner) -> None:
        raise NotImplementedError

    def undo(self, runner: Runner) -> None:
        """Do nothing, unless the step overrides this."""


@dataclass(frozen=True)
class Converged(Generic[S]):
    """The state before a run, the run's steps, and the state after it; in check mode the last two are expected."""

    before: S
    after: S
    steps: tuple[Step[S], ...]

    @property
    def actions(self) -> list[str]:
        return [str(step) for step in self.steps]


@dataclass(frozen=True)
class Outcome:
    """The result of a module: its actions as texts, the diff, and the values to return."""

    actions: Sequence[str]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    facts: Mapping[str, Any]
    warnings: Sequence[str] = field(default_factory=tuple)

    @property
    def answer(self) -> dict[str, Any]:
        """The result in Ansible's terms, as a module returns it."""
        return {
            "changed": bool(self.actions),
            "actions": list(self.actions),
            "diff": {"before": dict(self.before), "after": dict(self.after)},
            "warnings": list(self.warnings),
            **self.facts,
        }


def expected(state: S, steps: Sequence[Step[S]]) -> S:
    """The state after the steps, computed without doing the steps."""
    return reduce(lambda current, step: step.effect(current), steps, state)


def apply(steps: Sequence[Step[S]], runner: Runner) -> None:
    """Do the steps in order. If a step fails, undo that step and all before it, last first.

    Raises a DindError that names the step. The error's cause tells any failure to undo, too.
    """
    for index, step in enumerate(steps):
        try:
            step.do(runner)
        except (DindError, OSError) as error:
            raise _undone(error, steps[: index + 1], runner) from error


def _undone(error: DindError | OSError, steps: Sequence[Step[S]], runner: Runner) -> DindError:
    cause = error.cause if isinstance(error, DindError) else str(error)
    cure = error.cure if isinstance(error, DindError) else ""
    for step in reversed(steps):
        try:
            step.undo(runner)
        except (DindError, OSError) as worse:
            cause += f" (and could not be undone: {worse})"
    return DindError(cause, step=str(steps[-1]), cure=cure)


def converge(
    inspect: Callable[[], S],
    plan: Callable[[S], Sequence[Step[S]]],
    runner: Runner,
    *,
    check: bool,
    found: S | None = None,
) -> Converged[S]:
    """Inspect, plan and, unless ``check``, apply; then inspect again. ``found`` is a state inspected already.

    Raises DindError if a step fails. Raises DindError, too, if another plan after the last step has steps: then every
    run would change something.
    """
    before = inspect() if found is None else found
    steps = tuple(plan(before))
    if check or not steps:
        return Converged(before, expected(before, steps), steps)
    apply(steps, runner)
    after = inspect()
    left = plan(after)
    if left:
        raise DindError(
            f"after {', '.join(map(str, steps))} there is still to do: {', '.join(map(str, left))}",
            cure="something else changes the same thing, or this is a bug: please report it with this line",
        )
    return Converged(before, after, steps)
