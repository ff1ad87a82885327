# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Services under s6: ask for their state, start them and wait until they are ready, stop them.

A daemon reports that it is ready over the socket of sd_notify(3); dockerd and containerd both do. Before 2.13, as in
Ubuntu 24.04, s6 cannot translate that protocol into its own.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mesos.dind.plugins.module_utils._errors import DindError
from ansible_collections.mesos.dind.plugins.module_utils._runner import Runner

LOGGER_TIMEOUT = 5.0  # seconds; a logger on a busy machine writes the last lines late


@dataclass(frozen=True)
class Service:
    """A service directory under s6-svscan.

    ``notify`` is the NOTIFY_SOCKET that the service's ``run`` sets. ``ended`` is the pipe that ``finish`` writes to, if
    the pipe exists. The service's logger, s6-log, writes the file ``current`` in ``log``.
    """

    name: str
    directory: Path
    notify: Path
    ended: Path
    log: Path

    def is_up(self, runner: Runner) -> bool:
        # 111: no s6-supervise has run here; 1: s6-supervise has not yet written the status
        answer = runner.run("s6-svstat", "-o", "up", str(self.directory), ok=(0, 1, 111))
        return answer.stdout.strip() == "true"

    def start(self, runner: Runner, timeout: float) -> None:
        """Start the service and wait until it is ready, at most ``timeout`` seconds.

        s6 restarts the service only once it has been ready. Raises DindError, with the last log lines, if the service
        ends before, and after the time-out.
        """
        deadline = time.monotonic() + timeout
        logger = self.directory / "log"
        for directory in (logger, self.directory):  # each has its own supervisor
            self._await_supervisor(directory, deadline)
        runner.run("s6-svc", "-u", str(logger))
        ends = self._log().count(self._end_mark)
        with self._notification_socket() as ready, self._end_pipe() as end, selectors.DefaultSelector() as selector:
            selector.register(ready, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            runner.run("s6-svc", "-o", str(self.directory))
            while b"READY=1" not in self._event(selector, ready, deadline, timeout, ends + 1):
                pass
        runner.run("s6-svc", "-u", str(self.directory))

    def stop(self, runner: Runner, timeout: float) -> None:
        """Stop the service with SIGTERM and wait until it is down, at most ``timeout`` seconds."""
        runner.run("s6-svc", "-wD", "-T", str(round(timeout * 1000)), "-d", str(self.directory))

    def last_words(self, lines: int = 5, *, ends: int = 0) -> str:
        """The end of the service's log, on one line, once the log has so many ends; waits LOGGER_TIMEOUT at most."""
        deadline = time.monotonic() + LOGGER_TIMEOUT
        text = self._log()
        while text.count(self._end_mark) < ends and time.monotonic() < deadline:
            time.sleep(0.005)
            text = self._log()
        words = [line for line in text if line != self._end_mark][-lines:]
        return f"its last log lines: {' | '.join(words)}" if words else "it logged nothing"

    @property
    def _end_mark(self) -> str:
        """The line that the service's ``finish`` writes; earlier lives of the container have left theirs."""
        return f"mesos-dind: {self.name} has ended"

    def _log(self) -> list[str]:
        try:
            return (self.log / "current").read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return []

    @property
    def _cure(self) -> str:
        return f"mend the cause; the whole log is in {self.log}"

    def _await_supervisor(self, directory: Path, deadline: float) -> None:
        """Wait until s6-supervise reads the directory's control pipe. Raises DindError after the deadline.

        s6-svscan starts the supervisors when the container starts, long before the first service is wanted. s6
        reports no event for it, so this function polls the pipe as s6-svok does.
        """
        control = directory / "supervise/control"
        while True:
            try:
                os.close(os.open(control, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:  # ENOENT: never supervised; ENXIO: nobody reads it
                if time.monotonic() > deadline:
                    raise DindError(f"nothing supervises {directory} ({error.strerror})") from None
                time.sleep(0.005)
            else:
                return

    @contextlib.contextmanager
    def _notification_socket(self) -> Iterator[socket.socket]:
        self.notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self.notify))
            try:
                yield ready
            finally:
                # A later start, after a crash, finds no socket; sd_notify then does nothing.
                self.notify.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _end_pipe(self) -> Iterator[int]:
        """The descriptor of the pipe that the service's ``finish`` writes to."""
        self.ended.unlink(missing_ok=True)
        os.mkfifo(self.ended)
        descriptor = os.open(self.ended, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            self.ended.unlink()

    def _event(
        self, selector: selectors.BaseSelector, ready: socket.socket, deadline: float, timeout: float, ends: int
    ) -> list[bytes]:
        events = selector.select(max(0.0, deadline - time.monotonic()))
        if not events:
            raise DindError(f"{self.name} is not ready after {timeout:g} s; {self.last_words()}", cure=self._cure)
        if all(key.fileobj is not ready for key, _mask in events):
            raise DindError(f"{self.name} ended while it started; {self.last_words(ends=ends)}", cure=self._cure)
        return ready.recv(4096).split(b"\n")
