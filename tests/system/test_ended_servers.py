"""Servers that end before they were sent anything of their clients: nothing that those wait for is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from tests.support.fakeserver import WELCOME, FakeServer, Peer, usual_answer
from tests.support.pooler import Pooler
from tests.support.wire import SYNC, close, parse

MakePooler = Callable[..., Pooler]


class EndsAtSettings:
    """The next server that is told the settings of a client ends; it has answered before, if it is to."""

    def __init__(self, answers: bool) -> None:
        self._answers = answers
        self.armed = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.send(WELCOME)
        while True:
            kind, body = peer.message()
            if kind == b"X":
                return
            if self.armed.is_set() and b"Asia/Tokyo" in body:
                self.armed.clear()
                if self._answers:  # its end comes with the answer, not behind it
                    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                    peer.send(usual_answer(kind, body))
                return
            peer.send(usual_answer(kind, body))


def before(make_pooler: MakePooler, fake: FakeServer) -> Pooler:
    databases = {"f": f"host=127.0.0.1 port={fake.port} pool_size=1"}
    return make_pooler(workers=1, databases=databases, session_state="off")


def test_an_answer_of_ours_waits_for_its_turn_there(make_pooler: MakePooler) -> None:
    """No other server would give it: the client hears that its connection is lost."""
    server = EndsAtSettings(answers=False)
    with FakeServer({"*": server}) as fake:
        pooler = before(make_pooler, fake)
        with pooler.wire() as wire, pooler.wire() as other:
            wire.login(database="f", TimeZone="Asia/Tokyo").send(parse("SELECT 1", "s") + SYNC)
            wire.receive_until("Z")
            other.login(database="f").query("SELECT 1")
            server.armed.set()
            wire.send(close(name="s"))
            assert wire.expect_error("08P01")["M"] == "server conn crashed?"


def test_a_client_that_was_greeted_there(make_pooler: MakePooler) -> None:
    """It has not said anything, and needs no other server."""
    server = EndsAtSettings(answers=True)
    server.armed.set()
    with FakeServer({"*": server}) as fake:
        pooler = before(make_pooler, fake)
        with pooler.wire() as wire, pooler.wire() as other:
            wire.login(database="f", TimeZone="Asia/Tokyo")
            assert not server.armed.is_set()
            other.login(database="f").query("SELECT 1")
            wire.query("SELECT 1")
