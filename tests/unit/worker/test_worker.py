"""A real worker in this process: what its greenlets do about orders, bad messages and second thoughts.

Its relay runs; the test plays the master at the other end of the control channel, and clients.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gevent
import pytest
from gevent.event import AsyncResult

from pooler import log
from pooler.config import Config, Settings
from pooler.core import KILL, Tables
from pooler.core.events import LoginOrdered, RelayEvent
from pooler.errors import ClientFault
from pooler.ipc import fds, inbox
from pooler.ipc.boot import WorkerBoot
from pooler.ipc.channel import Decoder, encode
from pooler.ipc.messages import Message, Reload, ReloadAnswer, ReloadDone
from pooler.worker.client import Client
from pooler.worker.worker import Worker
from tests.support.processes import wait_for
from tests.support.wire import startup


@dataclass
class Scene:
    """A worker, the master's end of its channel, and its log."""

    worker: Worker
    control: socket.socket
    log: Path

    def until(self, fact: Callable[[], object], what: str) -> None:
        """Lets the greenlets run until it holds."""

        def look() -> bool:
            gevent.sleep(0.001)
            return bool(fact())

        wait_for(look, 5, what)

    def connect(self) -> socket.socket:
        """The other end of a connection that the master gives it, by a unix socket."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        datagram = inbox.FORMAT.pack(inbox.Kind.CLIENT, 1, 0)
        assert fds.send(self.worker.context.outboxes[0], datagram, ours.fileno())
        ours.close()
        return theirs

    def accept(self) -> tuple[Client, socket.socket]:
        """A client of the console, which is Python's, and its other end, which has been greeted."""
        before = set(self.worker.context.logins)
        theirs = self.connect()
        theirs.send(startup("pgbouncer", "pgbouncer"))
        self.until(lambda: said(theirs).endswith(b"Z\0\0\0\5I"), "the greeting")
        (row,) = set(self.worker.context.logins) - before
        client = self.worker.context.logins[row]
        assert isinstance(client, Client)
        return client, theirs

    def order(self, row: int, client_id: int, orders: int) -> None:
        """As the relay brings it."""
        self.worker._event(LoginOrdered(row, client_id, orders))

    def tell(self, *messages: Message) -> None:
        self.control.sendall(b"".join(map(encode, messages)))

    def heard(self) -> list[Message]:
        """What the worker says to the master next."""
        decoder, found = Decoder(), list[Message]()

        def read() -> bool:
            try:
                found.extend(decoder.feed(self.control.recv(65536)))
            except BlockingIOError:
                return False
            return bool(found)

        self.until(read, "a message")
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    path = tmp_path / "log"
    log.configure(str(path), stderr=False)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    boxes = [inbox.open_pair() for _ in range(2)]
    tables = Tables(workers=1, slots=4, clients=8)
    tables.worker_starting(0, 1)
    outboxes = [boxes[0][1]]
    boot = WorkerBoot(
        0, tables, Config("p.ini", Settings(workers=1)), boxes[0][0], outboxes, boxes[1][1], theirs
    )
    worker = Worker(boot)
    worker.context.relay.start()
    watcher = gevent.get_hub().loop.io(worker.context.relay.event_fd, 1)
    watcher.start(worker._drain_events)
    listener = gevent.spawn(worker._listen)
    yield Scene(worker, ours, path)
    listener.kill()
    watcher.stop()
    for client in list(worker.context.logins.values()):
        client.end("over")
    gevent.sleep(0.01)
    worker.context.relay.stop()
    worker._control.close()
    ours.close()
    for pair in boxes:
        for box in pair:
            box.close()
    log.configure()


def said(peer: socket.socket) -> bytes:
    """What the client was told, b"" if nothing yet."""
    try:
        return peer.recv(4096)
    except BlockingIOError:
        return b""


def test_order_for_a_client_that_left_does_not_meet_the_next_one(scene: Scene) -> None:
    """Its row is used again by the time the order is looked at."""
    client, peer = scene.accept()
    scene.order(client.row, client.id - 1, KILL)
    gevent.sleep(0.05)
    assert said(peer) == b""
    assert client.row in scene.worker.context.logins
    scene.order(client.row, client.id, KILL)
    scene.until(lambda: client.row not in scene.worker.context.logins, "the end of the login")
    assert b"admin forced disconnect" in said(peer)
    peer.close()


def test_orders_say_whose_they_are(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the tables by the relay's thread: the row may be another client's when Python hears of it."""
    tables = scene.worker.context.tables
    row = tables.client_new(0)
    number = tables.client_id(row)
    events: list[RelayEvent] = []
    monkeypatch.setattr(scene.worker, "_order", events.append)
    assert tables.kill_client(row, number, "admin forced disconnect")
    scene.until(lambda: events, "the event")
    assert events == [LoginOrdered(row, number, KILL)]
    tables.client_free(row)


def test_second_reason_to_end_while_the_first_is_told(scene: Scene) -> None:
    """Not a bug in the log, and the client is still told the first."""
    client, peer = scene.accept()
    client.end("first")
    scene.until(lambda: b"first" in said(peer), "the first reason")
    client.end("second")
    client.obey(KILL)
    peer.close()
    scene.until(lambda: client.row not in scene.worker.context.logins, "the end of the login")
    assert "bug" not in scene.log.read_text()


def test_two_reasons_to_end_at_once(scene: Scene) -> None:
    client, peer = scene.accept()
    client.end("first")
    assert client.greenlet is not None
    client.greenlet.kill(ClientFault("second"), block=False)
    scene.until(lambda: client.row not in scene.worker.context.logins, "the end of the login")
    assert "bug" not in scene.log.read_text()
    peer.close()


def test_bad_message_of_the_master_does_not_deafen(scene: Scene) -> None:
    scene.worker.services.operations._answers[1] = AsyncResult()
    scene.tell(ReloadAnswer([1], None))  # type: ignore[arg-type]
    scene.tell(Reload(7, {"settings": {"no_such": 1}}))
    (done,) = scene.heard()
    assert isinstance(done, ReloadDone)
    assert (done.generation, done.error) == (7, "internal error, see the log")
    assert scene.log.read_text().count("ERROR bug") == 2
    config = Config("p.ini", Settings(workers=1, max_client_conn=77))
    scene.tell(Reload(8, config.to_wire()))
    (done,) = scene.heard()
    assert done == ReloadDone(0, 8)
    assert scene.worker.context.config.settings.max_client_conn == 77
