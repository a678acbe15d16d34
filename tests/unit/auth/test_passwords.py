"""Stored secrets: their kinds, and what they allow us at a server."""

from __future__ import annotations

import hashlib

import pytest

from pooler.auth import scram
from pooler.auth.passwords import credential, is_password, md5_secret, parse_secret
from tests.support.stored_secrets import KINDS, MD5, SCRAM, verifier_text


@pytest.mark.parametrize(("text", "kind"), KINDS)
def test_kinds(text: str, kind: str) -> None:
    assert parse_secret(text).kind == kind


def test_scram_secret_round_trip() -> None:
    verifier = parse_secret(SCRAM).verifier
    assert verifier is not None
    assert verifier_text(verifier) == SCRAM


def test_scram_secret_cut_anywhere() -> None:
    assert all(parse_secret(SCRAM[:end]).kind == "plain" for end in range(len(SCRAM)))


def test_md5_of_postgresql() -> None:
    # SELECT rolpassword of a role `me` with password `secret` under password_encryption = md5
    assert md5_secret(b"secret", b"me") == b"md5" + hashlib.md5(b"secretme").hexdigest().encode()


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


@pytest.mark.parametrize("text", ["secret", MD5, SCRAM], ids=["plain", "md5", "scram"])
def test_a_password_is_that_of_a_secret(text: str) -> None:
    secret = parse_secret(text)
    assert is_password(secret, b"me", b"secret")
    for wrong in (b"", b"Secret", b"secret ", text.encode() + b"x"):
        assert not is_password(secret, b"me", wrong)
    assert is_password(secret, b"you", b"secret") == (text != MD5)


def test_an_empty_secret_is_no_password() -> None:
    assert not is_password(parse_secret(""), b"me", b"")
