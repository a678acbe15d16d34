"""Rows of a result that are bytes of the wire already, because there may be very many of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from pooler.admin.model import Column, Row, Value

_HEAD = struct.Struct("!cIH")
_LENGTH = struct.Struct("!i")


class TextRows(Sequence[Row]):
    """DataRow messages in text form; taken apart only for who asks for less than all, or for another form."""

    def __init__(self, data: bytes, count: int, columns: Sequence[Column]) -> None:
        self.data = data
        self._count = count
        self._columns = columns

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (self._row(place) for place in self._places[:-1])

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> TextRows: ...
    def __getitem__(self, index: int | slice) -> Row | TextRows:
        if isinstance(index, int):
            return self._row(self._places[range(self._count)[index]])
        first, end, _ = index.indices(self._count)
        end = max(first, end)
        return TextRows(self.data[self._places[first] : self._places[end]], end - first, self._columns)

    @cached_property
    def _places(self) -> list[int]:
        """Where each row begins, and where the last one ends."""
        places = [0]
        for _ in range(self._count):
            _, length, _ = _HEAD.unpack_from(self.data, places[-1])
            places.append(places[-1] + 1 + length)
        return places

    def _row(self, place: int) -> Row:
        at = place + _HEAD.size
        values: list[Value] = []
        for column in self._columns:
            (length,) = _LENGTH.unpack_from(self.data, at)
            at += _LENGTH.size
            if length < 0:
                values.append(None)
                continue
            text = self.data[at : at + length].decode()
            at += length
            values.append(text if column.type == "text" else int(text))
        return tuple(values)
