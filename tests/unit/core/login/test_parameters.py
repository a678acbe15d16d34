"""How PostgreSQL would write the values of a startup packet (core/login/parameters.h)."""

from __future__ import annotations

import random

import pytest

from pooler.core._core import login_printable, login_same_value

NAME_BYTES = 63


def wanted(name: bytes, new: bool) -> bytes:
    """What PostgreSQL makes of a name: it is cut where a character ends, if all of it is UTF-8."""
    raw = name
    if len(raw) > NAME_BYTES:
        try:
            name.decode()
        except UnicodeDecodeError:
            raw = name[:NAME_BYTES]
        else:
            raw = name[:NAME_BYTES].decode("utf-8", "ignore").encode()
    shown = (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" if new else "?" for byte in raw)
    return "".join(shown).encode()


@pytest.mark.parametrize(
    ("name", "before_16", "since_16"),
    [
        (b"", b"", b""),
        (b"plain name~", b"plain name~", b"plain name~"),
        ("ä\t".encode(), b"???", b"\\xc3\\xa4\\x09"),
        (b"\x7f\xff", b"??", b"\\x7f\\xff"),
        (b"x" * 64, b"x" * 63, b"x" * 63),
        (b"x" * 62 + "ä".encode(), b"x" * 62, b"x" * 62),
        (b"x" * 61 + "ä".encode() + b"y", b"x" * 61 + b"??", b"x" * 61 + b"\\xc3\\xa4"),
        (b"x" * 62 + b"\xc3y", b"x" * 62 + b"?", b"x" * 62 + b"\\xc3"),
        (b"\xff" * 64, b"?" * 63, b"\\xff" * 63),
    ],
)
def test_application_names(name: bytes, before_16: bytes, since_16: bytes) -> None:
    assert login_printable(name, b"15.4 (Debian 15.4-1)") == before_16
    assert login_printable(name, b"16beta1") == since_16


@pytest.mark.parametrize("version", [None, b"", b"devel", b"9.6.24"])
def test_a_server_whose_version_is_old_or_unknown_shows_no_bytes(version: bytes | None) -> None:
    assert login_printable(b"\xff", version) == b"?"


def test_any_name_is_what_postgresql_makes_of_it() -> None:
    chance = random.Random(1)
    letters = ["a", " ", "\x01", "ä", "€", "𝄞", "\x7f"]
    for _ in range(5000):
        name = "".join(chance.choices(letters, k=chance.randrange(80))).encode()
        if chance.random() < 0.3:
            name += bytes(chance.choices(range(1, 256), k=chance.randrange(1, 8)))
            name += b"x" * chance.randrange(70)
        for version, new in ((b"15.1", False), (b"17.0", True)):
            assert login_printable(name, version) == wanted(name, new), name


@pytest.mark.parametrize(
    ("raw", "is_utf8"),
    [
        (b"\xe0\xa0\x80", True),
        (b"\xe0\x9f\xbf", False),  # longer than need be
        (b"\xed\x9f\xbf", True),
        (b"\xed\xa0\x80", False),  # a surrogate
        (b"\xf0\x90\x80\x80", True),
        (b"\xf0\x8f\xbf\xbf", False),
        (b"\xf4\x8f\xbf\xbf", True),
        (b"\xf4\x90\x80\x80", False),  # beyond Unicode
        (b"\xc1\xbf", False),
        (b"\x80", False),
        (b"\xc3", False),
    ],
)
def test_what_is_utf8_decides_where_a_name_is_cut(raw: bytes, is_utf8: bool) -> None:
    """The 63rd byte is the first of a character, which is left out if the rest is UTF-8, too."""
    name = b"x" * 62 + "ä".encode() + raw
    assert login_printable(name, b"15") == b"x" * 62 + (b"" if is_utf8 else b"?")


@pytest.mark.parametrize(
    ("name", "value", "reported", "same"),
    [
        ("client_encoding", b"utf-8", b"UTF8", True),
        ("client_encoding", b"'Utf_8'", b"UTF8", True),
        ("CLIENT_ENCODING", b"latin 1", b"LATIN1", True),
        ("client_encoding", b"UTF88", b"UTF8", False),
        ("client_encoding", b"UTF", b"UTF8", False),
        ("client_encoding", b"", b"", False),
        ("DateStyle", b"ISO", b"ISO, MDY", True),
        ("datestyle", b"iso", b"ISO, MDY", True),
        ("DateStyle", b"ISO, MDY", b"ISO, MDY", False),  # it is the same text
        ("DateStyle", b"IS", b"ISO, MDY", False),
        ("DateStyle", b"", b", MDY", False),
        ("DateStyle", b"ISO, MDY, more", b"ISO, MDY", False),
        ("TimeZone", b"utc", b"UTC", False),
        ("IntervalStyle", b"ISO", b"ISO, MDY", False),
    ],
)
def test_other_spellings_of_the_servers_own(name: str, value: bytes, reported: bytes, same: bool) -> None:
    assert login_same_value(name, value, reported) is same
