"""A client that is who it says it is, and with which Python goes on: on the console, until its walsender is
there, or for a cancel request. Its login was the core's (core/login), which also serves everybody else.
"""

from __future__ import annotations

import contextlib
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.event import AsyncResult

from pooler import log, provisioning
from pooler.admin.console import WELCOME as CONSOLE_WELCOME
from pooler.admin.console import access_of
from pooler.admin.model import CommandError
from pooler.admin.session import ConsoleSession
from pooler.core import CANCELED, FAIL, KILL, LoginPass, LoginVerdict
from pooler.core.events import LoginPassed
from pooler.errors import NOT_PERMITTED, ClientFault
from pooler.protocol import codes, messages
from pooler.protocol.messages import decode
from pooler.protocol.startup import CancelRequest
from pooler.worker import cancel, refusal, replication
from pooler.worker.stream import Hangup, Stream

if TYPE_CHECKING:
    from pooler.worker.context import LoginServices, WorkerContext
    from pooler.worker.dial import Dial

#: What client_login() of the tables refuses a client of the console, in PgBouncer's words.
REFUSALS = {
    LoginVerdict.MAX_CLIENT_CONN: "no more connections allowed (max_client_conn)",
    LoginVerdict.MAX_DB: "client connections exceeded (max_db_client_connections)",
    LoginVerdict.MAX_USER: "client connections exceeded (max_user_client_connections)",
}
#: A console command and its names fit; more is no console client.
CONSOLE_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Session:
    """What a login has found out."""

    user: str
    database: str
    own_user: bool  # the console's own, over the unix socket of our account: administrator
    minor_version: int  # of the protocol that is spoken with it
    application_name: str
    startup: tuple[tuple[str, str], ...] = ()  # of a replication client: what its server is to get, verbatim

    @property
    def replication(self) -> str:
        """ "physical" or "logical"."""
        return "logical" if dict(self.startup).get("replication") == "database" else "physical"


