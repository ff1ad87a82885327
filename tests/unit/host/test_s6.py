"""The last lines of a service under s6, for the message about a start that failed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ansible_collections.mesos.dind.plugins.module_utils._host import s6

MARK = "mesos-dind: dockerd has ended\n"


def service(folder: Path) -> s6.Service:
    return s6.Service("dockerd", folder, folder / "notify", folder / "ended", folder)


def test_the_end_of_the_log_is_one_line_without_our_own_mark(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("".join(f"line {number}\n" for number in range(9)) + MARK)
    assert service(tmp_path).last_words(2, ends=1) == "its last log lines: line 7 | line 8"


def test_the_lines_that_a_slow_logger_writes_after_the_end_are_awaited(tmp_path: Path) -> None:
    waits = threading.Event()

    class Watched(s6.Service):
        def _log(self) -> list[str]:
            found = super()._log()
            waits.set()
            return found

    def log() -> None:
        waits.wait()
        (tmp_path / "current").write_text(f"no such runtime\n{MARK}")

    logger = threading.Thread(target=log)
    logger.start()
    words = Watched("dockerd", tmp_path, tmp_path, tmp_path, tmp_path).last_words(ends=1)
    logger.join()
    assert words == "its last log lines: no such runtime"


def test_an_end_of_an_earlier_life_is_not_taken_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "current").write_text(f"of an earlier life\n{MARK}")
    looks = 0

    class Late(s6.Service):
        def _log(self) -> list[str]:
            nonlocal looks
            looks += 1
            if looks == 3:
                with (tmp_path / "current").open("a") as log:
                    log.write(f"of this life\n{MARK}")
            return super()._log()

    words = Late("dockerd", tmp_path, tmp_path, tmp_path, tmp_path).last_words(1, ends=2)
    assert words == "its last log lines: of this life"


def test_a_logger_that_never_writes_is_no_endless_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s6, "LOGGER_TIMEOUT", 0.0)
    assert service(tmp_path).last_words(ends=1) == "it logged nothing"
