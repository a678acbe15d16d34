"""Settings that hold for a pool: the user's before the database's before the general; what is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pgbouncer.subjects import made_of_each, on_each, told
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer
from tests.support.processes import wait_for
from tests.support.wire import LoginRefused, Wire, query

BOUNCER = {
    "databases": {
        "p0": "",
        "p1": "pool_mode=session",
        "p2": "pool_mode=statement",
        "p3": "pool_size=2",
        "many": "dbname=p0 pool_size=10 max_db_connections=3",
    },
    "users": {"limited": "pool_mode=session max_user_connections=1"},
    "default_pool_size": 4,
    "pool_mode": "transaction",
}


def holders(bouncer: Bouncer, count: int, database: str, user: str = "bouncer") -> list[Wire]:
    """Clients, each of which wants a server for a transaction."""
    wires = [bouncer.wire().login(user=user, database=database) for _ in range(count)]
    for wire in wires:
        wire.send(query("BEGIN"))
    return wires


def release(wires: list[Wire]) -> None:
    """Ends all transactions, in whatever order they got their servers."""
    for wire in wires:
        wire.socket.close()


LOOKS = 5


def most(bouncer: Bouncer, database: str, user: str, count: int) -> int:
    """How many servers so many clients get; all others wait."""
    wires = holders(bouncer, count, database, user)
    looks: list[int] = []  # in a row: between two logins PgBouncer has none for a moment
    try:

        def settled() -> bool:
            (row,) = bouncer.show("pools", database=database, user=user)
            if row["sv_active"] + row["cl_waiting"] != count or row["sv_login"]:
                looks.clear()
            looks.append(int(row["sv_active"]))
            return len(looks) > LOOKS and len(set(looks[-LOOKS:])) == 1

        wait_for(settled, 15, "everybody has a server or waits")
        return looks[-1]
    finally:
        release(wires)


@on_each()
@pytest.mark.parametrize(
    ("database", "user", "size"),
    [("p0", "bouncer", 4), ("p3", "bouncer", 2), ("p0", "limited", 1), ("many", "bouncer", 3)],
    ids=["general", "database", "user", "max_db_connections"],
)
def test_sizes(subject: Bouncer, database: str, user: str, size: int) -> None:
    assert most(subject, database, user, size + 3) == size


@on_each()
def test_modes(subject: Bouncer) -> None:
    def mode(database: str, user: str) -> str:
        with subject.wire().login(user=user, database=database) as wire:
            wire.query("SELECT 1")
            (row,) = subject.show("pools", database=database, user=user)
            wire.close()
        return str(row["pool_mode"])

    assert mode("p0", "bouncer") == "transaction"
    assert mode("p1", "bouncer") == "session"
    assert mode("p2", "bouncer") == "statement"
    assert mode("p2", "limited") == "session", "the user's counts more"


@made_of_each(since="1.26")
def test_timeouts_of_users_and_databases(start: Callable[..., Bouncer]) -> None:
    bouncer = start(
        databases={"p0": "pool_size=1", "p1": "pool_size=1 query_wait_timeout=1"},
        users={"bouncer": "query_timeout=1", "postgres": "query_timeout=30 idle_transaction_timeout=1"},
        query_timeout=30,
    )
    with pooled(bouncer) as wire:
        wire.send(query("SELECT pg_sleep(20)"))
        assert told(wire.receive_until("E")[-1]) == "E FATAL 08P01 query timeout"
    with bouncer.wire().login(user="postgres") as wire:
        wire.query("BEGIN")
        assert told(wire.receive_until("E")[-1]) == "E FATAL 08P01 idle transaction timeout"
    with (
        bouncer.wire().login(user="limited", database="p1") as busy,
        bouncer.wire().login(user="limited", database="p1") as waits,
    ):
        busy.query("BEGIN")
        waits.send(query("SELECT 1"))
        assert told(waits.receive_until("E")[-1]) == "E FATAL 08P01 query_wait_timeout"
        busy.query("COMMIT")
        busy.close()


@made_of_each()
def test_server_lifetime_of_zero_is_one_use(start: Callable[..., Bouncer]) -> None:
    bouncer = start(server_lifetime=0)
    pid = "SELECT pg_backend_pid()"
    seen = [bouncer.sql(pid) for _ in range(3)]
    assert len({str(one) for one in seen}) == 3


@made_of_each()
def test_autodb_idle_timeout(start: Callable[..., Bouncer]) -> None:
    """A database made from `*` is forgotten when nobody has used it for long."""
    bouncer = start(databases={"*": ""}, autodb_idle_timeout=1, server_idle_timeout=1)
    assert bouncer.sql("SELECT 1") == [(1,)]
    assert bouncer.show("databases", name="p0")
    wait_for(lambda: not bouncer.show("databases", name="p0"), 30, "it is forgotten")
    assert bouncer.sql("SELECT 1") == [(1,)]


@made_of_each(since="1.26")
def test_pool_idle_timeout(start: Callable[..., Bouncer]) -> None:
    bouncer = start(pool_idle_timeout=1, server_idle_timeout=1)
    assert bouncer.sql("SELECT 1") == [(1,)]
    assert bouncer.show("pools", database="p0")
    wait_for(lambda: not bouncer.show("pools", database="p0"), 30, "it is forgotten")


@made_of_each()
def test_averages(start: Callable[..., Bouncer]) -> None:
    """Over a stats_period, then back to zero; totals stay."""
    bouncer = start(stats_period=1)
    with pooled(bouncer) as wire:
        for _ in range(200):
            wire.query("SELECT 1")
        wire.close()

    def row(what: str) -> dict[str, object]:
        return bouncer.show(what, database="p0")[0]

    wait_for(lambda: bool(row("stats")["avg_xact_count"]), 5, "an average")
    wait_for(lambda: not row("stats")["avg_xact_count"], 10, "the period is over")
    assert row("stats")["total_xact_count"] == 200
    assert row("stats_totals")["xact_count"] == 200
    assert row("stats_averages")["xact_count"] == 0


def let_in(bouncer: Bouncer, user: str) -> Wire:
    """A client of the console, as soon as those before it are no longer counted."""
    entered: list[Wire] = []

    def enters() -> bool:
        wire = bouncer.wire()
        try:
            entered.append(wire.login(user=user, database="pgbouncer"))
        except LoginRefused:
            wire.close()
        return bool(entered)

    wait_for(enters, 10, "a place")
    return entered[0]


@pytest.mark.parametrize("limit", ["max_db_client_connections", "max_user_client_connections"])
@made_of_each(since="1.24")
def test_client_limits_on_the_console(start: Callable[..., Bouncer], limit: str) -> None:
    """They are for those who may only look there, not for admins."""
    bouncer = start(**{limit: 2}, stats_users="limited", admin_users="postgres,bouncer")
    for user, may in (("limited", False), ("bouncer", True)):
        with let_in(bouncer, user), let_in(bouncer, user), bouncer.wire() as third:
            if may:
                third.login(user=user, database="pgbouncer")
            else:
                with pytest.raises(LoginRefused) as refused:
                    third.login(user=user, database="pgbouncer")
                assert told(refused.value.error) == f"E FATAL 08P01 client connections exceeded ({limit})"
