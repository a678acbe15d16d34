"""One connection to PostgreSQL that is being opened: what it is doing, and what may follow.

A dial begins with a row of the tables that was granted for it, and ends in one of two ways: the relay has
the connection (`HANDED_OVER`), or the row is free again (`FREED`). What a failure has to wait for depends on
how far the dial was. While hosts are tried that is nothing. A connection counts until PostgreSQL has let go
of it, and one that is logged in may be running something, which is canceled first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import gevent
from gevent import socket

from pooler.worker import cancel
from pooler.worker.stream import Stream, read_to_end

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext

#: PostgreSQL ends a backend that does not finish its login after authentication_timeout, 60 s by default.
LET_GO_S = 65.0


class DialState(Enum):
    """What a dial is doing; the value says it in words."""

    CONNECTING = "names are resolved, and hosts are tried"
    LOGGING_IN = "a host has accepted the connection, which the master has a duplicate of"
    LOGGED_IN = "PostgreSQL is ready for queries; connect_query may run, all workers get a duplicate"
    LISTENING = "it is the connection that listens for all clients of a database"
    HANDED_OVER = "the relay has it"
    LETTING_GO = "it is to end; PostgreSQL is waited for"
    FREED = "the row of the tables is free"


#: Which state may follow which, and when it does.
TRANSITIONS = {
    (DialState.CONNECTING, DialState.LOGGING_IN): "a host accepts",
    (DialState.CONNECTING, DialState.FREED): "no host does, or not in time",
    (DialState.LOGGING_IN, DialState.LOGGED_IN): "ReadyForQuery",
    (DialState.LOGGING_IN, DialState.LISTENING): "its first LISTEN is answered",
    (DialState.LOGGING_IN, DialState.LETTING_GO): "the login is refused, breaks off, or takes too long",
    (DialState.LOGGED_IN, DialState.HANDED_OVER): "every process has a duplicate, or knows its client",
    (DialState.LOGGED_IN, DialState.LETTING_GO): "connect_query fails, or its client has left",
    (DialState.LISTENING, DialState.LETTING_GO): "it ends, or nobody listens any more",
    (DialState.LETTING_GO, DialState.FREED): "PostgreSQL has closed it, or takes too long",
}


@dataclass
class Dial:
    """A row that was granted, and the connection that is opened for it."""

    slot: int
    generation: int
    state: DialState = DialState.CONNECTING
    sock: socket.socket | None = None  # from LOGGING_IN on
    stream: Stream | None = None  # of that

    def move(self, to: DialState) -> None:
        """The one way from a state to another."""
        assert (self.state, to) in TRANSITIONS, f"illegal transition of a dial: from {self.state} to {to}"
        self.state = to

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, which PostgreSQL has to let go of."""
        return self.state in (DialState.LOGGING_IN, DialState.LOGGED_IN, DialState.LISTENING)


def let_go(context: WorkerContext, dial: Dial) -> None:
    """Wait until PostgreSQL has closed this connection too, if there is one; only then is the slot free.

    Until then it counts as one that closes, so that the next may be opened where the limits allow one more.
    PostgreSQL bounds a login; what it runs afterwards (connect_query) is canceled, and waited for.
    """
    if not dial.is_connected:
        return
    assert dial.sock is not None
    runs = dial.state is DialState.LOGGED_IN
    dial.move(DialState.LETTING_GO)
    context.tables.slot_failed(dial.slot, context.number, runs)
    try:
        dial.sock.shutdown(socket.SHUT_WR)
        if runs:
            context.spawn(cancel.insist, context, dial.slot, context.tables.slot(dial.slot).generation)
        with gevent.Timeout(None if runs else LET_GO_S, False):
            read_to_end(dial.sock)
    except OSError:  # reset, or never connected: over all the same
        pass
    finally:
        dial.sock.close()


def free(context: WorkerContext, dial: Dial) -> None:
    """The relay gives back the row, of whose connection nothing is left."""
    dial.move(DialState.FREED)
    context.relay.freed_slot(dial.slot, context.tables.slot(dial.slot).generation)
