"""Results of the console as bytes of the wire, in text and in binary form."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pooler.admin.model import Column, CommandError, Notice, Result, Row, Value
from pooler.admin.text_rows import TextRows
from pooler.errors import PROTOCOL_VIOLATION, ClientFault, PoolerError, ServerFault
from pooler.protocol import codes, messages

TEXT = 0
BINARY = 1

_FIELD = struct.Struct("!IhIhih")
_NUMERIC_HEAD = struct.Struct("!hhHh")
_NUMERIC_NEGATIVE = 0x4000
_NUMERIC_BASE = 10_000

#: Width in bytes of the integers that may be sent. A value that has outgrown its column (a counter in a
#: column that is int4 for compatibility) is shown as the largest: drivers refuse what does not fit.
_WIDTHS = {"int4": 4, "int8": 8}


def result(outcome: Result) -> bytes:
    """The whole answer to a simple query."""
    if outcome.tag is None:
        return b""
    parts = [notice(each) for each in outcome.notices]
    if outcome.columns is not None:
        formats = [TEXT] * len(outcome.columns)
        parts.append(description(outcome.columns, formats))
        parts.append(rows(outcome.rows, outcome.columns, formats))
    return b"".join((*parts, messages.command_complete(outcome.tag), ready()))


def ready() -> bytes:
    """ReadyForQuery: the console knows no transactions."""
    return messages.ready(codes.STATUS_IDLE)


def notice(of: Notice) -> bytes:
    """NoticeResponse."""
    return messages.notice(of.text, detail=of.detail)


def failure(fault: PoolerError) -> bytes:
    """ErrorResponse. It is an ERROR whatever the fault says: the session goes on."""
    sqlstate = fault.sqlstate if isinstance(fault, ClientFault | ServerFault) else PROTOCOL_VIOLATION
    detail = fault.detail if isinstance(fault, CommandError) else None
    return messages.error(str(fault), sqlstate, "ERROR", detail=detail)


def description(columns: Sequence[Column], formats: Sequence[int]) -> bytes:
    """RowDescription."""
    fields = [
        messages.cstring(column.name)
        + _FIELD.pack(0, 0, column.oid, codes.TYPE_SIZES.get(column.oid, -1), -1, form)
        for column, form in zip(columns, formats, strict=True)
    ]
    return messages.message(b"T", struct.pack("!H", len(fields)), *fields)


def rows(several: Sequence[Row], columns: Sequence[Column], formats: Sequence[int]) -> bytes:
    """One DataRow after the other."""
    if isinstance(several, TextRows) and BINARY not in formats:
        return several.data
    return b"".join(row(each, columns, formats) for each in several)


def row(values: Row, columns: Sequence[Column], formats: Sequence[int]) -> bytes:
    """DataRow."""
    cells = zip(values, columns, formats, strict=True)
    return messages.data_row([_cell(value, column.type, form) for value, column, form in cells])


def _cell(value: Value, kind: str, form: int) -> str | bytes | None:
    if value is None:
        return None
    if isinstance(value, int):
        value = _fitting(value, kind)
        return _binary(value, kind) if form == BINARY else str(value)
    if isinstance(value, str):  # clients are told that this is UTF-8, whatever names others came with
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value  # text and bytea look the same in both forms, as long as no bytea is sent in text form


def _fitting(value: int, kind: str) -> int:
    width = _WIDTHS.get(kind)
    if width is None:
        return value
    largest: int = (1 << (8 * width - 1)) - 1
    return max(min(value, largest), -largest - 1)


def _binary(value: int, kind: str) -> bytes:
    width = _WIDTHS.get(kind)
    return _numeric(value) if width is None else value.to_bytes(width, "big", signed=True)


def _numeric(value: int) -> bytes:
    """Binary form of a whole numeric: digits to the base 10000, the most significant first."""
    digits = []
    rest = abs(value)
    while rest:
        rest, digit = divmod(rest, _NUMERIC_BASE)
        digits.append(digit)
    weight = max(len(digits) - 1, 0)
    sign = _NUMERIC_NEGATIVE if value < 0 else 0
    head = _NUMERIC_HEAD.pack(len(digits), weight, sign, 0)
    return head + b"".join(digit.to_bytes(2, "big") for digit in reversed(digits))
