"""A client's login: from an accepted socket to a client of the relay, of the console, or none.

Who it is comes first (a conversation of `pooler.protocol`), then whether it may: database, limits. Nothing
about databases or limits is told to somebody who has not proven who he is.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import time
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket
from gevent.event import AsyncResult

from pooler import log, provisioning
from pooler.admin.console import WELCOME as CONSOLE_WELCOME
from pooler.admin.console import access_of
from pooler.admin.model import CommandError
from pooler.admin.session import ConsoleSession
from pooler.config import CONSOLE_DATABASES
from pooler.core import CANCELED, FAIL, KILL, LoginVerdict
from pooler.errors import NO_DATABASE, NOT_PERMITTED, ClientFault
from pooler.protocol import codes, messages
from pooler.protocol.client_login import ClientPolicy, ClientSession, client_login
from pooler.protocol.startup import CancelRequest, StartupPacket, refuse_those_of_superusers
from pooler.protocol.startup_values import spelled_as
from pooler.worker import cancel, refusal, replication
from pooler.worker.access import Access
from pooler.worker.parameters import extras_of, unpack_welcome
from pooler.worker.server import names_of, network_of, place
from pooler.worker.stream import HandshakeFailed, Hangup, Stream, converse

if TYPE_CHECKING:
    from pooler.config import Database
    from pooler.worker.context import LoginServices, WorkerContext
    from pooler.worker.dial import Dial

#: What client_login() of the tables refuses, in PgBouncer's words.
REFUSALS = {
    LoginVerdict.MAX_CLIENT_CONN: "no more connections allowed (max_client_conn)",
    LoginVerdict.MAX_DB: "client connections exceeded (max_db_client_connections)",
    LoginVerdict.MAX_USER: "client connections exceeded (max_user_client_connections)",
}
#: How often a login that came during SUSPEND looks whether that is over.
SUSPENDED_LOOK_S = 0.02
#: A console command and its names fit; more is no console client.
CONSOLE_MESSAGE_BYTES = 64 * 1024


class Client:
    """One socket on its way in. The greenlet that runs `serve` owns it until the relay does."""

    def __init__(self, context: WorkerContext, services: LoginServices, fd: int, is_unix: bool) -> None:
        self.context, self.services = context, services
        self.is_unix = is_unix
        self.sock = socket.socket(fileno=fd)
        self.stream = Stream(self.sock, ClientFault, None if is_unix else context.tls.for_client())
        self.row, self.id = -1, 0
        self.name, self.where = "(nodb)/(nouser)", ""
        self.origin = ""  # what its connections are counted by
        self.is_local = False  # whether it computes on this machine
        self.started_s = time.monotonic()
        self.greenlet: Any = None  # that runs `serve`
        self.defaults = 0  # version of what servers of its pool have by themselves
        self.turn: AsyncResult = AsyncResult()  # the order that ends a wait for the welcome
        self.waits_for_server = False
        self.grant: Dial | None = None  # of a server that shall be its own
        self.in_command = False  # of the console
        self.usual: dict[str, str] = {}  # what the pool's servers report
        self.fault: ClientFault | None = None  # ends its login before it begins
        self.access = Access(self)
        self.attempted = False  # the log has its login attempt
        self.proven = False  # it is who it says it is

    def arrive(self) -> None:
        """Take a row, which makes it count and be seen."""
        addr, port, local_addr, local_port = names_of(self.sock, self.context.config.settings.listen_port)
        self.is_local = addr == local_addr
        self.origin = f"user id {self._peer()[1]}" if self.is_unix else network_of(addr)
        tables, number = self.context.tables, self.context.number
        while (row := tables.client_new(number)) < 0 and self.services.login_queue.make_way(self):
            pass
        self.row = row
        if row < 0:
            self.fault = ClientFault(REFUSALS[LoginVerdict.MAX_CLIENT_CONN])
            return
        self.id = tables.client_id(row)
        self.context.logins[row] = self
        if self.is_unix:
            addr = f"unix({self._peer()[0]})"
        self.where = place(addr, port, self.is_unix)
        tables.client_where(row, addr, port, local_addr, local_port, self.is_unix)

    def give_up_row(self) -> None:
        """Its end; or it is about to be sent away while it says nothing, and another needs its row now."""
        self.stream.abandoned = True
        if self.row >= 0:
            self.context.logins.pop(self.row, None)
            self.context.tables.client_free(self.row)
            self.row = -1

    # -- the life of a login

    def serve(self) -> None:
        """Log the client in and hand it over; whatever goes wrong ends this client only."""
        handed = False
        self.greenlet = gevent.getcurrent()
        try:
            handed = self._login()
        except ClientFault as fault:
            self.greenlet = None  # it ends already: no second reason may interrupt this one
            self.services.login_queue.leave(self)
            with contextlib.suppress(ClientFault):  # one that was on its way
                refusal.tell(self, fault)
        except HandshakeFailed as failure:
            log.warning("C-%d: %s@%s TLS handshake error: %s", self.id, self.name, self.where, failure)
            self.log_closing("client unexpected eof")
        except Hangup:
            self.log_closing("client unexpected eof")
        finally:
            self.greenlet = None  # which holds us: a cycle per login would wait for the collector
            self.services.login_queue.leave(self)
            if not handed:
                self.stream.close()
                self.give_up_row()

    def _login(self) -> bool:
        if self.fault is not None:
            raise self.fault
        while self.context.tables.is_suspended():  # it was accepted before the master heard of that
            gevent.sleep(SUSPENDED_LOOK_S)
            self.started_s = time.monotonic()
        limit_s = self.context.config.settings.client_login_timeout
        left_s = max(0.001, limit_s - (time.monotonic() - self.started_s))
        try:
            with gevent.Timeout(left_s if limit_s else None):
                if self.stream.secure is not None and self.stream.begins_with_tls():
                    self._begin_with_tls()
                session = converse(client_login(self._policy()), self.stream, self.access.answer)
                self.proven = True
                self.services.login_queue.leave(self)
                if isinstance(session, CancelRequest):
                    self.log_closing(cancel.serve(self.context, session))
                    return False
                self.attempt(session)
                session = self.access.confirmed(session)
                self.name = f"{session.database}/{session.user}"
                if session.database in CONSOLE_DATABASES:
                    parameters: dict[str, str] | None = None
                elif session.is_replication:
                    return replication.enter(self, session, self._admit(session)[0])
                else:
                    parameters = self._enter_pool(session)
        except gevent.Timeout:
            down = " (server down)" if self.waits_for_server else ""
            raise ClientFault(f"client_login_timeout{down}") from None
        if parameters is None:
            self._serve_console(session)
            return False
        return self._hand_over(session, parameters)

    def _begin_with_tls(self) -> None:
        """Without an SSLRequest: who speaks TLS at once must say for which protocol."""
        self.services.login_queue.turns.take(self)
        self.stream.start_tls()
        assert self.stream.session is not None
        if not self.stream.session.speaks_postgresql:
            raise ClientFault(
                "received direct SSL connection request without ALPN protocol negotiation extension"
            )

    def _peer(self) -> tuple[int, int]:
        """Process and account of who connected to our unix socket."""
        raw = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", raw)
        return pid, uid

    def _policy(self) -> ClientPolicy:
        settings = self.context.config.settings
        peer_uid = self._peer()[1] if self.is_unix else None
        return ClientPolicy(
            auth_type=settings.auth_type,
            choose=self.access.choose,
            mock_secret=self.services.unknown_users.key,
            ignore_startup_parameters=settings.ignore_startup_parameters,
            track_extra_parameters=settings.track_extra_parameters,
            scram_iterations=settings.scram_iterations,
            mock_scram=self.services.unknown_users.have_scram,
            mock_iterations=self.services.unknown_users.iterations,
            follows=self._follows,
            is_unix=self.is_unix,
            peer_uid=peer_uid,
            own_uid=os.getuid() if self.is_unix else None,
            tls_offered=self.stream.secure is not None,
            tls_required=self.context.tls.setup.client.required,
            tls=self.stream.tls,
        )

    def _follows(self, database_name: str, user: str) -> bool:
        """Whether any setting may be in a startup packet: the session's state follows its client."""
        config = self.context.config
        database = config.find_database(database_name)
        return database is not None and (
            config.pool_limits(database, database.user or user).session_state != "off"
        )

    def attempt(self, packet: StartupPacket | ClientSession) -> None:
        """Now it is known who wants in, and not yet whether it is true: logged once."""
        if self.attempted:
            return
        self.attempted = True
        self.name = f"{packet.database}/{packet.user}"
        tls = self.stream.session.description if self.stream.session is not None else ""
        if tls:
            self.context.tables.client_tls(self.row, tls)
        if self.context.config.settings.log_connections:
            replication = {"none": "no", "logical": "database", "physical": "yes"}[packet.replication]
            self.log(
                f"login attempt: db={packet.database} user={packet.user} tls={tls or 'no'}"
                f" replication={replication}"
            )

    # -- into a pool

    def _admit(self, session: ClientSession) -> tuple[Database, int]:
        """Check database and limits; from now on the client counts. Returns the database and the pool."""
        context, config = self.context, self.context.config
        database = config.find_database(session.database)
        if database is None:
            raise ClientFault(f"no such database: {session.database}", NO_DATABASE)
        if config.settings.auth_type == "any" and database.user is None:
            raise ClientFault("bouncer config error")
        if context.draining:
            raise ClientFault("pooler is shutting down")
        pool = self._count(session, database)
        if session.scram_keys is not None and database.user is None:
            keys = session.scram_keys
            context.tables.set_pool_scram_keys(pool, keys.client_key, keys.server_key)
        if database.user is None:
            self.access.remember(session, pool)
        return database, pool

    def _enter_pool(self, session: ClientSession) -> dict[str, str]:
        """Wait for the pool's welcome; returns the client's parameters."""
        context, config = self.context, self.context.config
        _, pool = self._admit(session)
        self.defaults = context.tables.pool_defaults_version(pool)
        welcome = self.usual = self._welcome(pool)
        refuse_those_of_superusers(session.others, welcome)
        parameters = {**welcome, **spelled_as(welcome, session.parameters)}
        if config.settings.application_name_add_host:
            name = parameters.get("application_name") or "app"
            parameters["application_name"] = f"{name} - {self.where}"
        context.tables.client_application(self.row, parameters.get("application_name", ""))
        return parameters

    def _count(self, session: ClientSession, database: Database) -> int:
        tables, config = self.context.tables, self.context.config
        if database.name not in config.databases and tables.meet_database(database.name):
            self.log(f"registered new auto-database: {database.name}")
        database_row, pool = provisioning.open_pool(tables, config, database, database.user or session.user)
        user_row = provisioning.open_user(tables, config, session.user)
        if min(database_row, user_row, pool) < 0:
            log.error("a shared table is full: restart with more workers' room for databases, users or pools")
            raise ClientFault("bouncer config error")
        verdict = tables.client_login(self.row, database_row, user_row, pool)
        if verdict is LoginVerdict.FORGOTTEN:
            return self._count(session, database)
        if verdict is LoginVerdict.DISABLED:
            raise ClientFault(f'database "{session.database}" is disabled')
        if verdict is not LoginVerdict.OK:
            raise ClientFault(REFUSALS[verdict])
        return pool

    def _welcome(self, pool: int) -> dict[str, str]:
        """The parameters PostgreSQL reported to this pool; waits until it has logged in once."""
        tables = self.context.tables
        while (packed := tables.pool_welcome(pool)) is None:
            self.turn = AsyncResult()
            tables.wait_welcome(self.row)
            self.waits_for_server = True
            if self.turn.get() == FAIL:
                _, sqlstate, text = tables.pool_error(pool)
                raise ClientFault(text, sqlstate)
        return unpack_welcome(packed)

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
        """Whether the other side has closed, for a wait in which nobody reads."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def silent_s(self, now: float) -> float:
        """How long we have waited for bytes of it; 0 if they are there, and we are the ones who are late."""
        since = self.stream.waits_since
        return 0.0 if since is None or self.stream.readable() else now - since

    def waited_s(self, now: float) -> float:
        """How long we have waited for bytes of it, in all."""
        return self.stream.waited_s + self.silent_s(now)

    def end(self, text: str, sqlstate: str = "08P01") -> None:
        """Close this client, wherever its login is."""
        fault = ClientFault(text, sqlstate)
        if self.greenlet is not None:
            self.greenlet.kill(fault, block=False)
        elif self.fault is None:
            self.fault = fault
            self.services.login_queue.reject(self)

    def _hand_over(self, session: ClientSession, parameters: dict[str, str]) -> bool:
        """Give the client to the relay, which greets it: only a server knows what its parameters come to."""
        context, head = self.context, session.auth_ok
        if context.config.settings.login_notify_message:
            head += messages.notice(context.config.settings.login_notify_message)
        untracked = {name: value for name, value in parameters.items() if not context.tracked.has(name)}
        head += b"".join(messages.parameter_status(*pair) for pair in untracked.items())
        tail = messages.backend_key_data(*self.cancel_key(session)) + messages.ready()
        values = context.tracked.values_of(parameters) + extras_of(session.others)
        del context.logins[self.row]
        log.debug("C-%d: %s@%s logged in, waits for its greeting", self.id, self.name, self.where)
        usual = not session.others and all(
            value == self.usual.get(name) for name, value in parameters.items() if name != "application_name"
        )
        session_tls, self.stream.session = self.stream.session, None
        given = context.tracked.bits_of(session.parameters)
        facts = (bytes(self.stream.buffer), usual, session_tls, given, self.defaults)
        context.relay.add_client(self.row, self.sock.detach(), values, head, tail, *facts)
        return True

    def cancel_key(self, session: ClientSession) -> tuple[int, bytes]:
        """Pid and secret for BackendKeyData, the secret as long as its protocol knows them."""
        pid, secret = self.context.tables.client_key(self.row)
        if session.minor_version >= codes.LONG_KEYS_MINOR:
            return pid, self.context.tables.client_long_key(self.row)
        return pid, secret.to_bytes(4, "big")

    # -- the console

    def _serve_console(self, session: ClientSession) -> None:
        context = self.context
        access = access_of(context.config.settings, session.user, session.own_user)
        if access is None:
            raise ClientFault("not allowed", NOT_PERMITTED)
        database_row = context.tables.database(provisioning.CONSOLE)
        user_row = provisioning.open_user(context.tables, context.config, session.user)
        verdict = context.tables.client_login(self.row, database_row, user_row, -1, console=access)
        if verdict is not LoginVerdict.OK:
            raise ClientFault(REFUSALS[verdict])
        context.tables.client_application(self.row, session.parameters.get("application_name", ""))
        self.stream.send(session.auth_ok + messages.welcome(CONSOLE_WELCOME, *self.cancel_key(session)))
        console = ConsoleSession(self.services.console, access)
        try:
            self._run_console(console)
        finally:
            self.services.operations.console_left(self)
        self.log_closing("client close request")

    def _run_console(self, console: ConsoleSession) -> None:
        while not console.closed:
            try:
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
