"""A client that pipelines without an end: it is read only so far ahead of its server, whatever it sends."""

from __future__ import annotations

import select
from collections.abc import Callable

import pytest

from tests.support.pooler import Pooler
from tests.support.wire import SYNC, Wire, bind, close, execute, parse, query

#: Each needs an answer, which no server gives.
CLOSES = close("S", "nobody") * 100
NAMED = (parse("SELECT 1", "a") + close("S", "a")) * 100

#: More than all buffers on the way hold.
MANY_BYTES = 8 << 20

#: More than may be in flight.
PIPELINE = 20_000


def send_until_stuck(wire: Wire, data: bytes) -> None:
    """Sends as much as is taken; an AssertionError if that is everything."""
    sent = 0
    wire.socket.setblocking(False)
    while sent < len(data) and select.select([], [wire.socket], [], 1.0)[1]:
        sent += wire.socket.send(data[sent : sent + 65536])
    assert sent < len(data), "the pooler reads on and on"
    wire.socket.settimeout(30)


@pytest.mark.parametrize("unit", [CLOSES, NAMED], ids=["closes", "parses"])
def test_answers_of_ours_pile_up(make_pooler: Callable[..., Pooler], unit: bytes) -> None:
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=2"})
    with pooler.wire(unix=True, timeout_s=30) as wire, pooler.wire() as holder:
        holder.login(database="p0")
        holder.query("BEGIN; SELECT pg_advisory_xact_lock(1)")
        wire.login(database="p0")
        wire.send(parse("SELECT 1", "a") + SYNC)
        wire.receive_until("Z")
        wire.send(close("S", "a") + SYNC)
        wire.receive_until("Z")
        wire.send(query("SELECT pg_advisory_xact_lock(1)"))
        send_until_stuck(wire, unit * (MANY_BYTES // len(unit)))
        holder.query("COMMIT")
        wire.expect("TDCZ")


def test_a_long_pipeline_without_sync_is_answered(make_pooler: Callable[..., Pooler]) -> None:
    """PostgreSQL keeps answers back until it is asked: the pooler has to ask, as it does not read on."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire(timeout_s=60) as wire:
        wire.login(database="p0")
        wire.send(parse("SELECT"))
        sender = (bind() + execute()) * PIPELINE + SYNC
        at = 0
        received = b""
        wire.socket.setblocking(False)
        while received[-6:] != b"Z\0\0\0\5I":
            wants = [wire.socket] if at < len(sender) else []
            readable, writable, _ = select.select([wire.socket], wants, [], 60)
            assert readable or writable, f"stuck after {at} bytes and {len(received)} of answers"
            if readable:
                received += wire.socket.recv(1 << 20)
            if writable:
                at += wire.socket.send(sender[at : at + 65536])
        assert received.count(b"2\0\0\0\4") == PIPELINE


def test_more_syncs_among_copy_data_than_may_be_in_flight(make_pooler: Callable[..., Pooler]) -> None:
    """PostgreSQL ignores them as long as it reads CopyData; who knows whether it will to the end."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire(timeout_s=30) as wire, pooler.wire() as other:
        wire.login(database="p0")
        other.login(database="p0")
        wire.query("CREATE TABLE IF NOT EXISTS copied_ahead (t text)")
        wire.send(query("COPY copied_ahead FROM STDIN"))
        wire.receive_until("G")
        wire.send(SYNC * PIPELINE)
        wire.expect_error("08P01", "too many requests in flight")
        wire.expect_closed()
        assert other.rows("SELECT count(*) FROM copied_ahead") == [[b"0"]]
        other.query("DROP TABLE copied_ahead")
