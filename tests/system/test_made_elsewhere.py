"""DDL in all the ways in which it comes to its end: what it made is judged anew by everybody.

A function that was harmless takes a lock from then on; its next caller's server goes to nobody with that
lock. In a database of its own, whose catalogs are known: while they are not, everything is asked for.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account, make_directory
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, TERMINATE, EndOfStream, Wire, bind, execute, parse, query

DATABASE = "made"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
BODY = "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN {} RETURN 1; END'"
HARMLESS, LOCKING = BODY.format(""), BODY.format("PERFORM pg_advisory_lock(4711);")
COMMENT = "/*" + 30_000 * "x" + "*/"
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """A PostgreSQL that decodes its log, in place of the session's."""
    pg = Postgres(owner, make_directory(work / "made", owner, 0o755), wal_level="logical")
    pg.create()
    yield pg
    pg.stop()


@pytest.fixture(scope="module")
def database(running_postgres: Postgres) -> Postgres:
    running_postgres.sql(f"CREATE DATABASE {DATABASE} OWNER bouncer")
    running_postgres.sql(
        f"{HARMLESS}; ALTER FUNCTION f() OWNER TO bouncer; CREATE TABLE t (n int);"
        "CREATE FUNCTION locks() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_advisory_lock(4711); RETURN new; END'; ALTER TABLE t OWNER TO bouncer",
        dbname=DATABASE,
    )
    return running_postgres


@pytest.fixture(scope="module")
def pooler(database: Postgres, start_pooler: StartPooler) -> Pooler:
    return start_pooler(databases={DATABASE: "pool_size=2"}, users={SUPERUSER: "pool_mode=session"})


def until_the_end(wire: Wire) -> None:
    with contextlib.suppress(EndOfStream):
        wire.receive_until("Z")


def by_terminate(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.send(query(LOCKING), TERMINATE)
        until_the_end(wire)


def by_end_of_stream(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.send(query(LOCKING))
        wire.socket.shutdown(socket.SHUT_WR)
        until_the_end(wire)


def by_reset_behind_it(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.send(query(LOCKING), query("SELECT pg_sleep(0.5)"))
        wire.receive_until("Z")
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def by_terminated_backend(pooler: Pooler, postgres: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.send(query(LOCKING), query("SELECT pg_sleep(30)"))
        wire.receive_until("Z")
        postgres.terminate_backends(DATABASE)
        until_the_end(wire)


def in_a_pipeline(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.send(parse(LOCKING), bind(), execute(), SYNC, query("SELECT pg_sleep(0.2)"))
        wire.receive_until("Z")
        wire.receive_until("Z")


def behind_much_text(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.query(COMMENT + LOCKING)


def in_session_pooling(pooler: Pooler, _: Postgres) -> None:
    with pooler.wire().login(SUPERUSER, DATABASE) as wire:
        wire.query(LOCKING)


def over_replication(pooler: Pooler, _: Postgres) -> None:
    with pooler.wire().login(SUPERUSER, DATABASE, replication="database") as wire:
        wire.query(LOCKING)


def by_two_phase_commit(pooler: Pooler, _: Postgres) -> None:
    with pooled(pooler, DATABASE) as wire:
        wire.query(f"BEGIN; {LOCKING}; PREPARE TRANSACTION 'made'")
    pooler.learn_catalogs(DATABASE)
    with pooled(pooler, DATABASE) as wire:
        wire.query("COMMIT PREPARED 'made'")


WAYS: list[Callable[[Pooler, Postgres], None]] = [
    by_terminate,
    by_end_of_stream,
    by_reset_behind_it,
    by_terminated_backend,
    in_a_pipeline,
    behind_much_text,
    in_session_pooling,
    over_replication,
    by_two_phase_commit,
]


def locks_of_next(pooler: Pooler) -> set[bytes | None]:
    """Of whoever gets a server now, on both of them."""
    wires = [pooler.wire().login(database=DATABASE) for _ in range(2)]
    try:
        for wire in wires:
            wire.query("BEGIN")
        return {message.values[0] for wire in wires for message in wire.query(LOCKS) if message.type == "D"}
    finally:
        for wire in wires:
            wire.close()


def end_all(pooler: Pooler) -> None:
    """What one test has left at servers is nothing of the next."""
    pooler.console(f"RECONNECT {DATABASE}")


@pytest.mark.parametrize("way", WAYS)
def test_what_was_made(pooler: Pooler, database: Postgres, way: Callable[[Pooler, Postgres], None]) -> None:
    database.sql(HARMLESS, dbname=DATABASE)
    end_all(pooler)
    pooler.learn_catalogs(DATABASE)
    way(pooler, database)
    wait_for(lambda: "pg_advisory_lock" in body_of_f(database), 5, "that it was made")
    with pooled(pooler, DATABASE) as wire:
        wire.query("SELECT f()")
    assert locks_of_next(pooler) == {b"0"}


def body_of_f(database: Postgres) -> str:
    return str(database.sql("SELECT prosrc FROM pg_proc WHERE proname = 'f'", dbname=DATABASE)[0][0])


def test_what_is_made_while_a_statement_runs(pooler: Pooler, database: Postgres) -> None:
    database.sql(HARMLESS, dbname=DATABASE)
    end_all(pooler)
    pooler.learn_catalogs(DATABASE)
    with pooled(pooler, DATABASE) as running, pooled(pooler, DATABASE) as maker:
        running.send(query("WITH s AS MATERIALIZED (SELECT pg_sleep(1)) SELECT f() FROM s"))
        wait_for(lambda: database.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), 5, "it")
        maker.query(LOCKING)
        running.receive_until("Z")
    assert locks_of_next(pooler) == {b"0"}


def test_what_is_made_while_a_statement_waits(pooler: Pooler, database: Postgres) -> None:
    end_all(pooler)
    pooler.learn_catalogs(DATABASE)
    with pooled(pooler, DATABASE) as waiting, pooled(pooler, DATABASE) as maker:
        maker.query("BEGIN; LOCK TABLE t")
        waiting.send(query("INSERT INTO t VALUES (1)"))
        time.sleep(0.2)  # it waits for the lock then, or has not begun: either is right
        maker.query("CREATE TRIGGER locks BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION locks()")
        maker.query("COMMIT")
        waiting.receive_until("Z")
    assert locks_of_next(pooler) == {b"0"}
