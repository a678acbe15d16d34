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

#: Idle servers make room so often at most for what the clients of one database ask, for such statements may
#: be refused, and anybody may send many. PostgreSQL waits for five seconds until it says that others are
#: connected.
INTERVAL_S = 0.5

#: Names that may wait for their turn, per database: nobody drops as many databases in half a second.
NAMES_MAX = 1000


class DatabaseChanges:
    """What one worker's clients do to databases."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._next: dict[str, float] = {}  # when the clients of a database may have their turn again
        self._waiting: dict[str, set[str]] = {}  # for which names they wait

    def heard(self, pool: int, name: str, done: bool) -> None:
        """A client of `pool` is about to do something to the database of that name at its PostgreSQL, or has
        done so. An empty name means all.
        """
        asking = self.worker.tables.pool_key(pool)[0]
        if done:
            self._close(asking, {name})
            return
        waiting = self._waiting.get(asking)
        wait = self._next.get(asking, 0.0) - time.monotonic()
        if waiting is not None:
            if len(waiting) < NAMES_MAX:
                waiting.add(name)
        elif wait > 0:
            self._waiting[asking] = {name}
            self.worker.spawn(self._make_room_later, asking, wait)
        else:
            self._make_room(asking, {name})

    def _make_room(self, asking: str, names: set[str]) -> None:
        self._next[asking] = time.monotonic() + INTERVAL_S
        self._close(asking, names)

    def _make_room_later(self, asking: str, wait_s: float) -> None:
        gevent.sleep(wait_s)
        self._make_room(asking, self._waiting.pop(asking))

    def _close(self, asking: str, names: set[str]) -> None:
        config = self.worker.config
        here = config.find_database(asking)
        if here is None:
            return
        for row in self.worker.tables.databases():
            other = config.find_database(row["name"])
            if other is not None and ("" in names or other.dbname in names) and same_place(here, other):
                self.worker.operations.close_idle(row["index"], mark=True)


def same_place(one: Database, other: Database) -> bool:
    """Whether two entries lead to the same PostgreSQL; one that has two spellings is taken for two."""
    hosts = one.hosts == other.hosts or not set(one.hosts).isdisjoint(other.hosts)
    return hosts and one.port == other.port
