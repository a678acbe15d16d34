"""Pieces of a look at catalogs, answered by a false server: clients have their turn in between."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator

from tests.support.exchange import pooled, unread_by_peer
from tests.support.fakeserver import READY, WELCOME, FakeServer, Peer, Script, usual_answer
from tests.support.health import worker_pids
from tests.support.pooler import Pooler
from tests.support.processes import stop_process, wait_for
from tests.support.wire import message, query

MakePooler = Callable[..., Pooler]

#: What a piece of a look has, and no other request: it says how long it took.
PIECE = b"pg_catalog.statement_timestamp()"
IDENTITY, BUILTIN_FUNCTIONS, LIST_OF_FUNCTIONS = (
    b"pg_control_system",
    b"proname::pg_catalog.text, provolatile",
    b"SELECT oid::pg_catalog.text, xmin::pg_catalog.text FROM pg_catalog.pg_proc",
)


def row(*columns: bytes | None) -> bytes:
    packed = (b"\xff" * 4 if c is None else struct.pack("!I", len(c)) + c for c in columns)
    return message("D", len(columns), b"".join(packed))


def answer(*rows: bytes) -> bytes:
    return b"".join(rows) + message("C", f"SELECT {len(rows)}") + READY


def until_piece(wanted: bytes, then: Callable[[Peer, bytes], None]) -> Script:
    """A server that has nothing in its catalogs; what becomes of the first piece with this in its text."""

    def script(peer: Peer) -> None:
        def answers(kind: bytes, body: bytes) -> bytes:
            if kind != b"Q" or PIECE not in body:
                return usual_answer(kind, body)
            if wanted in body:
                try:
                    then(peer, body)
                except Answered:
                    return b""
            return answer(row(b"i", b"", b"someone")) if IDENTITY in body else answer()

        peer.answer(answers)

    return script


def until_told(over: threading.Event, peers: queue.Queue[Peer]) -> Script:
    """A server that answers until it is told to leave its socket to somebody else."""

    def script(peer: Peer) -> None:
        peer.send(WELCOME)
        while not over.is_set():
            if select.select([peer.socket], [], [], 0.01)[0]:
                peer.send(usual_answer(*peer.message()))
        peers.put(peer)
        peers.join()

    return script


#: Rows that the first piece of such a list may have, and any at least (core/catalog/read.c). Behind one that
#: took so long there are as few where a client has waited for its end, and twice as many where none has.
FIRST_LIST, FEWEST, LONG_S = 512, 32, 0.02


class Answered(Exception):
    """Nothing else is to be sent to that piece."""


def rows_of(piece: bytes) -> int:
    """How many rows it may have."""
    (limit,) = re.findall(rb"LIMIT (\d+)", piece)
    return int(limit)


@contextlib.contextmanager
def taken(peers: queue.Queue[Peer], after: Callable[[], object] = lambda: None) -> Iterator[Peer]:
    """A server's end of a connection, for the block; its own thread waits meanwhile."""
    after()
    peer = peers.get(timeout=20)
    try:
        yield peer
    finally:
        peers.task_done()


#: More than the relay reads of one connection at once, and less than a piece may have rows.
LONG_ROWS = [
    row(b"%d" % (1 + n), b"0", b"%d" % (1 + n), b"f", b"f%d" % n, b"i", None, b"x" * 8000) for n in range(60)
]


def test_others_have_their_turn_while_rows_are_read(make_pooler: MakePooler) -> None:
    """Rows of the catalogs and a client's query lie there at the same time: the query does not wait for the
    last of the rows."""
    reading: queue.Queue[Peer] = queue.Queue()
    idle: queue.Queue[Peer] = queue.Queue()
    stopped = threading.Event()

    def hand_over(peer: Peer, body: bytes) -> None:
        reading.put(peer)
        reading.join()

    scripts = {"read": until_piece(BUILTIN_FUNCTIONS, hand_over), "other": until_told(stopped, idle)}
    with FakeServer(scripts) as fake:
        place = f"host=127.0.0.1 port={fake.port} pool_size=1"
        pooler = make_pooler(
            workers=1,
            databases={"read": place, "other": f"{place} session_state=off"},
            tcp_socket_buffer=1 << 20,
        )
        (worker,) = worker_pids(pooler).values()
        with (
            pooled(pooler, "other") as client,
            pooled(pooler, "read") as wire,
            select.epoll() as order,  # tells of both in the order in which they come
            taken(reading, after=lambda: wire.send(query("SELECT 1"))) as reader,
        ):
            stop_process(worker)
            stopped.set()
            with taken(idle) as server:
                reader.send(answer(*LONG_ROWS))
                wait_for(lambda: not unread_by_peer(reader.socket), 10, "all rows to have arrived")
                client.send(query("SELECT 2"))
                order.register(server.socket, select.EPOLLIN)
                order.register(reader.socket, select.EPOLLIN)
                os.kill(worker, signal.SIGCONT)
                (first, _), *_ = order.poll(10)
                assert first == server.socket.fileno()
                server.send(usual_answer(*server.message()))
                client.receive_until()


def test_pieces_are_shorter_where_a_client_has_waited(make_pooler: MakePooler) -> None:
    """For the end of the one before."""
    pieces: queue.Queue[tuple[float, bytes]] = queue.Queue()
    waits = threading.Event()

    def keep_waiting(peer: Peer, body: bytes) -> None:
        begin = time.monotonic()
        pieces.put((begin, body))
        if pieces.unfinished_tasks > 1:
            return
        waits.wait(30)
        time.sleep(max(0.0, begin + LONG_S - time.monotonic()))
        peer.send(answer(*(row(b"%d" % (20000 + n), b"1") for n in range(FIRST_LIST))))
        raise Answered

    with FakeServer({"read": until_piece(LIST_OF_FUNCTIONS, keep_waiting)}) as fake:
        place = f"host=127.0.0.1 port={fake.port} pool_size=1"
        pooler = make_pooler(workers=1, databases={"read": place})
        with pooled(pooler, "read") as wire, pooled(pooler, "read") as other:
            wire.send(query("SELECT 1"))  # the look may begin before it, or behind it
            _, body = pieces.get(timeout=20)
            assert rows_of(body) == FIRST_LIST
            other.send(query("SELECT 2"))
            wait_for(lambda: pooler.pool("read")["cl_waiting"], 10, "a client to wait")
            waits.set()
            other.receive_until()
            _, body = pieces.get(timeout=20)
            assert rows_of(body) == FEWEST
