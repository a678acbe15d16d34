"""Turns: how many clients of this machine compute their login at once.

Most of what a login costs is computed by the client: its half of the handshake, PBKDF2. A hundred that do so
side by side on this machine want the cores that running queries need, PostgreSQL and those who wait for the
answers, and none of them is done sooner for it. So they are asked for it one after the other, as many at a
time as there are cores. Clients elsewhere have cores of their own, and what pooler computes for them yields
to the relay anyway.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import Semaphore

if TYPE_CHECKING:
    from pooler.worker.client import Client

#: A client that has been silent for so long is not computing: its turn is over, so that others need not wait.
SILENT_S = 0.1


class Turns:
    """Of one worker of so many; `spawn` makes greenlets."""

    def __init__(self, workers: int, spawn: Callable[..., Any]) -> None:
        self._spawn = spawn
        count = max(1, len(os.sched_getaffinity(0)) // workers)  # a core for each, over all workers
        self._free = Semaphore(count)
        self._taken: set[Client] = set()
        self._queue = 0

    def take(self, client: Client) -> None:
        """Wait for a turn, which lasts until `end`. At once for those who need none, or have one."""
        if not client.is_local or client in self._taken:
            return
        if not self._free.acquire(blocking=False):
            self._wait()
        self._taken.add(client)

    def _wait(self) -> None:
        self._queue += 1
        if self._queue == 1:
            self._spawn(self._end_silent)
        try:
            self._free.acquire()
        finally:
            self._queue -= 1

    def end(self, client: Client) -> None:
        """It has proven who it is, or failed to. Does nothing if its turn is over already."""
        if client in self._taken:
            self._taken.remove(client)
            self._free.release()

    def _end_silent(self) -> None:
        while self._queue:
            gevent.sleep(SILENT_S / 2)
            now = time.monotonic()
            for client in [one for one in self._taken if one.silent_s(now) >= SILENT_S]:
                self.end(client)
