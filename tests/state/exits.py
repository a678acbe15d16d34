"""The ways in which a client leaves: what it does before and after it made some state, and how it goes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.state.kind import Kind
from tests.support.wire import EndOfStream, Wire, bind, execute, parse, query

Kill = Callable[[Wire], None]


def fin(wire: Wire, kill: Kill) -> None:
    wire.socket.close()


def reset(wire: Wire, kill: Kill) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


def terminate(wire: Wire, kill: Kill) -> None:
    wire.close()


def killed(wire: Wire, kill: Kill) -> None:
    """KILL_CLIENT on the console."""
    kill(wire)
    try:
        while True:
            wire.receive()
    except EndOfStream:
        wire.socket.close()


@dataclass(frozen=True)
class Way:
    """One way to leave."""

    name: str
    leave: Callable[[Wire, Kill], None]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # may fail
    last: bytes = b""  # sent, not answered
    sees: str = ""  # a message to wait for after `last`
    at_once: bool = False  # all is sent in one write, nothing is read

    def suits(self, kind: Kind) -> bool:
        """A kind in the middle of something can only be left, not continued."""
        if self.at_once and not kind.is_alone:
            return False
        if kind.is_finished:
            return kind.block or not self.before
        return not self.before and not self.after and not self.sees and not self.at_once


HALF = query("SELECT 'half a message'")[:14]
RUNNING = query("DO $$ BEGIN RAISE WARNING 'it runs'; PERFORM pg_sleep(60); END $$")
UNFINISHED = parse("SELECT 1") + bind() + execute() + parse("SELECT 2", "left") + bind(name="left")
ERROR = "SELECT 1 / 0"

WAYS = [
    Way("Terminate", terminate),
    Way("commit", terminate, before=("BEGIN",), after=("COMMIT",)),
    Way("rollback", terminate, before=("BEGIN",), after=("ROLLBACK",)),
    Way("savepoint", terminate, before=("BEGIN", "SAVEPOINT w"), after=("ROLLBACK TO w", "COMMIT")),
    Way("error", terminate, after=(ERROR,)),
    Way("error, rollback", terminate, before=("BEGIN",), after=(ERROR, "ROLLBACK")),
    Way("Terminate in the failed block", terminate, before=("BEGIN",), after=(ERROR,)),
    Way("Terminate in the block", terminate, before=("BEGIN",)),
    Way("Terminate in a later block", terminate, after=("BEGIN", "SELECT 1")),
    Way("Terminate behind an unfinished pipeline", terminate, last=UNFINISHED),
    Way("Terminate in the same write", terminate, at_once=True),
    Way(
        "commit and Terminate in the same write",
        terminate,
        before=("BEGIN",),
        after=("COMMIT",),
        at_once=True,
    ),
    Way("FIN", fin),
    Way("FIN after another query", fin, after=("SELECT 1",)),
    Way("FIN in the block", fin, before=("BEGIN",)),
    Way("FIN in a later block", fin, after=("BEGIN", "SELECT 1")),
    Way("half a message", fin, last=HALF),
    Way("half a message in the block", fin, before=("BEGIN",), last=HALF),
    Way("RST", reset),
    Way("RST behind the query", reset, at_once=True),
    Way("RST in the block", reset, before=("BEGIN",)),
    Way("RST while a query runs", reset, last=RUNNING, sees="N"),
    Way("killed", killed),
    Way("killed in the block", killed, before=("BEGIN",)),
]
