"""The master's one loop: callbacks on descriptors and at times, on `selectors`.

Nothing in it may wait. A callback that raises is a bug: it is logged and the loop goes on, because a master
that dies takes every client with it.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

from pooler import log

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

#: After a bug the same event may come again at once: then log a hundred lines a second, not all the disk
#: holds.
BUG_PAUSE_S = 0.01


class Timer:
    """A call that will happen; `cancel` prevents it."""

    __slots__ = ("callback", "canceled")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


class Loop:
    """Waits for descriptors and times; see `run`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()  # equal times keep their order, and Timers need no comparison

    def watch(self, fd: int, callback: Callable[[], object], events: int = READ) -> None:
        """Call `callback` whenever `fd` is ready for `events`; replaces an earlier watch of it."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, callback)
        else:
            self._selector.register(fd, events, callback)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`, watched or not.

        Call it before closing the descriptor: a child may hold a duplicate.
        """
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def after(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, `delay_s` seconds from now."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def run_once(self, max_wait_s: float | None = None) -> None:
        """Sleep until something happens (at most `max_wait_s`), then make the calls that are due."""
        for key, _ in self._selector.select(self._patience(max_wait_s)):
            if key.fileobj in self._selector.get_map():  # an earlier callback of this turn may have ended it
                self._call(key.data)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.canceled:
                self._call(timer.callback)

    def _patience(self, max_wait_s: float | None) -> float | None:
        while self._timers and self._timers[0][2].canceled:
            heapq.heappop(self._timers)
        if not self._timers:
            return max_wait_s
        wait_s = max(0.0, self._timers[0][0] - time.monotonic())
        return wait_s if max_wait_s is None else min(wait_s, max_wait_s)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as e:
            log.exception("bug in the master", e)
            time.sleep(BUG_PAUSE_S)

    def close(self) -> None:
        """Close the epoll descriptor. In a child this leaves the parent's registrations alone."""
        self._selector.close()
