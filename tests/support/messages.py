"""Messages that no Python of pooler sends, and tests do."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence

from pooler.ipc import fds, inbox
from pooler.protocol import codes
from pooler.protocol.messages import cstring, message

GSSENC_REQUEST = 80877104


def gssenc_request() -> bytes:
    """GSSENCRequest."""
    return struct.pack("!II", 8, GSSENC_REQUEST)


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


def send_client(outbox: socket.socket, fd: int, is_unix: bool) -> bool:
    """As the master hands a client's socket over; False if the inbox is full."""
    return fds.send(outbox, inbox.FORMAT.pack(inbox.Kind.CLIENT, int(is_unix), 0), fd)


def authentication(code: int, *parts: bytes) -> bytes:
    """An authentication request."""
    return message(b"R", struct.pack("!I", code), *parts)


def authentication_cleartext() -> bytes:
    """AuthenticationCleartextPassword."""
    return authentication(codes.AUTH_CLEARTEXT)


def authentication_md5(salt: bytes) -> bytes:
    """AuthenticationMD5Password."""
    return authentication(codes.AUTH_MD5, salt)


def authentication_sasl(mechanisms: Sequence[str]) -> bytes:
    """AuthenticationSASL, with the mechanisms in order of preference."""
    return authentication(codes.AUTH_SASL, *map(cstring, mechanisms), b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """AuthenticationSASLContinue."""
    return authentication(codes.AUTH_SASL_CONTINUE, data)


def authentication_sasl_final(data: bytes) -> bytes:
    """AuthenticationSASLFinal."""
    return authentication(codes.AUTH_SASL_FINAL, data)


def negotiate_protocol_version(options: Sequence[str], minor: int = 2) -> bytes:
    """NegotiateProtocolVersion: we speak up to 3.`minor` and know none of these `_pq_.` options."""
    head = struct.pack("!II", codes.PROTOCOL_3_0 + minor, len(options))
    return message(b"v", head, *map(cstring, options))
