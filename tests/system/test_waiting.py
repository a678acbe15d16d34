"""SHOW WAITING: each kind of wait, caused on purpose, is named rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query, startup

MakePooler = Callable[..., Pooler]


def waiting(pooler: Pooler, count: int = 1) -> list[dict[str, Any]]:
    """The rows, once there are so many."""
    rows: list[dict[str, Any]] = []

    def are_there() -> bool:
        rows[:] = pooler.show("waiting")
        return len(rows) == count

    wait_for(are_there, what=f"{count} who wait")
    return rows


def asks(pooler: Pooler, database: str = "p0", user: str = "bouncer") -> Wire:
    """A client that waits for a server: to run something, or in its login if the pool has never had one."""
    wire = pooler.wire(timeout_s=60)
    wire.send(startup(user, database) + query("SELECT 1"))
    return wire


#: What the log says of two clients that wait, with a name that has a line feed.
JAM = (
    r"WARNING pool p0/bouncer: 2 waiting, the oldest for \d+ s; pool_size: 1 of 1 servers are there;"
    r" held by C-\d+ nightly\\x0areport \S+ idle in transaction \d+ s\n"
)

LIMITS = {
    "pool_size": ({"p0": "pool_size=1"}, {}, {"database": "p0"}),
    "max_db_connections": ({"p0": "max_db_connections=1"}, {}, {"database": "p0", "user": "postgres"}),
    "max_user_connections": ({"p0": "", "p1": ""}, {"max_user_connections": 1}, {"database": "p1"}),
    "max_server_connections": ({"p0": "", "p1": ""}, {"max_server_connections": 1}, {"database": "p1"}),
}


@pytest.mark.parametrize("cause", LIMITS)
def test_a_limit(make_pooler: MakePooler, cause: str) -> None:
    databases, settings, who = LIMITS[cause]
    pooler = make_pooler(workers=2, databases=databases, **settings)
    with pooler.wire() as wire:
        holder = wire.login(application_name="nightly-report")
        holder.query("BEGIN")
        with asks(pooler, **who):
            (row,) = waiting(pooler)
            assert (row["blocked_by"], row["detail"]) == (cause, "1 of 1 servers are there")
            assert (row["database"], row["place"], row["waiting"]) == (who["database"], 1, 1)
            assert "nightly-report" in row["holders"]
            assert "idle in transaction" in row["holders"]
            (shown,) = pooler.show("clients", application_name="nightly-report")
            assert f"C-{shown['id']} " in row["holders"]
            assert (shown["state"], shown["activity"]) == ("active", "idle in transaction")
            assert shown["xact_start"] is not None
            assert shown["query_start"] is None
            (server,) = pooler.show("servers", state="active")
            assert server["application_name"] == "nightly-report"
            holder.query("COMMIT")
        wait_for(lambda: not pooler.show("waiting"), what="the end of all waits")


def test_a_slow_query_and_a_pin(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=2"})
    with pooler.wire() as one, pooler.wire(timeout_s=60) as two:
        one.login().query("SELECT pg_advisory_lock(1)")
        two.login().send(query("SELECT pg_sleep(600)"))
        wait_for(lambda: len(pooler.show("servers", state="active")) == 2, what="two servers in use")
        with asks(pooler), asks(pooler):
            rows = waiting(pooler, 2)
            assert [(row["place"], row["waiting"], row["blocked_by"]) for row in rows] == [
                (1, 2, "pool_size"), (2, 2, "pool_size"),
            ]  # fmt: skip
            pinned, running = sorted(rows[0]["holders"].split("; "), key=lambda text: "pinned" not in text)
            assert "pinned: advisory lock" in pinned
            assert " active " in running


def test_a_pause(make_pooler: MakePooler) -> None:
    pooler = make_pooler(databases={"p0": ""})
    with pooler.wire() as wire:
        wire.login().query("SELECT 1")
        pooler.console("PAUSE")
        wire.send(query("SELECT 1"))
        (row,) = waiting(pooler)
        assert (row["blocked_by"], row["holders"]) == ("paused", "")
        assert "RESUME" in row["detail"]
        pooler.console("RESUME")
        wire.receive_until()


def test_a_server_that_is_down(make_pooler: MakePooler) -> None:
    pooler = make_pooler(databases={"p0": "host=127.0.0.1 port=1 user=bouncer"}, server_login_retry=60)
    with pooler.wire() as wire:
        wire.send(startup("bouncer", "p0"))
        wait_for(lambda: [row["blocked_by"] for row in pooler.show("waiting")] == ["server down"])
        (row,) = waiting(pooler)
        assert row["detail"].startswith("connect failed: Connection refused; tried again in ")


def test_a_login_that_is_refused(make_pooler: MakePooler, pg: Postgres) -> None:
    """Nobody waits for that: clients are told."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=2"}, server_login_retry=60)
    with pooler.wire(timeout_s=60) as wire:
        wire.login(user="bouncer").query("SELECT 1")
        pg.sql("ALTER ROLE bouncer NOLOGIN")
        try:
            pg.terminate_backends("p0")
            wait_for(lambda: not pooler.show("servers", database="p0"), what="the end of its servers")
            wire.send(query("SELECT 1"))
            assert "is not permitted to log in" in wire.expect_error()["M"]
            assert not pooler.show("waiting")
        finally:
            pg.sql("ALTER ROLE bouncer LOGIN")


def test_the_log_tells_of_a_jam(make_pooler: MakePooler) -> None:
    """One line for all who wait in a pool, not one each, and not again within the minute."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        holder = wire.login(application_name="nightly\nreport")
        holder.query("BEGIN")
        with asks(pooler), asks(pooler), pooler.expect_log(JAM, count=1):
            waiting(pooler, 2)
            wait_for(lambda: "waiting, the oldest for" in pooler.log.read_text(), 15, "the line")
        holder.query("COMMIT")


def test_clients_hear_why_they_wait(make_pooler: MakePooler) -> None:
    """And nothing of those that they wait for."""
    pooler = make_pooler(
        databases={"p0": "pool_size=1", "p1": "host=127.0.0.1 port=1"},
        query_wait_notify=1,
        query_wait_timeout=3,
        server_login_retry=60,
    )
    with pooler.wire() as wire, pooler.wire(timeout_s=60) as other, pooler.wire(timeout_s=60) as down:
        wire.login(application_name="secret-job").query("BEGIN")
        other.login().send(query("SELECT 1"))
        (notice,), error = other.expect("N"), other.expect_error()
        for told in (notice.fields, error):
            assert told["D"] == "pool_size: 1 of 1 servers are there"
        assert error["M"] == "query_wait_timeout"
        down.send(startup("bouncer", "p1"))
        error = down.expect_error()
        assert error["M"] == "query_wait_timeout"
        assert error["D"].startswith("server down: connect failed: Connection refused; ")
