"""Messages of the backend: built, parsed, and cut at every byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages
from pooler.protocol.messages import Column
from tests.support.login_driver import split_messages
from tests.support.messages import negotiate_protocol_version, row_description


def test_error_has_the_fields_in_order() -> None:
    data = messages.error("no such database: x", detail="d", hint="h")
    ((kind, body),) = split_messages(data)
    assert kind == b"E"
    assert body == b"SFATAL\0VFATAL\0C08P01\0Mno such database: x\0Dd\0Hh\0\0"
    assert messages.parse_error(body)["M"] == "no such database: x"


def test_notice() -> None:
    ((kind, body),) = split_messages(messages.notice("SET ignored"))
    assert (kind, messages.parse_error(body)["C"]) == (b"N", "00000")


def test_error_text_cannot_end_its_field() -> None:
    ((_, body),) = split_messages(messages.error("a\0Mb"))
    assert messages.parse_error(body)["M"] == "a\\0Mb"


def test_any_byte_survives_in_a_name() -> None:
    name = messages.decode(bytes(range(1, 256)))
    ((_, body),) = split_messages(messages.parameter_status("x", name))
    assert messages.parse_parameter_status(body) == ("x", name)


def test_nul_in_a_text_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="NUL"):
        messages.command_complete("a\0b")


def test_welcome() -> None:
    kinds = split_messages(messages.welcome({"a": "1", "b": "2"}, 7, b"key!"))
    assert kinds == [(b"S", b"a\x001\0"), (b"S", b"b\x002\0"), (b"K", b"\0\0\0\x07key!"), (b"Z", b"I")]


def test_result_set() -> None:
    data = (
        row_description([("a", 25), ("b", 23), ("c", 20)])
        + messages.data_row(["x", 1, None])
        + messages.data_row([b"\xff", True, 1.5])
        + messages.command_complete("SHOW")
    )
    (_, head), (_, one), (_, two), (_, tag) = split_messages(data)
    columns = messages.parse_row_description(head)
    assert columns[0] == Column("a", 0, 0, 25, -1, -1, 0)
    assert [column.size for column in columns] == [-1, 4, 8]
    assert messages.parse_data_row(one) == (b"x", b"1", None)
    assert messages.parse_data_row(two) == (b"\xff", b"t", b"1.5")
    assert messages.parse_command_complete(tag) == "SHOW"


def test_negotiate_protocol_version() -> None:
    data = negotiate_protocol_version(["_pq_.x"])
    assert split_messages(data) == [(b"v", b"\0\3\0\2\0\0\0\1_pq_.x\0")]
    assert split_messages(negotiate_protocol_version([], 0)) == [(b"v", b"\0\3\0\0\0\0\0\0")]


@pytest.mark.parametrize("length", [0, 1, 3, 105, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF])
def test_lengths_out_of_bounds(length: int) -> None:
    header = b"p" + length.to_bytes(4, "big")
    with pytest.raises(ClientFault, match="bad packet header: '70"):
        messages.body_length(header, 100, ClientFault)
    with pytest.raises(ServerFault):
        messages.body_length(header, 100, ServerFault)


@pytest.mark.parametrize("length", [4, 5, 104])
def test_lengths_within_bounds(length: int) -> None:
    assert messages.body_length(b"p" + length.to_bytes(4, "big"), 100, ClientFault) == length - 4


GOOD: list[tuple[Callable[[bytes], Any], bytes]] = [
    (messages.parse_parameter_status, b"TimeZone\0UTC\0"),
    (messages.parse_backend_key_data, b"\0\0\0\1abcd"),
    (messages.parse_ready, b"I"),
    (messages.parse_command_complete, b"SELECT 1\0"),
    (messages.parse_authentication, b"\0\0\0\5salt"[:4]),
    (messages.parse_row_description, row_description([("a", 25), ("bb", 23)])[5:]),
    (messages.parse_data_row, messages.data_row(["x", None, "", "yz"])[5:]),
]


@pytest.mark.parametrize(("parser", "body"), GOOD)
def test_parsers_refuse_a_body_cut_anywhere(parser: Callable[[bytes], Any], body: bytes) -> None:
    parser(body)
    for end in range(len(body)):
        with pytest.raises(ServerFault, match="malformed"):
            parser(body[:end])


@pytest.mark.parametrize(("parser", "body"), [g for g in GOOD if g[0] is not messages.parse_authentication])
def test_parsers_refuse_bytes_behind_the_end(parser: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(ServerFault, match="malformed"):
        parser(body + b"\1" * 300)


def test_data_row_with_a_negative_length() -> None:
    for length in (0xFFFFFFFE, 0x80000000, 0x7FFFFFFF):
        with pytest.raises(ServerFault):
            messages.parse_data_row(b"\0\1" + length.to_bytes(4, "big") + b"abc")


def test_error_cut_anywhere_is_read_as_far_as_it_came() -> None:
    body = b"SFATAL\0C28P01\0Mgo away\0\0"
    for end in range(len(body) + 1):
        fault = messages.server_fault(body[:end])
        assert fault.from_server
        assert len(fault.sqlstate) == 5
        assert fault.message
    assert (fault.message, fault.sqlstate) == ("go away", "28P01")


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"Monly text\0\0", b"C\0\0", b"Cabc\0\0", b"C\xff\xff\xff\xff\xff\0\0"]
)
def test_error_with_fields_missing_or_wrong(body: bytes) -> None:
    fault = messages.server_fault(body)
    assert fault.sqlstate == "08P01"
    messages.error(fault.message, fault.sqlstate)  # can be passed on


def test_first_of_two_fields_counts() -> None:
    assert messages.parse_error(b"C28000\0C57P01\0\0") == {"C": "28000"}
