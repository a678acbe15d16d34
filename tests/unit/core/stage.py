"""A relay without its thread, one client and its server: both are played by the test, byte by byte."""

from __future__ import annotations

import socket

from pooler.core import LoginVerdict
from pooler.core._core import PlayedTables, Relay, Scene
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.session_queries import QUESTIONS

TRACKED = ("client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name")
VALUES = (b"UTF8", b"ISO, MDY", b"UTC", b"on", b"app")
USER = "me"
NOW_US = 10**6


class Stage:
    """`extras` are names and values of settings that the client has besides the tracked ones."""

    def __init__(self, *extras: bytes) -> None:
        self.tables = t = PlayedTables(
            workers=1, slots=2, clients=2, databases=2, users=2, pools=2, instances=2
        )
        database, user, instance = t.database("db"), t.user(USER), t.instance("i")
        pool = t.open_pool(database, user, instance)
        t.set_pool(
            pool, mode="transaction", size=1, min_size=0, reserve_size=0, reserve_timeout=0, query_timeout=0,
            query_wait_timeout=0, idle_transaction_timeout=0, transaction_timeout=0, client_idle_timeout=0,
            server_lifetime=0, session_state="auto", pin_limit=0, forced_user=False,
        )  # fmt: skip
        row = t.client_new(0)
        assert t.client_login(row, database, user, pool) is LoginVerdict.OK
        t._play("idle", row, 0, NOW_US)
        slot = t._play("acquire", row, 0, NOW_US)["dial"]
        assert t._play("place", slot, 0, NOW_US)["client"] == row
        self.inbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        inbox, outbox = (one.fileno() for one in self.inbox)
        self.relay = Relay(t, 0, inbox, [outbox], TRACKED, (*QUESTIONS, *CATALOGS))
        self.to_server, self.server = socket.socketpair()
        self.to_client, self.client = socket.socketpair()
        for one in (self.to_server, self.server, self.to_client, self.client):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        values = b"".join(value + b"\0" for value in (*VALUES, *extras))
        self.scene = Scene(self.relay, slot, row, self.to_server.fileno(), self.to_client.fileno(), values)
        self._unread = b""

    def close(self) -> None:
        for one in (*self.inbox, self.to_server, self.server, self.to_client, self.client):
            one.close()

    def client_says(self, data: bytes) -> None:
        """What the relay does not use now comes again, with more behind it."""
        self._unread += data
        self._unread = self._unread[self.scene.client_says(self._unread) :]

    def server_says(self, data: bytes) -> None:
        assert self.scene.server_says(data) == len(data)
        again, self._unread = self.scene.take_unused() + self._unread, b""
        if again:
            self.client_says(again)

    def server_hears(self) -> bytes:
        """All that was sent to it since."""
        return heard(self.server)

    def client_hears(self) -> bytes:
        """All that was sent to it since."""
        return heard(self.client)


def heard(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except BlockingIOError:
        return b""


def messages(data: bytes) -> list[tuple[str, bytes]]:
    """Letters and bodies."""
    found = []
    while data:
        length = int.from_bytes(data[1:5], "big") + 1
        assert len(data) >= length
        found.append((chr(data[0]), data[5:length]))
        data = data[length:]
    return found
