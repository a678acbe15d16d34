"""Much data, slow readers, sudden ends: the pooler passes on, keeps little, and lets go of its servers."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path

import pytest

from tests.support.exchange import at_once, direct, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import descendants, wait_for
from tests.support.shared import StartPooler, wait_until_free
from tests.support.wire import (
    FLUSH,
    SYNC,
    TERMINATE,
    EndOfStream,
    Wire,
    bind,
    execute,
    message,
    parse,
    query,
)

MEGABYTE = 1 << 20
#: What the pooler's memory may grow by while many times as much passes through.
GROWTH_KB = 4096
ROWS = 50
BIG_RESULT = f"SELECT repeat(chr(64 + n), {MEGABYTE}) FROM generate_series(1, {ROWS}) AS n"


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=request.param,
        databases={"tx": "dbname=p0 pool_size=1", "se": "dbname=p0 pool_size=1 pool_mode=session"},
    )


@pytest.fixture(scope="module", autouse=True)
def tables(running_postgres: Postgres) -> None:
    running_postgres.ensure_running()
    running_postgres.sql("DROP TABLE IF EXISTS wire_seen", dbname="p0")
    running_postgres.sql("CREATE TABLE wire_seen (mark text)", dbname="p0", user="bouncer")


def peak_kb(pooler: Pooler) -> int:
    """The most memory that the processes ever had, together."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in descendants(pooler.pid)]
    return sum(int(m[1]) for text in texts if (m := re.search(r"VmHWM:\s+(\d+)", text)))


def backend_waits(pg: Postgres) -> bool:
    """Whether a backend is stuck because nobody reads what it sends."""
    return bool(pg.sql("SELECT 1 FROM pg_stat_activity WHERE datname = 'p0' AND wait_event = 'ClientWrite'"))


def marks(pg: Postgres) -> list[str]:
    return [row[0] for row in pg.sql("SELECT mark FROM wire_seen", dbname="p0")]


@pytest.mark.parametrize("database", ["tx", "se"])
def test_large_result_for_a_slow_reader(running_postgres: Postgres, pooler: Pooler, database: str) -> None:
    with pooled(pooler, database) as wire:
        wire.query("SELECT 1")
        before = peak_kb(pooler)
        wire.send(query(BIG_RESULT))
        wait_for(lambda: backend_waits(running_postgres), 10, "a backend that waits for us")
        wire.expect("T")
        for number in range(1, ROWS + 1):
            (row,) = wire.expect("D")
            assert row.values == [bytes([64 + number]) * MEGABYTE]
        wire.expect("CZ")
        assert peak_kb(pooler) - before < GROWTH_KB
        wire.close()


def test_large_parameter(pooler: Pooler) -> None:
    value = b"p" * (20 * MEGABYTE)
    with pooled(pooler, "tx") as wire:
        wire.query("SELECT 1")
        before = peak_kb(pooler)
        wire.send(parse("SELECT length($1), md5($1)", "", [25]), bind([value]), execute(), SYNC)
        assert wire.expect("12DCZ")[2].values[0] == str(len(value)).encode()
        assert peak_kb(pooler) - before < GROWTH_KB
        wire.close()


def test_large_copy_in(pooler: Pooler) -> None:
    chunk = message("d", (b"x" * 1023 + b"\n") * 64)
    with pooled(pooler, "tx") as wire:
        wire.query("BEGIN; CREATE TEMP TABLE large (t text) ON COMMIT DROP")
        before = peak_kb(pooler)
        wire.send(query("COPY large FROM STDIN"))
        wire.expect("G")
        for _ in range(400):
            wire.send(chunk)
        wire.send(message("c"))
        wire.expect("CZ")
        assert wire.rows("SELECT count(*) FROM large") == [[b"25600"]]
        assert peak_kb(pooler) - before < GROWTH_KB
        wire.query("ROLLBACK")
        wire.close()


def test_slow_reader_does_not_stop_others(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler, "tx") as slow, pooled(pooler, "se") as other:
        slow.send(query(BIG_RESULT))
        wait_for(lambda: backend_waits(running_postgres), 10, "a backend that waits for us")
        assert other.rows("SELECT 1") == [[b"1"]]
        other.close()
        slow.socket.close()
    wait_until_free(pooler, "tx")
    wait_until_free(pooler, "se")


def test_client_that_leaves_in_the_middle_of_a_result(running_postgres: Postgres, pooler: Pooler) -> None:
    """Its backend gets nobody else's query before it is through with this one."""
    before = len(running_postgres.backends())  # of other poolers too
    with pooled(pooler, "tx") as wire:
        wire.send(query(BIG_RESULT))
        wire.expect("TD")
    with pooled(pooler, "tx") as wire:
        assert wire.rows("SELECT 42") == [[b"42"]]
        wire.close()
    wait_for(lambda: not backend_waits(running_postgres), 5, "the end of the query")
    assert (
        len(running_postgres.backends()) <= max(before, 2) + 1
    )  # one may have been opened beside a look at catalogs


