"""Rows that are bytes of the wire already: whole, in part, and in another form."""

from __future__ import annotations

import pytest

from pooler.admin import encode
from pooler.admin.model import Row, columns
from pooler.admin.text_rows import TextRows

COLUMNS = columns("name text, port int4, memory int8")
ROWS: list[Row] = [("one", 1, None), ("", 2, 2**40), (None, 3, 4), ("vier", -4, 5)]
TEXT, BINARY = [encode.TEXT] * 3, [encode.BINARY] * 3


@pytest.fixture
def rows() -> TextRows:
    return TextRows(b"".join(encode.row(row, COLUMNS, TEXT) for row in ROWS), len(ROWS), COLUMNS)


def test_the_rows_are_there_again(rows: TextRows) -> None:
    assert list(rows) == ROWS
    assert [rows[at] for at in (0, 3, -1)] == [ROWS[0], ROWS[3], ROWS[3]]
    with pytest.raises(IndexError):
        rows[4]


def test_as_text_they_go_out_as_they_are(rows: TextRows) -> None:
    assert encode.rows(rows, COLUMNS, TEXT) is rows.data


def test_in_binary_form_they_are_made_anew(rows: TextRows) -> None:
    assert encode.rows(rows, COLUMNS, BINARY) == encode.rows(ROWS, COLUMNS, BINARY)


@pytest.mark.parametrize(("first", "end"), [(0, 2), (2, 4), (1, 1), (3, 9), (4, 4), (3, 2)])
def test_a_part(rows: TextRows, first: int, end: int) -> None:
    part = rows[first:end]
    assert len(part) == len(ROWS[first:end])
    assert list(part) == ROWS[first:end]
    assert encode.rows(part, COLUMNS, TEXT) == encode.rows(ROWS[first:end], COLUMNS, TEXT)
