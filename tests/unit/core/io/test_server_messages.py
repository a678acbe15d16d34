"""What the relay reads of a server's message, and for what it closes that server."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import backend_effects, server_message_fits


def row(*columns: bytes | None) -> bytes:
    """The body of a DataRow."""
    packed = [b"\xff" * 4 if c is None else struct.pack("!I", len(c)) + c for c in columns]
    return struct.pack("!H", len(columns)) + b"".join(packed)


COLUMN = b"n\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)

#: Bodies that PostgreSQL sends, by type; of the last three those that answer a request of pooler's own.
SOUND = {
    b"Z": [b"I", b"T", b"E"],
    b"1": [b""],
    b"2": [b""],
    b"3": [b""],
    b"I": [b""],
    b"n": [b""],
    b"s": [b""],
    b"c": [b""],
    b"S": [b"TimeZone\0UTC\0", b"application_name\0\0"],
    b"C": [b"SELECT 1\0", b"\0"],
    b"E": [b"SERROR\0VERROR\0C42601\0Mno\0P12\0\0", b"Mno\0\0", b"\0"],
    b"A": [b"\0\0\0\1channel\0text\0", b"\0\0\0\1channel\0\0"],
    b"D": [row(b"s", b"search_path", b"a"), row(b"s", None), row(b""), row()],
    b"T": [b"\0\1" + COLUMN, b"\0\2" + COLUMN * 2, b"\0\0"],
    b"t": [b"\0\1\0\0\0\x19", b"\0\0"],
}

#: Bodies that lie about themselves.
BROKEN = {
    b"Z": [b"", b"X", b"II", b"\0"],
    b"1": [b"x"],
    b"3": [b"\0"],
    b"s": [b"1"],
    b"S": [b"", b"\0", b"\0\0\0", b"a\0", b"a\0b", b"a\0b\0c", b"a\0b\0c\0", b"\0b\0"],
    b"C": [b"", b"SELECT 1", b"SELECT\0 1\0", b"x" * 20_000 + b"\0"],
    b"E": [b"", b"SERROR\0", b"SERROR", b"SERROR\0\0x", b"SERROR\0\0\0", b"\0\0"],
    b"A": [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1a",
        b"\0\0\0\1a\0",
        b"\0\0\0\1a\0b",
        b"\0\0\0\1\0b\0",
        b"\0\0\0\1a\0b\0c\0",
    ],
    b"D": [
        b"",
        b"\0",
        b"\0\1\0\0",
        b"\0\1\xff\xff\xff\xfex",
        row(b"s")[:-1],
        row(b"s") + b"x",
        b"\0\2" + row(b"s")[2:],
        row(b"s", b"f\0c", b""),
        row(b"s", b"name", b"value\0"),
    ],
    b"T": [b"", b"\0\1", b"\0\1" + COLUMN[:-1], b"\0\2" + COLUMN, b"\0\1" + COLUMN + b"x", b"\0\1n"],
    b"t": [b"", b"\0\1", b"\0\1\0\0\0", b"\xff\xff\0\0\0\x19"],
}


@pytest.mark.parametrize(
    ("kind", "body"), [(kind, body) for kind, bodies in SOUND.items() for body in bodies]
)
def test_sound(kind: bytes, body: bytes) -> None:
    assert server_message_fits(kind, body, True)


@pytest.mark.parametrize(
    ("kind", "body"), [(kind, body) for kind, bodies in BROKEN.items() for body in bodies]
)
def test_broken(kind: bytes, body: bytes) -> None:
    assert not server_message_fits(kind, body, True)


@pytest.mark.parametrize("kind", [b"D", b"T", b"t"])
def test_rows_of_clients_are_not_looked_into(kind: bytes) -> None:
    assert server_message_fits(kind, b"\0\1anything", False)


@pytest.mark.parametrize("kind", sorted(SOUND))
def test_cut_anywhere(kind: bytes) -> None:
    """No beginning of a message is taken for a message, but where it is one."""
    for body in SOUND[kind]:
        for n in range(len(body)):
            if server_message_fits(kind, body[:n], True):
                assert body[:n] in SOUND[kind]


@given(st.integers(0, 255), st.binary(max_size=64), st.booleans())
def test_anything(code: int, body: bytes, own: bool) -> None:
    """Whatever a server sends is judged within its bytes, and by their structure alone."""
    fits = server_message_fits(bytes([code]), body, own)
    assert fits == server_message_fits(bytes([code]), bytes(bytearray(body)), own)


def test_every_type_that_is_read_has_a_shape() -> None:
    """A type that the relay does not forbid is refused with some body that has no form."""
    free = b"dN"  # COPY data may be anything; notices are passed on unread
    for code, effect in enumerate(backend_effects()):
        kind = bytes([code])
        if effect != "FORBIDDEN" and kind not in free:
            assert not all(server_message_fits(kind, b"\1" * n, True) for n in range(40)), kind
