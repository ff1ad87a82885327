"""Words of systemd's unit files."""

from __future__ import annotations

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._host import systemd_unit


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--debug", "--debug"),
        ("--label=a b", '"--label=a b"'),
        ('say "no"', r'"say \"no\""'),
        (r"back\slash", r'"back\\slash"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ("two\nlines", r'"two\x0alines"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_a_word_is_written_as_systemd_reads_it(word: str, written: str) -> None:
    """This is systemd.syntax(7) and systemd.service(5); tests/vm shows how systemd reads them."""
    assert systemd_unit.word(word) == written
