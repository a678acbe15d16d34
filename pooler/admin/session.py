"""One console session above the wire: simple and extended queries, without a socket.

`feed` takes one message of the client and returns the bytes of the answer. PgBouncer's console refuses the
extended protocol; drivers that know nothing else (asyncpg, JDBC by default) can use this one. Semantics are
PostgreSQL's: after an error everything up to Sync is skipped, and Sync ends all portals, because each one
lives in the transaction that Sync ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pooler.admin import encode
from pooler.admin.console import Console
from pooler.admin.model import Access, Column, Command, CommandError, Result, Row
from pooler.errors import ClientFault, PoolerError
from pooler.protocol import messages

#: Named statements, and portals, that a session may keep: drivers use one or a handful.
MAX_NAMES = 256
#: Bytes of one message: the longest command with its names, many times over.
MAX_MESSAGE_BYTES = 64 * 1024

_OBJECT_NAMES = {b"S": "prepared statement", b"P": "portal"}


@dataclass
class _Statement:
    command: Command
    parameters: tuple[int, ...]


@dataclass
class _Portal:
    command: Command
    columns: tuple[Column, ...] | None
    formats: list[int]
    result: Result | None = None  # None until the first Execute
    sent: int = 0  # rows
    ended: bool = False


@dataclass
class ConsoleSession:
    """The state of one client of the console."""

    console: Console
    access: Access
    closed: bool = False  # the client said good-bye
    _failed: bool = field(default=False, init=False)  # skip until Sync
    _statements: dict[bytes, _Statement] = field(default_factory=dict, init=False)
    _portals: dict[bytes, _Portal] = field(default_factory=dict, init=False)

    def feed(self, kind: bytes, body: bytes) -> bytes:
        """Answer one message. ClientFault (FATAL) for what no client should send: tell it and close."""
        if kind == b"X":
            self.closed = True
            return b""
        if kind == b"S":
            return self._sync()
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise ClientFault(f"unsupported packet type for admin console: {_printable(kind)}")
        if self._failed:
            return b""
        if kind == b"Q":
            return self._query(_Reader(body))
        try:
            return handler(self, _Reader(body))
        except _Malformed:
            raise
        except PoolerError as fault:
            self._failed = True
            return encode.failure(fault)

    def _query(self, reader: _Reader) -> bytes:
        sql = reader.cstring()
        reader.end()
        self._statements.pop(b"", None)
        self._portals.clear()
        return self.console.execute(sql, self.access)

    def _sync(self) -> bytes:
        self._failed = False
        self._portals.clear()
        return encode.ready()

    def _flush(self, reader: _Reader) -> bytes:
        reader.end()
        return b""  # every answer goes out at once anyway

    def _parse(self, reader: _Reader) -> bytes:
        name, sql = reader.cstring(), reader.cstring()
        parameters = tuple(reader.word() for _ in range(reader.count()))
        reader.end()
        if name and name in self._statements:
            raise CommandError(f'prepared statement "{messages.decode(name)}" already exists', "42P05")
        command = self.console.parse(sql)
        _bound(self._statements, name)
        self._statements[name] = _Statement(command, parameters)
        return messages.message(b"1")

    def _bind(self, reader: _Reader) -> bytes:
        name, statement_name = reader.cstring(), reader.cstring()
        given_formats = [reader.count() for _ in range(reader.count())]
        given = [reader.value() for _ in range(reader.count())]
        formats = [reader.count() for _ in range(reader.count())]
        reader.end()
        statement = self._statement(statement_name)
        _check_parameters(statement, statement_name, given_formats, given)
        if name and name in self._portals:
            raise CommandError(f'portal "{messages.decode(name)}" already exists', "42P03")
        columns = self.console.describe(statement.command)
        _bound(self._portals, name)
        self._portals[name] = _Portal(statement.command, columns, _expanded(formats, len(columns or ())))
        return messages.message(b"2")

    def _describe(self, reader: _Reader) -> bytes:
        kind, name = reader.kind(), reader.cstring()
        reader.end()
        if kind == b"P":
            portal = self._portal(name)
            return _described(portal.columns, portal.formats)
        statement = self._statement(name)
        columns = self.console.describe(statement.command)
        count = len(statement.parameters)
        parameters = messages.message(b"t", struct.pack(f"!H{count}I", count, *statement.parameters))
        return parameters + _described(columns, [encode.TEXT] * len(columns or ()))

    def _execute(self, reader: _Reader) -> bytes:
        name, limit = reader.cstring(), reader.word()
        reader.end()
        portal = self._portal(name)
        parts = []
        if portal.result is None:
            portal.result = self.console.run(portal.command, self.access)
            parts = [encode.notice(each) for each in portal.result.notices]
        elif portal.columns is None:
            raise CommandError(f'portal "{messages.decode(name)}" cannot be run', "55000")
        if portal.result.tag is None:
            return b""
        rows = _next_rows(portal, portal.result, limit)
        parts.append(encode.rows(rows, portal.columns or (), portal.formats))
        suspended = not portal.ended
        parts.append(messages.message(b"s") if suspended else messages.command_complete(portal.result.tag))
        return b"".join(parts)

    def _close(self, reader: _Reader) -> bytes:
        kind, name = reader.kind(), reader.cstring()
        reader.end()
        if kind == b"S":
            self._statements.pop(name, None)
        else:
            self._portals.pop(name, None)
        return messages.message(b"3")

    def _statement(self, name: bytes) -> _Statement:
        try:
            return self._statements[name]
        except KeyError:
            text = f'prepared statement "{messages.decode(name)}" does not exist'
            raise CommandError(
                text if name else "unnamed prepared statement does not exist", "26000"
            ) from None

    def _portal(self, name: bytes) -> _Portal:
        try:
            return self._portals[name]
        except KeyError:
            raise CommandError(f'portal "{messages.decode(name)}" does not exist', "34000") from None


class _Malformed(ClientFault):
    """A message that is not laid out as its type demands: the client is not in step with us."""


class _Reader:
    """Takes the body of a message apart; everything that does not fit is _Malformed."""

    def __init__(self, body: bytes) -> None:
        if len(body) > MAX_MESSAGE_BYTES:
            raise _Malformed("message too long for the admin console")
        self._body = body
        self._at = 0

    def cstring(self) -> bytes:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise _Malformed("invalid string in message")
        start, self._at = self._at, end + 1
        return self._body[start:end]

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._body):
            raise _Malformed("insufficient data left in message")
        start, self._at = self._at, end
        return self._body[start:end]

    def kind(self) -> bytes:
        """Whether a Describe or Close means a statement or a portal."""
        kind = self.take(1)
        if kind not in _OBJECT_NAMES:
            raise _Malformed("invalid message: neither a statement nor a portal is meant")
        return kind

    def count(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def word(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def value(self) -> bytes | None:
        size = int.from_bytes(self.take(4), "big", signed=True)
        if size < -1:
            raise _Malformed("invalid length of a parameter")
        return None if size == -1 else self.take(size)

    def end(self) -> None:
        if self._at != len(self._body):
            raise _Malformed("invalid message format")


def _bound(kept: dict[bytes, _Statement] | dict[bytes, _Portal], name: bytes) -> None:
    if name not in kept and len(kept) >= MAX_NAMES:
        raise CommandError("too many prepared statements or portals in this session", "54000")


def _check_parameters(
    statement: _Statement, name: bytes, formats: list[int], given: list[bytes | None]
) -> None:
    """No command has parameters, but a driver may declare some, and then has to send as many."""
    if len(given) != len(statement.parameters):
        raise CommandError(
            f"bind message supplies {len(given)} parameters,"
            f' but prepared statement "{messages.decode(name)}" requires {len(statement.parameters)}'
        )
    _expanded(formats, len(given))


def _expanded(formats: list[int], count: int) -> list[int]:
    """One format per column (or parameter): the message may give none (text), one for all, or each."""
    if any(form not in (encode.TEXT, encode.BINARY) for form in formats):
        raise CommandError("unsupported format code", "22023")
    if not formats:
        return [encode.TEXT] * count
    if len(formats) == 1:
        return formats * count
    if len(formats) != count:
        raise CommandError(f"bind message has {len(formats)} result formats but query has {count} columns")
    return formats


def _described(columns: tuple[Column, ...] | None, formats: list[int]) -> bytes:
    return messages.message(b"n") if columns is None else encode.description(columns, formats)


def _next_rows(portal: _Portal, result: Result, limit: int) -> Sequence[Row]:
    """The rows of this Execute; a limit of 0 is none. PostgreSQL reads it signed: negative is none, too."""
    unlimited = limit == 0 or limit >= 1 << 31
    end = len(result.rows) if unlimited else min(portal.sent + limit, len(result.rows))
    rows = result.rows[portal.sent : end]
    portal.sent = end
    # Like PostgreSQL, a limit that is reached exactly suspends: that there is no more shows at the next
    # Execute.
    portal.ended = unlimited or len(rows) < limit
    return rows


def _printable(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalnum() else f"0x{kind.hex()}"


_Handler = Callable[[ConsoleSession, _Reader], bytes]
_HANDLERS: dict[bytes, _Handler] = {
    b"Q": ConsoleSession._query,
    b"P": ConsoleSession._parse,
    b"B": ConsoleSession._bind,
    b"D": ConsoleSession._describe,
    b"E": ConsoleSession._execute,
    b"C": ConsoleSession._close,
    b"H": ConsoleSession._flush,
}
