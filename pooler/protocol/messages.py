"""Messages that a backend sends: built for our clients, taken apart when they come from our servers.

Text is `str` decoded as UTF-8 with surrogateescape, so that any byte survives the way through pooler.
Builders trust their caller (a NUL in a text is a ValueError). Parsers trust neither side: what cannot be
understood is a `ServerFault`, except for errors and notices, where half an answer is better than none.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pooler.errors import PROTOCOL_VIOLATION, ClientFault, ServerFault
from pooler.protocol import codes

_WORD = struct.Struct("!I")
_HEADER = struct.Struct("!cI")
_COLUMN = struct.Struct("!IhIhih")

#: PostgreSQL's payloads have less than 8000 bytes, names of channels less than 64.
MAX_NOTIFICATION_BYTES = 8192

#: One value of a row that is built; numbers and truth values are sent in PostgreSQL's text form.
Value = str | bytes | int | float | bool | None


class Column(NamedTuple):
    """One column of a RowDescription."""

    name: str
    table_oid: int
    attribute: int
    type_oid: int
    size: int
    modifier: int
    format: int


# -- the frame -----------------------------------------------------------------------------------------------


def encode(text: str) -> bytes:
    """Text as it goes over the wire; undoes `decode`."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """Bytes of the wire as text, whatever they are."""
    return raw.decode("utf-8", "surrogateescape")


def cstring(text: str | bytes) -> bytes:
    """Text with its terminator."""
    raw = encode(text) if isinstance(text, str) else text
    if b"\0" in raw:
        raise ValueError("text of a message contains NUL")
    return raw + b"\0"


def message(kind: bytes, *parts: bytes) -> bytes:
    """One typed message: type, length (which counts itself), body."""
    body = b"".join(parts)
    return _HEADER.pack(kind, len(body) + 4) + body


def body_length(header: bytes, max_bytes: int, fault: type[ClientFault] | type[ServerFault]) -> int:
    """Check the five bytes in front of a typed message and return the length of its body.

    Whoever reads messages from a socket calls this before it allocates anything. The length is read
    unsigned, so nothing wraps.
    """
    length: int = _HEADER.unpack(header)[1]
    if not 4 <= length <= max_bytes + 4:
        raise fault(f"bad packet header: '{header.hex()}'")
    return length - 4


# -- building: login -----------------------------------------------------------------------------------------


def authentication_ok() -> bytes:
    """AuthenticationOk."""
    return message(b"R", _WORD.pack(codes.AUTH_OK))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """BackendKeyData: what a CancelRequest has to repeat."""
    return message(b"K", _WORD.pack(pid), key)


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message(b"S", cstring(name), cstring(value))


def welcome(parameters: Mapping[str, str], pid: int, key: bytes) -> bytes:
    """Everything behind AuthenticationOk: settings, cancel key, ReadyForQuery."""
    settings = b"".join(parameter_status(name, value) for name, value in parameters.items())
    return settings + backend_key_data(pid, key) + ready()


# -- building: results ---------------------------------------------------------------------------------------


def data_row(values: Sequence[Value]) -> bytes:
    """DataRow in text form; None is NULL."""
    return message(b"D", struct.pack("!H", len(values)), *map(_field, values))


def command_complete(tag: str) -> bytes:
    """CommandComplete."""
    return message(b"C", cstring(tag))


def ready(status: bytes = codes.STATUS_IDLE) -> bytes:
    """ReadyForQuery."""
    return message(b"Z", status)


def error(
    text: str,
    sqlstate: str = PROTOCOL_VIOLATION,
    severity: str = "FATAL",
    detail: str | None = None,
    hint: str | None = None,
) -> bytes:
    """ErrorResponse."""
    return _report(b"E", text, sqlstate, severity, detail, hint)


def notice(
    text: str,
    sqlstate: str = "00000",
    severity: str = "NOTICE",
    detail: str | None = None,
    hint: str | None = None,
) -> bytes:
    """NoticeResponse."""
    return _report(b"N", text, sqlstate, severity, detail, hint)


def _report(
    kind: bytes, text: str, sqlstate: str, severity: str, detail: str | None, hint: str | None
) -> bytes:
    fields = [("S", severity), ("V", severity), ("C", sqlstate), ("M", text), ("D", detail), ("H", hint)]
    # A text may quote anything, and must not end the field early: NUL is shown, not sent.
    parts = [cstring(letter + value.replace("\0", "\\0")) for letter, value in fields if value is not None]
    return message(kind, *parts, b"\0")


def _field(value: Value) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    if isinstance(value, bool):
        value = "t" if value else "f"
    raw = value if isinstance(value, bytes) else encode(str(value))
    return _WORD.pack(len(raw)) + raw


# -- parsing -------------------------------------------------------------------------------------------------


def parse_error(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their letter (S V C M D H …).

    Never fails: a field that is missing is missing, and one that is cut is kept as far as it came.
    """
    fields: dict[str, str] = {}
    for part in body.split(b"\0"):
        if not part:
            break  # an empty field is the end of the message; what is behind it is not ours to read
        fields.setdefault(chr(part[0]), decode(part[1:]))
    return fields


