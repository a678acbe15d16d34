"""Exchanges of raw messages that must look the same with PostgreSQL itself and through the pooler."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from termios import TIOCOUTQ

from tests.support.pooler import Bouncer
from tests.support.postgres import Postgres
from tests.support.wire import Message, Wire, query

Send = Callable[[Wire, bytes], None]


@dataclass(frozen=True)
class Step:
    """Bytes to send, and the types of messages to wait for in this order (others may come in between).

    Where several clients take part, `who` names the one that sends.
    """

    data: bytes
    until: str = "Z"
    who: str = "a"


Script = list[Step]

#: What every exchange ends with: a stray reply of before would stand in front of its answer.
THE_END = Step(query("SELECT 'the end'"), "DZ")


def at_once(wire: Wire, data: bytes) -> None:
    wire.send(data)


def byte_by_byte(wire: Wire, data: bytes) -> None:
    wire.send_slowly(data)


def talk(wire: Wire, script: Script, send: Send = at_once) -> list[Message]:
    """Runs a script; everything that came back."""
    received: list[Message] = []
    for step in [*script, THE_END]:
        if step.data:
            send(wire, step.data)
        for kind in step.until:
            received += wire.receive_until(kind)
    return received


def direct(pg: Postgres, database: str = "p0") -> Wire:
    """A raw connection to PostgreSQL itself, logged in."""
    return Wire(socket.create_connection((pg.host, pg.port), 10)).login(database=database)


def pooled(pooler: Bouncer, database: str = "p0", unix: bool = False) -> Wire:
    """A raw connection through the pooler, logged in."""
    return pooler.wire(unix=unix).login(database=database)


def without_pids(messages: list[Message]) -> list[Message]:
    """The same messages with the backend's pid in notifications blanked."""
    return [Message("A", bytes(4) + m.body[4:]) if m.type == "A" else m for m in messages]


def assert_same(expected: list[Message], got: list[Message]) -> None:
    """The two streams are the same, byte by byte; names the first difference."""
    for number, (wanted, seen) in enumerate(zip(without_pids(expected), without_pids(got), strict=False)):
        assert seen == wanted, f"message {number} of {''.join(m.type for m in expected)}"
    assert len(got) == len(expected)


def unread_by_peer(sock: socket.socket) -> int:
    """Memory of what was sent on a unix socket and not yet read by the other side; 0 when all was read."""
    found = array.array("i", [0])
    fcntl.ioctl(sock, TIOCOUTQ, found)
    return found[0]


def wait_until_read(wire: Wire, timeout_s: float = 5) -> None:
    """Waits until the other end of a unix socket has read everything sent so far."""
    deadline = time.monotonic() + timeout_s
    while unread_by_peer(wire.socket):
        assert time.monotonic() < deadline, "the pooler does not read"


def function_call(oid: int, *arguments: bytes) -> bytes:
    """A FunctionCall with arguments and result in text format."""
    packed = b"".join(struct.pack("!I", len(a)) + a for a in arguments)
    body = struct.pack("!IHH", oid, 0, len(arguments)) + packed + struct.pack("!H", 0)
    return b"F" + struct.pack("!I", len(body) + 4) + body
