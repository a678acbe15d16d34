"""Terminate, the end of a stream and what is no message take effect in turn, behind what came before."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import pytest

from tests.support.exchange import direct, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import (
    FLUSH,
    SYNC,
    TERMINATE,
    EndOfStream,
    Message,
    Wire,
    bind,
    describe,
    execute,
    message,
    parse,
    query,
)


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=2, databases={"tx": "dbname=p0 pool_size=2", "se": "dbname=p0 pool_mode=session"}
    )


RUN = bind() + describe() + execute()
INSERT = query("INSERT INTO farewells VALUES (1)")

#: What is sent before the end, and how often it counts in the table.
REQUESTS: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 0),
    "a query": (INSERT, 1),
    "three queries": (INSERT * 3, 3),
    "a query that fails": (query("SELECT 1/0"), 0),
    "a pipeline": (parse("INSERT INTO farewells VALUES (1)", "s") + bind(name="s") + execute() + SYNC, 1),
    "a pipeline that fails": (parse("SELEC") + RUN + SYNC + INSERT, 1),
    "Flush": (parse("SELECT 1") + RUN + FLUSH, 0),
    "an error without Sync": (parse("SELEC") + RUN, 0),
    "a sleeping query": (query("SELECT pg_sleep(0.3)") + INSERT, 1),
    "a large result": (query("SELECT repeat('x', 3000000)"), 0),
    "an open transaction": (query("BEGIN") + INSERT, 0),
    "a failed transaction": (query("BEGIN") + query("SELECT 1/0"), 0),
    "a COPY": (query("COPY farewells FROM STDIN") + message("d", b"1\n") + message("c"), 1),
    "a setting": (query("SET TimeZone = 'Asia/Tokyo'") + query("SHOW TimeZone"), 0),
    "statements of ours": (parse("SELECT 1", "a") + message("C", b"Sa\0") + SYNC, 0),
}


@pytest.fixture(scope="module", autouse=True)
def table(running_postgres: Postgres) -> None:
    running_postgres.ensure_running()
    running_postgres.sql("CREATE TABLE IF NOT EXISTS farewells (n int)", dbname="p0", user="bouncer")


def count(pg: Postgres) -> int:
    found: int = pg.sql("SELECT count(*)::int FROM farewells", dbname="p0")[0][0]
    return found


def end_by_terminate(wire: Wire, data: bytes) -> None:
    wire.send(data + TERMINATE + query("DROP TABLE farewells"))


def end_by_half_close(wire: Wire, data: bytes) -> None:
    wire.send(data)
    wire.socket.shutdown(socket.SHUT_WR)


ENDS = {"terminate": end_by_terminate, "end of stream": end_by_half_close}
End = Callable[[Wire, bytes], None]


def heard(wire: Wire, end: End, data: bytes) -> list[tuple[str, bytes]]:
    """All that the client is told up to the end; of errors the code."""
    got: list[Message] = []
    with wire, contextlib.suppress(EndOfStream):
        end(wire, data)
        while True:
            got.append(wire.receive())
    return [(m.type, m.fields["C"].encode() if m.type == "E" else m.body) for m in got if m.type not in "NS"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("requests", REQUESTS)
def test_same_as_postgresql(running_postgres: Postgres, pooler: Pooler, requests: str, end: str) -> None:
    database = "se" if requests in ("three queries", "an open transaction") else "tx"
    data, rows = REQUESTS[requests]
    there = heard(direct(running_postgres), ENDS[end], data)
    before = count(running_postgres)
    here = heard(pooled(pooler, database), ENDS[end], data)
    assert here[: len(there)] == there
    assert not [m for m in here[len(there) :] if m[0] in "ZE"]  # what PostgreSQL keeps back we may tell
    assert count(running_postgres) == before + rows


@pytest.mark.parametrize("end", ENDS)
def test_half_a_message_at_the_end(running_postgres: Postgres, pooler: Pooler, end: str) -> None:
    """What came before it is answered; it never runs."""
    before = count(running_postgres)
    with pooled(pooler, "tx") as wire:
        end_by_half_close(wire, INSERT + INSERT[:-3])
        wire.expect("CZ")
        wire.expect_closed()
    assert count(running_postgres) == before + 1


def busy(pooler: Pooler) -> list[Wire]:
    holders = [pooled(pooler, "tx") for _ in range(2)]
    for holder in holders:
        holder.query("BEGIN")
    return holders


def release(holders: list[Wire]) -> None:
    for holder in holders:
        holder.query("COMMIT")
        holder.close()


@pytest.mark.parametrize("end", ENDS)
def test_while_it_waits_for_a_server(running_postgres: Postgres, pooler: Pooler, end: str) -> None:
    before, holders = count(running_postgres), busy(pooler)
    with pooled(pooler, "tx") as wire:
        ENDS[end](wire, INSERT)
        wait_for(lambda: pooler.pool("tx")["cl_waiting"] == 1, 5, "the client in the queue")
        release(holders)
        wire.expect("CZ")
        wire.expect_closed()
    assert count(running_postgres) == before + 1


def test_terminate_and_close_while_it_waits(running_postgres: Postgres, pooler: Pooler) -> None:
    """It said all that it had to say, and does not want to hear."""
    before, holders = count(running_postgres), busy(pooler)
    with pooled(pooler, "tx") as wire:
        wire.send(INSERT + TERMINATE)
    wait_for(lambda: pooler.pool("tx")["cl_waiting"] == 1, 5, "the client in the queue")
    release(holders)
    wait_for(lambda: count(running_postgres) == before + 1, 5, "its row")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_gone_while_it_waits(running_postgres: Postgres, pooler: Pooler, how: str) -> None:
    """Nothing is sent for a client that has closed without Terminate, when that can be noticed."""
    before, holders = count(running_postgres), busy(pooler)
    with pooled(pooler, "tx") as wire:
        wire.send(INSERT)
        wait_for(lambda: pooler.pool("tx")["cl_waiting"] == 1, 5, "the client in the queue")
        if how == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: pooler.pool("tx")["cl_waiting"] == 0, 5, "an empty queue")
    release(holders)
    assert count(running_postgres) == before


def test_long_query_of_a_client_that_has_closed(pooler: Pooler) -> None:
    """It is canceled when its client answers a ParameterStatus with a reset."""
    with pooled(pooler, "tx") as wire:
        wire.send(query("SELECT pg_sleep(60)"))
        wait_for(lambda: pooler.pool("tx")["sv_active"] == 1, 5, "the query")
    wait_for(lambda: pooler.pool("tx")["sv_active"] == 0, 10, "the end of the query")


@pytest.mark.parametrize("way", ["terminate", "end"])
def test_pipeline_without_its_sync_of_a_pinned_client(
    running_postgres: Postgres, pooler: Pooler, table: None, way: str
) -> None:
    """Its server was its own before, and in step; what is sent there next must not commit the pipeline."""
    before = count(running_postgres)
    with pooled(pooler, "tx") as wire:
        wire.query("SELECT pg_advisory_lock(4711)")
        wire.send(parse("INSERT INTO farewells VALUES (1)"), bind(), execute(), FLUSH)
        wire.receive_until("C")
        if way == "terminate":
            wire.close()
        wire.socket.close()
    wait_for(lambda: not pooler.show("pins"), 10, "the end of the client")
    with pooled(pooler, "tx") as wire:
        wire.rows("SELECT 1")  # by the server that is left
    assert count(running_postgres) == before


#: What is no message: its bytes, and what the client is told.
FAULTS = {
    "unknown type": (message("z", b"abc"), "unknown pkt"),
    "length below 4": (b"Q\0\0\0\3", "bad packet header: '5100000003'"),
    "negative length": (b"S\xff\xff\xff\xff", "bad packet header: '53ffffffff'"),
    "from a server": (message("Z", b"I"), "unknown pkt"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("requests", REQUESTS)
def test_no_message(running_postgres: Postgres, pooler: Pooler, requests: str, fault: str) -> None:
    """What is told before is told as before a Terminate; PostgreSQL says nothing of a bad length."""
    (data, rows), (bad, told) = REQUESTS[requests], FAULTS[fault]
    there = heard(direct(running_postgres), end_by_terminate, data)
    before, got = count(running_postgres), []
    with pooled(pooler, "se") as wire, contextlib.suppress(EndOfStream):
        wire.send(data + bad + query("DROP TABLE farewells"))
        while True:
            got.append(wire.receive())
    errors = [m.fields for m in got if m.type == "E"]
    assert [(m.type, m.fields["C"].encode() if m.type == "E" else m.body) for m in got[:-1] if m.type != "S"][
        : len(there)
    ] == there
    assert (errors[-1]["S"], errors[-1]["C"], errors[-1]["M"]) == ("FATAL", "08P01", told)
    assert got[-1].type == "E"
    wait_for(lambda: count(running_postgres) == before + rows, 5, f"{rows} more rows than {before}")


@pytest.mark.parametrize("fault", FAULTS)
def test_no_message_while_it_waits(running_postgres: Postgres, pooler: Pooler, fault: str) -> None:
    before, holders = count(running_postgres), busy(pooler)
    with pooled(pooler, "tx") as wire:
        wire.send(INSERT + FAULTS[fault][0])
        wait_for(lambda: pooler.pool("tx")["cl_waiting"] == 1, 5, "the client in the queue")
        release(holders)
        wire.expect("CZ")
        assert wire.receive_until("E")[-1].fields["M"] == FAULTS[fault][1]
        wire.expect_closed()
    assert count(running_postgres) == before + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_no_message_in_a_copy(running_postgres: Postgres, pooler: Pooler, fault: str) -> None:
    """The COPY fails, and what was sent before it counts; behind it the server is good for others."""
    before = count(running_postgres)
    with pooled(pooler, "tx") as wire:
        wire.send(INSERT + query("COPY farewells FROM STDIN") + message("d", b"1\n") + FAULTS[fault][0])
        assert wire.receive_until("E")[-1].fields["M"] == FAULTS[fault][1]
        wire.expect_closed()
    with pooled(pooler, "tx") as wire:
        assert wire.rows("SELECT 17") == [[b"17"]]
    assert count(running_postgres) == before + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_no_message_in_an_open_pipeline(running_postgres: Postgres, pooler: Pooler, fault: str) -> None:
    """Its answers come, and its statements are undone."""
    before = count(running_postgres)
    with pooled(pooler, "tx") as wire:
        wire.send(parse("INSERT INTO farewells VALUES (1)") + RUN + FAULTS[fault][0])
        wire.expect("12nC")
        assert wire.receive_until("E")[-1].fields["M"] == FAULTS[fault][1]
        wire.expect_closed()
    with pooled(pooler, "tx") as wire:
        assert wire.rows("SELECT 17") == [[b"17"]]
    assert count(running_postgres) == before


@pytest.mark.parametrize("fault", FAULTS)
def test_no_message_in_a_result(pooler: Pooler, fault: str) -> None:
    """Nothing of ours comes into the middle of a row."""
    with pooled(pooler, "tx") as wire:
        wire.send(query("SELECT repeat('x', 3000000) FROM generate_series(1, 5)") + FAULTS[fault][0])
        assert [m.type for m in wire.receive_until("Z")] == [*"TDDDDDCZ"]
        assert wire.receive_until("E")[-1].fields["M"] == FAULTS[fault][1]
        wire.expect_closed()
