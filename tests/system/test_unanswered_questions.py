"""The question what a client has left in its session cannot be answered at the moment, or never: its server
is its own as long as nobody knows better.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.fakeserver import READY, FakeServer, Peer, Script, error, usual_answer
from tests.support.pooler import Pooler
from tests.support.wire import Wire, message, query
from tests.system.conftest import MakeShared

TAKE = "SELECT pg_advisory_lock(1)"
WHO = "SELECT who"


def row(*columns: bytes | None) -> bytes:
    packed = (b"\xff" * 4 if c is None else struct.pack("!I", len(c)) + c for c in columns)
    return message("D", len(columns), b"".join(packed))


def failing(sqlstate: str, times: int) -> Script:
    """Servers that are told apart by a number. One that has taken a lock fails so often to say so."""
    number = 0

    def script(peer: Peer) -> None:
        nonlocal number
        number += 1
        mine, locked, failed = number, False, 0

        def answers(kind: bytes, body: bytes) -> bytes:
            nonlocal locked, failed
            if kind != b"Q":
                return usual_answer(kind, body)
            if body.startswith(WHO.encode()):
                return row(str(mine).encode()) + message("C", "SELECT 1") + READY
            if body.startswith(TAKE.encode()):
                locked = True
            elif locked and b"pg_locks" in body:
                failed += 1
                if failed <= times:
                    return error(f"SERROR\0VERROR\0C{sqlstate}\0Mnot now\0\0".encode()) + READY
                return row(b"p", b"1", None) + message("C", "SELECT 1") + READY
            return usual_answer(kind, body)

        peer.answer(answers)

    return script


SCRIPTS = {
    "at_once": failing("57014", 0),
    "late": failing("57014", 5),
    "never": failing("57014", 1 << 30),
    "refused": failing("42501", 1 << 30),
}


@pytest.fixture(scope="module")
def pooler(make_shared: MakeShared) -> Iterator[Pooler]:
    with FakeServer(SCRIPTS) as fake:
        databases = dict.fromkeys(SCRIPTS, f"host=127.0.0.1 port={fake.port} pool_size=1")
        yield make_shared(workers=1, databases=databases)


def server_of(wire: Wire) -> bytes | None:
    return next(got.values[0] for got in wire.query(WHO) if got.type == "D")


@pytest.mark.parametrize("database", SCRIPTS)
def test_its_client_keeps_the_server(pooler: Pooler, database: str) -> None:
    """However long others wait."""
    with pooled(pooler, database) as wire, pooled(pooler, database) as other:
        wire.query(TAKE)
        mine = server_of(wire)
        (pin,) = pooler.show("pins", database=database)
        assert "advisory lock" in pin["reason"]
        other.send(query(WHO))
        other.expect_silence(0.5)  # what is kept for less is given up after 0.2 s
        assert server_of(wire) == mine
        wire.close()
        assert [got.values for got in other.receive_until() if got.type == "D"] != [[mine]]
