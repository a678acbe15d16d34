"""Limits hold over all workers: of servers as PostgreSQL sees them, of clients as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg2
import pytest

from tests.support.crowd import Watcher, at_once, refusal
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query

CLIENTS = 16
TURNS = 25
EXEMPT = "postgres"  # an admin user

MakePooler = Callable[..., Pooler]


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def start(request: pytest.FixtureRequest, make_pooler: MakePooler, pg: Postgres) -> MakePooler:
    """Starts a pooler while PostgreSQL has nobody else's backends."""
    for number in range(4):
        pg.wait_for_backends(0, f"p{number}")
    return lambda **keywords: make_pooler(workers=request.param, **keywords)


@pytest.fixture(scope="module", autouse=True)
def roles(running_postgres: Postgres) -> Iterator[None]:
    running_postgres.ensure_running()
    running_postgres.sql("CREATE ROLE second LOGIN")
    yield
    running_postgres.ensure_running()
    running_postgres.sql("DROP ROLE second")


def crowd(pooler: Pooler, databases: list[str], users: list[str]) -> None:
    """Clients of all combinations run short transactions with rows of their own, all at once."""

    def work(number: int) -> None:
        database = databases[number % len(databases)]
        user = users[number // len(databases) % len(users)]
        with pooler.connect(dbname=database, user=user) as connection, connection.cursor() as cursor:
            for turn in range(TURNS):
                cursor.execute("SELECT %s, %s, pg_sleep(0.001)", (number, turn))
                assert cursor.fetchone() == (number, turn, "")

    at_once(CLIENTS, work)


def watched(pg: Postgres, pooler: Pooler, databases: list[str], users: list[str], where: str = "") -> int:
    """The most backends at any moment while a crowd works."""
    with Watcher(pg, *([where] if where else [])) as watcher:
        crowd(pooler, databases, users)
    return watcher.most


def with_second(pooler: Pooler) -> Pooler:
    """The same pooler, which knows the user `second` too."""
    pooler.passwords["second"] = ""
    pooler.configure()
    return pooler


# Servers.


def test_pool_size(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": "pool_size=3"})
    assert watched(pg, pooler, ["p0"], ["bouncer"]) == 3
    assert len(pooler.show("servers", database="p0")) == 3


def test_default_pool_size_is_per_pool(start: MakePooler, pg: Postgres) -> None:
    pooler = with_second(start(default_pool_size=2))
    assert watched(pg, pooler, ["p0", "p1"], ["bouncer", "second"]) == 8


def test_pool_size_of_a_user(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": "pool_size=5"}, users={"bouncer": "pool_size=2"})
    assert watched(pg, pooler, ["p0"], ["bouncer"]) == 2


def test_pool_size_grows_and_shrinks_by_reload(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": ""}, default_pool_size=1)
    assert watched(pg, pooler, ["p0"], ["bouncer"]) == 1
    pooler.configure(default_pool_size=4)
    assert watched(pg, pooler, ["p0"], ["bouncer"]) == 4
    pooler.configure(default_pool_size=2)
    wait_for(lambda: len(pg.backends()) <= 2, 5, "two servers closed")
    assert watched(pg, pooler, ["p0"], ["bouncer"]) == 2


def test_max_db_connections(start: MakePooler, pg: Postgres) -> None:
    """Pools of one database share; an idle server of one is closed for a waiter of the other."""
    pooler = with_second(start(databases={"p0": "max_db_connections=3", "p1": ""}, default_pool_size=10))
    assert watched(pg, pooler, ["p0"], ["bouncer", "second"], "datname = 'p0'") == 3
    assert pooler.show("databases", name="p0")[0]["current_connections"] == len(pg.backends())
    pg.terminate_backends()


def test_max_user_connections(start: MakePooler, pg: Postgres) -> None:
    pooler = start(users={"bouncer": "max_user_connections=2"})
    assert watched(pg, pooler, ["p0", "p1", "p2"], ["bouncer"]) == 2
    # the last client may have left while a server made way for its own
    there = [server for server in pooler.show("servers") if server["user"] == "bouncer"]
    assert pooler.show("users", name="bouncer")[0]["current_connections"] == len(there)
    assert 1 <= len(there) <= 2


def test_max_server_connections(start: MakePooler, pg: Postgres) -> None:
    """Ours: a limit for one PostgreSQL, whatever database and user."""
    pooler = with_second(start(max_server_connections=4))
    assert watched(pg, pooler, ["p0", "p1", "p2"], ["bouncer", "second"]) == 4


def test_limits_together(start: MakePooler, pg: Postgres) -> None:
    pooler = with_second(
        start(
            databases={"p0": "max_db_connections=2", "p1": "max_db_connections=4"},
            max_server_connections=5,
            users={"second": "max_user_connections=1"},
        )
    )
    with Watcher(pg, "usename = 'second'") as second, Watcher(pg, "datname = 'p0'") as p0:
        assert watched(pg, pooler, ["p0", "p1"], ["bouncer", "second"]) <= 5
    assert second.most == 1
    assert p0.most == 2


def test_same_database_by_two_names_has_two_limits(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"a": "dbname=p0 pool_size=1", "b": "dbname=p0 pool_size=2"})
    assert watched(pg, pooler, ["a", "b"], ["bouncer"]) == 3


def test_pool_size_zero_is_unlimited(start: MakePooler, pg: Postgres) -> None:
    pooler = start(databases={"p0": "pool_size=0"})
    with ExitStack() as stack:
        for _ in range(25):
            stack.enter_context(pooled(pooler, "p0")).query("BEGIN")
        assert len(pg.backends()) == 25


def test_reserve_pool(start: MakePooler, pg: Postgres) -> None:
    """Two more servers for those who waited too long; the fourth client has to wait for a release."""
    pooler = start(databases={"p0": "pool_size=1 reserve_pool_size=2"}, reserve_pool_timeout=0.2)
    with ExitStack() as stack:
        wires = [stack.enter_context(pooled(pooler, "p0")) for _ in range(4)]
        wires[0].query("BEGIN")
        for wire in wires[1:3]:
            wire.send(query("BEGIN"))
            assert wire.receive_until()[-1].text == "T"
        wires[3].send(query("SELECT 1"))
        wires[3].expect_silence(0.8)
        assert len(pg.backends()) == 3
        wires[0].query("COMMIT")
        wires[3].receive_until()


def test_reserve_pool_is_logged(start: MakePooler) -> None:
    pooler = start(databases={"p0": "pool_size=1 reserve_pool_size=2"}, reserve_pool_timeout=0.2)
    with pooled(pooler) as first, pooled(pooler) as second:
        first.query("BEGIN")
        with pooler.expect_log("taking connection from reserve_pool", count=1):
            assert second.rows("SELECT 1") == [[b"1"]]


def test_min_pool_size_with_a_forced_user(start: MakePooler, pg: Postgres) -> None:
    """Servers stand ready before the first client, counted once over all workers."""
    pooler = start(databases={"p0": "user=bouncer min_pool_size=3", "p1": "min_pool_size=3"})
    with Watcher(pg) as watcher:
        pg.wait_for_backends(3)
        assert pooler.sql("SELECT 1", dbname="p0") == [(1,)]
        with pooled(pooler, "p1"):
            pg.wait_for_backends(3, "p1")
        assert pooler.pool("p0")["sv_idle"] + pooler.pool("p0")["sv_used"] == 3
    assert watcher.most <= 6


def test_connection_limit_of_a_role(start: MakePooler) -> None:
    """A role that may have two connections only: the third client gets one of them in turn."""
    pooler = start(databases={"p0": "pool_size=5"}, query_wait_timeout=1)
    with (
        pooled_as(pooler, "limited") as first,
        pooled_as(pooler, "limited") as second,
        pooled_as(pooler, "limited") as third,
    ):
        first.query("BEGIN")
        second.query("BEGIN")
        third.send(query("SELECT 1"))
        first.query("COMMIT")
        assert [m.type for m in third.receive_until()] == ["T", "D", "C", "Z"]
        second.query("COMMIT")


def pooled_as(pooler: Pooler, user: str) -> Wire:
    return pooler.wire().login(user=user)


# Clients.


def test_max_client_conn(start: MakePooler) -> None:
    pooler = start(max_client_conn=4)
    text = "no more connections allowed (max_client_conn)"
    with ExitStack() as stack:
        wires = [stack.enter_context(pooled(pooler)) for _ in range(4)]
        assert text in refusal(pooler.dsn())
        assert pooler.show("version"), "the console is exempt"
        wires[0].close()
        wait_for(lambda: len(pooler.show("clients", database="p0")) == 3, 5, "one client less")
        stack.enter_context(pooled(pooler))
        assert text in refusal(pooler.dsn(dbname="p1"))


def test_max_client_conn_in_a_storm(start: MakePooler) -> None:
    """Exactly as many as allowed get in, the others are told why."""
    pooler = start(max_client_conn=5)
    with ExitStack() as stack:

        def enter(_: int) -> str:
            try:
                stack.callback(psycopg2.connect(pooler.dsn()).close)
            except psycopg2.OperationalError as error:
                return str(error)
            return ""

        answers = at_once(20, enter)
        assert answers.count("") == 5
        assert all("no more connections allowed (max_client_conn)" in text for text in answers if text)


def test_max_db_client_connections(start: MakePooler) -> None:
    pooler = start(databases={"p0": "max_db_client_connections=2", "p1": ""})
    with pooled(pooler) as first, pooled(pooler) as second:
        text = refusal(pooler.dsn())
        assert "client connections exceeded (max_db_client_connections)" in text
        assert pooler.sql("SELECT 1", dbname="p1") == [(1,)]
        row = pooler.show("databases", name="p0")[0]
        assert (row["max_client_connections"], row["current_client_connections"]) == (2, 2)
        second.close()
        wait_for(lambda: len(pooler.show("clients", database="p0")) == 1, 5, "one client less")
        assert pooler.sql("SELECT 1") == [(1,)]
        first.close()


def test_max_user_client_connections(start: MakePooler) -> None:
    pooler = with_second(start(users={"bouncer": "max_user_client_connections=2"}))
    with pooled(pooler, "p0"), pooled(pooler, "p1"):
        text = refusal(pooler.dsn(dbname="p2"))
        assert "client connections exceeded (max_user_client_connections)" in text
        assert pooler.sql("SELECT 1", user="second") == [(1,)]
        row = pooler.show("users", name="bouncer")[0]
        assert (row["max_user_client_connections"], row["current_client_connections"]) == (2, 2)


def test_refused_clients_do_not_count(start: MakePooler) -> None:
    pooler = start(max_client_conn=3, max_user_client_connections=1)
    with pooled(pooler):
        for _ in range(10):
            assert "max_user_client_connections" in refusal(pooler.dsn())
        assert "no such database" in refusal(pooler.dsn(dbname="nowhere", user=EXEMPT))
    wait_for(lambda: not pooler.show("clients", database="p0"), 5, "nobody left")
    assert pooler.sql("SELECT 1") == [(1,)]
