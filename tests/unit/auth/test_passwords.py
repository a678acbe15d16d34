"""Stored secrets: their kinds, checks against them, and what they allow us at a server."""

from __future__ import annotations

import hashlib

import pytest

from pooler.auth import passwords, scram
from pooler.auth.passwords import (
    check_md5_answer,
    check_password,
    credential,
    md5_answer,
    md5_secret,
    parse_secret,
)

MD5 = "md5" + hashlib.md5(b"secretme").hexdigest()
SCRAM = scram.verifier_of(scram.derive_keys(b"secret", b"salt", 10), b"salt", 10).text()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "plain"),
        ("secret", "plain"),
        (MD5, "md5"),
        (MD5.upper(), "plain"),
        (MD5[:-1], "plain"),
        (MD5 + "0", "plain"),
        (MD5 + "\n", "plain"),
        ("md5" + "g" * 32, "plain"),
        ("md5" + "٣" * 32, "plain"),
        (SCRAM, "scram"),
        (SCRAM + "\n", "plain"),
        (SCRAM.replace(":salt", ":"), "scram"),
        (SCRAM.replace("$10:", "$0:"), "plain"),
        (SCRAM.replace("$10:", "$-1:"), "plain"),
        (SCRAM.replace("$10:", "$9999999999:"), "plain"),
        (SCRAM[:-4], "plain"),
        ("SCRAM-SHA-256$10:!!!!$aa:bb", "plain"),
        ("SCRAM-SHA-256$10:a$aa:bb", "plain"),
        ("SCRAM-SHA-256$", "plain"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert parse_secret(text).kind == kind


def test_scram_secret_round_trip() -> None:
    verifier = parse_secret(SCRAM).verifier
    assert verifier is not None
    assert verifier.text() == SCRAM


def test_scram_secret_cut_anywhere() -> None:
    assert all(parse_secret(SCRAM[:end]).kind == "plain" for end in range(len(SCRAM)))


def test_md5_of_postgresql() -> None:
    # SELECT rolpassword of a role `me` with password `secret` under password_encryption = md5
    assert md5_secret(b"secret", b"me") == MD5.encode()


@pytest.mark.parametrize("stored", ["secret", MD5])
def test_md5_answers(stored: str) -> None:
    salt = b"\0\1\2\3"
    right = md5_answer(MD5.encode(), salt)
    secret = parse_secret(stored)
    assert check_md5_answer(secret, b"me", salt, right)
    for wrong in (b"", b"secret", right[:-1], right + b"0", right.upper(), MD5.encode(), b"\xff" * 35):
        assert not check_md5_answer(secret, b"me", salt, wrong)
    assert not check_md5_answer(secret, b"me", b"\0\1\2\4", right)


def test_md5_answer_never_fits_a_scram_secret() -> None:
    salt = b"abcd"
    made = md5_answer(md5_secret(SCRAM.encode(), b"me"), salt)  # as if the stored text were the password
    assert not check_md5_answer(parse_secret(SCRAM), b"me", salt, made)


@pytest.mark.parametrize("stored", ["secret", MD5])
def test_clear_passwords(stored: str) -> None:
    secret = parse_secret(stored)
    assert check_password(secret, b"me", b"secret")
    for wrong in (b"", b"secre", b"secrets", b"\xff", MD5.encode()):
        assert not check_password(secret, b"me", wrong)


def test_stored_text_is_no_password() -> None:
    assert not check_password(parse_secret(SCRAM), b"me", SCRAM.encode())
    assert not check_password(parse_secret(MD5), b"me", MD5.encode())


def test_credentials() -> None:
    keys = scram.ScramKeys(b"c", b"s")
    assert credential(None).kind == "none"
    assert credential(parse_secret("")).kind == "none"
    assert credential(parse_secret("x")).text == b"x"
    assert credential(parse_secret(MD5)).kind == "md5"
    assert credential(parse_secret(SCRAM)).kind == "none"
    assert credential(parse_secret(SCRAM), keys).keys == keys
    assert credential(parse_secret("x"), keys).kind == "plain"


def test_nothing_secret_in_a_repr() -> None:
    keys = scram.derive_keys(b"secret", b"salt", 1)
    for value in (parse_secret("hunter2"), credential(parse_secret("hunter2")), keys, parse_secret(SCRAM)):
        assert "hunter2" not in repr(value)
        assert repr(keys.client_key) not in repr(value)
        assert "SCRAM-SHA" not in repr(value)


def test_any_bytes_in_a_plain_password() -> None:
    raw = bytes(range(1, 256))
    secret = parse_secret(raw.decode("utf-8", "surrogateescape"))
    assert passwords.check_password(secret, b"me", raw)
