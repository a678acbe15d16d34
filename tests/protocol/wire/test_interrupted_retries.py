"""What can happen while a changed statement is being prepared again: the client leaves, the server ends.

The second preparation is made to wait: somebody who stood in line behind the first use locks the table.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.exchange import assert_same, direct, pooled
from tests.support.others import Others, types
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, TERMINATE, Wire, bind, describe, execute, parse, query

USE = bind((), "a") + describe() + execute() + SYNC
TABLE = "changing"
WAITING = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = %s::regclass"


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Pooler:
    return start_pooler(workers=2, databases={"tx": "dbname=p0 pool_size=2", "one": "dbname=p0 pool_size=1"})


@pytest.fixture
def wire(running_postgres: Postgres, pooler: Pooler) -> Iterator[Wire]:
    """A client that has prepared a statement, whose table has been changed since."""
    pg = running_postgres
    pooler.learn_catalogs("tx")  # before, clients keep their servers
    pg.sql(f"CREATE TABLE {TABLE} AS SELECT 1 AS one", user="bouncer", dbname="p0")
    prepare = parse(f"SELECT * FROM {TABLE}", "a") + SYNC
    with Others(pooler, "tx", 2) as others, pooled(pooler, "tx") as client:
        for wire in (*others.wires, client):
            wire.send(prepare + USE)
            wire.receive_until()
            wire.receive_until()
        others.on_each(lambda: client.query("SELECT 1"))
        pg.sql(f"ALTER TABLE {TABLE} ADD COLUMN two int DEFAULT 2", user="bouncer", dbname="p0")
        yield client
        pg.sql(f"DROP TABLE {TABLE}", user="bouncer", dbname="p0")
        wait_for(lambda: not pooler.pool("tx")["sv_active"], what="servers at rest")
        assert "E" not in types(others.on_each(lambda: others.wires[0].query("SELECT 2")))


@contextlib.contextmanager
def preparing_again(pg: Postgres, client: Wire) -> Iterator[int]:
    """Within the block the client's statement waits to be prepared again; the pid of its server."""

    def waiting() -> list[int]:
        return [pid for (pid,) in pg.sql(WAITING, (TABLE,), dbname="p0")]

    lock = f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE"
    with ThreadPoolExecutor(1) as thread, direct(pg) as first, direct(pg) as second:
        first.query(f"BEGIN; {lock}")
        client.send(USE)
        wait_for(waiting, what="the first use")
        (server,) = waiting()
        locked = thread.submit(second.query, f"BEGIN; {lock}")
        wait_for(lambda: len(waiting()) == 2, what="the second lock")
        first.query("COMMIT")
        assert "E" not in types(locked.result())
        wait_for(lambda: waiting() == [server], what="the second preparation")
        yield server
        second.query("COMMIT")


def fresh(pg: Postgres) -> Wire:
    client = direct(pg)
    client.send(parse(f"SELECT * FROM {TABLE}", "a") + SYNC)
    client.receive_until()
    return client


def test_in_the_end_it_works(running_postgres: Postgres, wire: Wire) -> None:
    """What the client sends meanwhile has its turn behind it."""
    with preparing_again(running_postgres, wire):
        wire.send(query("SELECT 'behind'") + USE)
        wire.expect_silence()
    with fresh(running_postgres) as other:
        other.send(USE + query("SELECT 'behind'") + USE)
        expected = [message for _ in range(3) for message in other.receive_until()]
    assert_same(expected, [message for _ in range(3) for message in wire.receive_until()])


def test_client_terminates(running_postgres: Postgres, pooler: Pooler, wire: Wire) -> None:
    """What it has sent before still runs, as it would at PostgreSQL; then it is gone."""
    with preparing_again(running_postgres, wire):
        wire.close()
        assert len(pooler.show("clients", database="tx")) == 3
    wait_for(lambda: len(pooler.show("clients", database="tx")) == 2, what="the client's end")


@pytest.mark.parametrize("how", ["reset", "end"])
def test_client_leaves(running_postgres: Postgres, pooler: Pooler, wire: Wire, how: str) -> None:
    """Its server does not outlive it, and nobody else hears anything."""
    with preparing_again(running_postgres, wire) as server:
        if how == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.socket.close()
        wait_for(lambda: len(pooler.show("clients", database="tx")) == 2, what="the client's end")
    wait_for(lambda: server not in running_postgres.backends("p0"), what="the server's end")


def test_cancel(running_postgres: Postgres, pooler: Pooler, wire: Wire) -> None:
    """A cancel request cancels the second preparation, and the next use succeeds."""
    with preparing_again(running_postgres, wire):
        with pooler.wire() as other:
            other.send(wire.cancel_request())
            other.expect_closed()
        wire.expect_error("57014")
        wire.expect("Z")
    with fresh(running_postgres) as other:
        other.send(USE)
        wire.send(USE)
        assert_same(other.receive_until(), wire.receive_until())


def test_server_is_terminated(running_postgres: Postgres, wire: Wire) -> None:
    with preparing_again(running_postgres, wire) as server:
        running_postgres.sql("SELECT pg_terminate_backend(%s)", (server,))
        wire.expect_error("57P01")
        wire.expect_closed()


@pytest.mark.parametrize("how", ["terminate", "end of stream"])
def test_client_ends_in_the_pipeline_that_failed(wire: Wire, how: str) -> None:
    """No more of it will come, and what there is has its answer: the error."""
    wire.send(bind((), "a"))
    wire.expect_silence(0.5)  # it may be sent again, with what comes behind it
    wire.send(TERMINATE if how == "terminate" else b"")
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.expect_error("0A000")["M"] == "cached plan must not change result type"
    wire.expect_closed()


EXECUTED = {
    "rows": f"SELECT * FROM {TABLE}",
    "setting": f"SELECT set_config('search_path', 'public', false), * FROM {TABLE}",
}


@pytest.mark.parametrize("kind", EXECUTED)
@pytest.mark.parametrize("end", [b"", TERMINATE], ids=["end of stream", "terminate"])
def test_client_ends_behind_an_execute_in_a_query(
    running_postgres: Postgres, pooler: Pooler, wire: Wire, kind: str, end: bytes
) -> None:
    """All of it is there, so it is asked again, and its answer is that of any other client."""
    pg = running_postgres
    with pooled(pooler, "one") as client, direct(pg) as other:
        client.send(parse(EXECUTED[kind], "b") + SYNC)
        client.receive_until()
        client.query("EXECUTE b")
        pg.sql(f"ALTER TABLE {TABLE} ADD COLUMN three int", user="bouncer", dbname="p0")
        other.query(f"BEGIN; LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        client.send(query("EXECUTE b") + end)
        client.socket.shutdown(socket.SHUT_WR)
        wait_for(lambda: pg.sql(WAITING, (TABLE,), dbname="p0"), what="the use")
        client.expect_silence(0.3)  # its end is noticed meanwhile
        other.query("COMMIT")
        client.expect("TDCZ")
        client.expect_closed()
