"""A cancel request is for the statement of its client: it never meets a request of pooler's own, in front of
that statement or behind it, and is not lost for it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.fakeserver import READY, FakeServer, Peer, error, parameter, usual_answer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.spoiler import Spoiler
from tests.support.wire import SYNC, Message, Wire, bind, execute, message, parse, query
from tests.system.conftest import MakeShared

CANCELED = error(b"SERROR\0VERROR\0C57014\0Mcanceling statement due to user request\0\0")
SLOW = "SELECT slow"
#: How long a request of pooler's own takes here, if no cancel request ends it.
OURS_S = 0.5


class Backend:
    """A PostgreSQL whose statements of some kinds take long, and end when a cancel request comes."""

    def __init__(self) -> None:
        self.slow: bytes = b""  # in requests of pooler's own
        self.begun = threading.Event()  # something slow
        self.running = False
        self.go_on = threading.Event()  # a RESET waits for it
        self.arrived = threading.Event()  # a cancel request,
        self.deliver = threading.Event()  # which waits for this
        self.cancel = threading.Event()
        self.met: list[bytes] = []  # what cancel requests met

    def take(self, what: bytes) -> None:
        """Which requests of pooler's own are slow from now on. Nothing waits for anything else."""
        for event in (self.begun, self.arrived, self.cancel):
            event.clear()
        for event in (self.go_on, self.deliver):
            event.set()
        self.met.clear()
        self.slow = what

    def on_cancel(self, peer: Peer) -> None:
        self.arrived.set()
        self.deliver.wait(20)
        if self.running:  # else it does nothing
            self.cancel.set()

    def script(self, peer: Peer) -> None:
        peer.answer(self.answers)

    def answers(self, kind: bytes, body: bytes) -> bytes:
        if kind != b"Q":
            return usual_answer(kind, body)
        ours = bool(self.slow) and self.slow in body
        if ours or body.startswith(SLOW.encode()):
            self.running = True
            self.begun.set()
            met = self.cancel.wait(OURS_S if ours else 20)
            self.running = False
            self.cancel.clear()
            if met:
                self.met.append(body)
                return CANCELED + READY
        if body.startswith(b"RESET"):
            if not self.go_on.is_set():
                self.begun.set()
                self.go_on.wait(20)
            return parameter("TimeZone", "UTC") + message("C", "RESET") + READY
        if body.startswith(b"SET timezone='Asia/Tokyo'"):
            return parameter("TimeZone", "Asia/Tokyo") + message("C", "SET") + READY
        return usual_answer(kind, body)


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend()


@pytest.fixture(scope="module")
def pooler(make_shared: MakeShared, backend: Backend) -> Iterator[Pooler]:
    with FakeServer({"*": backend.script}, backend.on_cancel) as fake:
        yield make_shared(workers=2, databases={"one": f"host=127.0.0.1 port={fake.port} pool_size=1"})


def cancel(pooler: Pooler, wire: Wire) -> None:
    with pooler.wire() as other:
        other.send(wire.cancel_request())
        other.expect_closed()


def errors(got: list[Message]) -> list[str]:
    return [one.fields["C"] for one in got if one.type == "E"]


def shared_server(pooler: Pooler) -> None:
    """Somebody else has had the server, with settings of its own."""
    with pooler.wire() as other:
        other.login("bouncer", "one", TimeZone="Europe/Berlin")
        other.query("SELECT 1")
        other.close()


def test_settings_in_front(pooler: Pooler, backend: Backend) -> None:
    with pooler.wire() as wire:
        wire.login("bouncer", "one", TimeZone="Asia/Tokyo")
        wire.query("SELECT 1")
        shared_server(pooler)
        backend.take(b"SET TimeZone='Asia/Tokyo'")
        wire.send(query(SLOW))
        assert backend.begun.wait(10)
        cancel(pooler, wire)
        assert errors(wire.receive_until()) == ["57014"]
        assert [met.rstrip(b"\0") for met in backend.met] == [SLOW.encode()]
        backend.take(b"")
        assert errors(wire.query("SELECT 1")) == []
        wire.close()


def test_startup_values_behind_a_reset(pooler: Pooler, backend: Backend) -> None:
    with pooler.wire() as wire:
        wire.login("bouncer", "one", TimeZone="Asia/Tokyo")
        wire.query("SELECT 1")
        backend.take(b"SET timezone='Asia/Tokyo'")
        wire.send(query("RESET TimeZone"))
        assert backend.begun.wait(10)
        cancel(pooler, wire)
        got = wire.receive_until()
        assert not [one for one in got if one.type == "S"], "it is what it was"
        assert backend.met == []
        wire.close()


