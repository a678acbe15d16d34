"""Queries of our own: rows, errors that leave the connection in step, and answers that make no sense."""

from __future__ import annotations

import pytest

from pooler.errors import ServerFault
from pooler.protocol import codes, frontend, messages
from pooler.protocol.query import QueryResult, simple_query
from tests.support.login_driver import Driver
from tests.support.messages import empty_query_response, row_description

ROWS = (
    row_description([("a", 25), ("b", 23)])
    + messages.data_row(["x", 1])
    + messages.data_row([None, 2])
    + messages.command_complete("SELECT 2")
    + messages.ready()
)


def ask(answer: bytes) -> QueryResult:
    """What this answer means."""
    driver = Driver(simple_query("SELECT"), fault=ServerFault).feed(answer)
    assert driver.sent == frontend.query("SELECT")
    return driver.finished()


def test_rows() -> None:
    result = ask(ROWS)
    assert [column.name for column in result.columns] == ["a", "b"]
    assert result.rows == [(b"x", b"1"), (None, b"2")]
    assert (result.tag, result.status) == ("SELECT 2", b"I")


def test_cut_anywhere_it_waits() -> None:
    for end in range(len(ROWS)):
        assert not Driver(simple_query("SELECT"), fault=ServerFault).feed(ROWS[:end]).done


def test_without_rows() -> None:
    assert ask(messages.command_complete("SET") + messages.ready(b"T")).status == b"T"
    assert ask(empty_query_response() + messages.ready()).tag == ""


def test_last_statement_counts() -> None:
    result = ask(
        ROWS[:-6] + row_description([("c", 25)]) + messages.command_complete("SELECT 0") + messages.ready()
    )
    assert ([column.name for column in result.columns], result.rows, result.tag) == (["c"], [], "SELECT 0")


def test_what_comes_at_any_time() -> None:
    unasked = (
        messages.notice("n")
        + messages.parameter_status("TimeZone", "CET")
        + messages.message(b"A", b"\0\0\0\1c\0\0")
    )
    result = ask(unasked + ROWS)
    assert result.parameters == {"TimeZone": "CET"}
    assert result.notices[0]["M"] == "n"
    assert len(result.rows) == 2


def test_error_is_raised_when_the_server_is_ready_again() -> None:
    driver = Driver(simple_query("SELECT"), fault=ServerFault)
    driver.feed(messages.error("no such table", "42P01", "ERROR"))
    with pytest.raises(ServerFault) as caught:
        driver.feed(messages.ready())
    assert (caught.value.message, caught.value.sqlstate, caught.value.from_server) == (
        "no such table",
        "42P01",
        True,
    )
    assert not driver.arrived


@pytest.mark.parametrize("kind", [b"R", b"K", b"G", b"H", b"W", b"1", b"\0"])
def test_out_of_place(kind: bytes) -> None:
    with pytest.raises(ServerFault) as caught:
        ask(messages.message(kind, b"\0\0\0\0"))
    assert not caught.value.from_server


def test_too_much() -> None:
    row = messages.data_row(["x" * 60_000])
    with pytest.raises(ServerFault, match="too long"):
        ask(row * (codes.MAX_RESULT_BYTES // 60_000 + 1))
    with pytest.raises(ServerFault):
        ask(b"D" + (codes.MAX_RESULT_BYTES + 5).to_bytes(4, "big"))
