"""The shortest proof that all parts fit: programs and drivers get answers through two workers."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psycopg
import pytest

from tests.support.pooler import Bouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.wire import SYNC, bind, execute, parse


def test_psql(pooler: Pooler) -> None:
    assert pooler.run_program("psql", "-XAtc", "SELECT 1", "p0", PGUSER="bouncer") == "1\n"


def test_psycopg2_over_tcp(pooler: Pooler) -> None:
    assert pooler.sql("SELECT current_user, current_database()") == [("bouncer", "p0")]


def test_psycopg2_over_unix_socket(pooler: Pooler) -> None:
    assert pooler.sql("SELECT 1", host=pooler.directory) == [(1,)]


def test_psycopg3_with_parameters(pooler: Pooler) -> None:
    with psycopg.connect(pooler.dsn(), prepare_threshold=None, autocommit=True) as connection:
        for number in range(20):
            assert connection.execute("SELECT %s::int", (number,)).fetchone() == (number,)


def test_raw_extended_query(pooler: Pooler) -> None:
    with pooler.wire() as wire:
        wire.login()
        wire.send(parse("SELECT 7"), bind(), execute(), SYNC)
        assert wire.expect("12DCZ")[2].values == [b"7"]


def test_error_leaves_the_connection_usable(pooler: Pooler) -> None:
    with pooler.wire() as wire:
        wire.login()
        assert [m.type for m in wire.query("SELECT 1/0")] == ["E", "Z"]
        assert wire.rows("SELECT 1") == [[b"1"]]


@pytest.mark.parametrize("mode", ["simple", "extended"])
def test_pgbench_on_two_workers(pooler: Pooler, pg: Postgres, mode: str) -> None:
    pg.pgbench_tables()
    output = pooler.run_program("pgbench", "-n", "-M", mode, "-c", 16, "-j", 2, "-T", 2, "p0")
    assert "number of failed transactions: 0" in output
    assert len(pooler.workers()) == 2


def test_pool_size_is_kept_over_both_workers(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    pg.pgbench_tables()
    pooler = make_pooler(databases={"p0": "pool_size=2"})
    pooler.run_program("pgbench", "-n", "-S", "-c", 16, "-T", 1, "p0")
    assert 1 <= len(pg.backends()) <= 2


def test_console_tells_the_version(make_either: Callable[..., Bouncer]) -> None:
    bouncer = make_either()
    assert bouncer.show("version")[0]["version"].startswith("PgBouncer 1.")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT], ids=lambda s: s.name)
def test_signals_end_it(pooler: Pooler, signum: signal.Signals) -> None:
    pooler.sql("SELECT 1")
    pooler.signal(signum)
    assert pooler.wait() == 0
