"""Waiting for the end of processes that are not our children."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from pooler.master.loop import Loop


class Processes:
    """Calls `done` when all of them have ended."""

    def __init__(self, loop: Loop, pids: Sequence[int], done: Callable[[], object]) -> None:
        self._loop = loop
        self._done = done
        self._fds: set[int] = set()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._fds.add(os.pidfd_open(pid))
        for fd in list(self._fds):
            loop.watch(fd, lambda fd=fd: self._gone(fd))  # type: ignore[misc]
        if not self._fds:
            loop.after(0, done)

    def _gone(self, fd: int) -> None:
        self._loop.unwatch(fd)
        os.close(fd)
        self._fds.discard(fd)
        if not self._fds:
            self._done()
