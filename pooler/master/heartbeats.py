"""Signs of life: silent children are killed, and the service manager hears that all is well while it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from pooler.config import Settings
from pooler.master.loop import Loop
from pooler.master.notify import Notifier
from pooler.master.workers import Workers

#: How often heartbeats are looked at, at most; more often if worker_timeout is short.
CHECK_S = 1.0


class Heartbeats:
    """Looks at the signs of life of the children, for ever; `also` is told of each look, with the timeout."""

    def __init__(
        self,
        loop: Loop,
        workers: Workers,
        notifier: Notifier,
        settings: Callable[[], Settings],
        also: Callable[[float], object],
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._notifier = notifier
        self._settings = settings
        self._also = also
        self._checked_s = time.monotonic()

    def start(self) -> None:
        """From now on."""
        self._check()
        if self._notifier.watchdog_s:
            self._ping()

    def _check(self) -> None:
        """Kill the silent. Not right after a pause of our own: the whole machine may have slept."""
        now = time.monotonic()
        timeout_s = self._settings().worker_timeout
        interval_s = min(CHECK_S, timeout_s / 4) if timeout_s else CHECK_S
        late_s = now - self._checked_s - interval_s
        self._checked_s = now
        self._workers.reap()  # should a SIGCHLD have been lost
        if timeout_s and late_s < timeout_s / 2:
            self._workers.kill_silent(timeout_s)
            self._also(timeout_s)
        self._loop.after(interval_s, self._check)

    def _ping(self) -> None:
        """Tell the service manager that we live, as long as that is true of the workers too."""
        if self._workers.are_alive(2 * self._notifier.watchdog_s, self._settings().worker_timeout):
            self._notifier.alive()
        self._loop.after(self._notifier.watchdog_s, self._ping)
