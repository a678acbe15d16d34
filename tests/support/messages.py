"""Messages that pooler itself never sends, and tests do."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from pooler.ipc import fds, inbox
from pooler.protocol import codes
from pooler.protocol.messages import cstring, message


def gssenc_request() -> bytes:
    """GSSENCRequest."""
    return struct.pack("!II", 8, codes.GSSENC_REQUEST)


def row_description(columns: Iterable[tuple[str, int]]) -> bytes:
    """RowDescription of columns (name, type) in text form that belong to no table."""
    fields = [
        cstring(name) + struct.pack("!IhIhih", 0, 0, oid, codes.TYPE_SIZES.get(oid, -1), -1, 0)
        for name, oid in columns
    ]
    return message(b"T", struct.pack("!H", len(fields)), *fields)


def empty_query_response() -> bytes:
    """EmptyQueryResponse."""
    return message(b"I")


def send_closed(outbox: socket.socket, slot: int, generation: int) -> bool:
    """As a relay asks for the duplicate of a server connection to be closed; False if the inbox is full."""
    return fds.send(outbox, inbox.FORMAT.pack(inbox.Kind.CLOSED, slot, generation))
