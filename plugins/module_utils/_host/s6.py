# Copyright 2026 The mesos.dind Authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Services under s6: are they up, bring them up until they say that they are ready, take them down.

Readiness is the daemon's own word, over the socket of sd_notify(3), which dockerd and containerd both speak.
(s6 can bridge that protocol to its own only from 2.13 on; Ubuntu 24.04 has an older one.)
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


@dataclass(frozen=True)
class Service:
    """A service directory under s6-svscan.

    ``notify`` is the address that its ``run`` gives as NOTIFY_SOCKET, ``ended`` the pipe that its ``finish``
    writes to if there is one; its logger, s6-log, writes the file ``current`` in ``log``.
    """

    name: str
    directory: Path
    notify: Path
    ended: Path
    log: Path

    def is_up(self, runner: Runner) -> bool:
        # 111: not supervised (no s6-supervise has run here); 1: supervised, but so little that it cannot say
        answer = runner.run("s6-svstat", "-o", "up", str(self.directory), ok=(0, 1, 111))
        return answer.stdout.strip() == "true"

    def start(self, runner: Runner, timeout: float) -> None:
        """Bring it up and wait until it is ready, ``timeout`` seconds at most.

        Until then it is started once only, so that what cannot start is an error with its last log lines, and
        not a loop. Raises DindError for that, and for the time-out.
        """
        deadline = time.monotonic() + timeout
        logger = self.directory / "log"
        for directory in (logger, self.directory):  # each has a supervisor of its own
            self._await_supervisor(directory, deadline)
        runner.run("s6-svc", "-u", str(logger))
        with self._notification_socket() as ready, self._end_pipe() as end, selectors.DefaultSelector() as selector:
            selector.register(ready, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            runner.run("s6-svc", "-o", str(self.directory))
            while b"READY=1" not in self._event(selector, ready, deadline, timeout):
                pass
        runner.run("s6-svc", "-u", str(self.directory))

    def stop(self, runner: Runner, timeout: float) -> None:
        """Take it down (SIGTERM) and wait until it is, ``timeout`` seconds at most."""
        runner.run("s6-svc", "-wD", "-T", str(round(timeout * 1000)), "-d", str(self.directory))

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, on one line."""
        try:
            text = (self.log / "current").read_text(errors="replace").strip()
        except FileNotFoundError:
            text = ""
        return f"its last log lines: {' | '.join(text.splitlines()[-lines:])}" if text else "it logged nothing"

    @property
    def _cure(self) -> str:
        return f"mend what it says; all of its log is in {self.log}"

    def _await_supervisor(self, directory: Path, deadline: float) -> None:
        """s6-svscan starts the supervisors when the container starts, long before the first service is wanted,
        but gives no event for it: s6-svok looks, and so does this."""
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
                # A later start, after a crash, finds no listener; sd_notify is then silent.
                self.notify.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _end_pipe(self) -> Iterator[int]:
        """A pipe into which the service's ``finish`` writes."""
        self.ended.unlink(missing_ok=True)
        os.mkfifo(self.ended)
        descriptor = os.open(self.ended, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            self.ended.unlink()

    def _event(
        self, selector: selectors.BaseSelector, ready: socket.socket, deadline: float, timeout: float
    ) -> list[bytes]:
        events = selector.select(max(0.0, deadline - time.monotonic()))
        if not events:
            raise DindError(f"{self.name} is not ready after {timeout:g} s; {self.last_words()}", cure=self._cure)
        if all(key.fileobj is not ready for key, _mask in events):
            raise DindError(f"{self.name} ended while it started; {self.last_words()}", cure=self._cure)
        return ready.recv(4096).split(b"\n")
