# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The syntax of systemd's unit files (systemd.syntax(7), systemd.service(5))."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError


def command(words: Sequence[str]) -> str:
    """A command line of a unit file with exactly these words. Raises DindError as ``word``."""
    return " ".join(map(word, words))


def word(text: str) -> str:
    """One word of a command line: quoted if necessary, without specifiers and variables.

    Raises DindError for a word that no unit file can hold.
    """
    if "\0" in text:
        raise DindError(f"{text!r} holds a NUL, which no command line can")
    escaped = "".join(f"\\x{ord(char):02x}" if ord(char) < 32 else char for char in re.sub(r'([\\"])', r"\\\1", text))
    doubled = escaped.replace("%", "%%").replace("$", "$$")
    return doubled if re.fullmatch(r"[\w@/:.,=+%$-]+", doubled) else f'"{doubled}"'
