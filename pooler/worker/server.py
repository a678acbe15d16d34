"""Opening a server: from a granted slot to a connection that every worker can use.

The order is what makes the limit a fact. The row is taken before anything else (by the tables, which asked us
to dial). Before connect() the master gets a duplicate of the socket, so that whoever dies, somebody can wait
for the end of that connection. Before the slot is published every worker gets one, so that whoever acquires
it can use it. And a connection whose login failed is read to its end before the row is given back.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import gevent
from gevent import socket

from pooler import log
from pooler.auth.passwords import Credential, credential, parse_secret
from pooler.auth.scram import ScramKeys
from pooler.config import Database
from pooler.core import DIALING, monotonic_us
from pooler.errors import ServerFault
from pooler.ipc import inbox
from pooler.ipc.messages import InboxFull
from pooler.protocol.messages import decode
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import (
    ChannelBinding,
    ServerSession,
    ServerTarget,
    TlsMode,
    server_login,
)
from pooler.worker.address import Address, candidates, host_failed
from pooler.worker.dial import Dial, DialState, free, let_go
from pooler.worker.keepalive import tune
from pooler.worker.parameters import pack_welcome
from pooler.worker.stream import HandshakeFailed, Hangup, Stream, converse, turn_at

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext

#: First pause after a failed login; doubles up to server_login_retry, where PostgreSQL itself has refused it.
FIRST_RETRY_S = 0.05
#: Longest pause while PostgreSQL cannot be reached, or says "later": with the grain of the janitor, clients
#: that wait for it are served within a second of its return.
AWAY_RETRY_S = 0.6
#: What PostgreSQL refuses for who asks or what is asked for (no such role or database, a wrong password) is
#: an answer, which clients are told; the next one asks again, this often over all of them at most.
ANSWERS = ("28", "3D")
ANSWER_RETRY_S = 0.25
#: SQLSTATEs that say "later", not "no": cannot_connect_now, too_many_connections, crash and admin shutdown.
TEMPORARY = frozenset({"57P03", "53300", "57P01", "57P02"})
#: A full inbox is tried again after this; the reader is busy, or about to be replaced.
INBOX_RETRY_S = 0.005
#: The master hears of an inbox that has been full for so long, again and again.
INBOX_PATIENCE_S = 1.0


def dial(context: WorkerContext, slot: int, grant: Callable[[int, int, int, int], None]) -> None:
    """Open the connection of `slot`, which is ours and LOGIN. Never raises for what the network does. `grant`
    gets a slot that is for one client alone: slot, generation, the client's row and id."""
    pool, generation, _, owner, state = context.tables.slot(slot)
    if owner != context.number or state != DIALING:
        return
    dedicated = context.tables.slot_dedicated(slot)
    if dedicated is not None:  # its client opens it itself
        grant(slot, generation, *dedicated)
        return
    database_name, user, _ = context.tables.pool_key(pool)
    database = context.config.find_database(database_name)
    if database is None:
        login_failed(context, slot, ServerFault("database removed"), permanent=True)
        context.relay.freed_slot(slot, generation)
        return
    log_reserve(context, slot)
    opening = Dial(slot, generation)
    began_us = monotonic_us()
    try:
        with gevent.Timeout(context.config.settings.server_connect_timeout or None):
            address, stream = connect(context, opening, database)
            target = ServerTarget(
                user,
                database.dbname,
                credential_for(context, database, user, pool),
                database.startup_parameters,
                *tls_of(context, stream),
                require_auth=context.config.settings.server_require_auth,
            )
            session = converse(server_login(target), stream)
            opening.move(DialState.LOGGED_IN)
            context.tables.slot_key(slot, session.backend_pid, session.cancel_key, address.text)
            if database.connect_query:
                converse(simple_query(database.connect_query), stream)
        _publish(context, opening, pool, session, stream)
        context.tables.dial_took(context.number, pool, monotonic_us() - began_us)
        return
    except ServerFault as fault:
        # What PostgreSQL refuses for good, and what no retry would mend, clients in their login get to hear.
        login_failed(context, slot, fault, permanent=opening.is_connected and fault.sqlstate not in TEMPORARY)
    except HandshakeFailed as failure:
        login_failed(context, slot, ServerFault(f"TLS handshake error: {failure}"))
    except Hangup as hangup:
        login_failed(context, slot, ServerFault(f"server conn crashed? ({hangup})"))
    except gevent.Timeout:
        hangs = "connect timeout" if opening.is_connected else "connect failed: no answer in time"
        login_failed(context, slot, ServerFault(hangs))
    except OSError as error:
        login_failed(context, slot, ServerFault(f"connect failed: {error.strerror or error}"))
    except Exception as error:  # the slot must not be lost with it, nor the pool wait for it for ever
        log.exception("bug while a server was opened", error)
        login_failed(context, slot, ServerFault("internal error"))
    host_failed(context, database)
    let_go(context, opening)
    free(context, opening)


def tls_of(context: WorkerContext, stream: Stream) -> tuple[TlsMode, ChannelBinding]:
    """What a login wants of TLS: the two last fields of its target."""
    binding = cast(ChannelBinding, context.config.settings.server_channel_binding)
    if stream.secure is None:
        return "disable", binding
    return "require" if context.tls.setup.server.required else "prefer", binding


