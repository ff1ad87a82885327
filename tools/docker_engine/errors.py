# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The error that every part of the tool raises."""

from __future__ import annotations


class EngineError(Exception):
    """There can be no engine, or no image: one line that says why and what to do."""

    def __init__(self, cause: str, cure: str = "") -> None:
        super().__init__(f"{cause}; {cure}" if cure else cause)
