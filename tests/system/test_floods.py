"""Floods of short messages that cost much: their senders have short turns, and lose nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.fakeserver import ANSWER, FakeServer, Peer, parameter, usual_answer
from tests.support.pooler import Pooler
from tests.support.wire import SYNC, parse, query
from tests.system.conftest import MakeShared

COUNT = 20_000
PARAMETERS_PER_TURN = 16  # pooler/core/relay/turns.h


def changing(peer: Peer) -> None:
    """Its time zone changes again and again before it answers."""

    def answers(kind: bytes, body: bytes) -> bytes:
        if body.startswith(b"SELECT 'flood'"):
            return (parameter("TimeZone", "a") + parameter("TimeZone", "b")) * (COUNT // 2) + ANSWER
        return usual_answer(kind, body)

    peer.answer(answers)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer({"changing": changing}) as server:
        yield server


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared, fake: FakeServer) -> Pooler:
    return make_shared(workers=1, databases={"p0": "pool_size=1", "p1": "", "changing": f"port={fake.port}"})


@pytest.fixture(autouse=True)
def nobody_noticed(shared: Pooler, undisturbed: None) -> None:
    """The witnesses were not disturbed."""


def turns(pooler: Pooler) -> int:
    """Since this was last asked for."""
    return sum(row["turns"] for row in pooler.show("turns"))


@pytest.mark.parametrize("message", [SYNC, parse("") + SYNC], ids=["no server", "server"])
def test_messages_of_a_client(shared: Pooler, message: bytes) -> None:
    """All of them are answered, also those that came with the end of the stream."""
    with shared.wire() as wire:
        wire.login()
        wire.send(message * COUNT)
        wire.socket.shutdown(socket.SHUT_WR)
        for _ in range(COUNT):
            wire.receive_until("Z")
        wire.expect_closed()


def test_parameters_of_a_server(shared: Pooler) -> None:
    turns(shared)
    with shared.wire() as wire:
        wire.login(database="changing")
        wire.send(query("SELECT 'flood'"))
        answer = wire.receive_until("Z")
        assert [m.type for m in answer] == ["S"] * COUNT + ["T", "D", "C", "Z"]
        wire.rows("SELECT 1")
    assert turns(shared) >= COUNT // PARAMETERS_PER_TURN