def connect(context: WorkerContext, opening: Dial, database: Database) -> tuple[Address, Stream]:
    """Connect to the first host that accepts; the master has a duplicate. Raises OSError or ServerFault."""
    slot = opening.slot

    def not_found(host: str) -> None:
        log_closing(context, slot, "server DNS lookup failed", place(host, database.port, is_unix=False))

    error: OSError | None = None
    tried = ""  # where that was
    for candidate in candidates(context, database, not_found):
        address = candidate.address
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        if error is not None:
            opening.generation = context.tables.slot_bump(slot)
            log.warning(
                "S-%d: connect failed: %s; trying %s", context.tables.slot(slot).id, error, address.text
            )
            log_closing(context, slot, "connect failed", tried)
        while not inbox.send_server(context.master_outbox, slot, opening.generation, sock.fileno()):
            gevent.sleep(INBOX_RETRY_S)
        context.tables.slot_dialed(slot)
        context.tables.slot_host(slot, candidate.host)
        try:
            if not address.is_unix:
                tune(sock, context.config.settings)
            sock.connect(address.connect_target())
        except OSError as e:
            error, tried = e, place(address.name or "unix", database.port, address.is_unix)
            abandon(sock)
            continue
        except BaseException:  # the timeout of our caller
            abandon(sock)
            raise
        opening.move(DialState.LOGGING_IN)
        opening.sock = sock
        context.tables.slot_where(slot, *names_of(sock), address.is_unix)
        opening.stream = Stream(
            sock, ServerFault, context.tls.for_server(address.name), turn_at(address.text)
        )
        return address, opening.stream
    raise error or ServerFault("server DNS lookup failed")


def _give(context: WorkerContext, number: int, slot: int, generation: int, fd: int) -> None:
    """Put a duplicate into another worker's inbox, waiting while it is full.

    A worker that does not read is killed by the master. One that has no process needs nothing: its
    replacement inherits the master's duplicate, which was sent before.
    """
    due = time.monotonic() + INBOX_PATIENCE_S
    while not inbox.send_server(context.outboxes[number], slot, generation, fd):
        if not context.tables.is_alive(number):
            return
        if time.monotonic() >= due:
            due += INBOX_PATIENCE_S
            context.tell_master(InboxFull(number))
        gevent.sleep(INBOX_RETRY_S)


def credential_for(context: WorkerContext, database: Database, user: str, pool: int) -> Credential:
    """What we can log in with: the database's password, what a client has shown or auth_query brought, the
    userlist's, or keys that a client has shown.
    """
    if context.tables.is_auth_pool(pool):  # auth_user's password is in auth_file, whoever clients are made
        text = context.config.userlist.get(user)
        return credential(parse_secret(text) if text is not None else None)
    keys = context.tables.pool_scram_keys(pool)
    shown = context.tables.pool_secret(pool) if database.user is None else None
    text = database.password
    if text is None:
        text = decode(shown) if shown is not None else context.config.userlist.get(user)
    passed = ScramKeys(*keys) if keys is not None and database.user is None else None
    return credential(parse_secret(text) if text is not None else None, passed)


def _publish(
    context: WorkerContext, opening: Dial, pool: int, session: ServerSession, stream: Stream
) -> None:
    slot, generation, sock = opening.slot, opening.generation, opening.sock
    assert sock is not None
    database, user, _ = context.tables.pool_key(pool)
    lifetime_s = context.config.pool_limits(
        context.config.find_database(database) or Database(""), user
    ).server_lifetime
    context.tables.slot_login(
        slot,
        pack_welcome(session.parameters),
        # a few percent apart, so that servers opened together are not closed together
        lifetime_s * random.uniform(0.95, 1.0) if lifetime_s else 0.0,
    )
    shared, inner = plain_ends(context, slot, generation, stream) if stream.session else (sock, None)
    for number in range(len(context.outboxes)):
        if number != context.number:
            _give(context, number, slot, generation, shared.fileno())
    log.debug("S-%d: logged in, backend %d", context.tables.slot(slot).id, session.backend_pid)
    log_connected(context, slot, sock)
    if inner is not None:
        bridge(context, (slot, generation), sock, inner, stream)
    context.relay.add_server(slot, generation, shared.detach(), context.tracked.values_of(session.parameters))
    opening.move(DialState.HANDED_OVER)


def plain_ends(
    context: WorkerContext, slot: int, generation: int, stream: Stream
) -> tuple[socket.socket, socket.socket]:
    """The pair that stands for an encrypted connection: what all share, and our bridge's end. The master has
    what is shared before anybody else."""
    assert stream.session is not None
    shared, inner = socket.socketpair()
    context.tables.slot_tls(slot, stream.session.description, context.number)
    while not inbox.send_plain(context.master_outbox, slot, generation, shared.fileno()):
        gevent.sleep(INBOX_RETRY_S)
    return shared, inner


