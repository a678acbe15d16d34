"""Looking users up in PostgreSQL: auth_query, run by a client of pooler's own.

That client is one end of a socket pair. The relay treats it like any other: it waits in a queue, a server is
opened for it if the limits allow one, or taken from a pool that does not need it, and everything ends in
order. So any number of look-ups may be on their way, of any worker, and each limit covers them. Its servers
are a pool of their own (`POOL_AUTH`), on which no stranger ever says anything: what a client has in its
startup packet does not get there (CVE-2025-12819).

Functions in the cloud log in by the dozen as the same user. Whoever asks for a user that is about to be asked
for shares the answer: never one to a question that was sent before, so that a password that was changed
counts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import Semaphore

from pooler import provisioning
from pooler.config import CONSOLE_DATABASES
from pooler.config.settings import AUTH_QUERY
from pooler.core import FAIL, KILL, LoginVerdict
from pooler.errors import PROTOCOL_VIOLATION, ClientFault, ServerFault
from pooler.protocol import auth_query, messages
from pooler.protocol.auth_query import StoredUser
from pooler.worker.parameters import unpack_welcome
from pooler.worker.server import TEMPORARY
from pooler.worker.stream import Hangup, Stream, converse

if TYPE_CHECKING:
    from pooler.config import Database
    from pooler.worker.context import WorkerContext

#: Look-ups of one worker at once, in one pool and in all: each has a row and two descriptors. One database
#: that does not answer leaves rows for the others.
POOL_MAX, MAX = 16, 64
#: A look-up that waits looks this often whether its clients are still there, and PostgreSQL refuses the
#: login; so long it waits for the one before it, for more who want to know the same.
LOOK_S = 0.25
#: What the relay says to a client that it closes: true for the client who waits for the look-up, too.
PASSED_ON = frozenset(
    {
        "query_wait_timeout",
        "query_timeout",
        "query timeout",
        "database removed",
        "server shutting down",
        "pooler is shutting down",
    }
)
CONFIG_ERROR = "bouncer config error"
#: Database, auth_user, auth_query and name: those who ask the same may share an answer.
_Question = tuple[str, str, str, str]
#: The default with all names in their schema: its database may have given its sessions any search_path.
SAFE_AUTH_QUERY = (
    "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL"
    " ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin"
)


class Lookups:
    """All look-ups of one worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._all = Semaphore(MAX)
        self._pools: dict[tuple[str, str], Semaphore] = {}
        self._next: dict[_Question, _Lookup] = {}  # not sent yet: may be shared
        self._asked: dict[_Question, _Lookup] = {}  # the last one that was sent and has no answer

    def find(self, database: Database | None, name: str, has_left: Callable[[], bool]) -> StoredUser | None:
        """The user called `name` on this database (None: the console); None: there is none.

        Raises ClientFault, with a note that says why, Hangup when `has_left` says that nobody waits for it
        any more, and whatever interrupts the wait.
        """
        settings = self._context.config.settings
        auth_user = (database.auth_user if database else None) or settings.auth_user
        query = (database.auth_query if database else None) or settings.auth_query
        query = SAFE_AUTH_QUERY if query == AUTH_QUERY else query
        target = self._target(database)
        if auth_user is None:
            raise config_error("a reload has taken auth_user away meanwhile")
        question = (target.name, auth_user, query, name)
        lookup = self._next.get(question)
        if lookup is None:
            lookup = self._next[question] = _Lookup()
            self._context.spawn(self._serve, question, lookup, target)
        lookup.waiters += 1
        try:
            while not lookup.answer.ready():
                lookup.answer.wait(LOOK_S)
                if has_left():
                    raise _Left("unexpected eof")
            found: StoredUser | None = lookup.answer.get()
            return found
        finally:
            lookup.waiters -= 1

    def instance_of(self, database: Database | None) -> str:
        """Which PostgreSQL is asked about users of this database (None: the console)."""
        return provisioning.instance_of(self._context.config, self._target(database))

    def _serve(self, question: _Question, lookup: _Lookup, target: Database) -> None:
        """One look-up, for all who wait for it; of the same user one after the other, if they are quick."""
        before = self._asked.get(question)
        if before is not None:
            before.answer.wait(LOOK_S)
        pool = question[:2]
        in_pool = self._pools.setdefault(pool, Semaphore(POOL_MAX))
        try:
            with in_pool, self._all:
                lookup.answer.set(self._run(question, lookup, target))
        except (ClientFault, Hangup) as end:
            lookup.answer.set_exception(end)
        finally:
            self._close(question, lookup)
            if self._asked.get(question) is lookup:
                del self._asked[question]
            if in_pool.counter == POOL_MAX:  # nobody else: names that strangers thought of are not kept
                self._pools.pop(pool, None)
            if not lookup.answer.ready():  # a bug, which is logged by the caller
                lookup.answer.set_exception(config_error("auth_query could not be run"))

    def _close(self, question: _Question, lookup: _Lookup) -> None:
        """Nobody joins any more."""
        if self._next.get(question) is lookup:
            del self._next[question]

    def _target(self, database: Database | None) -> Database:
        """Where the query is to run."""
        config = self._context.config
        name = (database.auth_dbname if database else None) or config.settings.auth_dbname
        if name in CONSOLE_DATABASES or (name is None and database is None):
            shown = name or provisioning.CONSOLE
            raise config_error(f'cannot use the reserved "{shown}" database as an auth_dbname')
        target = database if name is None else config.find_database(name)
        if target is None:
            raise config_error(f'authentication database "{name}" is not configured')
        return target

    def _run(self, question: _Question, lookup: _Lookup, target: Database) -> StoredUser | None:
        _, auth_user, query, name = question

        def all_left() -> bool:
            if not lookup.waiters:
                self._close(question, lookup)
            return not lookup.waiters

        def before_asking() -> None:
            self._close(question, lookup)
            self._asked[question] = lookup

        client = _OwnClient(self._context, target, auth_user, all_left)
        try:
            return client.run(query, name, before_asking)
        except ServerFault as fault:
            if fault.sqlstate == PROTOCOL_VIOLATION and fault.message in PASSED_ON:
                raise ClientFault(fault.message) from fault
            raise config_error(f"error response from auth_query: {fault.message}") from fault
        except _Left:
            raise
        except Hangup as hangup:
            raise config_error(f"auth_query: server conn crashed? ({hangup})") from hangup
        except OSError as error:
            raise config_error(f"auth_query: {error.strerror or error}") from error
        finally:
            client.close()


