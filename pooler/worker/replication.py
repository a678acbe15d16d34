"""Replication: a client that wants a walsender gets a server of its own, opened with its own startup packet.

The client stands in line for a row like everybody (core/tables/walsender_queue.c). When one is there its
greenlet opens the connection itself, because what PostgreSQL says concerns this client alone. What a dead
host says concerns the whole pool: then the client waits again, at its old place, and the pool's pause between
two tries holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import gevent
from gevent.event import AsyncResult

from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from pooler.worker.address import host_failed
from pooler.worker.dial import Dial, DialState, free, let_go
from pooler.worker.server import (
    bridge,
    connect,
    credential_for,
    log_connected,
    log_refused,
    log_reserve,
    login_failed,
    plain_ends,
    tls_of,
)
from pooler.worker.stream import HandshakeFailed, Hangup, converse

if TYPE_CHECKING:
    from pooler.config import Database
    from pooler.worker.client import Client, Session
    from pooler.worker.context import WorkerContext

#: SQLSTATEs of a PostgreSQL that starts or stops. 53300 is final here: it may be about max_wal_senders.
STARTS_OR_STOPS = frozenset({"57P03", "57P01", "57P02"})


class _TryLater(Exception):
    """PostgreSQL cannot be reached, or not yet."""


def take(client: Client, slot: int, generation: int) -> bool:
    """The row that this client waited for; False if it does not wait any more."""
    if client.greenlet is None or client.grant is not None:
        return False
    client.grant = Dial(slot, generation)
    client.turn.set()
    return True


def enter(client: Client, session: Session, database: Database) -> bool:
    """Wait for a row, log in, greet the client, and give both to the relay; True when that is done."""
    context = client.context
    while True:
        client.turn = AsyncResult()
        client.waits_for_server = True
        try:
            context.tables.wait_dedicated(client.row, session.replication)
            client.turn.get()
            grant = client.grant
            assert grant is not None
            log_reserve(context, grant.slot)
            server = _open(client, grant, session, database)
            _hand_over(client, grant, session, server)
            return True
        except _TryLater:
            continue
        finally:
            if client.grant is not None:
                _give_up(context, client.grant)
                client.grant = None


def _open(client: Client, grant: Dial, session: Session, database: Database) -> ServerSession:
    context = client.context
    pool = context.tables.slot(grant.slot).pool
    user = context.tables.pool_key(pool)[1]
    patience = gevent.Timeout(context.config.settings.server_connect_timeout or None)
    try:
        with patience:
            address, stream = connect(context, grant, database)
            parameters = database.startup_parameters | dict(session.startup)
            target = ServerTarget(
                user,
                database.dbname,
                credential_for(context, database, user, pool),
                parameters,
                *tls_of(context, stream),
                require_auth=context.config.settings.server_require_auth,
            )
            server = converse(server_login(target), stream)
            grant.move(DialState.LOGGED_IN)
            context.tables.slot_key(grant.slot, server.backend_pid, server.cancel_key, address.text)
    except ServerFault as fault:
        if grant.is_connected and fault.sqlstate not in STARTS_OR_STOPS:
            log_refused(context, grant.slot, fault)
            raise ClientFault("login failed", detail=fault.message) from None
        _later(context, grant, database, fault)
    except HandshakeFailed as failure:
        _later(context, grant, database, ServerFault(f"TLS handshake error: {failure}"))
    except Hangup as hangup:
        _later(context, grant, database, ServerFault(f"server conn crashed? ({hangup})"))
    except OSError as error:
        _later(context, grant, database, ServerFault(f"connect failed: {error.strerror or error}"))
    except gevent.Timeout as timeout:
        if timeout is not patience:  # of the client's login
            raise
        _later(context, grant, database, ServerFault("connect timeout"))
    assert grant.sock is not None
    context.tables.slot_ready(grant.slot)
    log_connected(context, grant.slot, grant.sock)
    return server


def _later(context: WorkerContext, grant: Dial, database: Database, fault: ServerFault) -> NoReturn:
    login_failed(context, grant.slot, fault)
    host_failed(context, database)
    raise _TryLater


def _hand_over(client: Client, grant: Dial, session: Session, server: ServerSession) -> None:
    """The client hears what its server said; from then on both are the relay's."""
    context, sock, stream = client.context, grant.sock, grant.stream
    assert sock is not None
    assert stream is not None
    slot, generation = grant.slot, grant.generation
    shared, inner = plain_ends(context, slot, generation, stream) if stream.session else (sock, None)
    context.tables.client_application(client.row, dict(session.startup).get("application_name", ""))
    client.stream.send(
        messages.authentication_ok() + messages.welcome(server.parameters, *client.cancel_key(session))
    )
    rest = bytes(client.stream.buffer)
    values = context.tracked.values_of(server.parameters)
    del context.logins[client.row]
    client.grant = None
    if inner is not None:
        bridge(context, (slot, generation), sock, inner, stream)
    tls, client.stream.session = client.stream.session, None
    context.relay.add_dedicated(
        client.row, client.id, client.sock.detach(), slot, generation, shared.detach(), values, rest, tls
    )
    grant.move(DialState.HANDED_OVER)


def _give_up(context: WorkerContext, grant: Dial) -> None:
    """The slot is free when PostgreSQL has closed its connection, if there ever was one."""

    def finish() -> None:
        let_go(context, grant)
        free(context, grant)

    context.spawn(finish)
