"""Clients that go away by FIN or RST at every point of the protocol: nothing leaks, nobody else notices."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.health import assert_consistent, wait_until_slots_work
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.storm import Storm
from tests.support.wire import (
    FLUSH,
    SSL_REQUEST,
    SYNC,
    TERMINATE,
    Wire,
    bind,
    describe,
    execute,
    message,
    parse,
    query,
    startup,
    untyped,
)
from tests.system.conftest import BUSY, MakeShared, Witnesses, nothing_left

SLEEP = query("SELECT pg_sleep(60)")
BIG = query("SELECT repeat('x', 10000) FROM generate_series(1, 100000)")
COPY_IN = query("COPY gone FROM STDIN")
COPY_OUT = query("COPY (SELECT repeat('x', 10000) FROM generate_series(1, 100000)) TO STDOUT")
LONG = message("Q", b"INSERT INTO gone VALUES (1) -- " + b"x" * 200_000 + b"\0")


@dataclass(frozen=True)
class Exit:
    """What a client has sent, and the messages it has seen, when it goes."""

    sends: bytes
    sees: str = ""
    runs: bool = False  # PostgreSQL is busy with it


#: Before the login is done.
STRANGERS = {
    "silent": b"",
    "half length word": b"\0\0",
    "half startup packet": startup()[:20],
    "after SSLRequest": untyped(SSL_REQUEST),
    "startup packet complete": startup(),
    "half cancel request": untyped(80877102, struct.pack("!II", 1, 2))[:12],
}

#: After the login.
EXITS = {
    "idle": Exit(b""),
    "half header": Exit(SLEEP[:3]),
    "half query": Exit(SLEEP[:12]),
    "half long query": Exit(LONG[:100_000]),
    "after a query": Exit(query("SELECT 1"), "TDCZ"),
    "query running": Exit(SLEEP, runs=True),
    "queries pipelined": Exit(query("SELECT 1") * 50 + SLEEP),
    "in transaction": Exit(query("BEGIN; INSERT INTO gone VALUES (1)"), "CCZ"),
    "in failed transaction": Exit(query("BEGIN") + query("SELECT 1/0"), "CZEZ"),
    "half message in transaction": Exit(query("BEGIN") + SLEEP[:12], "CZ"),
    "result flowing": Exit(BIG, "TD", runs=True),
    "parse without sync": Exit(parse("SELECT 1")),
    "parse and flush": Exit(parse("SELECT 1") + FLUSH, "1"),
    "half bind": Exit(parse("SELECT $1::text") + bind([b"x" * 1000])[:50]),
    "portal suspended": Exit(
        query("BEGIN")
        + parse("SELECT generate_series(1, 9)")
        + bind()
        + describe()
        + execute(max_rows=2)
        + FLUSH,
        "CZ12TDDs",
    ),
    "error until sync": Exit(parse("SELECT nonsense") + bind() + execute() + FLUSH, "E"),
    "extended query running": Exit(parse("SELECT pg_sleep(60)") + bind() + execute() + SYNC, runs=True),
    "in copy in": Exit(COPY_IN + message("d", b"1\n"), "G", runs=True),
    "half copy data": Exit(COPY_IN + message("d", b"1\n" * 100)[:50], "G", runs=True),
    "copy done not waited for": Exit(COPY_IN + message("d", b"") + message("c"), "G"),
    "in copy out": Exit(COPY_OUT, "Hd", runs=True),
    "terminate in transaction": Exit(query("BEGIN; INSERT INTO gone VALUES (1)") + TERMINATE),
    "terminate behind a query": Exit(query("SELECT pg_sleep(0.05)") + TERMINATE),
}


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared) -> Pooler:
    return make_shared(workers=2, databases={"p0": "pool_size=2", "p1": ""})


@pytest.fixture(autouse=True)
def nobody_noticed(shared: Pooler, witnesses: Witnesses, undisturbed: None, pg: Postgres) -> Iterator[None]:
    """After each exit: no row is left, both slots work, nothing was committed, the witnesses are served."""
    with nothing_left(shared, pg, "gone"):
        yield
    ours = len(witnesses.wires) + 1  # and the console's
    wait_for(
        lambda: witnesses.pooler.show("lists", list="used_clients")[0]["items"] <= ours,
        5,
        "all rows but ours",
    )


def leave_by_fin(wire: Wire) -> None:
    wire.socket.close()


def leave_by_reset(wire: Wire) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


def leave_by_half_close(wire: Wire) -> None:
    """The kernel of a machine whose program died while data was under way may do this."""
    wire.socket.shutdown(socket.SHUT_WR)
    wire.socket.settimeout(10)
    while wire.socket.recv(65536):
        pass
    wire.socket.close()


LEAVE = {"fin": leave_by_fin, "rst": leave_by_reset}


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("point", STRANGERS)
def test_before_the_login(shared: Pooler, point: str, how: str) -> None:
    wire = shared.wire()
    wire.send(STRANGERS[point])
    LEAVE[how](wire)


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("point", EXITS)
def test_after_the_login(shared: Pooler, pg: Postgres, point: str, how: str) -> None:
    point_of_exit = EXITS[point]
    wire = shared.wire().login()
    wire.send(point_of_exit.sends)
    _see(wire, point_of_exit.sees)
    if point_of_exit.runs:
        wait_for(lambda: pg.sql(BUSY), 5, "PostgreSQL to run it")
    LEAVE[how](wire)


def _see(wire: Wire, types: str) -> None:
    for kind in types:
        while (got := wire.receive()).type != kind:
            assert got.type in "NS", f"{got} instead of {kind}"


@pytest.mark.parametrize("point", ["idle", "in transaction", "in copy in"])
def test_half_closed(shared: Pooler, point: str) -> None:
    """A client that closes its sending side only, with nothing to wait for, is gone, too."""
    point_of_exit = EXITS[point]
    wire = shared.wire().login()
    wire.send(point_of_exit.sends)
    _see(wire, point_of_exit.sees)
    leave_by_half_close(wire)


@pytest.mark.parametrize("how", LEAVE)
def test_while_queued(shared: Pooler, how: str) -> None:
    """A client that leaves the queue does not take its turn along."""
    holders = [shared.wire().login() for _ in range(2)]
    for holder in holders:
        holder.rows("BEGIN")
    waiting = [shared.wire().login() for _ in range(3)]
    for count, wire in enumerate(waiting):
        wire.send(query("INSERT INTO gone VALUES (1)") if count == 1 else query("SELECT 5"))
        wait_for(lambda: shared.pool()["cl_waiting"] == count + 1, 5, "waiting clients")  # noqa: B023
    LEAVE[how](waiting[1])
    wait_for(lambda: shared.pool()["cl_waiting"] == 2, 5, "two waiting clients")
    for holder in holders:
        holder.rows("COMMIT")
        holder.close()
    for wire in (waiting[0], waiting[2]):
        assert [m.values for m in wire.expect("TDCZ") if m.type == "D"] == [[b"5"]]
        wire.close()


def test_pipelined_queries_end_with_their_client(shared: Pooler) -> None:
    """One cancel request ends one statement; PostgreSQL has many more of them in its socket."""
    wire = shared.wire().login()
    wire.send(SLEEP * 20)
    wait_for(lambda: shared.pool()["sv_active"] == 1, 5, "the server")
    leave_by_reset(wire)
    wait_for(lambda: not shared.show("slots", state="closing"), 3, "the end of the server")


def test_hundreds_at_once(shared: Pooler) -> None:
    """All points of exit, together and again."""
    for how in (leave_by_fin, leave_by_reset):
        wires = []
        for point in EXITS.values():
            wires += [_sent(shared, point) for _ in range(3)]
        for wire in wires:
            how(wire)
        wait_for(lambda: not shared.show("clients", database="p0"), 10, "the end of all clients")


def _sent(pooler: Pooler, point: Exit, database: str = "p0") -> Wire:
    wire = pooler.wire().login(database=database)
    wire.send(point.sends)
    return wire


def test_connect_and_leave_at_once(shared: Pooler) -> None:
    for _ in range(300):
        sock = socket.create_connection((shared.host, shared.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_nothing_is_left_after_all(make_pooler: Callable[..., Pooler], pg: Postgres, mode: str) -> None:
    pooler = make_pooler(workers=2, databases={"p2": f"pool_size=3 pool_mode={mode}"})
    pg.sql("CREATE TABLE IF NOT EXISTS gone (n int)", dbname="p2", user="bouncer")
    for point in EXITS.values():
        leave_by_fin(_sent(pooler, point, "p2"))
    assert_consistent(pooler, pg, "p2", timeout_s=10)
    wait_until_slots_work(pooler, 3, "p2")


@pytest.mark.parametrize("workers", [1, 3])
def test_cancels_of_those_who_left_never_hit_innocents(
    make_pooler: Callable[..., Pooler], pg: Postgres, workers: int
) -> None:
    """Queries are left behind all the time; the slots they held are dialed anew and used by others."""
    pooler = make_pooler(workers=workers, databases={"p3": "pool_size=2"})
    with Storm((pooler.host, pooler.port), 12, "SELECT pg_sleep(0.001)", database="p3") as storm:
        storm.wait_until_complete()
        for _ in range(15):
            wires = [pooler.wire() for _ in range(20)]
            for wire in wires:
                wire.send(startup(database="p3") + query("SELECT 1") + query("SELECT pg_sleep(0.001)"))
            for wire in wires:
                wire.receive_until("Z")
            for wire in wires:
                leave_by_reset(wire)
        storm.wait_for_answers(50)
    assert (dict(storm.errors), storm.breaks) == ({}, [])
    assert_consistent(pooler, pg, "p3")
