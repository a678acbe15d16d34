"""Databases that clients make, copy, alter or drop at PostgreSQL: idle servers are not to be in the way, and
what new sessions begin with is not to wait until servers are old. A relay tells when such a statement passes,
or when its transaction is over (`TRAIT_DATABASE` of `core/words.h`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import gevent

from pooler.config.model import Database

if TYPE_CHECKING:
    from pooler.worker.worker import Worker

#: The servers of a database make room so often at most, for such statements may be refused, and anybody may
#: send many. PostgreSQL waits for five seconds until it says that others are connected.
INTERVAL_S = 0.5


class DatabaseChanges:
    """What one worker's clients do to databases."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._next: dict[int, float] = {}  # when a database, by its row, may have its turn again
        self._waiting: set[int] = set()

    def heard(self, pool: int, name: str, done: bool) -> None:
        """A client of `pool` is about to do something to the database of that name at its PostgreSQL, or has
        done so. An empty name means all.
        """
        config = self.worker.config
        here = config.find_database(self.worker.tables.pool_key(pool)[0])
        if here is None:
            return
        for row in self.worker.tables.databases():
            other = config.find_database(row["name"])
            if other is not None and name in ("", other.dbname) and same_place(here, other):
                (self._close if done else self._make_room)(row["index"])

    def _make_room(self, row: int) -> None:
        if row in self._waiting:
            return
        wait = self._next.get(row, 0.0) - time.monotonic()
        if wait > 0:
            self._waiting.add(row)
            self.worker.spawn(self._make_room_later, row, wait)
        else:
            self._next[row] = time.monotonic() + INTERVAL_S
            self._close(row)

    def _make_room_later(self, row: int, wait_s: float) -> None:
        gevent.sleep(wait_s)
        self._waiting.discard(row)
        self._make_room(row)

    def _close(self, row: int) -> None:
        self.worker.operations.close_idle(row, mark=True)


def same_place(one: Database, other: Database) -> bool:
    """Whether two entries lead to the same PostgreSQL; one that has two spellings is taken for two."""
    hosts = one.hosts == other.hosts or not set(one.hosts).isdisjoint(other.hosts)
    return hosts and one.port == other.port
