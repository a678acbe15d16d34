"""The connection that listens for all clients of a database, whatever worker they are on.

Relays note in the shared tables which channels their clients want to hear of (`core/tables/channels.c`); the
worker whose client was first opens one connection, says LISTEN there, and gives every notification to the
inboxes of the workers that have clients for it, in the order in which PostgreSQL sent them. Nothing is lost
unnoticed: when the connection ends, or a worker does not take its mail, the clients that relied on it are
closed.

The pid in a notification is PostgreSQL's; clients know each other by the pids that pooler told them. Relays
tell who notifies by notes on a channel of their own (`core/notify/subscribe.h`): `c <pid>`: what comes from
this backend now is that client's; `e`: it is not any more; `b <database> <worker> <row> <number>`: the same,
and that client wants to know. Each ends with a number and a seal (`core/notify/origin.h`): anybody may write
there.
"""

from __future__ import annotations

import hmac
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import gevent
from gevent.event import Event

from pooler import log
from pooler.errors import ServerFault
from pooler.ipc import inbox
from pooler.protocol import frontend, messages
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerTarget, server_login
from pooler.worker.dial import Dial, DialState, free, let_go
from pooler.worker.server import connect, credential_for, tls_of
from pooler.worker.stream import Hangup, Stream, converse

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext

#: A channel, and the connection, are kept for so long after the last client has left. One after the other,
#: they must not outlast the five seconds that PostgreSQL waits before it refuses a DROP DATABASE.
LINGER_S = 1.5
#: How long a limit may forbid the connection while a server is closed for it; then clients keep servers.
EVICTION_PATIENCE_S = 2.0
EVICTION_LOOK_S = 0.02
#: After a failure clients keep their servers for so long before it is tried again.
REFUSED_S = 5.0
#: What a worker may leave untaken: about a second of the most that PostgreSQL sends.
BACKLOG_BYTES = 16 << 20
INBOX_RETRY_S = 0.005
MESSAGE_MAX_BYTES = 1 << 20
#: Of a note that is looked at, and of how many backends the last is remembered.
MARKER_BYTES = 191
MARKER_BACKENDS = 4096

_PID = struct.Struct("!I")


