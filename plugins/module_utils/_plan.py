# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inspect, plan, apply: the core's one idea, for every module alike."""

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

    It says what it is (``str``), what it makes of a state (``effect``, pure: the diff, check mode and the
    property tests are made of it), and does it (``do``). A step that could cut a machine off when a later
    one fails also knows how to take itself back (``undo``).
    """

    def effect(self, state: S) -> S:
        raise NotImplementedError

    def do(self, runner: Runner) -> None:
        raise NotImplementedError

    def undo(self, runner: Runner) -> None:
        """Nothing to take back unless the step says otherwise."""


@dataclass(frozen=True)
class Converged(Generic[S]):
    """What a run found, did (or, in check mode, would do) and left behind."""

    before: S
    after: S
    steps: tuple[Step[S], ...]

    @property
    def actions(self) -> list[str]:
        return [str(step) for step in self.steps]


@dataclass(frozen=True)
class Outcome:
    """What a module has to tell."""

    actions: Sequence[str]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    facts: Mapping[str, Any]
    warnings: Sequence[str] = field(default_factory=tuple)

    @property
    def answer(self) -> dict[str, Any]:
        """As a module answers, in Ansible's terms."""
        return {
            "changed": bool(self.actions),
            "actions": list(self.actions),
            "diff": {"before": dict(self.before), "after": dict(self.after)},
            "warnings": list(self.warnings),
            **self.facts,
        }


def expected(state: S, steps: Sequence[Step[S]]) -> S:
    """The state that the steps lead to, worked out without doing them."""
    return reduce(lambda current, step: step.effect(current), steps, state)


def apply(steps: Sequence[Step[S]], runner: Runner) -> None:
    """Do the steps in order; when one fails, undo those before it (and itself), last first.

    Raises DindError that names the step; a failure to undo is added to it, not hidden.
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

    Raises DindError when a step fails, or when after all of them something is still to do: a plan that does
    not reach its own goal would change something at every run.
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
