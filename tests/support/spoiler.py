"""A PostgreSQL that may fail in what pooler asks of it on its own account: everything passes through here."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.support.fakeserver import FakeServer, Peer, Script
from tests.support.postgres import Postgres
from tests.support.wire import CANCEL_REQUEST, message, untyped

#: Takes a text; what PostgreSQL gets instead, None: the same.
Spoil = Callable[[bytes], "bytes | None"]

FAILING = b"SELECT spoilt"


class Spoiler(FakeServer):
    """Stands before a PostgreSQL, and changes the texts of Query and Parse as `spoil` says.

    A cancel request is passed on behind `on_cancel`.
    """

    def __init__(self, pg: Postgres, on_cancel: Script = lambda peer: None) -> None:
        super().__init__({}, on_cancel)
        self.pg = pg
        self.spoil: Spoil = lambda text: None
        self.spoilt: list[bytes] = []

    def __enter__(self) -> Spoiler:
        super().__enter__()
        return self

    def fails(self, *parts: bytes, times: int = 1 << 30) -> None:
        """From now on a text that has all these parts fails, so often."""
        self.spoilt = []

        def spoil(text: bytes) -> bytes | None:
            if len(self.spoilt) >= times or not all(part in text for part in parts):
                return None
            self.spoilt.append(text)
            return FAILING

        self.spoil = spoil

    def heals(self) -> None:
        """From now on nothing fails."""
        self.spoil = lambda text: None

    def _run(self, peer: Peer) -> None:
        code, rest = peer.begin()
        if code == CANCEL_REQUEST:
            self.cancels += 1
            self.on_cancel(peer)
        with socket.create_connection((self.pg.host, self.pg.port)) as server:
            server.sendall(untyped(code, rest))
            if code == CANCEL_REQUEST:
                server.recv(1)
                return
            back = threading.Thread(target=self._back, args=(server, peer.socket))
            back.start()
            try:
                while True:
                    kind, body = peer.message()
                    server.sendall(message(kind.decode(), self._changed(kind, body)))
            except OSError:
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_WR)
            finally:
                back.join()

    def _changed(self, kind: bytes, body: bytes) -> bytes:
        if kind not in b"QP":
            return body
        head = 0 if kind == b"Q" else body.index(b"\0") + 1
        end = body.index(b"\0", head)
        changed = self.spoil(body[head:end])
        return body if changed is None else body[:head] + changed + body[end:]

    @staticmethod
    def _back(server: socket.socket, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                peer.sendall(data)
        for sock in (server, peer):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
