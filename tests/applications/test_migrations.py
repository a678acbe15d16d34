"""What other migrators do: Rails' lock around DDL, Prisma's statements, DDL outside of transactions."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial

import psycopg2.errors
import pytest
from psycopg2.extensions import connection as Connection

from tests.applications.dbapi import autocommit, run
from tests.applications.shop import CLIENTS
from tests.support.crowd import at_once
from tests.support.processes import wait_for
from tests.support.service import Service
from tests.support.wire import SYNC, Wire, bind, close, describe, execute, parse

RAILS_LOCK = 4_141_512_012_342
PRISMA_LOCK = 72_707_369

#: What Rails says to PostgreSQL on each new connection.
RAILS_CONNECT = """
SET client_min_messages TO 'warning';
SET standard_conforming_strings = on;
SET SESSION timezone TO 'UTC';
SET intervalstyle = iso_8601;
SET SESSION lock_timeout TO '29s'
"""

#: Versions with what each does; a script each, as ActiveRecord has a method each.
RAILS_MIGRATIONS = {
    "20240101": ["CREATE TABLE author (id bigserial PRIMARY KEY, name character varying)"],
    "20240102": [
        "CREATE TABLE book (id bigserial PRIMARY KEY, author_id bigint NOT NULL)",
        "ALTER TABLE book ADD CONSTRAINT fk FOREIGN KEY (author_id) REFERENCES author (id) NOT VALID",
    ],
    "20240103": ["ALTER TABLE book VALIDATE CONSTRAINT fk"],
    "20240104": ["CREATE INDEX CONCURRENTLY by_author ON book (author_id)"],
    "20240105": ["ALTER TABLE author ADD COLUMN born date DEFAULT DATE '1970-01-01'"],
}


class ConcurrentMigrationError(Exception):
    """Rails' own: another migrator is at work."""


@pytest.fixture(autouse=True)
def empty(service: Service) -> None:
    service.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


# Rails.


def rails_migrate(connection: Connection) -> int:
    """db:migrate; how many migrations it made."""
    if run(connection, "SELECT pg_try_advisory_lock(%s)", RAILS_LOCK) != [(True,)]:
        raise ConcurrentMigrationError
    try:
        return rails_migrate_alone(connection)
    finally:
        released = run(connection, "SELECT pg_advisory_unlock(%s)", RAILS_LOCK)
        assert released == [(True,)], "Failed to release advisory lock"


def rails_migrate_alone(connection: Connection) -> int:
    run(connection, "CREATE TABLE IF NOT EXISTS schema_migrations (version character varying PRIMARY KEY)")
    done = {row[0] for row in run(connection, "SELECT version FROM schema_migrations")}
    made = 0
    for version, statements in RAILS_MIGRATIONS.items():
        if version in done:
            continue
        noted = f"INSERT INTO schema_migrations (version) VALUES ('{version}')"
        transactional = "CONCURRENTLY" not in statements[0]
        for statement in ["BEGIN", *statements, noted, "COMMIT"] if transactional else [*statements, noted]:
            run(connection, statement)
        made += 1
    return made


def test_rails_migrators_compete(service: Service) -> None:
    """Each comes again until it gets the lock; what is to be done is done once."""

    def migrator(_: int) -> int:
        deadline = time.monotonic() + 60
        with autocommit(service) as connection:
            run(connection, RAILS_CONNECT)
            while time.monotonic() < deadline:
                with contextlib.suppress(ConcurrentMigrationError):
                    return rails_migrate(connection)
        raise AssertionError("never got the lock")

    assert sorted(at_once(4, migrator)) == [0, 0, 0, len(RAILS_MIGRATIONS)]
    assert service.value("SELECT count(*) FROM schema_migrations") == len(RAILS_MIGRATIONS)
    assert service.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_author'::regclass")


