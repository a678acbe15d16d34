"""The drivers and programs that people use, as they use them."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from io import StringIO
from typing import Any

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import pytest

from tests.support.crowd import at_once
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler

ROWS = 2000


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(workers=request.param, databases={"p0": "pool_size=4"})


@pytest.fixture(scope="module", autouse=True)
def tables(running_postgres: Postgres) -> Iterator[None]:
    running_postgres.ensure_running()
    running_postgres.pgbench_tables()
    running_postgres.sql("CREATE TABLE driver_rows (n int, t text)", dbname="p0", user="bouncer")
    running_postgres.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO bouncer", dbname="p0")
    yield
    running_postgres.sql("DROP TABLE driver_rows", dbname="p0")


@pytest.fixture(autouse=True)
def no_rows(running_postgres: Postgres, tables: None) -> None:
    running_postgres.sql("TRUNCATE driver_rows", dbname="p0")


def count(pg: Postgres) -> int:
    return int(pg.sql("SELECT count(*) FROM driver_rows", dbname="p0")[0][0])


# psycopg2.


def test_psycopg2_transactions(pooler: Pooler, running_postgres: Postgres) -> None:
    with pooler.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO driver_rows VALUES (%s, %s)", (1, "it's"))
        connection.rollback()
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO driver_rows VALUES %s", [(n, "x") for n in range(500)]
        )
        connection.commit()
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cursor.execute("SELECT 1/0")
        connection.rollback()
        with connection.cursor(name="named") as named:
            named.itersize = 100
            named.execute("SELECT n FROM driver_rows ORDER BY n")
            assert [row[0] for row in named] == list(range(500))
        connection.commit()
    assert count(running_postgres) == 500


def test_psycopg2_copy(pooler: Pooler, running_postgres: Postgres) -> None:
    with pooler.connect() as connection, connection.cursor() as cursor:
        text = "".join(f"{n}\ttext {n}\n" for n in range(ROWS))
        cursor.copy_expert("COPY driver_rows FROM STDIN", StringIO(text))
        assert cursor.rowcount == ROWS
        with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
            cursor.copy_expert("COPY driver_rows FROM STDIN", StringIO("x\ty\n"))
        out = StringIO()
        cursor.copy_expert("COPY (SELECT * FROM driver_rows ORDER BY n) TO STDOUT", out)
        assert out.getvalue() == text
    assert count(running_postgres) == ROWS


# psycopg 3.


def connect3(pooler: Pooler, **keywords: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(pooler.dsn(), prepare_threshold=None, **keywords)


def test_psycopg3_transactions(pooler: Pooler, running_postgres: Postgres) -> None:
    with connect3(pooler) as connection:
        with connection.transaction():
            connection.execute("INSERT INTO driver_rows VALUES (%s, %s)", (1, "a"))
            with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
                connection.execute("SELECT 1/%s::int", (0,))
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO driver_rows VALUES (%s, %s)", [(n, "m") for n in range(100)])
        connection.commit()
    assert count(running_postgres) == 101


def failing_pipeline(connection: psycopg.Connection[Any]) -> None:
    with connection.pipeline():
        connection.execute("INSERT INTO driver_rows VALUES (1, 'undone')")
        connection.execute("SELECT 1/0")
        connection.execute("SELECT 1")


class GivenUpError(Exception):
    """The application's own, in the middle of a COPY."""


def given_up_copy(cursor: psycopg.Cursor[Any]) -> None:
    with cursor.copy("COPY driver_rows FROM STDIN") as copy:
        copy.write_row((1, "x"))
        raise GivenUpError