def test_client_that_leaves_in_the_middle_of_a_message(running_postgres: Postgres, pooler: Pooler) -> None:
    half = query("INSERT INTO wire_seen VALUES ('" + "h" * 100_000 + "')")[:50_000]
    for _ in range(3):
        with pooled(pooler, "tx") as wire:
            wire.send(half)
    with pooled(pooler, "tx") as wire:
        assert wire.rows("SELECT 42") == [[b"42"]]
        wire.close()
    assert not any(mark.startswith("h") for mark in marks(running_postgres))


@pytest.mark.parametrize(
    "leave",
    [query("BEGIN; INSERT INTO wire_seen VALUES ('undone')"), query("COPY wire_seen FROM STDIN")],
    ids=["transaction", "copy"],
)
@pytest.mark.parametrize("farewell", [b"", TERMINATE], ids=["close", "terminate"])
def test_client_that_leaves_unfinished_work(
    running_postgres: Postgres, pooler: Pooler, leave: bytes, farewell: bytes
) -> None:
    with pooled(pooler, "tx") as wire:
        wire.send(leave)
        wire.receive()
        wire.send(farewell)
    with pooled(pooler, "tx") as wire:
        assert wire.query("SELECT 42")[-1].text == "I"
        wire.close()
    assert "undone" not in marks(running_postgres)


def test_client_that_leaves_a_pipeline(running_postgres: Postgres, pooler: Pooler) -> None:
    """What was sent and not answered goes down with it; the server is not given to others out of step."""
    for _ in range(5):
        with pooled(pooler, "tx") as wire:
            wire.send(b"".join(query(f"SELECT {n}") for n in range(200)))
            wire.expect("TDCZ")
        with pooled(pooler, "tx") as wire:
            assert wire.rows("SELECT 'mine'") == [[b"mine"]]
            wire.close()


def read_to_the_end(wire: Wire) -> None:
    with contextlib.suppress(EndOfStream):
        while True:
            wire.receive()


@pytest.mark.parametrize("database", ["tx", "se"])
def test_terminate_behind_a_query(running_postgres: Postgres, pooler: Pooler, database: str) -> None:
    """The query runs, as with PostgreSQL, and what stands behind Terminate does not."""
    mark = f"{database}{len(marks(running_postgres))}"
    with pooled(pooler, database) as wire:
        wire.send(
            query(f"INSERT INTO wire_seen VALUES ('{mark}')") + TERMINATE + query("DROP TABLE wire_seen")
        )
        read_to_the_end(wire)
    wait_for(lambda: mark in marks(running_postgres), 5, "the row of the query before Terminate")
    wait_until_free(pooler, database)


def test_terminate_in_the_same_write_as_the_login_of_others(pooler: Pooler) -> None:
    wires = [pooled(pooler, "tx") for _ in range(5)]
    for wire in wires:
        at_once(wire, TERMINATE)
    for wire in wires:
        wire.expect_closed()
        wire.socket.close()


def test_half_closed_client_leaves_no_server_behind(pooler: Pooler) -> None:
    with pooled(pooler, "tx") as wire:
        wire.send(query("SELECT pg_sleep(0.2)"))
        wire.socket.shutdown(socket.SHUT_WR)
    wait_until_free(pooler, "tx")


def test_flush_keeps_the_server(running_postgres: Postgres, pooler: Pooler) -> None:
    """Between Flush and Sync the server belongs to its client: another one has to wait."""
    with pooled(pooler, "tx") as first, pooled(pooler, "tx") as second:
        first.send(parse("SELECT 'first'") + bind() + execute() + FLUSH)
        first.expect("12DC")
        second.send(query("SELECT 'second'"))
        second.expect_silence(0.3)
        first.send(SYNC)
        first.expect("Z")
        assert second.expect("TDCZ")[1].values == [b"second"]
        first.close()
        second.close()


def test_backpressure_towards_the_server(running_postgres: Postgres, pooler: Pooler) -> None:
    """A backend that does not read stops its client instead of filling the pooler."""
    with pooled(pooler, "tx") as wire:
        wire.query("SELECT 1")
        before = peak_kb(pooler)
        wire.send(query("SELECT pg_sleep(1)"))
        assert fill(wire) < 40 * MEGABYTE, "nobody stopped us"
        assert peak_kb(pooler) - before < GROWTH_KB
        wire.socket.close()
    wait_until_free(pooler, "tx")


def fill(wire: Wire) -> int:
    """Sends until the socket takes no more for a moment; the number of bytes."""
    data, sent = query("SELECT '" + "x" * 65000 + "'") * 16, 0
    wire.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while sent < 60 * MEGABYTE:
            sent += wire.socket.send(data[sent % len(data) :])
    return sent


def test_direct_agrees_about_terminate(running_postgres: Postgres) -> None:
    """What test_terminate_behind_a_query demands is what PostgreSQL does."""
    mark = f"direct{len(marks(running_postgres))}"
    with direct(running_postgres) as wire:
        wire.send(
            query(f"INSERT INTO wire_seen VALUES ('{mark}')") + TERMINATE + query("DROP TABLE wire_seen")
        )
        wire.expect("CZ")
        wire.expect_closed()
    assert mark in marks(running_postgres)
