"""Every timeout ends whom it is about, with PgBouncer's text, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler, wait_until_free
from tests.support.wire import SYNC, Wire, bind, execute, parse, query, startup

RUNNING = "SELECT 1 FROM pg_stat_activity WHERE datname = 'p0' AND state <> 'idle'"
LONG = "SELECT pg_sleep(60)"


pooler = module_pooler(
    databases={
        "p0": "pool_size=1",
        "impatient": "dbname=p0 pool_size=1 query_wait_timeout=1",
        "se": "dbname=p0 pool_size=2 pool_mode=session",
    },
    users={"limited": "query_timeout=1 idle_transaction_timeout=1"},
)


def expect_end(wire: Wire, text: str) -> None:
    """The client is told, and closed."""
    fields = wire.receive_until("E")[-1].fields
    assert (fields["S"], fields["C"], fields["M"]) == ("FATAL", "08P01", text)
    wire.expect_closed()


def assert_nothing_runs(pg: Postgres, pooler: Pooler) -> None:
    """Neither in PostgreSQL nor in our books; the next client is served."""
    wait_for(lambda: not pg.sql(RUNNING), 5, "nothing that runs in PostgreSQL")
    wait_until_free(pooler, "p0")
    with pooled(pooler) as wire:
        assert wire.query("SELECT 1")[-1].text == "I"
        wire.close()


def test_query_wait_timeout(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.configured(query_wait_timeout=1), pooled(pooler) as holder, pooled(pooler) as waiter:
        holder.query("BEGIN")
        with pooler.expect_log("closing because: query_wait_timeout"):
            waiter.send(query("SELECT 1"))
            expect_end(waiter, "query_wait_timeout")
        assert holder.query("COMMIT")[-1].text == "I"
        holder.close()
    assert_nothing_runs(running_postgres, pooler)


def test_query_wait_timeout_of_a_database(pooler: Pooler) -> None:
    with pooled(pooler, "impatient") as holder, pooled(pooler, "impatient") as waiter:
        holder.query("BEGIN")
        waiter.send(query("SELECT 1"))
        expect_end(waiter, "query_wait_timeout")
        holder.close()


def test_waiting_client_is_served_before_the_timeout(pooler: Pooler) -> None:
    with pooled(pooler, "impatient") as holder, pooled(pooler, "impatient") as waiter:
        holder.query("BEGIN")
        waiter.send(query("SELECT 7"))
        waiter.expect_silence(0.3)
        holder.query("COMMIT")
        assert waiter.expect("TDCZ")[1].values == [b"7"]
        waiter.expect_silence(1.5)
        assert waiter.rows("SELECT 8") == [[b"8"]]
        holder.close()
        waiter.close()


def test_query_timeout(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.configured(query_timeout=1), pooled(pooler) as wire:
        assert wire.rows("SELECT 1") == [[b"1"]]
        with pooler.expect_log("closing because: query timeout"):
            wire.send(query(LONG))
            expect_end(wire, "query timeout")
    assert_nothing_runs(running_postgres, pooler)


def test_query_timeout_by_extended_protocol(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.configured(query_timeout=1), pooled(pooler) as wire:
        wire.send(parse(LONG) + bind() + execute() + SYNC)
        expect_end(wire, "query timeout")
    assert_nothing_runs(running_postgres, pooler)


def test_query_timeout_is_for_one_query(pooler: Pooler) -> None:
    """A transaction of many short queries may take longer."""
    with pooler.configured(query_timeout=1), pooled(pooler) as wire:
        wire.query("BEGIN")
        for _ in range(5):
            assert [m.type for m in wire.query("SELECT pg_sleep(0.4)")] == ["T", "D", "C", "Z"]
        wire.query("COMMIT")
        wire.close()


def test_query_timeout_for_a_waiting_client(pooler: Pooler) -> None:
    with pooled(pooler) as holder, pooled(pooler) as waiter:
        holder.query("BEGIN")
        with pooler.configured(query_timeout=1):
            waiter.send(query("SELECT 1"))
            expect_end(waiter, "query_timeout")
        holder.close()


def test_query_timeout_for_a_waiting_login(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """There has been no server yet, and PostgreSQL takes its time."""
    with socket.create_server(("127.0.0.7", pg.port)) as deaf:
        deaf.listen(8)
        pooler = make_pooler(databases={"p0": "host=127.0.0.7"}, query_timeout=1)
        with pooler.wire() as wire:
            wire.send(startup())
            wire.expect_error("08P01", "query_timeout")


def test_timeouts_of_a_user(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.wire().login(user="limited") as wire, pooled(pooler, "se") as other:
        wire.send(query(LONG))
        other.send(query("SELECT pg_sleep(2)"))
        expect_end(wire, "query timeout")
        other.expect("TDCZ")
        other.close()
    with pooler.wire().login(user="limited") as wire:
        wire.query("BEGIN")
        expect_end(wire, "idle transaction timeout")
    assert_nothing_runs(running_postgres, pooler)


def test_idle_transaction_timeout(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.configured(idle_transaction_timeout=1), pooled(pooler) as wire, pooled(pooler, "se") as idle:
        idle.query("SELECT 1")
        wire.query("BEGIN")
        wire.query("SELECT pg_sleep(1.5)")
        with pooler.expect_log("closing because: idle transaction timeout"):
            expect_end(wire, "idle transaction timeout")
        assert idle.rows("SELECT 2") == [[b"2"]], "idle, but in no transaction"
        idle.close()
    assert_nothing_runs(running_postgres, pooler)


def test_transaction_timeout(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooler.configured(transaction_timeout=1), pooled(pooler) as wire, pooled(pooler, "se") as idle:
        idle.query("SELECT 1")
        wire.query("BEGIN")
        with pooler.expect_log("closing because: transaction timeout"):
            wire.send(query(LONG))
            expect_end(wire, "transaction timeout")
        assert idle.rows("SELECT 2") == [[b"2"]]
        idle.close()
    assert_nothing_runs(running_postgres, pooler)


def test_half_a_message_keeps_no_server(pooler: Pooler) -> None:
    """A client that falls silent in the middle of its message is idle; others are served meanwhile."""
    parsed = parse("SELECT 1", "half")
    with pooled(pooler) as silent, pooled(pooler) as slow:
        silent.send(parsed[:-6])
        slow.send(parsed[:-6])
        with pooled(pooler) as other:
            assert other.rows("SELECT 1") == [[b"1"]]
            other.close()
        slow.send(parsed[-6:] + SYNC)
        slow.expect("1Z")
        slow.close()
        with pooler.configured(client_idle_timeout=1):
            expect_end(silent, "client_idle_timeout")


def test_half_a_long_message_is_a_query_under_way(pooler: Pooler) -> None:
    """It may be passed on in pieces, so there is a server for it."""
    with pooler.configured(query_timeout=1), pooled(pooler) as wire:
        wire.send(parse(f"SELECT '{'x' * 50_000}'", "half")[:-6])
        expect_end(wire, "query timeout")
    wait_until_free(pooler, "p0")


def test_half_a_long_message_behind_requests_of_ours(running_postgres: Postgres, pooler: Pooler) -> None:
    """What others have left of sequences is discarded for it, in its pipeline."""
    running_postgres.sql("CREATE SEQUENCE half; GRANT ALL ON half TO PUBLIC", dbname="p0")
    try:
        with pooler.configured(query_timeout=1), pooled(pooler) as other, pooled(pooler) as wire:
            other.query("SELECT nextval('half')")
            wire.send(parse(f"SELECT lastval(), '{'x' * 50_000}'")[:-6])
            expect_end(wire, "query timeout")
            other.close()
        wait_until_free(pooler, "p0")
    finally:
        running_postgres.sql("DROP SEQUENCE half", dbname="p0")


def test_client_idle_timeout(pooler: Pooler) -> None:
    with pooler.configured(client_idle_timeout=1), pooled(pooler) as idle, pooled(pooler) as busy:
        idle.query("SELECT 1")
        busy.query("BEGIN")
        with pooler.expect_log("closing because: client_idle_timeout"):
            expect_end(idle, "client_idle_timeout")
        assert busy.rows("SELECT 1") == [[b"1"]], "who has a server is not idle"
        busy.close()


@pytest.mark.parametrize("begun", [b"", b"\0\0"], ids=["nothing", "half-a-length"])
def test_client_login_timeout(pooler: Pooler, begun: bytes) -> None:
    """Over the unix socket: with TCP the kernel keeps a silent client to itself at first."""
    with pooler.configured(client_login_timeout=1), pooler.wire(unix=True) as silent, pooled(pooler) as other:
        with pooler.expect_log("closing because: client_login_timeout"):
            silent.send(begun)
            assert silent.receive_until("E")[-1].fields["M"] == "client_login_timeout"
            silent.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]
        other.close()


def test_query_wait_notify(pooler: Pooler) -> None:
    """A client that waits for long is told so, and is served all the same."""
    with pooler.configured(query_wait_notify=1), pooled(pooler) as holder, pooled(pooler) as waiter:
        holder.query("BEGIN")
        waiter.send(query("SELECT 1"))
        (notice,) = waiter.expect("N")
        assert notice.fields["M"] == "No server connection available in postgres backend, client being queued"
        assert notice.fields["C"] == "00000"
        holder.query("COMMIT")
        waiter.expect("TDCZ")
        holder.close()
        waiter.close()


def test_nothing_times_out_by_default(pooler: Pooler) -> None:
    with pooled(pooler) as wire, pooled(pooler) as idle:
        wire.query("BEGIN")
        wire.query("SELECT pg_sleep(1.2)")
        wire.expect_silence(1.2)
        assert wire.query("COMMIT")[-1].text == "I"
        idle.expect_silence(0.01)
        wire.close()
        idle.close()