def server_fault(body: bytes, default: str = "server sent an error without a text") -> ServerFault:
    """The exception for an ErrorResponse: PostgreSQL's own text and code where it gave them."""
    fields = parse_error(body)
    code = fields.get("C", "")
    valid = len(code) == 5 and code.isascii() and code.isalnum()
    return ServerFault(fields.get("M") or default, code if valid else PROTOCOL_VIOLATION, from_server=True)


def parse_parameter_status(body: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus."""
    parts = body.split(b"\0")
    if len(parts) != 3 or parts[2] or not parts[0]:
        raise ServerFault("malformed ParameterStatus from server")
    return decode(parts[0]), decode(parts[1])


def parse_backend_key_data(body: bytes) -> tuple[int, bytes]:
    """Process number and secret of a BackendKeyData; the secret has 4 bytes, in later protocols up to 256."""
    if not 8 <= len(body) <= 260:
        raise ServerFault("malformed BackendKeyData from server")
    return int.from_bytes(body[:4], "big"), body[4:]


def parse_notification(body: bytes) -> tuple[int, bytes, bytes]:
    """Process number, channel and text of a NotificationResponse, as they were sent."""
    parts = body[4:].split(b"\0")
    if len(body) + 5 > MAX_NOTIFICATION_BYTES or len(parts) != 3 or parts[2] or not parts[0]:
        raise ServerFault("malformed NotificationResponse from server")
    return int.from_bytes(body[:4], "big"), parts[0], parts[1]


def parse_ready(body: bytes) -> bytes:
    """Transaction status of a ReadyForQuery."""
    if body not in (codes.STATUS_IDLE, codes.STATUS_IN_TRANSACTION, codes.STATUS_FAILED):
        raise ServerFault("malformed ReadyForQuery from server")
    return body


def parse_command_complete(body: bytes) -> str:
    """Tag of a CommandComplete."""
    if body[-1:] != b"\0" or b"\0" in body[:-1]:
        raise ServerFault("malformed CommandComplete from server")
    return decode(body[:-1])


def parse_authentication(body: bytes) -> tuple[int, bytes]:
    """Code and data of an authentication request."""
    if len(body) < 4:
        raise ServerFault("malformed authentication request from server")
    return int.from_bytes(body[:4], "big"), body[4:]


def parse_row_description(body: bytes) -> list[Column]:
    """Columns of a RowDescription."""
    columns = []
    try:
        (count,) = struct.unpack_from("!H", body)
        at = 2
        for _ in range(count):
            end = body.index(b"\0", at)
            columns.append(Column(decode(body[at:end]), *_COLUMN.unpack_from(body, end + 1)))
            at = end + 1 + _COLUMN.size
    except (struct.error, ValueError) as exc:
        raise ServerFault("malformed RowDescription from server") from exc
    if at != len(body):
        raise ServerFault("malformed RowDescription from server")
    return columns


def parse_data_row(body: bytes) -> tuple[bytes | None, ...]:
    """Values of a DataRow, as they were sent."""
    values: list[bytes | None] = []
    if len(body) < 2:
        raise ServerFault("malformed DataRow from server")
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        length = int.from_bytes(body[at : at + 4], "big", signed=True)
        start, at = at + 4, at + 4 + max(length, 0)
        if length < -1 or at > len(body):
            raise ServerFault("malformed DataRow from server")
        values.append(None if length == -1 else body[start:at])
    if at != len(body):
        raise ServerFault("malformed DataRow from server")
    return tuple(values)