def bridge(
    context: WorkerContext, slot: tuple[int, int], sock: socket.socket, inner: socket.socket, stream: Stream
) -> None:
    """Have our bridge copy between an encrypted connection and its end of the pair; `slot`: its row, its
    generation."""
    session, stream.session = stream.session, None
    assert session is not None
    context.bridge.add(*slot, sock.fileno(), inner.fileno(), session, bytes(stream.buffer))
    sock.detach()
    inner.detach()


def log_connected(context: WorkerContext, slot: int, sock: socket.socket) -> None:
    """A server is logged in: one line, with both ends of its connection."""
    if not context.config.settings.log_connections:
        return
    pool, _, slot_id, _, _ = context.tables.slot(slot)
    database, user, _ = context.tables.pool_key(pool)
    addr, port, local_addr, local_port = names_of(sock)
    is_unix = sock.family == socket.AF_UNIX
    log.info(
        "S-%d: %s/%s@%s new connection to server (from %s)",
        slot_id,
        database,
        user,
        place(addr, port, is_unix),
        place(local_addr, local_port, is_unix),
    )


def log_reserve(context: WorkerContext, slot: int) -> None:
    """A server beyond pool_size is worth a line."""
    if context.tables.slot_from_reserve(slot):
        pool, _, slot_id, _, _ = context.tables.slot(slot)
        database, user, _ = context.tables.pool_key(pool)
        log.warning("S-%d: %s/%s taking connection from reserve_pool", slot_id, database, user)


def log_refused(context: WorkerContext, slot: int, fault: ServerFault, reason: str = "login failed") -> None:
    """Why a server could not be logged in, and that it is closed for it."""
    log.warning("%s %s", _who(context, slot), _refusal(fault))
    log_closing(context, slot, reason)


def log_closing(context: WorkerContext, slot: int, reason: str, where: str | None = None) -> None:
    """The line for a server that is not logged in; `where` is the one of several hosts that was tried."""
    if context.config.settings.log_disconnections:
        age_s = context.tables.slot_age_s(slot)
        log.info("%s closing because: %s (age=%ds)", _who(context, slot, where), reason, age_s)


def _who(context: WorkerContext, slot: int, where: str | None = None) -> str:
    pool, _, slot_id, _, _ = context.tables.slot(slot)
    database, user, instance = context.tables.pool_key(pool)
    return f"S-{slot_id}: {database}/{user}@{instance if where is None else where}"


def _refusal(fault: ServerFault) -> str:
    return f"server login failed: FATAL {fault.message}" if fault.from_server else fault.message


def login_failed(context: WorkerContext, slot: int, fault: ServerFault, permanent: bool = False) -> None:
    """Tell the pool; its waiters go on waiting unless PostgreSQL said no for good.

    Tries come often while PostgreSQL is away: the same again is logged every server_login_retry only.
    """
    pool = context.tables.slot(slot).pool
    failures = context.tables.pool_error(pool)[0]
    longest_s = context.config.settings.server_login_retry
    if permanent and is_answer(fault.sqlstate):
        retry_s = min(longest_s, ANSWER_RETRY_S)
    else:
        retry_s = pause_s(failures, longest_s, is_away=not permanent) * random.uniform(0.8, 1.0)
    now = time.monotonic()
    said, said_s = context.refusals.get(pool, ("", 0.0))
    if failures and said == fault.message and now - said_s < longest_s:
        log.debug("%s %s, again", _who(context, slot), _refusal(fault))
    else:
        context.refusals[pool] = (fault.message, now)
        reason = fault.message if fault.from_server else fault.message.partition(":")[0]
        ours = reason.startswith("server login failed")
        log_refused(context, slot, fault, "login failed" if ours else reason)
    context.tables.login_failed(pool, permanent, fault.sqlstate, fault.message, retry_s)


def is_answer(sqlstate: str) -> bool:
    """Whether PostgreSQL has refused what was asked for, which the next client may ask again."""
    return sqlstate.startswith(ANSWERS)


def pause_s(failures: int, longest_s: float, is_away: bool) -> float:
    """Until the next try, after so many failures in a row and one more."""
    return min(longest_s, AWAY_RETRY_S if is_away else longest_s, FIRST_RETRY_S * 2.0 ** min(failures, 20))


def abandon(sock: socket.socket) -> None:
    """Close a socket whose duplicates others hold: shutdown ends the connection (or the attempt) for all."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def names_of(sock: socket.socket, listen_port: int = 0) -> tuple[str, int, str, int]:
    """(address, port, local address, local port) of a socket. Unix sockets have no ports; for those of
    clients PgBouncer shows the one that is in their name."""
    if sock.family == socket.AF_UNIX:
        return "unix", listen_port, "unix", listen_port
    try:
        peer, own = sock.getpeername(), sock.getsockname()
    except OSError:  # gone already
        return "", 0, "", 0
    return peer[0], peer[1], own[0], own[1]


def place(addr: str, port: int, is_unix: bool) -> str:
    """How the log writes an address; of a client's unix socket it has the process: unix(4711):6432."""
    if is_unix:
        return f"{addr}:{port}"
    return f"[{addr}]:{port}" if ":" in addr else f"{addr}:{port}"
