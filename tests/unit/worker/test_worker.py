"""A real worker in this process: what its greenlets do about orders, bad messages and second thoughts.

Its relay runs; the test plays the master at the other end of the control channel, and clients.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult

from pooler import log
from pooler.config import Config, Settings
from pooler.core import KILL, Tables
from pooler.core.events import Accepted, LoginOrdered, RelayEvent
from pooler.errors import ClientFault
from pooler.ipc import inbox
from pooler.ipc.boot import WorkerBoot
from pooler.ipc.channel import Decoder, encode
from pooler.ipc.messages import Message, Reload, ReloadAnswer, ReloadDone
from pooler.worker.client import Client
from pooler.worker.worker import Worker
from tests.support.processes import wait_for


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

    def limit(self, **settings: Any) -> None:
        """Other settings from now on."""
        self.worker.context.config = replace(
            self.worker.context.config, settings=replace(self.worker.context.config.settings, **settings)
        )

    def accept(self, says: bytes = b"", row: int = -1) -> tuple[Client, socket.socket]:
        """A client in its login, and its other end, which has said something or nothing."""
        theirs, ours = socket.socketpair()
        theirs.setblocking(False)
        if says:
            theirs.send(says)
        before = set(self.worker.context.logins) - {row}
        self.worker._event(Accepted(ours.detach(), True))
        self.until(lambda: set(self.worker.context.logins) - before, "the login")
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
    listener = gevent.spawn(worker._listen)
    yield Scene(worker, ours, path)
    listener.kill()
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


def test_orders_say_whose_they_are(scene: Scene) -> None:
    """From the tables by the relay's thread: the row may be another client's when Python hears of it."""
    tables = scene.worker.context.tables
    row = tables.client_new(0)
    number = tables.client_id(row)
    assert tables.kill_client(row, number, "admin forced disconnect")
    events: list[RelayEvent] = []

    def arrived() -> bool:
        events.extend(scene.worker.context.relay.events())
        return bool(events)

    scene.until(arrived, "the event")
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
    client, peer = scene.accept(says=b"\0")
    scene.until(lambda: client.greenlet, "its turn")
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


# The login queue.


def started(client: Client) -> bool:
    gevent.sleep(0.01)
    return client.greenlet is not None


def test_no_more_logins_at_once_than_allowed(scene: Scene) -> None:
    """The third waits until one of the two is through, then it has its turn."""
    scene.limit(max_unauthenticated=2)
    scenes = [scene.accept(says=b"\0") for _ in range(4)]
    (_, one), (second, two), (third, three), (fourth, four) = scenes
    assert [started(client) for client, _ in scenes] == [True, True, False, False]
    one.close()
    scene.until(lambda: started(third), "its turn")
    assert not started(fourth)
    scene.worker.services.login_queue.leave(second)  # it has proven who it is
    assert started(fourth)
    for peer in (two, three, four):
        peer.close()
    scene.until(lambda: not scene.worker.context.logins, "the end of all")


def test_limit_that_is_raised_lets_in_who_waits(scene: Scene) -> None:
    scene.limit(max_unauthenticated=1)
    (_, one), (second, two), (third, three) = (scene.accept(says=b"\0") for _ in range(3))
    scene.limit(max_unauthenticated=2)
    scene.worker.services.login_queue.tick(time.monotonic())
    assert (started(second), started(third)) == (True, False)
    scene.limit(max_unauthenticated=0)
    scene.worker.services.login_queue.tick(time.monotonic())
    assert started(third)
    for peer in (one, two, three):
        peer.close()
    scene.until(lambda: not scene.worker.context.logins, "the end of all")


def test_a_connection_takes_no_place_before_its_first_byte(scene: Scene) -> None:
    scene.limit(max_unauthenticated=1)
    silent = [scene.accept() for _ in range(3)]
    client, peer = scene.accept(says=b"\0")
    assert [started(one) for one in (*(one for one, _ in silent), client)] == [False, False, False, True]
    peer.close()
    silent[1][1].send(b"\0")
    scene.until(lambda: started(silent[1][0]), "its turn")
    for _, other in silent:
        other.close()
    scene.until(lambda: not scene.worker.context.logins, "the end of all")


def test_row_of_a_silent_login_goes_to_who_speaks(scene: Scene) -> None:
    """Also of one that is inside."""
    inside = [scene.accept(says=b"\0") for _ in range(8)]
    scene.until(lambda: all(client.stream.waits_since for client, _ in inside), "silence")
    scene.worker.services.login_queue.tick(time.monotonic() + 10)
    for client, _ in inside:
        assert client.stream.waits_since is not None
        client.stream.waits_since -= 1
    newest, peer = inside[-1]
    row = newest.row
    newcomer, other = scene.accept(says=b"\0", row=row)
    assert (newcomer.row, newest.row) == (row, -1)
    scene.until(lambda: said(peer), "the refusal")
    for _, one in inside:
        one.close()
    other.close()
    scene.until(lambda: not scene.worker.context.logins, "the end of all")
    assert "bug" not in scene.log.read_text()


def test_who_waits_at_the_door_can_be_ended(scene: Scene) -> None:
    scene.limit(max_unauthenticated=1, client_login_timeout=30)
    (_, one), (second, two), (_, three) = (scene.accept(says=b"\0") for _ in range(3))
    outside, four = scene.accept()
    scene.order(second.row, second.id, KILL)
    scene.until(lambda: b"admin forced disconnect" in said(two), "the order")
    scene.worker.services.login_queue.tick(time.monotonic() + 31)
    scene.until(lambda: b"client_login_timeout" in said(three), "the end of its time")
    scene.until(lambda: b"client_login_timeout" in said(four), "the end of its time")
    assert outside not in scene.worker.services.login_queue._outside
    for peer in (one, two, three, four):
        peer.close()
    scene.until(lambda: not scene.worker.context.logins, "the end of all")