class ListeningConnections:
    """The listening connections of one worker, by database row."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        self._open: dict[int, ListeningConnection] = {}

    def wake(self, database: int, pool: int) -> None:
        """Clients of a database want to hear of a channel; open the connection (as the user of `pool`), if
        there is none and it is ours to have."""
        known = self._open.get(database)
        if known is not None:
            known.work.set()
        elif pool >= 0:
            one = ListeningConnection(self.context, database, pool, lambda: self._forget(database, one))
            self._open[database] = one
            self.context.spawn(self._run, one)

    def _forget(self, database: int, one: ListeningConnection) -> None:
        if self._open.get(database) is one:
            del self._open[database]

    def _run(self, one: ListeningConnection) -> None:
        try:
            one.run()
        finally:  # whatever happened: nobody relies on it any more
            one.end("internal error")


class ListeningConnection:
    """One listening connection."""

    def __init__(self, context: WorkerContext, database: int, pool: int, ended: Callable[[], None]) -> None:
        self.context = context
        self._ended: Callable[[], None] | None = ended  # called once, when the tables say that it is over
        self._opened = False
        self.tables = context.tables
        self.database = database
        self.pool = pool
        self.work = Event()
        self.name = self.tables.pool_key(pool)[0]
        self._outbox = Outbox(context, database)
        self._asked: deque[tuple[int, int] | None] = deque()  # (channel row, its id) by Query in flight
        self._channels: dict[bytes, tuple[int, int]] = {}
        self._unused: dict[int, float] = {}  # when a channel by its id was first seen without clients
        self._notifiers: dict[int, int] = {}  # backend -> client, by the pids that clients know
        self._numbers: dict[int, int] = {}  # backend -> its last note, the latest backend last
        self._number_floor = 0  # what those had that are not remembered any more
        self._slot = -1
        self._marker_channel = self.tables.marker_channel.encode()
        self._stream: Stream | None = None

    def run(self) -> None:
        """Open it, listen, close it. Never raises for what the network does."""
        slot = self._reserve()
        if slot < 0:
            self.end("no connection is left for it")
            return
        self._slot = slot
        dial = Dial(slot, self.tables.slot(slot).generation)
        try:
            with gevent.Timeout(self.context.config.settings.server_connect_timeout or None):
                self._login(dial)
            self.tables.listener_opened(self.database, slot)
            self._opened = True
            self._serve()
        except ServerFault as fault:
            self.end(fault.message)
        except Hangup as hangup:
            self.end(f"server conn crashed? ({hangup})")
        except gevent.Timeout:
            self.end("connect timeout")
        except OSError as error:
            self.end(f"connect failed: {error.strerror or error}")
        finally:
            self._outbox.close()
            let_go(self.context, dial)
            free(self.context, dial)

    def end(self, reason: str | None) -> None:
        """It is over (None: because nobody listens any more, and the tables know)."""
        if self._ended is None:
            return
        if reason is not None:
            closed = self.tables.listener_lost(self.database, 0.0 if self._opened else REFUSED_S)
            what = (
                f"{closed} clients are closed" if self._opened else "clients that listen keep their servers"
            )
            log.warning("%s: the connection that listens for clients: %s; %s", self.name, reason, what)
        self._ended()
        self._ended = None

    # -- opening

    def _reserve(self) -> int:
        due = time.monotonic() + EVICTION_PATIENCE_S
        while True:
            slot, soon = self.tables.listener_reserve(self.pool, self.context.number)
            if slot >= 0 or not soon or time.monotonic() >= due:
                return int(slot)
            gevent.sleep(EVICTION_LOOK_S)

    def _login(self, dial: Dial) -> None:
        database_name, user, _ = self.tables.pool_key(self.pool)
        database = self.context.config.find_database(database_name)
        if database is None:
            raise ServerFault("database removed")
        address, stream = connect(self.context, dial, database)
        try:
            parameters = database.startup_parameters | {
                "client_encoding": self.tables.listener(self.database)[2],
                "application_name": "pooler listener",
            }
            target = ServerTarget(
                user,
                database.dbname,
                credential_for(self.context, database, user, self.pool),
                parameters,
                *tls_of(self.context, stream),
                require_auth=self.context.config.settings.server_require_auth,
            )
            session = converse(server_login(target), stream)
            if stream.session is not None:
                self.tables.slot_tls(dial.slot, stream.session.description)
            self.tables.slot_key(dial.slot, session.backend_pid, session.cancel_key, address.text)
            converse(simple_query(f"LISTEN {self.tables.marker_channel}"), stream)
        except BaseException:
            let_go(self.context, dial)
            raise
        dial.move(DialState.LISTENING)
        self._stream = stream

    # -- listening

    def _serve(self) -> None:
        assert self._stream is not None
        reader = gevent.spawn(self._read, self._stream)
        reader.link(lambda _: self.work.set())
        try:
            idle_since = time.monotonic()
            while not reader.ready():
                self.work.clear()
                if self._update():
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since >= LINGER_S and self.tables.listener_rest(self.database):
                    self.end(None)
                    self._stream.send(frontend.terminate())
                    return
                self.work.wait(1.0)
            raise reader.get()
        finally:
            reader.kill()

    def _update(self) -> bool:
        """Say LISTEN and UNLISTEN as clients need it; whether anybody listens."""
        assert self._stream is not None
        now = time.monotonic()
        wanted = self.tables.channels(self.database)
        for channel in wanted:
            row, number, name = channel["row"], channel["id"], channel["name"]
            if name == self._marker_channel:
                continue
            if self._channels.get(name) != (row, number):
                self._channels[name] = (row, number)
                self._asked.append((row, number))
                self._stream.send(frontend.query(f"LISTEN {quoted(name)}"))
            if any(channel["clients"]):
                self._unused.pop(number, None)
            elif now - self._unused.setdefault(number, now) >= LINGER_S and self.tables.channel_drop(
                row, number
            ):
                del self._unused[number]
                del self._channels[name]
                self._asked.append(None)
                self._stream.send(frontend.query(f"UNLISTEN {quoted(name)}"))
        return bool(wanted)

    def _read(self, stream: Stream) -> Exception:
        """Read until it ends; returns why (gevent would print what a greenlet raises)."""
        try:
            self._take(stream)
        except (ServerFault, Hangup) as end:
            return end

    def _take(self, stream: Stream) -> NoReturn:
        while True:
            kind, body = stream.message(MESSAGE_MAX_BYTES)
            if kind == b"A":
                self._notification(body)
            elif kind == b"E":
                raise messages.server_fault(body)
            elif kind == b"Z" and self._asked:
                channel = self._asked.popleft()
                if channel is not None:
                    self.tables.channel_heard(*channel)

    def _notification(self, body: bytes) -> None:
        pid, name, text = messages.parse_notification(body)
        if name == self._marker_channel:
            self._marker(pid, text)
            return
        channel = self._channels.get(name)
        if channel is None:
            return  # UNLISTEN is on its way
        message = messages.message(b"A", _PID.pack(self._notifiers.get(pid, pid)), body[4:])
        for number in self.tables.channel_workers(*channel):
            self._outbox.notification(number, *channel, message)

    def _marker(self, pid: int, text: bytes) -> None:
        """A note of one of our relays; anybody else may write on that channel, and is ignored."""
        marker = parse_marker(text, lambda sealed: self.tables.marker_seal(self._slot, pid, sealed))
        if marker is None or not self._is_new(pid, marker.number):
            log.debug("%s: somebody else uses the channel of our notes", self.name)
        elif marker.kind == b"c":
            self._notifiers[pid] = marker.arguments[0]
        else:
            self._notifiers.pop(pid, None)
            if marker.kind == b"b" and marker.arguments[0] == self.database:
                self._outbox.marker(*marker.arguments[1:])  # several of the ini may be one of PostgreSQL's

    def _is_new(self, pid: int, number: int) -> bool:
        """Whether this backend has not sent the note before; numbers of one grow."""
        if number <= self._numbers.get(pid, self._number_floor):
            return False
        self._numbers.pop(pid, None)
        self._numbers[pid] = number
        if len(self._numbers) > MARKER_BACKENDS:
            oldest = next(iter(self._numbers))
            self._number_floor = max(self._number_floor, self._numbers.pop(oldest))
        return True


class OriginMarker(NamedTuple):
    """What a relay says to a listening connection."""

    kind: bytes
    arguments: tuple[int, ...]
    number: int


#: How many numbers follow the letter of a note, and what each may be at most.
_MARKERS = {
    b"c": (2**32 - 1,),
    b"e": (),
    b"b": (2**31 - 1, 2**31 - 1, 2**31 - 1, 2**32 - 1),
}


def parse_marker(text: bytes, seal: Callable[[bytes], bytes]) -> OriginMarker | None:
    """A note that is whole and whose seal fits; None for all else."""
    sealed, _, found = text.rpartition(b" ")
    if len(text) > MARKER_BYTES or not hmac.compare_digest(found, seal(sealed)):
        return None
    kind, *words = sealed.split(b" ")
    most = (*_MARKERS.get(kind, ()), 2**64 - 1)
    if kind not in _MARKERS or len(words) != len(most) or not all(map(bytes.isdigit, words)):
        return None
    *arguments, number = map(int, words)
    if any(value > limit for value, limit in zip((*arguments, number), most, strict=True)):
        return None
    return OriginMarker(kind, tuple(arguments), number)


class Outbox:
    """What goes to the inboxes of workers, in order; kept while an inbox is full."""

    def __init__(self, context: WorkerContext, database: int) -> None:
        self.context = context
        self.database = database
        self._kept: dict[int, deque[tuple[int, int, bytes | None]]] = {}
        self._bytes: dict[int, int] = {}
        self._closed = False

    def notification(self, number: int, row: int, channel_id: int, message: bytes) -> None:
        """A NotificationResponse for a worker's clients."""
        self._send(number, (row, channel_id, message))

    def marker(self, number: int, row: int, marker: int) -> None:
        """A note that came back to the client that sent it."""
        if number < len(self.context.outboxes):
            self._send(number, (row, marker, None))

    def close(self) -> None:
        """Give up what is kept: those it is for are closed."""
        self._closed = True

    def _put(self, number: int, datagram: tuple[int, int, bytes | None]) -> bool:
        row, identity, message = datagram
        outbox = self.context.outboxes[number]
        if message is None:
            return inbox.send_marker(outbox, row, identity)
        return inbox.send_notification(outbox, row, identity, message)

    def _send(self, number: int, datagram: tuple[int, int, bytes | None]) -> None:
        kept = self._kept.get(number)
        if kept is None:
            if self._put(number, datagram):
                return
            kept = self._kept[number] = deque()
            self._bytes[number] = 0
            self.context.spawn(self._retry, number)
        kept.append(datagram)
        self._bytes[number] += len(datagram[2] or b"")
        if self._bytes[number] > BACKLOG_BYTES:
            kept.clear()
            self._bytes[number] = 0
            closed = self.context.tables.listeners_kill(self.database, number)
            log.warning("worker %d does not take notifications: %d clients are closed", number, closed)

    def _retry(self, number: int) -> None:
        kept = self._kept[number]
        while kept and not self._closed:
            if self._put(number, kept[0]):
                self._bytes[number] -= len(kept.popleft()[2] or b"")
            else:
                gevent.sleep(INBOX_RETRY_S)
        del self._kept[number]


def quoted(name: bytes) -> str:
    """A channel's name as an identifier of SQL."""
    text = name.decode("utf-8", "surrogateescape").replace('"', '""')
    return f'"{text}"'
