# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The one exception that every part of the core raises, and that only a shell (module, entry point) catches."""

from __future__ import annotations


class DindError(Exception):
    """Something that cannot be done here: what was tried, why it failed, and what to do about it.

    ``str()`` of it is one line, meant for a person.
    """

    def __init__(self, cause: str, *, step: str = "", cure: str = "") -> None:
        super().__init__(cause)
        self.cause = " ".join(cause.split())
        self.step = step
        self.cure = cure

    def __str__(self) -> str:
        line = f"{self.step}: {self.cause}" if self.step else self.cause
        return f"{line}; {self.cure}" if self.cure else line


class ParameterError(DindError):
    """What is wrong is the value of ``parameter``, by the name that the module has for it."""

    def __init__(self, cause: str, parameter: str) -> None:
        super().__init__(cause)
        self.args = (cause, parameter)  # what pickle calls it with
        self.parameter = parameter
