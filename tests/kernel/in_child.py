# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Functions called in a child of the test's process, since what it enters (a namespace, a group) it enters for good."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def call_in_child(function: Callable[[], T]) -> T:
    """``function`` called in a child of this process; its answer, or its exception with its traceback as a note.

    Raises ChildProcessError when the child died before it had an answer.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _answer(sending, function)
    os.close(sending)
    with os.fdopen(receiving, "rb") as answers:
        raw = answers.read()
    os.waitpid(child, 0)
    if not raw:
        raise ChildProcessError("the child died without an answer")
    succeeded, answer = pickle.loads(raw)  # noqa: S301 - our own child's
    if not succeeded:
        raise answer
    return answer  # type: ignore[no-any-return]


def _answer(sending: int, function: Callable[[], Any]) -> NoReturn:
    try:
        answer = (True, function())
    except BaseException as error:
        error.add_note("".join(traceback.format_exc()))
        answer = (False, error)
    try:
        with os.fdopen(sending, "wb") as answers:
            answers.write(pickle.dumps(answer))
    finally:
        sys.stdout.flush()
        os._exit(0)