class Client:
    """The greenlet that runs `serve` owns it, until its end or until the relay has it."""

    def __init__(self, context: WorkerContext, services: LoginServices, passed: LoginPassed) -> None:
        rest, where, started_us, *self._fields = passed.fields
        self.context, self.services = context, services
        self.row, self.id, self.is_unix = passed.row, passed.client_id, passed.is_unix
        self.how = LoginPass(passed.how)
        self.sock = socket.socket(fileno=passed.fd)
        self.stream = Stream(self.sock, ClientFault)
        self.stream.session = passed.session
        self.stream.buffer += rest
        self.name, self.where = "(nodb)/(nouser)", decode(where)
        self.started_s = int(started_us) / 1e6
        self.greenlet: Any = None  # that runs `serve`
        self.turn: AsyncResult = AsyncResult()  # the order that ends a wait
        self.waits_for_server = False
        self.grant: Dial | None = None  # of a server that shall be its own
        self.in_command = False  # of the console
        context.logins[self.row] = self

    def serve(self) -> None:
        """Go on with it; whatever goes wrong ends this client only."""
        handed = False
        self.greenlet = gevent.getcurrent()
        try:
            handed = self._go_on()
        except ClientFault as fault:
            self.greenlet = None  # it ends already: no second reason may interrupt this one
            with contextlib.suppress(ClientFault):  # one that was on its way
                refusal.tell(self, fault)
        except Hangup:
            self.log_closing("client unexpected eof")
        finally:
            self.greenlet = None  # which holds us: a cycle per login would wait for the collector
            if not handed:
                self.stream.close()
                self.context.logins.pop(self.row, None)
                self.context.tables.client_free(self.row)

    def _go_on(self) -> bool:
        """True: the relay has it now."""
        if self.how is LoginPass.CANCEL:
            pid, key = self._fields
            self.log_closing(cancel.serve(self.context, CancelRequest(int(pid), key)))
            return False
        user, database, own, minor, application, *startup = map(decode, self._fields)
        pairs = tuple(zip(startup[::2], startup[1::2], strict=True))
        session = Session(user, database, bool(own), int(minor), application, pairs)
        self.name = f"{database}/{user}"
        if self.how is LoginPass.CONSOLE:
            self._serve_console(session)
            return False
        return self._enter_replication(session)

    def _enter_replication(self, session: Session) -> bool:
        config = self.context.config
        database = config.find_database(session.database)
        if database is None:
            raise ClientFault("database removed")
        limit_s = config.settings.client_login_timeout
        left_s = max(0.001, limit_s - (time.monotonic() - self.started_s))
        try:
            with gevent.Timeout(left_s if limit_s else None):
                return replication.enter(self, session, database)
        except gevent.Timeout:
            down = " (server down)" if self.waits_for_server else ""
            raise ClientFault(f"client_login_timeout{down}") from None

    def obey(self, orders: int) -> None:
        """An order from the tables, while we own this client."""
        if orders & KILL:
            self.end(self.context.tables.kill_text(self.row))
        elif orders & CANCELED:
            if self.in_command and self.greenlet is not None:
                self.greenlet.kill(
                    CommandError("canceling statement due to user request", "57014"), block=False
                )
            else:
                self.services.operations.canceled()
        else:
            self.turn.set(orders & FAIL)

    def has_left(self) -> bool:
        """Whether the other side has closed, for a wait in which nothing is read."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def end(self, text: str, sqlstate: str = "08P01") -> None:
        """Close this client, whatever it is doing."""
        if self.greenlet is not None:
            self.greenlet.kill(ClientFault(text, sqlstate), block=False)

    def cancel_key(self, session: Session) -> tuple[int, bytes]:
        """Pid and secret for BackendKeyData, the secret as long as its protocol knows them."""
        pid, secret = self.context.tables.client_key(self.row)
        if session.minor_version >= codes.LONG_KEYS_MINOR:
            return pid, self.context.tables.client_long_key(self.row)
        return pid, secret.to_bytes(4, "big")

    # -- the console

    def _serve_console(self, session: Session) -> None:
        context = self.context
        access = access_of(context.config.settings, session.user, session.own_user)
        if access is None:
            raise ClientFault("not allowed", NOT_PERMITTED)
        database_row = context.tables.database(provisioning.CONSOLE)
        user_row = provisioning.open_user(context.tables, context.config, session.user)
        verdict = context.tables.client_login(self.row, database_row, user_row, -1, console=access)
        if verdict is not LoginVerdict.OK:
            raise ClientFault(REFUSALS[verdict])
        context.tables.client_application(self.row, session.application_name)
        welcome = messages.welcome(CONSOLE_WELCOME, *self.cancel_key(session))
        self.stream.send(messages.authentication_ok() + welcome)
        console = ConsoleSession(self.services.console, access)
        try:
            self._run_console(console)
        finally:
            self.services.operations.console_left(self)
        self.log_closing("client close request")

    def _run_console(self, console: ConsoleSession) -> None:
        while not console.closed:
            try:
                gevent.sleep(0)  # many commands may come in one read: others have their turn between them
                kind, body = self.stream.message(CONSOLE_MESSAGE_BYTES)
            except CommandError:  # a cancel request that came as its command ended
                continue
            if kind in (b"Q", b"E"):
                self.context.tables.count_console_query(self.context.number)
            self.in_command = True
            answer = console.feed(kind, body)
            self.in_command = False
            if answer:
                self.stream.send(answer)

    # -- the end

    def log(self, text: str) -> None:
        log.info("C-%d: %s@%s %s", self.id, self.name, self.where, text)

    def log_closing(self, reason: str) -> None:
        if self.context.config.settings.log_disconnections:
            age_s = int(time.monotonic() - self.started_s)
            self.log(f"closing because: {reason} (age={age_s}s)")
