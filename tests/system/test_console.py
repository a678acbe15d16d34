"""The console as operators and their tools use it: through programs and drivers, by both of its names."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
import psycopg2
import pytest
from psycopg2 import errors

from tests.support.crowd import refusal
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import query

NAMES = ["pgbouncer", "pooler"]
SHOWS = [
    *[
        "active_sockets",
        "catalogs",
        "clients",
        "config",
        "databases",
        "dns_hosts",
        "dns_zones",
        "lists",
        "mem",
        "peers",
    ],
    *[
        "peer_pools",
        "pin_totals",
        "pins",
        "pools",
        "servers",
        "slots",
        "sockets",
        "state",
        "stats",
        "stats_averages",
        "stats_totals",
    ],
    *["totals", "users", "version", "workers"],
]
MAY_BE_EMPTY = ("active_sockets", "catalogs", "dns_hosts", "dns_zones", "peers", "peer_pools", "pins")
ORDERS = [
    *[
        "RELOAD",
        "PAUSE",
        "PAUSE p3",
        "RESUME",
        "RESUME p3",
        "SUSPEND",
        "KILL",
        "KILL p3",
        "KILL_CLIENT 99999999",
    ],
    *["RECONNECT", "RECONNECT p3", "WAIT_CLOSE", "WAIT_CLOSE p3", "DISABLE p3", "ENABLE p3", "SHOW FDS"],
    *["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_CLIENTS", "SET stats_period = 30"],
]


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=request.param,
        databases={"p0": "pool_size=3", "p1": "", "p2": "user=bouncer", "p3": ""},
        stats_users="suser",
        auth_type="trust",
    )


@contextmanager
def session(
    pooler: Pooler, user: str = "postgres", name: str = "pgbouncer"
) -> Iterator[psycopg2.extensions.cursor]:
    with pooler.connect(dbname=name, user=user) as connection, connection.cursor() as cursor:
        yield cursor


# Looking.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", SHOWS)
def test_show_by_psycopg2(pooler: Pooler, name: str, what: str) -> None:
    with pooled(pooler) as wire, session(pooler, name=name) as cursor:
        wire.query("SELECT 1")
        cursor.execute(f"SHOW {what}")
        assert cursor.description
        rows = cursor.fetchall()
        assert rows or what in MAY_BE_EMPTY, f"{what} is empty"
        wire.close()


@pytest.mark.parametrize("name", NAMES)
def test_show_by_psql(pooler: Pooler, name: str) -> None:
    for what in SHOWS:
        text = pooler.run_program("psql", "-X", "-c", f"show {what};", name)
        assert re.search(r"\(\d+ rows?\)", text), text
    assert "Console usage" in pooler.run_program("psql", "-X", "-c", "SHOW HELP", name)


def test_show_by_psycopg3(pooler: Pooler) -> None:
    """Which sends extended queries as soon as there are parameters, and simple ones else."""
    with closing(
        psycopg.connect(pooler.dsn(dbname="pooler", user="postgres"), autocommit=True)
    ) as connection:
        for what in SHOWS:
            assert connection.execute(f"SHOW {what}").description
        cursor = psycopg.ClientCursor(connection)
        assert cursor.execute("SHOW VERSION").fetchall()


def test_rows_tell_the_truth(pooler: Pooler) -> None:
    before = pooler.show("stats_totals", database="p0")
    with pooled(pooler) as busy, pooled(pooler) as idle:
        busy.query("BEGIN")
        idle.query("SELECT 1")

        def states() -> list[str]:
            return sorted(row["state"] for row in pooler.show("clients", database="p0"))

        wait_for(lambda: states() == ["active", "idle"], 5, "a worker's first questions to the catalogs")
        clients = pooler.show("clients", database="p0")
        (active,) = [row for row in clients if row["state"] == "active"]
        servers = pooler.show("servers", database="p0", state="active")
        assert [row["id"] for row in servers] != [active["id"]]
        assert servers[0]["link"] == active["ptr"]
        assert servers[0]["ptr"] == active["link"]
        assert [[str(servers[0]["remote_pid"]).encode()]] == busy.rows("SELECT pg_backend_pid()")
        assert (active["addr"], active["local_port"]) == ("127.0.0.1", pooler.port)
        pool = pooler.pool()
        assert (pool["cl_active"], pool["sv_active"], pool["pool_mode"]) == (
            2,
            1,
            "transaction",
        )  # idle ones count as active
        workers = pooler.show("workers")
        assert sum(row["clients"] for row in workers) >= 2
        busy.query("COMMIT")
        busy.close()
        idle.close()
    after = pooler.show("stats_totals", database="p0")
    grown = {
        name: after[0][name] - (before[0][name] if before else 0) for name in ("xact_count", "query_count")
    }
    assert grown == {"xact_count": 2, "query_count": 4}


def test_ids_come_from_one_counter(pooler: Pooler) -> None:
    wires = [pooled(pooler) for _ in range(6)]
    ids = {row["port"]: row["id"] for row in pooler.show("clients", database="p0")}
    in_order = [ids[wire.socket.getsockname()[1]] for wire in wires]
    assert in_order == sorted(in_order)
    for wire in wires:
        wire.close()
    wait_for(lambda: not pooler.show("clients", database="p0"), 5, "gone clients are not listed")


def test_select_is_show(pooler: Pooler) -> None:
    assert pooler.console("SELECT version") == pooler.console("SHOW VERSION;")


# Errors.


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("", "invalid command '', use SHOW HELP;"),
        ("NONSENSE", "invalid command 'NONSENSE', use SHOW HELP;"),
        ("SELECT 1", "invalid command 'SELECT 1', use SHOW HELP;"),
        ("SHOW NONSENSE", "invalid command 'SHOW NONSENSE', use SHOW HELP;"),
        ("SHOW POOLS; SHOW POOLS", "invalid command 'SHOW POOLS; SHOW POOLS', use SHOW HELP;"),
        ("PAUSE nowhere", "no such database: nowhere"),
        ("RESUME nowhere", "no such database: nowhere"),
        ("RESUME p0", "database p0 is not paused"),
        ("RESUME", "pooler is not paused/suspended"),
        ("KILL nowhere", "no such database: nowhere"),
        ("RECONNECT nowhere", "no such database: nowhere"),
        ("DISABLE", "a database is required"),
        ("ENABLE", "a database is required"),
        ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
        ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
        ("KILL_CLIENT x", "invalid client pointer supplied"),
        ("KILL_CLIENT 99999999", "client not found"),
        ("SET nonsense = 1", "SET failed"),
        ("SET stats_period = x", "SET failed"),
    ],
)
def test_errors(pooler: Pooler, command: str, text: str) -> None:
    with pooler.wire().login(user="postgres", database="pgbouncer") as wire:
        wire.send(query(command))
        error, ready = wire.expect("EZ")
        assert (error.fields["S"], error.fields["C"]) == ("ERROR", "08P01")
        assert error.fields["M"] == text
        assert ready.text == "I"
        assert [m.type for m in wire.query("SHOW VERSION")] == ["T", "D", "C", "Z"]
        wire.close()


# Access to commands.


@pytest.mark.parametrize("name", NAMES)
def test_stats_user_may_look(pooler: Pooler, name: str) -> None:
    with session(pooler, "suser", name) as cursor:
        for what in SHOWS:
            cursor.execute(f"SHOW {what}")


@pytest.mark.parametrize("command", ORDERS)
def test_stats_user_may_order_nothing(pooler: Pooler, command: str) -> None:
    with (
        session(pooler, "suser") as cursor,
        pytest.raises(errors.ProtocolViolation, match="admin access needed"),
    ):
        cursor.execute(command)


@pytest.mark.parametrize("name", NAMES)
def test_others_are_not_let_in(pooler: Pooler, name: str) -> None:
    assert "not allowed" in refusal(pooler.dsn(dbname=name, user="bouncer"))


def test_unknown_user_is_not_let_in(pooler: Pooler) -> None:
    assert '"trust" authentication failed' in refusal(pooler.dsn(dbname="pgbouncer", user="nobody_knows"))


# Drivers that set things up before they ask.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "UTF-8"),
        ("default_transaction_isolation", "read committed"),
        ("standard_conforming_strings", "on"),
        ("datestyle", "ISO"),
        ("timezone", "GMT"),
    ],
)
def test_pretended_settings(pooler: Pooler, name: str, value: str) -> None:
    with session(pooler, "suser") as cursor:
        cursor.execute(f"SHOW {name}")
        assert cursor.fetchone() == (value,)
        cursor.execute(f"SET {name} = 'something'")
        assert cursor.statusmessage == "SET"


def test_commands_without_end_keep_nobody_waiting(make_pooler: Callable[..., Pooler]) -> None:
    """Of a session that reads its answers as fast as it asks: another one of the same worker is served."""
    pooler = make_pooler(workers=1, databases={"p0": ""})
    busy = pooler.wire(timeout_s=20).login(database="pgbouncer")
    stop = threading.Event()

    def ask() -> None:
        with suppress(OSError):
            while not stop.is_set():
                busy.socket.sendall(query("SHOW VERSION") * 1000)

    def hear() -> None:
        with suppress(OSError):
            while busy.socket.recv(1 << 20):
                pass

    threads = [threading.Thread(target=target) for target in (ask, hear)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert pooler.show("workers")
    finally:
        stop.set()
        busy.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        busy.socket.close()