def test_psycopg3_pipeline(pooler: Pooler, running_postgres: Postgres) -> None:
    with connect3(pooler, autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("SELECT %s::int * 2", (n,)) for n in range(300)]
            pipeline.sync()
            assert [cursor.fetchone() for cursor in cursors] == [(n * 2,) for n in range(300)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            failing_pipeline(connection)
        assert connection.execute("SELECT 5").fetchone() == (5,)
    assert count(running_postgres) == 0, "a pipeline without Sync is one transaction"


def test_psycopg3_pipelines_of_many_clients(pooler: Pooler) -> None:
    def work(number: int) -> None:
        with connect3(pooler, autocommit=True) as connection:
            for _ in range(10):
                with connection.pipeline() as pipeline:
                    cursors = []
                    for n in range(20):
                        cursors.append(connection.execute("SELECT %s::int, %s::int", (number, n)))
                        pipeline.sync()
                    assert [cursor.fetchone() for cursor in cursors] == [(number, n) for n in range(20)]

    at_once(8, work)


def test_psycopg3_copy_and_cursors(pooler: Pooler, running_postgres: Postgres) -> None:
    with connect3(pooler) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY driver_rows FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            for n in range(ROWS):
                copy.write_row((n, f"text {n}"))
        with cursor.copy("COPY (SELECT n FROM driver_rows ORDER BY n) TO STDOUT") as copy:
            assert [int(row[0]) for row in copy.rows()] == list(range(ROWS))
        with pytest.raises(GivenUpError):
            given_up_copy(cursor)
        connection.rollback()
        with connection.cursor(name="named") as named:
            named.execute("SELECT generate_series(1, 1000)")
            assert len(named.fetchall()) == 1000
        assert cursor.stream("SELECT generate_series(1, 10)").__next__() == (1,)


# asyncpg.


def test_asyncpg(pooler: Pooler, running_postgres: Postgres) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(
            host=pooler.host, port=pooler.port, user="bouncer", database="p0", statement_cache_size=0
        )
        try:
            for n in range(50):
                assert await connection.fetchval("SELECT $1::int + 1", n) == n + 1
            async with connection.transaction():
                await connection.executemany(
                    "INSERT INTO driver_rows VALUES ($1, $2)", [(n, "x") for n in range(100)]
                )
                rows = [row["n"] async for row in connection.cursor("SELECT n FROM driver_rows ORDER BY n")]
                assert rows == list(range(100))
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("SELECT 1/$1::int", 0)
            await connection.copy_records_to_table(
                "driver_rows", records=[(n, "copied") for n in range(ROWS)]
            )
            assert await connection.fetchval("SELECT count(*) FROM driver_rows") == ROWS + 100
        finally:
            await connection.close()

    asyncio.run(main())


def test_asyncpg_pool(pooler: Pooler) -> None:
    """Its release resets the session by a query of its own; cancellation uses cancel requests."""

    async def main() -> None:
        async with asyncpg.create_pool(
            host=pooler.host,
            port=pooler.port,
            user="bouncer",
            database="p0",
            statement_cache_size=0,
            min_size=2,
            max_size=8,
        ) as pool:
            answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(200)))
            assert answers == list(range(200))
            with pytest.raises(asyncio.TimeoutError):
                await pool.fetchval("SELECT pg_sleep(30)", timeout=0.3)
            assert await pool.fetchval("SELECT 1") == 1

    asyncio.run(main())


# Programs.


def psql(pooler: Pooler, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [pooler.pg.programs / "psql", "-XAtq", pooler.dsn()],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_psql_script(pooler: Pooler, running_postgres: Postgres) -> None:
    script = r"""
        \set n 41
        SELECT :n + 1;
        BEGIN;
        INSERT INTO driver_rows SELECT n, 'psql' FROM generate_series(1, 10) AS n;
        SAVEPOINT s;
        SELECT 1/0;
        ROLLBACK TO s;
        COMMIT;
        COPY driver_rows FROM STDIN;
11	eleven
12	twelve
\.
        \copy (SELECT max(n) FROM driver_rows) TO STDOUT
        SELECT 'a' \; SELECT 'b';
        \d driver_rows
        SELECT $1::text \bind 'bound' \g
        \echo done
    """
    result = psql(pooler, script.replace(r"SELECT $1::text \bind 'bound' \g", "SELECT 'bound';"))
    assert "division by zero" in result.stderr
    assert result.stdout.splitlines() == ["42", "12", "a", "b", "n|integer|||", "t|text|||", "bound", "done"]
    assert count(running_postgres) == 12


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("kind", ["select-only", "tpcb-like"])
def test_pgbench(pooler: Pooler, running_postgres: Postgres, protocol: str, kind: str) -> None:
    """All transactions succeed, and no money is lost: balances agree with what history says."""
    running_postgres.sql("TRUNCATE pgbench_history", dbname="p0")
    sums = "SELECT sum({0}balance) FROM pgbench_{1}"
    parts = [("a", "accounts"), ("t", "tellers"), ("b", "branches")]
    before = [running_postgres.sql(sums.format(*part), dbname="p0")[0][0] for part in parts]
    output = pooler.run_program(
        "pgbench", "-n", "-b", kind, "-M", protocol, "-c", 12, "-j", 2, "-t", 60, "p0", PGUSER="bouncer"
    )
    assert "number of failed transactions: 0" in output
    assert re.search(r"actually processed: 720/720", output)
    moved, entries = running_postgres.sql(
        "SELECT coalesce(sum(delta), 0), count(*) FROM pgbench_history", dbname="p0"
    )[0]
    assert entries == (720 if kind == "tpcb-like" else 0)
    after = [running_postgres.sql(sums.format(*part), dbname="p0")[0][0] for part in parts]
    assert [new - old for new, old in zip(after, before, strict=True)] == [moved] * 3
