"""A healthy client of another database, in a process of its own: how long it waits while others are tried.

The same query goes to PostgreSQL itself in turns, which tells what the machine had its share in.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import time
from types import TracebackType

from tests.support.exchange import direct, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import Wire

PAUSE_S = 0.005
LONG_S = 0.5


class Neighbour:
    """At work during the block."""

    def __init__(self, pooler: Pooler, pg: Postgres, database: str) -> None:
        self._wires = (pooled(pooler, database), direct(pg, database))
        context = multiprocessing.get_context("fork")
        # worst wait and number of long ones: through pooler, and of PostgreSQL itself; answers
        self._found = context.Array(ctypes.c_double, 5)
        self._process = context.Process(target=self._work, name="neighbour", daemon=True)

    def __enter__(self) -> Neighbour:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._died = not self._process.is_alive()
        self._process.terminate()
        self._process.join()
        self._process.close()
        for wire in self._wires:
            wire.close()

    def _work(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            for place, wire in enumerate(self._wires):
                wait_s = self._ask(wire)
                self._found[2 * place] = max(self._found[2 * place], wait_s)
                self._found[2 * place + 1] += wait_s > LONG_S
            self._found[4] += 1
            time.sleep(PAUSE_S)

    def _ask(self, wire: Wire) -> float:
        began = time.monotonic()
        mark = f"neighbour {self._found[4]}"
        assert wire.rows(f"SELECT '{mark}'") == [[mark.encode()]]
        return time.monotonic() - began

    def check(self) -> None:
        """It got all of its answers, and waited for none too long."""
        assert not self._died, "the neighbour got no answer, or a wrong one"
        assert self._found[4], "the neighbour never had its turn"

    def __str__(self) -> str:
        worst, long, worst_direct, long_direct, answers = self._found[:]
        return (
            f"a neighbour waited {worst * 1000:.0f} ms at most for {answers:.0f} answers, {long:.0f} times"
            f" over {LONG_S * 1000:.0f} ms"
            f" (PostgreSQL itself: {worst_direct * 1000:.0f} ms, {long_direct:.0f} times)"
        )
