"""Money transfers by several threads, each noting what it was told, so that nothing can be lost unseen."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from types import TracebackType

import psycopg2

from tests.support.postgres import Postgres
from tests.support.processes import wait_for

ACCOUNTS = 50
START = 1000

TABLES = f"""
DROP TABLE IF EXISTS account, journal;
CREATE TABLE account (id int PRIMARY KEY, money int NOT NULL);
CREATE TABLE journal (transfer int PRIMARY KEY);
INSERT INTO account SELECT n, {START} FROM generate_series(1, {ACCOUNTS}) AS n;
"""


class Bank:
    """Transfers run during the block; `check` afterwards."""

    def __init__(self, pg: Postgres, dsn: Callable[[], str], tellers: int = 8, database: str = "p0") -> None:
        self.pg = pg
        self.dsn = dsn
        self.database = database
        self.committed: set[int] = set()  # PostgreSQL said so
        self.failed: set[int] = set()  # COMMIT was never sent, or answered with an error
        self.unknown: set[int] = set()  # COMMIT was sent, and no answer came
        self.begun: set[int] = set()  # its first statement was answered, and it has not been committed
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(tellers)]
        pg.sql(TABLES, dbname=database, user="bouncer")

    def __enter__(self) -> Bank:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_commits(self, more: int, timeout_s: float = 10) -> None:
        """That many transfers more than now."""
        goal = len(self.committed) + more
        wait_for(lambda: len(self.committed) >= goal, timeout_s, f"{more} more transfers")

    def _work(self, teller: int) -> None:
        chance = random.Random(teller)
        number = teller * 1_000_000
        while not self._stop.is_set():
            try:
                with contextlib.closing(psycopg2.connect(self.dsn())) as connection:
                    while not self._stop.is_set():
                        number += 1
                        self._transfer(connection, number, chance)
            except psycopg2.Error as error:
                self.failures.append(str(error).strip())

    def _transfer(
        self, connection: psycopg2.extensions.connection, number: int, chance: random.Random
    ) -> None:
        a, b = sorted(chance.sample(range(1, ACCOUNTS + 1), 2))
        amount = chance.randint(-50, 50)
        self.failed.add(number)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
            cursor.execute("UPDATE account SET money = money - %s WHERE id = %s", (amount, a))
            self.begun.add(number)
            cursor.execute("UPDATE account SET money = money + %s WHERE id = %s", (amount, b))
            cursor.execute("INSERT INTO journal VALUES (%s)", (number,))
        self.failed.discard(number)
        self.unknown.add(number)
        connection.commit()
        self.unknown.discard(number)
        self.committed.add(number)
        self.begun.discard(number)

    def check(self) -> None:
        """No money made or lost, no acknowledged commit missing, nothing there that was never committed."""
        ((total,),) = self.pg.sql("SELECT sum(money) FROM account", dbname=self.database)
        there = {row[0] for row in self.pg.sql("SELECT transfer FROM journal", dbname=self.database)}
        assert total == ACCOUNTS * START
        assert not self.committed - there, f"lost: {sorted(self.committed - there)[:10]}"
        assert not self.failed & there, f"committed all the same: {sorted(self.failed & there)[:10]}"
        assert there <= self.committed | self.unknown
