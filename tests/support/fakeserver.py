"""A false PostgreSQL: a small server that answers as the script of the database says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from tests.support.wire import CANCEL_REQUEST, SSL_REQUEST, message

#: A script that stalls is cut off by the end of the test at the latest.
PATIENCE_S = 40.0


def authentication(code: int, data: bytes = b"") -> bytes:
    """An authentication request."""
    return message("R", struct.pack("!I", code) + data)


def parameter(name: str, value: str) -> bytes:
    return message("S", name, value)


def error(fields: bytes) -> bytes:
    """An ErrorResponse with exactly these bytes as its body."""
    return message("E", fields)


AUTH_OK = authentication(0)
KEY = message("K", struct.pack("!II", 4711, 42))
READY = message("Z", b"I")
#: What it reports when a session begins.
REPORTED = {
    "server_version": "16.0",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "IntervalStyle": "postgres",
    "application_name": "",
}
PARAMETERS = b"".join(parameter(name, value) for name, value in REPORTED.items())
WELCOME = AUTH_OK + PARAMETERS + KEY + READY

ROW = message("T", 1, "n", b"\0" * 6 + struct.pack("!IhiH", 25, -1, -1, 0)) + message(
    "D", 1, struct.pack("!I", 1), b"1"
)
#: What answers the messages by which settings are put in force ahead of a statement.
EXTENDED = {b"P": message("1"), b"B": message("2"), b"E": message("C", "SELECT 1"), b"C": message("3")}

ANSWER = ROW + message("C", "SELECT 1") + READY


class Peer:
    """The pooler, as the fake server sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def read(self, size: int) -> bytes:
        """Exactly that many bytes; raises ConnectionError at the end."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the pooler has closed")
            data += more
        return data

    def startup(self) -> tuple[int, bytes]:
        """(code, rest) of a packet without type."""
        (length,) = struct.unpack("!I", self.read(4))
        body = self.read(length - 4)
        return struct.unpack_from("!I", body)[0], body[4:]

    def begin(self) -> tuple[int, bytes]:
        """The same, behind a request for TLS, which it does not have."""
        code, rest = self.startup()
        if code == SSL_REQUEST:
            self.send(b"N")
            code, rest = self.startup()
        return code, rest

    def message(self) -> tuple[bytes, bytes]:
        """(type, body) of the next message."""
        kind, length = struct.unpack("!cI", self.read(5))
        return kind, self.read(length - 4)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def serve(self) -> None:
        """From now on a sane server: an answer to each query."""
        while True:
            kind, body = self.message()
            if kind == b"X":
                return
            if kind == b"Q" and body == b"\0":
                self.send(message("I") + READY)
            elif kind == b"Q":
                self.send(ANSWER if body[:6].upper() == b"SELECT" else message("C", "SET") + READY)
            elif kind in EXTENDED:
                self.send(EXTENDED[kind])

    def answer(self, answers: Callable[[bytes, bytes], bytes]) -> None:
        """Logs in; from now on each message (type, body) gets what this says."""
        self.send(WELCOME)
        while True:
            kind, body = self.message()
            if kind == b"X":
                return
            if data := answers(kind, body):
                self.send(data)

    def wait_for_end(self) -> None:
        """Until the pooler closes."""
        with contextlib.suppress(ConnectionError):
            while True:
                self.read(1)


def usual_answer(kind: bytes, body: bytes) -> bytes:
    """What a server says to a message of either protocol that finds nothing."""
    simple = {
        b"Q": message("C", "SELECT 0") + READY,
        b"S": READY,
        b"P": message("1"),
        b"B": message("2"),
        b"C": message("3"),
        b"D": message("t", 0) + message("n"),
        b"E": message("C", "SELECT 0"),
    }
    return simple.get(kind, b"")


Script = Callable[[Peer], None]


class FakeServer:
    """Listens on a port; a connection runs the script that has the name of its database, or that of `*`.

    A cancel request is counted, then `on_cancel` says what becomes of its connection.
    """

    def __init__(self, scripts: Mapping[str, Script], on_cancel: Script = lambda peer: None) -> None:
        self.scripts = scripts
        self.on_cancel = on_cancel
        self.connections: dict[str, int] = {}
        self.cancels = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, name="fake server")

    def __enter__(self) -> FakeServer:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE_S)
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._run(Peer(sock))
        self._open.discard(sock)

    def _run(self, peer: Peer) -> None:
        code, rest = peer.begin()
        if code == CANCEL_REQUEST:
            self.cancels += 1
            self.on_cancel(peer)
            return
        words = rest.split(b"\0")
        database = dict(zip(words[::2], words[1::2], strict=False))[b"database"].decode(errors="replace")
        self.connections[database] = self.connections.get(database, 0) + 1
        self.scripts.get(database, self.scripts.get("*", Peer.wait_for_end))(peer)