def test_sequences_of_others_in_front(pooler: Pooler, backend: Backend) -> None:
    with pooled(pooler, "one") as wire, pooled(pooler, "one") as other:
        wire.query("SELECT 1")
        other.query("SELECT anything()")
        backend.take(b"DISCARD SEQUENCES")
        wire.send(query("SELECT anything()"))
        assert backend.begun.wait(10)
        cancel(pooler, wire)
        assert errors(wire.receive_until()) == []
        assert backend.met == []
        other.close()
        wire.close()


def cancel_while_a_value_is_put_back(pooler: Pooler, backend: Backend, wire: Wire) -> threading.Thread:
    """Neither the request nor the value gets on before `deliver` and `go_on`."""
    backend.take(b"SET timezone='Asia/Tokyo'")
    backend.go_on.clear()
    backend.deliver.clear()
    wire.send(query("RESET TimeZone"))
    assert backend.begun.wait(10)
    canceler = threading.Thread(target=cancel, args=(pooler, wire))
    canceler.start()
    assert backend.arrived.wait(10)
    return canceler


def test_a_cancel_request_on_its_way(pooler: Pooler, backend: Backend) -> None:
    """It was for a statement that has been answered: what pooler sends then waits until it has been there."""
    with pooler.wire() as wire:
        wire.login("bouncer", "one", TimeZone="Asia/Tokyo")
        wire.query("SELECT 1")
        canceler = cancel_while_a_value_is_put_back(pooler, backend, wire)
        backend.begun.clear()
        backend.go_on.set()
        assert not backend.begun.wait(0.3)
        backend.deliver.set()
        canceler.join()
        got = wire.receive_until()
        assert not [one for one in got if one.type == "S"], "it is what it was"
        assert backend.met == []
        wire.close()


def test_a_server_that_has_a_value_to_put_back_is_not_given_up(pooler: Pooler, backend: Backend) -> None:
    """It is kept for something that nobody knows, until others wait for it; but not before its client has its
    answer.
    """
    with pooler.wire() as wire, pooled(pooler, "one") as other:
        wire.login("bouncer", "one", TimeZone="Asia/Tokyo")
        wire.query("SELECT anything()")
        reasons = ["catalogs unread"]  # shown a moment after the client has its answer
        wait_for(
            lambda: [row["reason"] for row in pooler.show("pins", database="one")] == reasons, 5, "the pin"
        )
        canceler = cancel_while_a_value_is_put_back(pooler, backend, wire)
        backend.go_on.set()
        other.send(query("SELECT 1"))
        other.expect_silence(2)
        backend.deliver.set()
        canceler.join()
        assert errors(wire.receive_until()) == []
        assert errors(other.receive_until()) == []
        other.close()
        wire.close()


def test_the_last_statement_of_a_client_behind_a_cancel_request_on_its_way(
    make_pooler: Callable[..., Pooler], pg: Postgres
) -> None:
    """It waits with what pooler has to say first, also where the client sends nothing more."""
    deliver = threading.Event()

    def hold(_peer: Peer) -> None:
        deliver.wait(20)

    with Spoiler(pg, hold) as spoiler:
        pooler = make_pooler(workers=1, databases={"p0": f"port={spoiler.port} pool_size=3"})
        with pooled(pooler) as listener, pooled(pooler) as wire:
            listener.query("LISTEN last_words")
            wire.query("BEGIN")
            canceler = threading.Thread(target=cancel, args=(pooler, wire))
            canceler.start()
            wait_for(lambda: spoiler.cancels, 5, "the cancel request")
            wire.send(query("NOTIFY last_words") + query("COMMIT"))
            wire.socket.shutdown(socket.SHUT_WR)
            wire.expect_silence(0.5)
            deliver.set()
            canceler.join()
            wire.expect("CZCZ")
            wire.expect_closed()
            listener.receive_until("A")
            listener.close()


WAITING: dict[str, Callable[[], bytes]] = {
    "query": lambda: query("SELECT 1"),
    "extended": lambda: parse("SELECT 1") + bind() + execute() + SYNC,
    "function": lambda: message("F", struct.pack("!IHHH", 1, 0, 0, 0)),
}


@pytest.mark.parametrize("kind", WAITING)
def test_what_waits_is_answered(pooler: Pooler, backend: Backend, kind: str) -> None:
    """Each message ends as PostgreSQL ends it: a FunctionCall needs no Sync."""
    backend.take(b"")
    with pooled(pooler, "one") as holder, pooled(pooler, "one") as wire:
        holder.send(query(SLOW))
        assert backend.begun.wait(10)
        wire.send(WAITING[kind]())
        wait_for(lambda: pooler.pool("one")["cl_waiting"] == 1, 5, "a waiting client")
        cancel(pooler, wire)
        assert errors(wire.receive_until()) == ["57014"]
        cancel(pooler, holder)
        assert errors(holder.receive_until()) == ["57014"]
        assert errors(wire.query("SELECT 1")) == []
        holder.close()
        wire.close()
