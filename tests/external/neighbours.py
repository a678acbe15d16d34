"""Busy neighbours: clients of the same database and user that leave every kind of state between their transactions.

Each neighbour is a small application that is always right when it talks to PostgreSQL itself. So it also checks
what it reads: an error or a wrong value is a *surprise*, which directly does not happen.

    python -m tests.external.neighbours CONNINFO COUNT STYLE    # until SIGTERM; then a JSON object on stdout
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

#: Seconds between two statements of a neighbour: busy enough that servers change hands all the time.
PAUSE_S = (0.003, 0.02)
SESSION_STEPS = (3, 12)

#: Made once, directly. The role and the sequence are the neighbours' own.
PREPARATION = """
CREATE SCHEMA neighbours;
CREATE SEQUENCE neighbours.counter;
CREATE TABLE neighbours.things (id int PRIMARY KEY, word text);
INSERT INTO neighbours.things SELECT n, 'word ' || n FROM generate_series(1, 100) n;
DO $$ BEGIN CREATE ROLE neighbour; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA neighbours TO neighbour;
GRANT SELECT ON neighbours.things TO neighbour;
"""


class Surprise(Exception):
    """Something that PostgreSQL itself would not have answered."""


class Leave(Exception):
    """The neighbour goes without cleaning up."""


class Neighbour:
    """One client; `run` until `stop` is set."""

    def __init__(self, conninfo: str, style: str, number: int, stop: threading.Event) -> None:
        self.conninfo = conninfo
        self.number = number
        self.stop = stop
        self.chance = random.Random(number)
        self.steps = {"plain": PLAIN, "harmful": PLAIN + HARMFUL}[style]
        self.count = 0
        self.surprises: Counter[str] = Counter()

    def run(self) -> None:
        while not self.stop.is_set():
            step: Callable[[Neighbour], None] | None = None
            try:
                with contextlib.closing(self.connect()) as self.connection:
                    for _ in range(self.chance.randint(*SESSION_STEPS)):
                        step = self.chance.choice(self.steps)
                        step(self)
                        if self.stop.is_set():
                            break
            except Leave:
                pass
            except (psycopg.Error, Surprise) as error:
                if not self.stop.is_set():
                    name = step.__name__ if step else "connect"
                    self.surprises[f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}"] += 1
                    self.stop.wait(0.1)

    def connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self.conninfo, autocommit=True)
        # Prepared is what asks for it alone: psycopg is confused by a DEALLOCATE ALL that it has prepared itself.
        connection.prepare_threshold = 1_000_000
        return connection

    def do(self, text: str, *arguments: object, prepare: bool = False) -> Any:
        """The first value of a statement's result, if it has one; then a short pause."""
        with self.connection.cursor() as cursor:
            cursor.execute(text, arguments or None, prepare=prepare)
            row = cursor.fetchone() if cursor.description else None
        self.count += 1
        self.stop.wait(self.chance.uniform(*PAUSE_S))
        return row[0] if row else None

    def want(self, wanted: object, text: str, *arguments: object, prepare: bool = False) -> None:
        found = self.do(text, *arguments, prepare=prepare)
        if found != wanted:
            raise Surprise(f"{text}: {found!r} instead of {wanted!r}")


def read(n: Neighbour) -> None:
    n.want("word 7", "SELECT word FROM neighbours.things WHERE id = %s", 7)


def transaction(n: Neighbour) -> None:
    n.do("BEGIN")
    n.do("SET LOCAL statement_timeout = '20s'")
    n.want("20s", "SHOW statement_timeout")
    n.do(n.chance.choice(("COMMIT", "ROLLBACK")))


def failure(n: Neighbour) -> None:
    n.do("BEGIN")
    try:
        n.do("SELECT 1/0")
    except psycopg.errors.DivisionByZero:
        n.do("ROLLBACK")


def sequence(n: Neighbour) -> None:
    n.do("SELECT nextval('neighbours.counter')")


def prepared(n: Neighbour) -> None:
    for number in (1, 2):
        n.want(f"word {number}", "SELECT word FROM neighbours.things WHERE id = %s", number, prepare=True)
    n.want(n.number, "SELECT %s::int", n.number, prepare=True)