def test_lock_of_the_session_keeps_others_out(service: Service) -> None:
    """From pg_try_advisory_lock to pg_advisory_unlock, over transactions that commit and fail."""

    def refused() -> None:
        with autocommit(service) as other:
            for _ in range(3):
                with pytest.raises(ConcurrentMigrationError):
                    rails_migrate(other)

    with autocommit(service) as connection:
        for _ in range(3):
            assert run(connection, "SELECT pg_try_advisory_lock(%s)", RAILS_LOCK) == [(True,)]
            refused()
            run(connection, "BEGIN; CREATE TABLE half (id int); ROLLBACK")
            with pytest.raises(psycopg2.errors.DivisionByZero):
                run(connection, "SELECT 1/0")
            refused()
            assert run(connection, "SELECT pg_advisory_unlock(%s)", RAILS_LOCK) == [(True,)]
            # Nothing is left of it: not for us, and not for who comes next.
            assert run(connection, "SELECT pg_advisory_unlock(%s)", RAILS_LOCK) == [(False,)]
            with autocommit(service) as other:
                assert run(other, "SELECT pg_try_advisory_lock(%s)", RAILS_LOCK) == [(True,)]
                assert run(other, "SELECT pg_advisory_unlock(%s)", RAILS_LOCK) == [(True,)]


def test_lock_on_a_connection_of_its_own(service: Service) -> None:
    """As Flyway and newer Rails: one connection holds the lock and is lost at the end, another migrates."""
    with autocommit(service) as lock, autocommit(service) as work:
        assert run(lock, "SELECT pg_try_advisory_lock(%s)", RAILS_LOCK) == [(True,)]
        assert rails_migrate_alone(work) == len(RAILS_MIGRATIONS)
        with autocommit(service) as other:
            assert run(other, "SELECT pg_try_advisory_lock(%s)", RAILS_LOCK) == [(False,)]
    with autocommit(service) as other:
        taken = "SELECT pg_try_advisory_lock(%s)"
        wait_for(lambda: run(other, taken, RAILS_LOCK) == [(True,)], 10, "the lock of one who has left")
        run(other, "SELECT pg_advisory_unlock_all()")


# Prisma.


def prisma_query(wire: Wire, text: str, *values: bytes) -> list[list[bytes | None]]:
    """One query as its engine sends it with `pgbouncer=true`: in a transaction, prepared for this once."""
    wire.query("BEGIN")
    wire.query("DEALLOCATE ALL")
    wire.send(parse(text, "s0"), describe("S", "s0"), SYNC)
    wire.receive_until("Z")
    wire.send(bind(values, "s0"), execute(), SYNC)
    answer = wire.receive_until("Z")
    wire.send(close("S", "s0"), SYNC)
    wire.expect("3Z")
    wire.query("COMMIT")
    errors = [message.fields for message in answer if message.type == "E"]
    assert not errors, errors
    return [message.values for message in answer if message.type == "D"]


def test_prisma_queries(service: Service) -> None:
    service.sql("CREATE TABLE post (id bigserial PRIMARY KEY, author int, title text)")

    def client(number: int) -> None:
        me = str(number).encode()
        with service.wire() as wire:
            for turn in range(12):
                title = f"{number}-{turn}".encode()
                insert = "INSERT INTO post (author, title) VALUES ($1::int, $2) RETURNING title"
                assert prisma_query(wire, insert, me, title) == [[title]]
                count = prisma_query(wire, "SELECT count(*) FROM post WHERE author = $1::int", me)
                assert count == [[str(turn + 1).encode()]]
            wire.close()

    at_once(CLIENTS, client)
    assert service.value("SELECT count(*) FROM post") == CLIENTS * 12


def test_prisma_statements_across_transactions(service: Service) -> None:
    """Without `pgbouncer=true` its engine keeps s0, s1, … and uses them again in later transactions."""

    def client(number: int) -> None:
        with service.wire() as wire:
            for n in range(8):
                wire.send(parse(f"SELECT $1::int + {n}", f"s{n}"), describe("S", f"s{n}"), SYNC)
                wire.expect("1tTZ")
            for turn in range(6):
                for n in range(8):
                    wire.send(bind([str(number).encode()], f"s{n}"), execute(), SYNC)
                    assert wire.expect("2DCZ")[1].values == [str(number + n).encode()]
                if turn == 3:
                    wire.send(close("S", "s7"), parse("SELECT $1::int + 7", "s7"), SYNC)
                    wire.expect("31Z")
            wire.close()

    at_once(CLIENTS, client)


