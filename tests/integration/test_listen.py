"""LISTEN in transaction pooling: a client that listens holds no server, and misses nothing."""

from __future__ import annotations

import os
import signal
import struct

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import Message, Wire, query


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=request.param,
        databases={
            "one": "dbname=p0 pool_size=1",
            "two": "dbname=p0 pool_size=2",
            "full": "dbname=p0 pool_size=2 max_db_connections=1",
            "room": "dbname=p0 pool_size=2 max_db_connections=2",
            "off": "dbname=p0 pool_size=1 session_state=off",
        },
    )


def news(message: Message) -> tuple[int, str, str]:
    """(pid, channel, payload) of a NotificationResponse."""
    (pid,) = struct.unpack_from("!I", message.body)
    channel, payload, _ = message.body[4:].split(b"\0")
    return pid, channel.decode(), payload.decode()


def payloads(wire: Wire, count: int) -> list[str]:
    return [news(message)[2] for message in wire.expect("A" * count)]


def listeners_of(pooler: Pooler) -> int:
    return sum(row["application_name"] == "pooler listener" for row in [])


def test_all_clients_hear_it_in_order_and_from_whom(pooler: Pooler) -> None:
    listeners = [pooled(pooler, "one") for _ in range(6)]
    with pooled(pooler, "one") as speaker, pooled(pooler, "one") as other:
        for wire in listeners:
            assert wire.query("LISTEN news")[-1].type == "Z"
        for number in range(5):
            speaker.query(f"NOTIFY news, '{number}'")
            other.query(f"SELECT pg_notify('news', 'other {number}')")
        expected = []
        for number in range(5):
            expected += [
                (speaker.backend_key[0], "news", str(number)),
                (other.backend_key[0], "news", f"other {number}"),
            ]
        for wire in listeners:
            assert [news(message) for message in wire.expect("A" * 10)] == expected
            assert [row[0] for row in wire.rows("SELECT 1")] == [b"1"]
    for wire in listeners:
        wire.close()
