"""Hosts that fall silent and never close: what was asked of them is given up in time, and service goes on.

The fake server plays a host behind a dead network: it neither answers nor ends a connection until the test
lets it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import ANSWER, PATIENCE_S, READY, WELCOME, FakeServer, Peer, Script, error
from tests.support.health import assert_no_bugs
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import message, query, startup

MakePooler = Callable[..., Pooler]


class Silence:
    """Scripts whose connections fall silent, each but for the numbers that stay sane, until the test ends."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.count = 0

    def fall(self) -> None:
        self.over.wait(PATIENCE_S)

    def first(self, silent: Script) -> Script:
        """The first connection does this and falls silent; the others are sane."""

        def script(peer: Peer) -> None:
            self.count += 1
            if self.count == 1:
                silent(peer)
                self.fall()
            else:
                peer.send(WELCOME)
                peer.serve()

        return script


@pytest.fixture
def silence() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.over.set()


def states(pooler: Pooler, database: str) -> list[str]:
    return sorted(row["state"] for row in pooler.show("slots", database=database))


@pytest.mark.parametrize("query_of_ours", [False, True], ids=["login", "connect_query"])
def test_login_that_never_ends(make_pooler: MakePooler, silence: Silence, query_of_ours: bool) -> None:
    """The next server is opened although the host has not closed the connection, which goes on to count."""
    silent: Script = (lambda peer: peer.send(WELCOME)) if query_of_ours else (lambda peer: None)
    with FakeServer({"*": silence.first(silent)}) as fake:
        keys = "connect_query='SELECT 1'" if query_of_ours else ""
        pooler = make_pooler(
            workers=1,
            databases={"f": f"port={fake.port} pool_size=2 {keys}"},
            server_connect_timeout=1,
        )
        with pooler.wire(timeout_s=6) as wire:
            wire.send(startup(database="f"))
            wire.receive_until("Z")
            assert wire.rows("SELECT 1") == [[b"1"]]
            assert states(pooler, "f") == ["closing", "idle"]
            if query_of_ours:
                wait_for(lambda: fake.cancels, 3, "a cancel request for what the connection runs")
            silence.over.set()
            wait_for(lambda: states(pooler, "f") == ["idle"], 3, "the end of the first")
        assert_no_bugs(pooler)


class Slow:
    """Servers that answer a query when they are told to; what they do then is another script."""

    def __init__(self, then: Script = Peer.serve) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        self.then = then

    def __call__(self, peer: Peer) -> None:
        peer.send(WELCOME)
        while peer.message()[1][:6].upper() != b"SELECT":
            peer.send(message("C", "SET") + READY)
        self.asked.set()
        assert self.answer.wait(PATIENCE_S)
        peer.send(ANSWER)
        self.then(peer)


def reset(peer: Peer) -> None:
    """Not the end of a request that was carried out."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_server_whose_cancel_request_is_lost_is_not_used_again(make_pooler: MakePooler) -> None:
    """The connection of the request broke after it was sent: it may arrive when somebody else is there."""
    slow = Slow()
    with FakeServer({"*": slow}, on_cancel=reset) as fake:
        pooler = make_pooler(workers=1, databases={"f": f"port={fake.port} pool_size=1"})
        with pooler.wire() as wire, pooler.expect_log("cancel request to .* failed"):
            wire.login(database="f").send(query("SELECT 1"))
            assert slow.asked.wait(5)
            with pooler.wire() as other:
                other.send(wire.cancel_request())
                other.expect_closed()
            slow.answer.set()
            wire.receive_until("Z")
            assert wire.rows("SELECT 1") == [[b"1"]]
        assert fake.connections["f"] == 2
        assert_no_bugs(pooler)


def test_server_that_ends_while_a_cancel_request_is_under_way(make_pooler: MakePooler) -> None:
    """It is nobody's then, and still somebody reads what it has to say."""
    over, gone = threading.Event(), threading.Event()

    def then(peer: Peer) -> None:
        assert gone.wait(PATIENCE_S)
        peer.send(error(b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0"))

    def hold(peer: Peer) -> None:
        assert over.wait(PATIENCE_S)

    slow = Slow(then)
    with FakeServer({"*": slow}, on_cancel=hold) as fake:
        pooler = make_pooler(workers=2, databases={"f": f"port={fake.port} pool_size=1"})
        with pooler.wire() as wire, pooler.wire() as other:
            wire.login(database="f").send(query("SELECT 1"))
            assert slow.asked.wait(5)
            other.send(wire.cancel_request())
            wait_for(lambda: fake.cancels, 5, "the cancel request")
            slow.answer.set()
            wire.receive_until("Z")
            wait_for(lambda: states(pooler, "f") == ["being_canceled"], 3, "a parked server")
            gone.set()
            try:
                wait_for(lambda: not states(pooler, "f"), 3, "its end")
            finally:
                over.set()
        assert_no_bugs(pooler)
