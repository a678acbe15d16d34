"""SASLprep: the examples of RFC 4013, and the cases where PostgreSQL takes the password as it is."""

from __future__ import annotations

import pytest

from pooler.auth.saslprep import saslprep


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("user", "user"),
        ("USER", "USER"),
        ("I\u00adX", "IX"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("pässword", "pässword"),
        ("pa\u0308ssword", "p\u00e4ssword"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_prepared(password: str, prepared: str) -> None:
    assert saslprep(password.encode()) == prepared.encode()


@pytest.mark.parametrize(
    "password",
    [
        b"\x07bell and other ASCII is not looked at",
        b"\xff\xfe not UTF-8",
        "ä\u0007".encode(),
        "\u0627\u0031".encode(),
        "\u0627a\u0628".encode(),
        "\u00ad".encode(),
        "\ue000".encode(),
        "\ufffd".encode(),
        "\u2028ä".encode(),
        "😀".encode(),
        b"",
    ],
)
def test_taken_as_it_is(password: bytes) -> None:
    assert saslprep(password) == password
