"""Logins of clients, byte for byte: a real worker in this process, PostgreSQL as far as logins need it, and
clients that the test plays.

The relay runs on its thread. Events that it has for Python are the worker's, as always; the hub handles them
while the test waits for something. A server is logged in at once and answers every query.
"""

from __future__ import annotations

import socket as plain_socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent import socket

from pooler import log
from pooler.config import Config, Database, Settings
from pooler.config.hba import HbaRule, Names
from pooler.config.ident import IdentMap
from pooler.core import LoginQuestion, Tables
from pooler.core.events import DialNeeded, LoginAsks, LoginPassed, RelayEvent
from pooler.ipc import inbox
from pooler.ipc.boot import WorkerBoot
from pooler.protocol.auth_query import StoredUser
from pooler.provisioning import instance_of
from pooler.worker.parameters import pack_welcome
from pooler.worker.stream import Hangup
from pooler.worker.worker import Worker
from tests.support.fakeserver import ANSWER, REPORTED
from tests.support.login_peer import PATIENCE_S, Peer, Welcome
from tests.support.messages import send_client

FOREVER_S = 1e9
EVERYBODY = Names(frozenset({"all"}), frozenset())


def rule(method: str, kind: str = "local", identities: IdentMap | None = None, **parts: Any) -> HbaRule:
    """A line for everybody; `kind`: "local" is for those on unix sockets."""
    whole = {"line": 1, "databases": EVERYBODY, "users": EVERYBODY, "address": "", "mask": "", **parts}
    return HbaRule(kind=kind, method=method, map=identities, **whole)


@dataclass
class Found:
    """What auth_query finds, by user; a user who is not there does not exist."""

    config: Config
    users: dict[str, StoredUser] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    hold: Callable[[], bool] | None = None  # it answers when this is so

    def find(self, database: Database | None, name: str, has_left: Callable[[], bool]) -> StoredUser | None:
        """As Lookups.find."""
        self.asked.append((name, database.name if database else ""))
        while self.hold is not None and not self.hold():
            if has_left():
                raise Hangup("unexpected eof")
            gevent.sleep(0.001)
        return self.users.get(name)

    def instance_of(self, database: Database | None) -> str:
        """As Lookups.instance_of."""
        return instance_of(self.config, database) if database else ""


