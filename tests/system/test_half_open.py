"""Hosts that fall silent and never close: what was asked of them is given up in time, and service goes on.

The fake server plays a host behind a dead network: it neither answers nor ends a connection until the test
lets it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType

import pytest

from tests.support.fakeserver import (
    ANSWER,
    PATIENCE_S,
    READY,
    WELCOME,
    FakeServer,
    Peer,
    Script,
    error,
    usual_answer,
)
from tests.support.health import assert_no_bugs
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import message, query, startup

MakePooler = Callable[..., Pooler]


class Silence:
    """The first connection begins and falls silent until the end of the block; the others are sane."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.count = 0

    def __enter__(self) -> Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()

    def after(self, beginning: Script) -> Script:

        def script(peer: Peer) -> None:
            self.count += 1
            if self.count == 1:
                beginning(peer)
                self.over.wait(PATIENCE_S)
            else:
                peer.send(WELCOME)
                peer.serve()

        return script


def behind(make_pooler: MakePooler, fake: FakeServer, keys: str, **settings: object) -> Pooler:
    """A pooler with the fake server as database f, which understands nothing but simple queries."""
    databases = {"f": f"port={fake.port} {keys}"}
    return make_pooler(databases=databases, **{"workers": 1, "session_state": "off", **settings})


def states(pooler: Pooler, database: str) -> list[str]:
    return sorted(row["state"] for row in pooler.show("slots", database=database))


@pytest.mark.parametrize("query_of_ours", [False, True], ids=["login", "connect_query"])
def test_login_that_never_ends(make_pooler: MakePooler, query_of_ours: bool) -> None:
    """The next server is opened although the host has not closed the connection, which goes on to count."""
    silent: Script = (lambda peer: peer.send(WELCOME)) if query_of_ours else (lambda peer: None)
    silence = Silence()
    with FakeServer({"*": silence.after(silent)}) as fake, silence:
        keys = "connect_query='SELECT 1'" if query_of_ours else ""
        pooler = behind(make_pooler, fake, f"pool_size=2 {keys}", server_connect_timeout=1)
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


def reset(sock: socket.socket) -> None:
    """It ends by a reset when it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_setting(body: bytes) -> bool:
    return body[:3].upper() == b"SET" or b"set_config" in body


#: What the first connection leaves unanswered; the client that meets it: pool mode, time zone, what it asks.
UNANSWERED: dict[str, tuple[Callable[[bytes], bool], str, str, tuple[str, ...]]] = {
    "check": (lambda body: b"check" in body, "transaction", "UTC", ("SELECT 1",)),
    "settings": (is_setting, "transaction", "Asia/Tokyo", ("SELECT 1",)),
    "rollback": (lambda body: body[:8] == b"ROLLBACK", "transaction", "UTC", ("SELECT 1", "BEGIN")),
    "reset": (lambda body: body[:7] == b"DISCARD", "session", "UTC", ("SELECT 1",)),
}


def answers_until(unanswered: Callable[[bytes], bool]) -> Script:
    """A sane server up to a query of that kind."""

    def script(peer: Peer) -> None:
        peer.send(WELCOME)
        while True:
            kind, body = peer.message()
            if unanswered(body):
                return
            if body[:5] == b"BEGIN":
                peer.send(message("C", "BEGIN") + message("Z", b"T"))
            elif kind == b"Q":
                peer.send(ANSWER)

    return script


@pytest.mark.parametrize("what", UNANSWERED)
def test_request_of_ours_that_is_never_answered(make_pooler: MakePooler, what: str) -> None:
    """The server is closed; a client that waits for it gets another, and hears nothing of it."""
    unanswered, mode, zone, asks = UNANSWERED[what]
    silence = Silence()
    with FakeServer({"*": silence.after(answers_until(unanswered))}) as fake, silence:
        pooler = behind(
            make_pooler,
            fake,
            f"pool_size=2 pool_mode={mode}",
            server_answer_timeout=0.4,
            server_check_query="SELECT check" if what == "check" else "",
            server_check_delay=0,
        )
        with pooler.wire(timeout_s=6) as wire:
            wire.login(database="f", TimeZone=zone)
            if what == "check":  # of a server that was idle
                wait_for(lambda: states(pooler, "f") == ["idle"], 3, "an idle server")
            for text in asks:
                wire.query(text)
            if what in ("check", "settings"):
                assert fake.connections["f"] == 2
        wait_for(lambda: states(pooler, "f")[:1] == ["closing"], 4, "the end of the first server")
        with pooler.wire(timeout_s=3) as wire:
            wire.login(database="f")
            assert wire.rows("SELECT 1") == [[b"1"]]
        assert_no_bugs(pooler)


def copies(peer: Peer) -> None:
    """Says that it will read CopyData."""
    peer.send(WELCOME)
    while not peer.message()[1].startswith(b"COPY"):
        peer.send(ANSWER)
    peer.send(message("G", b"\0\0\0"))


def test_client_that_leaves_behind_a_server_that_does_not_read(make_pooler: MakePooler) -> None:
    """What it sent cannot be passed on, so its end is not read; it is noticed all the same."""
    silence = Silence()
    with FakeServer({"*": silence.after(copies)}) as fake, silence:
        pooler = behind(make_pooler, fake, "pool_size=2", server_answer_timeout=1)
        with pooler.wire() as wire:
            wire.login(database="f").send(query("COPY t FROM STDIN"))
            wire.expect("G")
            wire.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                wire.socket.sendall(message("d", b"x" * 60_000) * 1000)
            reset(wire.socket)
        wait_for(lambda: not pooler.show("clients", database="f"), 5, "the end of the client")
        assert states(pooler, "f") == ["closing"]
        wait_for(lambda: fake.cancels, 5, "the cancel of what nobody waits for")
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


def test_server_whose_cancel_request_is_lost_is_not_used_again(make_pooler: MakePooler) -> None:
    """The connection of the request broke after it was sent: it may arrive when somebody else is there."""
    slow = Slow()
    with FakeServer({"*": slow}, on_cancel=lambda peer: reset(peer.socket)) as fake:
        pooler = behind(make_pooler, fake, "pool_size=1")
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
    """It is no client's then, and still what it has to say is read."""
    over, gone = threading.Event(), threading.Event()

    def then(peer: Peer) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not gone.is_set():
            assert time.monotonic() < deadline
            if select.select([peer.socket], [], [], 0.02)[0]:  # a question of pooler's own
                peer.send(usual_answer(*peer.message()))
        peer.send(error(b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0"))

    def hold(peer: Peer) -> None:
        assert over.wait(PATIENCE_S)

    slow = Slow(then)
    with FakeServer({"*": slow}, on_cancel=hold) as fake:
        pooler = behind(make_pooler, fake, "pool_size=1", workers=2)
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
