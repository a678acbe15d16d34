"""Notes that a listening connection takes for its own relays', and all others."""

from __future__ import annotations

import hashlib

import pytest

from pooler.core import Tables
from pooler.errors import ServerFault
from pooler.protocol.messages import parse_notification
from pooler.worker.notifications import OriginMarker, parse_marker


def seal(note: bytes) -> bytes:
    return hashlib.md5(b"secret" + note).hexdigest().encode()


def sealed(note: bytes) -> bytes:
    return note + b" " + seal(note)


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (b"c 77 5", OriginMarker(b"c", (77,), 5)),
        (b"c 4294967295 18446744073709551615", OriginMarker(b"c", (2**32 - 1,), 2**64 - 1)),
        (b"e 5", OriginMarker(b"e", (), 5)),
        (b"b 1 0 12 99 5", OriginMarker(b"b", (1, 0, 12, 99), 5)),
    ],
)
def test_ours(note: bytes, found: OriginMarker) -> None:
    assert parse_marker(sealed(note), seal) == found
    assert parse_marker(note, seal) is None
    assert parse_marker(sealed(note)[:-1], seal) is None
    assert parse_marker(note + b" " + seal(b"another"), seal) is None


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"c",
        b"c 5",
        b"c 77 88 5",
        b"c 99999999999999 5",
        b"c -1 5",
        b"c 1 5\n",
        b"c \xb2 5",
        b"b 0 0 99999999999 1 5",
        b"b 1 2 3 5",
        b"e 18446744073709551616",
        b"x 1 5",
        b"c 1 " + b"5" * 300,
    ],
)
def test_odd_even_with_a_seal(note: bytes) -> None:
    assert parse_marker(sealed(note), seal) is None


def test_seal_belongs_to_backend_and_server() -> None:
    tables = Tables(workers=1, slots=4, clients=4)
    other = Tables(workers=1, slots=4, clients=4)
    tables.slot_where(1, "10.0.0.1", 5432, "", 0, False)
    seals = {
        tables.marker_seal(0, 4711, b"c 77 5"),
        tables.marker_seal(0, 4712, b"c 77 5"),
        tables.marker_seal(0, 4711, b"c 77 6"),
        tables.marker_seal(1, 4711, b"c 77 5"),
        other.marker_seal(0, 4711, b"c 77 5"),
    }
    assert len(seals) == 5
    assert tables.marker_seal(0, 4711, b"c 77 5") in seals
    assert tables.marker_channel != other.marker_channel


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\1",
        b"\0\0\0\1a\0b",
        b"\0\0\0\1\0b\0",
        b"\0\0\0\1a\0b\0c\0",
        b"\0\0\0\1a\0" + b"x" * 9000 + b"\0",
    ],
)
def test_malformed_notification(body: bytes) -> None:
    with pytest.raises(ServerFault):
        parse_notification(body)


def test_notification() -> None:
    assert parse_notification(b"\0\0\1\0a\0b\0") == (256, b"a", b"b")
