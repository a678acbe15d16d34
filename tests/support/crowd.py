"""Many clients at once, and a watcher of what PostgreSQL sees of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import psycopg2

from tests.support.postgres import Postgres

T = TypeVar("T")

#: PostgreSQL reads the rows one by one: without the time, one look may find a backend that is about to end
#: and the one that comes after it. A backend that had begun when the look began, and was read, was there
#: then, with the others.
COUNT = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_start <= statement_timestamp()"
    " AND backend_type = 'client backend' AND "
)


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Runs work(0), work(1), … in threads of their own; their results, or the first exception."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


class Watcher:
    """Counts backends in a tight loop while the block runs: `most` is the most there ever were."""

    def __init__(self, pg: Postgres, where: str = "datname IN ('p0', 'p1', 'p2', 'p3')") -> None:
        self.most = 0
        self.samples = 0
        self._pg = pg
        self._query = COUNT + where
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        with self._pg.connect() as connection, connection.cursor() as cursor:
            while not self._end.is_set():
                cursor.execute(self._query)
                row = cursor.fetchone()
                assert row is not None
                self.most = max(self.most, row[0])
                self.samples += 1

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        assert self.samples, "nothing was watched"


def refusal(dsn: str) -> str:
    """The message that a connection is refused with."""
    try:
        psycopg2.connect(dsn).close()
    except psycopg2.OperationalError as error:
        return str(error).strip()
    raise AssertionError("was let in")