class Machine:
    """One worker with one configuration."""

    def __init__(
        self,
        config: Config,
        log_path: Path,
        clients: int = 64,
        login_key: bytes = b"k" * 32,
        may_log_bugs: bool = False,
    ) -> None:
        self.log_path = log_path
        self._may_log_bugs = may_log_bugs
        log.configure(str(log_path), verbose=config.settings.verbose, stderr=False)
        ours, theirs = plain_socket.socketpair()
        self._control = ours
        self._boxes = [inbox.open_pair() for _ in range(2)]
        tables = Tables(workers=1, slots=8, clients=clients)
        tables.worker_starting(0, 1)
        boot = WorkerBoot(
            0, tables, config, self._boxes[0][0], [self._boxes[0][1]], self._boxes[1][1], theirs
        )
        boot.login_key = login_key
        self.tables = tables
        self.worker = Worker(boot)
        self.found = Found(config)
        self.worker.services.questions._lookups = self.found  # type: ignore[assignment]
        self.questions: list[tuple[LoginQuestion, list[bytes]]] = []
        self.passed: list[LoginPassed] = []
        self.queries: list[bytes] = []  # that servers got
        self.dials: list[int] = []  # slots that were to be opened
        self.has_servers = True
        self._servers: list[gevent.Greenlet] = []
        self._ends: list[socket.socket] = []
        self._peers: list[Peer] = []
        relay = self.worker.context.relay
        relay.start()
        self._watcher = gevent.get_hub().loop.io(relay.event_fd, 1)
        self._watcher.start(self._drain)

    # -- the worker

    def _drain(self) -> None:
        relay = self.worker.context.relay
        while True:
            log.write_lines(*relay.log_lines())
            events = relay.events()
            for event in events:
                self._event(event)
            if not events:
                return

    def _event(self, event: RelayEvent) -> None:
        match event:
            case DialNeeded(slot):
                self._dial(slot)
                return
            case LoginAsks():
                self.questions.append((LoginQuestion(event.question), event.fields))
            case LoginPassed():
                self.passed.append(event)
        self.worker._event(event)

    def _dial(self, slot: int) -> None:
        """There is no PostgreSQL for a walsender; its client is told so."""
        self.dials.append(slot)
        dedicated = self.tables.slot_dedicated(slot)
        if dedicated is not None:
            client = self.worker.context.logins.get(dedicated[0])
            if client is not None:
                client.end("no walsender here")
            self.worker.context.relay.freed_slot(slot, self.tables.slot(slot).generation)
        elif self.has_servers:
            self.open_server(slot)

    def open_server(self, slot: int) -> None:
        """A server that is logged in."""
        context = self.worker.context
        ours, theirs = socket.socketpair()
        self.tables.slot_dialed(slot)
        self.tables.slot_key(slot, 4711, b"key!", "")
        self.tables.slot_login(slot, pack_welcome(REPORTED), FOREVER_S)
        generation = self.tables.slot(slot).generation
        context.relay.add_server(slot, generation, theirs.detach(), context.tracked.values_of(REPORTED))
        self._ends.append(ours)
        self._servers.append(gevent.spawn(self._serve, ours))

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while len(data) >= 5 and len(data) > (size := int.from_bytes(data[1:5], "big")):
                kind, body, data = data[:1], data[5 : size + 1], data[size + 1 :]
                if kind == b"Q":
                    self.queries.append(body)
                    sock.sendall(ANSWER)

    def until(self, fact: Callable[[], object], what: str) -> None:
        """Lets everything go on until it is so."""
        with gevent.Timeout(PATIENCE_S, AssertionError(f"waited for: {what}")):
            while not fact():
                gevent.sleep(0.0005)

    def text(self) -> str:
        """The log."""
        return self.log_path.read_text()

    def logged(self, *parts: str) -> None:
        """Each of these stands in the log, or will."""
        self.until(lambda: all(part in self.text() for part in parts), f"{parts} in the log")

    def is_empty(self) -> bool:
        """No client is there."""
        return not self.tables.clients()

    def clients(self) -> list[int]:
        """The ids of all clients that are in, or in their login."""
        return [row["id"] for row in self.tables.clients()]

    def kill(self) -> None:
        """Ends the only client, as an administrator does."""
        (number,) = self.clients()
        row = self.tables.find_client(number)
        assert self.tables.kill_client(row, number, "admin forced disconnect")

    def pool(self, user: str = "me") -> int:
        """The row of a pool."""
        (row,) = (row for row in self.tables.pool_rows() if self.tables.pool_key(row)[1] == user)
        return row

    @property
    def asked(self) -> list[LoginQuestion]:
        """What Python was asked, less the rows that are made for a pool."""
        return [question for question, _ in self.questions if question is not LoginQuestion.POOL]

    def passed_as(self) -> LoginPassed:
        """The client that Python went on with."""
        self.until(lambda: self.passed, "a client is passed on")
        return self.passed[-1]

    # -- clients

    def connect(self, tcp: bool = False) -> Peer:
        """A client on a unix socket, or by TCP, which has said nothing."""
        if tcp:
            with plain_socket.create_server(("127.0.0.1", 0)) as listener:
                ours = plain_socket.create_connection(listener.getsockname())
                theirs, _ = listener.accept()
        else:
            ours, theirs = plain_socket.socketpair()
        with theirs:
            assert send_client(self._boxes[0][1], theirs.fileno(), not tcp)
        peer = Peer(self.until, socket.socket(fileno=ours.detach()))
        self._peers.append(peer)
        return peer

    def start(self, user: str = "me", database: str = "db", **parameters: str) -> Peer:
        """A client on a unix socket whose startup packet is sent."""
        return self.connect().start(user, database, **parameters)

    def log_in(self, password: str = "secret", user: str = "me", database: str = "db") -> Welcome:
        """The whole of it."""
        return self.start(user, database).prove(password, user)

    def stop(self) -> None:
        for peer in self._peers:
            peer.close()
        for client in list(self.worker.context.logins.values()):  # what the janitor does to who has left
            client.end("client unexpected eof")
        try:
            self.until(self.is_empty, "all clients have left")
        finally:
            self._watcher.stop()
            gevent.killall(self._servers)
            self.worker.context.relay.stop()
            self.worker._control.close()
            self._control.close()
            for sock in (*self._ends, *self._boxes[0], *self._boxes[1]):
                sock.close()
            log.configure()
        assert self._may_log_bugs or "bug" not in self.text()


def config_of(auth_type: str, userlist: Mapping[str, str] | None, **parts: Any) -> Config:
    """A configuration: settings and parts of Config by name. There is one database, db."""
    names = Settings.__dataclass_fields__
    given = {name: parts.pop(name) for name in list(parts) if name in names}
    usual = {"session_state": "off", "max_silent_per_address": 0, "max_unauthenticated": 0}
    settings = Settings(workers=1, auth_type=auth_type, **{**usual, **given})
    databases = parts.pop("databases", {"db": Database("db")})
    return Config("p.ini", settings, databases=databases, userlist=userlist or {}, **parts)