def config_error(reason: str) -> ClientFault:
    """What a client hears when it is not its fault; the reason is for the log."""
    fault = ClientFault(CONFIG_ERROR)
    fault.add_note(reason)
    return fault


class _Left(Hangup):
    """The clients that are looked up have gone away."""


class _Lookup:
    """One question to PostgreSQL, and how many wait for its answer."""

    def __init__(self) -> None:
        self.answer: AsyncResult = AsyncResult()
        self.waiters = 0


class _Watched(Stream):
    """A stream that looks around while it waits."""

    def __init__(self, sock: socket.socket, look: Callable[[], None]) -> None:
        super().__init__(sock, ServerFault)
        self._look = look

    def _fill(self, n: int) -> None:
        while len(self.buffer) < n:
            try:
                socket.wait_read(self.sock.fileno(), timeout=LOOK_S, timeout_exc=TimeoutError())
            except TimeoutError:
                self._look()
            else:
                super()._fill(min(n, len(self.buffer) + 1))  # one recv


class _OwnClient:
    """One look-up's client. While it waits for the pool's welcome it is in `worker.logins`, like others."""

    greenlet = None  # the one who waits is the look-up's

    def __init__(
        self, context: WorkerContext, database: Database, user: str, waiter_has_left: Callable[[], bool]
    ) -> None:
        self.context = context
        self._waiter_has_left = waiter_has_left
        self.tables = context.tables
        self.row = context.tables.client_new(context.number)
        if self.row < 0:
            raise ClientFault("no more connections allowed (max_client_conn)")
        self.id = context.tables.client_id(self.row)
        self.turn: AsyncResult = AsyncResult()
        self._sock: socket.socket | None = None  # our end, once the relay has the other
        context.logins[self.row] = self
        try:
            self.tables.client_where(self.row, "unix", 0, "unix", 0, True)
            self.tables.client_application(self.row, "auth_query")
            self.pool = self._count(database, user)
        except BaseException:
            self.close()
            raise

    def _count(self, database: Database, user: str) -> int:
        database_row, pool = provisioning.open_pool(
            self.tables, self.context.config, database, user, auth=True
        )
        user_row = provisioning.open_user(self.tables, self.context.config, user)
        if min(database_row, user_row, pool) < 0:
            raise config_error("a shared table is full: restart with room for more databases, users or pools")
        verdict = self.tables.client_login(self.row, database_row, user_row, pool, own=True)
        if verdict is LoginVerdict.FORGOTTEN:
            return self._count(database, user)
        if verdict is not LoginVerdict.OK:
            raise ClientFault(f'authentication database "{database.name}" is disabled')
        return pool

    def run(self, query: str, name: str, before_asking: Callable[[], None]) -> StoredUser | None:
        """Ask; raises ServerFault, ClientFault, Hangup, OSError."""
        stream = _Watched(self._hand_over(self._welcome()), self._look_for_refusal)
        converse(auth_query.until_ready(), stream)
        before_asking()
        converse(auth_query.ask(query, name), stream)
        return converse(auth_query.answer(), stream)

    def close(self) -> None:
        """The end, in whatever state it is."""
        if self._sock is not None:
            self._sock.close()
        elif self.context.logins.pop(self.row, None) is self:
            self.tables.client_free(self.row)

    # -- until there is a server

    def _welcome(self) -> dict[str, str]:
        """What servers of the pool report: with just that no SET is ever sent there."""
        while (packed := self.tables.pool_welcome(self.pool)) is None:
            self.turn = AsyncResult()
            self.tables.wait_welcome(self.row)
            while not self.turn.ready():
                self.turn.wait(LOOK_S)
                self._look()
            came = self.turn.get()
            if isinstance(came, str):
                raise ClientFault(came)
            if came == FAIL:
                raise config_error(self.tables.pool_error(self.pool)[2])
        return unpack_welcome(packed)

    def obey(self, orders: int) -> None:
        """An order from the tables, while nobody else owns this client."""
        self.turn.set(self.tables.kill_text(self.row) if orders & KILL else orders & FAIL)

    def end(self, text: str) -> None:
        """It has waited too long."""
        self.turn.set(text)

    def has_left(self) -> bool:
        """Never: whoever waits ends it."""
        return False

    def _look(self) -> None:
        if self._waiter_has_left():
            raise _Left("unexpected eof")

    def _hand_over(self, welcome: dict[str, str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        del self.context.logins[self.row]
        values = self.context.tracked.values_of(welcome)
        self.context.relay.add_client(self.row, theirs.detach(), values, b"", messages.ready(), b"", True)
        self._sock = ours
        return ours

    def _look_for_refusal(self) -> None:
        """A login that PostgreSQL refuses for good is not waited for."""
        self._look()
        failures, sqlstate, text = self.tables.pool_error(self.pool)
        later = sqlstate in (PROTOCOL_VIOLATION, *TEMPORARY) and not text.startswith("server login failed")
        if failures and not later:
            raise config_error(text)
