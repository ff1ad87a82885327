# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The exception of the core, which only the shells around it (module, action, entry point) catch."""

from __future__ import annotations


class DindError(Exception):
    """A failure: the ``step`` that failed, the ``cause``, and the ``cure``, which says what the user can do.

    ``str()`` gives one line for the user.
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
    """The value of ``parameter``, a parameter of the module, is wrong."""

    def __init__(self, cause: str, parameter: str) -> None:
        super().__init__(cause)
        self.args = (cause, parameter)  # pickle passes these to the constructor
        self.parameter = parameter