def test_prisma_migrate(service: Service) -> None:
    """Waits for the lock inside PostgreSQL, then sends whole scripts as one simple query each."""
    table = "CREATE TABLE IF NOT EXISTS _prisma_migrations (id text PRIMARY KEY, log text)"
    script = "CREATE TABLE tag (name text); -- made\nCREATE TYPE colour AS ENUM ('red')"

    def migrator(number: int) -> int:
        with service.wire() as wire:
            wire.rows(f"SELECT pg_advisory_lock({PRISMA_LOCK})")
            wire.rows(table)
            made = 0
            if not wire.rows("SELECT id FROM _prisma_migrations"):
                wire.rows(script)
                wire.rows(f"INSERT INTO _prisma_migrations VALUES ('first', 'by {number}')")
                made = 1
            assert wire.rows(f"SELECT pg_advisory_unlock({PRISMA_LOCK})") == [[b"t"]]
            wire.close()
        return made

    assert sum(at_once(3, migrator)) == 1
    assert service.value("SELECT count(*) FROM _prisma_migrations") == 1


# Outside of transactions, and for the whole cluster.


def test_maintenance(service: Service) -> None:
    """Commands that refuse to run in a transaction block, while others write to the same table."""
    service.sql("CREATE TABLE big AS SELECT n AS id, md5(n::text) AS t FROM generate_series(1, 5000) AS n")
    end = threading.Event()

    def write(number: int) -> int:
        count = 0
        with autocommit(service) as connection:
            while not end.is_set():
                run(connection, "UPDATE big SET t = %s WHERE id = %s", str(count), number)
                count += 1
        return count

    def maintain() -> int:
        try:
            with autocommit(service) as connection:
                for command in (
                    "SET statement_timeout = 0; SET lock_timeout = '25s'",
                    "CREATE INDEX CONCURRENTLY by_text ON big (t)",
                    "VACUUM big",
                    "VACUUM (ANALYZE) big",
                    "REINDEX INDEX CONCURRENTLY by_text",
                    "ALTER TABLE big ADD CONSTRAINT positive CHECK (id > 0) NOT VALID",
                    "ALTER TABLE big VALIDATE CONSTRAINT positive",
                    "CREATE MATERIALIZED VIEW few AS SELECT id FROM big WHERE id < 10",
                    "CREATE UNIQUE INDEX ON few (id)",
                    "REFRESH MATERIALIZED VIEW CONCURRENTLY few",
                    "CLUSTER big USING by_text",
                    "DROP INDEX CONCURRENTLY by_text",
                ):
                    run(connection, command)
                assert run(connection, "SHOW lock_timeout") == [("25s",)]
                with pytest.raises(psycopg2.errors.ActiveSqlTransaction):
                    run(connection, "BEGIN; VACUUM big")
                run(connection, "ROLLBACK")
                return 1
        finally:
            end.set()

    assert min(at_once(CLIENTS, lambda number: write(number) if number else maintain())) > 0


def test_alter_system(service: Service) -> None:
    """A setting of the cluster reaches all servers of the pool, and no client's own setting is lost by it."""
    service.pg.sql("GRANT ALTER SYSTEM ON PARAMETER log_lock_waits, deadlock_timeout TO bouncer")
    service.pg.sql("GRANT EXECUTE ON FUNCTION pg_reload_conf TO bouncer", dbname=service.database)

    def says(connection: Connection, value: str) -> bool:
        found = [run(connection, "SHOW deadlock_timeout") for _ in range(10)]
        assert run(connection, "SHOW lock_timeout") == [("27s",)]
        return found == [[(value,)]] * 10

    with autocommit(service) as connection, autocommit(service) as other:
        for one in (connection, other):
            run(one, "SET lock_timeout = '27s'")
        before = service.value("SHOW deadlock_timeout")
        for command, value in (
            ("ALTER SYSTEM SET deadlock_timeout = '1234ms'", "1234ms"),
            ("ALTER SYSTEM RESET deadlock_timeout", before),
        ):
            run(connection, command)
            assert run(connection, "SELECT pg_reload_conf()") == [(True,)]
            for one in (connection, other):
                wait_for(partial(says, one, value), 20, f"{value} everywhere")
