"""Messages that a frontend sends: what pooler says to a server when it is the client there."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from pooler.protocol import codes
from pooler.protocol.messages import cstring, message


def startup(user: str, database: str, parameters: Mapping[str, str]) -> bytes:
    """StartupMessage for protocol 3.0."""
    pairs = {"user": user, "database": database, **parameters}
    body = b"".join(cstring(name) + cstring(value) for name, value in pairs.items())
    return _untyped(codes.PROTOCOL_3_0, body + b"\0")


def ssl_request() -> bytes:
    """SSLRequest."""
    return _untyped(codes.SSL_REQUEST)


def cancel_request(pid: int, key: bytes) -> bytes:
    """CancelRequest with what the server's BackendKeyData said."""
    return _untyped(codes.CANCEL_REQUEST, pid.to_bytes(4, "big") + key)


def password(answer: bytes) -> bytes:
    """PasswordMessage: clear text, or the answer to an MD5 challenge."""
    return message(b"p", cstring(answer))


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    """SASLInitialResponse."""
    return message(b"p", cstring(mechanism), len(data).to_bytes(4, "big"), data)


def sasl_response(data: bytes) -> bytes:
    """SASLResponse."""
    return message(b"p", data)


def query(text: str) -> bytes:
    """Query: one text of the simple protocol."""
    return message(b"Q", cstring(text))


def parse(name: str, text: str, types: Sequence[int] = ()) -> bytes:
    """Parse: prepare a statement; the empty name is the unnamed one."""
    return message(b"P", cstring(name), cstring(text), struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(portal: str, statement: str, values: Sequence[str | None]) -> bytes:
    """Bind with all values and all results in text form."""
    fields = [b"\xff\xff\xff\xff" if value is None else _counted(value) for value in values]
    count = len(values).to_bytes(2, "big")
    return message(b"B", cstring(portal), cstring(statement), b"\0\0", count, *fields, b"\0\0")


def describe(kind: bytes, name: str) -> bytes:
    """Describe a statement (kind S) or a portal (kind P)."""
    return message(b"D", kind, cstring(name))


def execute(portal: str, max_rows: int = 0) -> bytes:
    """Execute a portal; 0 means all rows."""
    return message(b"E", cstring(portal), max_rows.to_bytes(4, "big"))


def close(kind: bytes, name: str) -> bytes:
    """Close a statement (kind S) or a portal (kind P)."""
    return message(b"C", kind, cstring(name))


def flush() -> bytes:
    """Flush."""
    return message(b"H")


def sync() -> bytes:
    """Sync."""
    return message(b"S")


def terminate() -> bytes:
    """Terminate."""
    return message(b"X")


def _untyped(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!II", len(body) + 8, code) + body


def _counted(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return len(raw).to_bytes(4, "big") + raw
