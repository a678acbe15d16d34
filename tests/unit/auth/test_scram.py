"""SCRAM-SHA-256 as a client: the example of RFC 7677, against a server, and every message out of shape."""

from __future__ import annotations

import pytest

from pooler.auth import scram, scram_client
from pooler.auth.scram import KeyCache, ScramKeys, Verifier
from pooler.errors import ServerFault
from tests.support import scram_server
from tests.support.scram_texts import ANSWER, FINAL, FIRST, KEYS, SAID, SALT, VERIFIER


def check(final: bytes, said: bytes = SAID, verifier: Verifier = VERIFIER) -> scram_server.Proven:
    return scram_server.check_client_final(final, scram_server.parse_client_first(FIRST), said, verifier)


def test_rfc_7677() -> None:
    proven = check(FINAL)
    assert proven.server_final == ANSWER
    assert proven.client_key == KEYS.client_key


@pytest.mark.parametrize(
    "keys", [KEYS, ScramKeys(KEYS.client_key, KEYS.server_key)], ids=["password", "passed through"]
)
def test_both_sides(keys: ScramKeys) -> None:
    nonce = scram_client.new_nonce(b"c" * 18)
    first = scram_server.parse_client_first(scram_client.client_first(nonce))
    said = scram_server.server_first(first, SALT, 4096, b"s" * 18)
    server = scram_client.parse_server_first(said, nonce)
    assert (server.salt, server.iterations) == (SALT, 4096)
    proof = scram_client.prove(keys, nonce, server)
    proven = scram_server.check_client_final(proof.client_final, first, said, VERIFIER)
    assert proven.client_key == KEYS.client_key
    scram_client.check_server_final(proven.server_final, proof.server_signature)


def test_prepared_passwords_are_the_same_password() -> None:
    assert scram.derive_keys("a\u00a0b".encode(), b"s", 1) == scram.derive_keys(b"a b", b"s", 1)


@pytest.mark.parametrize("text", [b"AAAA=", b"AAAA==", b"AAAA===", b"AAAA====", b"AA===", b"AA"])
def test_padding_that_nothing_needs_is_refused(text: bytes) -> None:
    """As PostgreSQL does, so that both take the same stored texts for verifiers."""
    assert scram.b64decode(b"AA==") == b"\0"
    with pytest.raises(ValueError, match="padding"):
        scram.b64decode(text)


# -- as a client ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"r=mineX",
        b"r=mineX,s=c2FsdA==",
        b"r=mineX,i=1,s=c2FsdA==",
        b"r=mine,s=c2FsdA==,i=1",
        b"r=other,s=c2FsdA==,i=1",
        b"r=mine X,s=c2FsdA==,i=1",
        b"r=mine" + b"x" * 60_000 + b",s=c2FsdA==,i=1",
        b"r=mineX,s=,i=1",
        b"r=mineX,s=c2FsdA,i=1",
        b"r=mineX,s=c2FsdA==,i=0",
        b"r=mineX,s=c2FsdA==,i=-1",
        b"r=mineX,s=c2FsdA==,i=",
        b"r=mineX,s=c2FsdA==,i=1e3",
        b"r=mineX,s=c2FsdA==,i=1000001",
        b"r=mineX,s=c2FsdA==,i=2147483648",
        b"r=mineX,s=c2FsdA==,i=" + b"9" * 9000,
        b"r=mineX,s=c2FsdA==,i=\xb2",
        b"m=x,r=mineX,s=c2FsdA==,i=1",
        b"r=mineX,s=" + scram.b64encode(bytes(5000)) + b",i=1",
    ],
)
def test_server_first_refused(data: bytes) -> None:
    with pytest.raises(ServerFault, match="malformed SCRAM message from server"):
        scram_client.parse_server_first(data, b"mine")


def test_server_first_at_the_limit() -> None:
    assert scram_client.parse_server_first(b"r=mineX,s=c2FsdA==,i=1000000", b"mine").iterations == 1_000_000


@pytest.mark.parametrize(
    "data", [b"", b"v=", b"v=AAAA", b"v=!", b"x=AAAA", ANSWER[:-4], b"e=other-error", b"e=\xff\n"]
)
def test_server_final_refused(data: bytes) -> None:
    with pytest.raises(ServerFault, match="server login failed") as caught:
        scram_client.check_server_final(data, scram.b64decode(ANSWER[2:]))
    assert caught.value.message.isprintable()


def test_server_final() -> None:
    scram_client.check_server_final(ANSWER, scram.b64decode(ANSWER[2:]))


# -- the cache -----------------------------------------------------------------------------------------------


def test_cache_finds_what_it_derived() -> None:
    cache = KeyCache(2)
    assert cache.find(b"pw", b"salt", 1) is None
    keys = cache.derive(b"pw", b"salt", 1)
    assert cache.find(b"pw", b"salt", 1) == keys
    assert cache.find(b"pw", b"salt", 2) is None
    assert cache.find(b"pw2", b"salt", 1) is None
    cache.clear()
    assert cache.find(b"pw", b"salt", 1) is None


def test_cache_is_bounded() -> None:
    cache = KeyCache(2)
    for number in range(5):
        cache.derive(b"%d" % number, b"salt", 1)
    assert [cache.find(b"%d" % number, b"salt", 1) is not None for number in range(5)] == [False] * 3 + [
        True
    ] * 2
