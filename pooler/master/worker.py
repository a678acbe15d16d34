"""A child as the master sees it; of a worker the number stays, whichever process has it."""

from __future__ import annotations

import signal
import time
from collections import deque
from dataclasses import dataclass, field

from pooler.master.worker_channel import WorkerChannel

#: Pause before the second fork of a worker that failed to start; doubles with each failure up to the last
#: figure, which is also what a number waits that died DEATHS times within DEATHS_WINDOW_S.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0
DEATHS, DEATHS_WINDOW_S = 20, 60.0


@dataclass(kw_only=True)
class Child:
    """One process that is forked again when it dies."""

    pid: int = 0  # 0: none
    channel: WorkerChannel | None = None
    ready: bool = False
    started_s: float = 0.0
    failures: int = 0  # starts in a row that failed
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    def pause_s(self, now: float) -> float:
        """How long to wait before the next fork."""
        if self.failures:
            return min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 10))
        if len(self.deaths) == DEATHS and now - self.deaths[0] < DEATHS_WINDOW_S:
            return LAST_PAUSE_S
        return 0.0

    def died(self) -> None:
        """Its process has ended."""
        if self.ready:
            self.deaths.append(time.monotonic())
        else:
            self.failures += 1
        self.pid, self.ready = 0, False


@dataclass
class Worker(Child):
    """One number, and the process that has it now."""

    number: int


def how_it_ended(code: int) -> str:
    """An exit code as the log has it."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