def settings(n: Neighbour) -> None:
    zone = n.chance.choice(("Asia/Tokyo", "America/Lima"))
    n.do(f"SET TimeZone = '{zone}'")
    n.do("SET search_path = neighbours, pg_catalog")
    n.do("SET datestyle = 'SQL, DMY'")
    n.do("SET default_transaction_isolation = 'serializable'")
    n.do("SELECT set_config('tenant.id', %s, false)", str(n.number))
    n.want("word 9", "SELECT word FROM things WHERE id = 9")
    n.want(zone, "SHOW TimeZone")
    n.want(str(n.number), "SELECT current_setting('tenant.id')")
    n.want("serializable", "SHOW transaction_isolation")
    if n.chance.random() < 0.5:
        n.do("RESET ALL")
        n.want('"$user", public', "SHOW search_path")
    else:
        n.do("SET default_transaction_read_only = on")
        raise Leave


def role(n: Neighbour) -> None:
    n.do("SET ROLE neighbour")
    n.want("neighbour", "SELECT current_user::text")
    n.want("word 3", "SELECT word FROM neighbours.things WHERE id = 3")
    if n.chance.random() < 0.5:
        n.do("RESET ROLE")
        n.want("postgres", "SELECT current_user::text")
    else:
        raise Leave


def temporary(n: Neighbour) -> None:
    n.do("DROP TABLE IF EXISTS pg_temp.notes")
    n.do("CREATE TEMP TABLE notes (x int)")
    n.do("INSERT INTO notes VALUES (%s)", n.number)
    n.want(n.number, "SELECT x FROM notes")
    n.do(n.chance.choice(("DROP TABLE notes", "DISCARD TEMP", "SELECT 'left behind'")))


def sql_prepare(n: Neighbour) -> None:
    n.do("DEALLOCATE ALL")
    n.do(f"PREPARE p AS SELECT {n.number}")
    n.want(n.number, "EXECUTE p")
    n.do(n.chance.choice(("DEALLOCATE p", "DEALLOCATE ALL", "SELECT 'left behind'")))


def discard(n: Neighbour) -> None:
    n.do("DISCARD ALL")
    n.want('"$user", public', "SHOW search_path")


def last_value(n: Neighbour) -> None:
    value = n.do("SELECT nextval('neighbours.counter')")
    n.want(value, "SELECT currval('neighbours.counter')")


def advisory(n: Neighbour) -> None:
    key = 1_000_000 + n.number
    n.want(True, "SELECT pg_try_advisory_lock(%s)", key)
    n.want(True, "SELECT pg_advisory_unlock(%s)", key)


def listen(n: Neighbour) -> None:
    channel = f"neighbour_{n.number}"
    n.do(f"LISTEN {channel}")
    n.do(f"NOTIFY {channel}, 'x'")
    n.do(n.chance.choice((f"UNLISTEN {channel}", "UNLISTEN *", "SELECT 'left behind'")))


def holdable(n: Neighbour) -> None:
    n.do("DISCARD ALL")
    n.do("BEGIN")
    n.do("DECLARE c CURSOR WITH HOLD FOR SELECT id FROM neighbours.things ORDER BY id")
    n.do("COMMIT")
    n.want(1, "FETCH c")
    n.want(2, "FETCH c")
    if n.chance.random() < 0.5:
        n.do("CLOSE c")


#: Leave nothing behind but prepared statements of the protocol and what `lastval` remembers.
PLAIN: list[Callable[[Neighbour], None]] = [read, read, transaction, failure, sequence, prepared]

#: What an application in transaction pooling is told not to do.
HARMFUL = [settings, role, temporary, sql_prepare, discard, last_value, advisory, listen, holdable]


def main(conninfo: str, count: str, style: str) -> None:
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    neighbours = [Neighbour(conninfo, style, number, stop) for number in range(int(count))]
    threads = [threading.Thread(target=neighbour.run) for neighbour in neighbours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    surprises: Counter[str] = Counter()
    for neighbour in neighbours:
        surprises += neighbour.surprises
    print(
        json.dumps({"statements": sum(n.count for n in neighbours), "surprises": surprises.most_common(30)})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
