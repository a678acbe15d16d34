"""auth_query: what is sent, and what the answer means."""

from __future__ import annotations

import struct

import pytest

from pooler.errors import ServerFault
from pooler.protocol import auth_query, messages
from tests.support.login_driver import Driver, split_messages
from tests.support.messages import row_description

READY = messages.ready()
DONE = messages.command_complete("SELECT 1") + READY
BEGIN = messages.message(b"1") + messages.message(b"2")


def answer(*parts: bytes) -> auth_query.StoredUser | None:
    driver = Driver(auth_query.answer(), fault=ServerFault).feed(b"".join(parts))
    assert driver.done
    return driver.result


def row(*values: str | None) -> bytes:
    return messages.data_row(values)


def fault(*parts: bytes) -> str:
    with pytest.raises(ServerFault) as caught:
        answer(*parts)
    return caught.value.message


def test_name_is_a_parameter() -> None:
    driver = Driver(auth_query.ask("SELECT $1", "x'; DROP\udcff"), fault=ServerFault)
    driver.feed(b"")
    sent = split_messages(driver.take_sent())
    assert [kind for kind, _ in sent] == [b"P", b"B", b"D", b"E", b"S"]
    assert sent[0][1] == b"\0SELECT $1\0\0\0"
    value = b"x'; DROP\xff"
    assert sent[1][1] == b"\0\0\0\0\0\1" + struct.pack("!I", len(value)) + value + b"\0\0"


def test_found() -> None:
    columns = row_description([("a", 25), ("b", 25)])
    found = answer(BEGIN, columns, messages.notice("hi"), row("u", "md5x"), DONE)
    assert found == auth_query.StoredUser("u", "md5x")
    assert "md5x" not in repr(found)
    assert answer(BEGIN, columns, row("u", None), DONE) == auth_query.StoredUser("u", None)
    assert answer(BEGIN, columns, DONE) is None


def test_last_row_counts() -> None:
    assert answer(BEGIN, row("u", "a"), row("u", "b"), DONE) == auth_query.StoredUser("u", "b")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (("u",), "expected 2 columns from auth_query, not 1"),
        (("u", "a", "b"), "expected 2 columns from auth_query, not 3"),
        ((None, "a"), "auth_query response contained null user name"),
        (("u" * 128, "a"), "auth_query response contained a user name that is too long"),
    ],
)
def test_rows_that_are_none(values: tuple[str | None, ...], text: str) -> None:
    """The answer is read to its end: the server can go on."""
    driver = Driver(auth_query.answer(), fault=ServerFault).feed(BEGIN + row(*values))
    assert not driver.done
    with pytest.raises(ServerFault) as caught:
        driver.feed(DONE)
    assert caught.value.message == text


def test_error_of_the_server() -> None:
    error = messages.error("no such table", "42P01", "ERROR")
    assert fault(error, READY) == "no such table"
    assert fault(messages.error("query_wait_timeout")) == "query_wait_timeout", "there is nothing behind it"


def test_endless_and_strange_answers() -> None:
    assert "too long" in fault(BEGIN, *[row("u", "x" * 100_000)] * 11)
    assert fault(messages.message(b"G", b"\0\0\0")) == "unexpected response from auth_query"


def test_greeting() -> None:
    driver = Driver(auth_query.until_ready(), fault=ServerFault)
    driver.feed(messages.parameter_status("a", "b"))
    assert not driver.done
    assert driver.feed(READY).done
