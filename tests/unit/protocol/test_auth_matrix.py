"""Method x kind of secret x what is answered: in by the right password only (pgpool CVE-2025-46801)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pooler.auth import passwords, scram, scram_client
from pooler.auth.method import Method
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import codes, frontend
from pooler.protocol.client_login import METHODS, ClientPolicy, client_login
from tests.unit.protocol.driver import Driver, scram_secret, split_messages

USER, PASSWORD = "me", "secret"
STORED_MD5 = "md5" + hashlib.md5((PASSWORD + USER).encode()).hexdigest()

#: What may be stored for a user; None: there is none. NULL from auth_query comes to an empty one.
SECRETS: dict[str, str | None] = {
    "unknown": None,
    "empty": "",
    "plain": PASSWORD,
    "md5": STORED_MD5,
    "scram": scram_secret(PASSWORD),
    "md5 alone": "md5",
    "broken md5": STORED_MD5[:-1],
    "broken scram": "SCRAM-SHA-256$4096:c2FsdA==$",
}

#: What a client may answer with. A stored form is never a password.
ANSWERS: dict[str, str] = {
    "right": PASSWORD,
    "wrong": "wrong",
    "empty": "",
    "stored md5": STORED_MD5,
    "stored scram": scram_secret(PASSWORD),
    "stand-in": "\x01no such user",
    "md5": "md5",
    "prefix": PASSWORD[:-1],
    "longer": PASSWORD + "x",
}

#: Clients that get in: methods that take the kind of secret, with the right answer.
IN = {
    (method, kind, "right")
    for method, kinds in {
        "plain": ("plain", "md5", "scram"),
        "md5": ("plain", "md5", "scram"),
        "scram-sha-256": ("plain", "scram"),
    }.items()
    for kind in kinds
}
#: A secret that is broken is a password like any other text, and whoever knows it knows it.
AS_TEXT = {
    ("broken md5", STORED_MD5[:-1]),
    ("broken scram", "SCRAM-SHA-256$4096:c2FsdA==$"),
    ("md5 alone", "md5"),
}
KNOWN = tuple(kind for kind in SECRETS if kind != "unknown")


def attempt(method: str, kind: str, password: str, by_rule: bool, mock_scram: bool = False) -> bool:
    """Whether this client gets in."""
    stored = SECRETS[kind]
    choose = (lambda packet, tls: Method(method)) if by_rule else None
    policy = ClientPolicy(
        "hba" if by_rule else method,
        mock_secret=b"m",
        choose=choose,
        mock_scram=mock_scram,
        scram_iterations=10,
        is_unix=True,
        peer_uid=2**31 - 5,
        own_uid=1,
    )
    driver: Driver[Any] = Driver(client_login(policy), {} if stored is None else {USER: stored})
    driver.feed(frontend.startup(USER, "db", {}))
    while not driver.done:
        ((_, body),) = split_messages(driver.take_sent())
        _reply(driver, body, password)
    return driver.finished() is not None


def _reply(driver: Driver[Any], request: bytes, password: str) -> None:
    """As a driver would answer."""
    code = int.from_bytes(request[:4], "big")
    if code == codes.AUTH_CLEARTEXT:
        driver.feed(frontend.password(password.encode()))
    elif code == codes.AUTH_MD5:
        secret = passwords.md5_secret(password.encode(), USER.encode())
        driver.feed(frontend.password(passwords.md5_answer(secret, request[4:])))
    else:
        nonce = b"n" * 24
        first = scram_client.client_first(nonce)
        driver.feed(frontend.sasl_initial_response(codes.SCRAM_SHA_256, first))
        ((_, said),) = split_messages(driver.take_sent())
        server = scram_client.parse_server_first(said[4:], nonce)
        keys = scram.derive_keys(password.encode(), server.salt, server.iterations)
        driver.feed(frontend.sasl_response(scram_client.prove(keys, nonce, server).client_final))


@pytest.mark.parametrize("by_rule", [False, True], ids=["auth_type", "rule"])
@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_passwords(method: str, kind: str, by_rule: bool) -> None:
    for name, password in ANSWERS.items():
        if (kind, password) in AS_TEXT:
            continue
        for mock_scram in (False, True):
            if (method, kind, name) in IN:
                assert attempt(method, kind, password, by_rule, mock_scram)
                continue
            with pytest.raises((ClientFault, ServerFault), match="authentication failed"):
                attempt(method, kind, password, by_rule, mock_scram)


@pytest.mark.parametrize("method", sorted(METHODS - {"plain", "md5", "scram-sha-256", "any", "trust"}))
@pytest.mark.parametrize("kind", SECRETS)
def test_methods_that_look_elsewhere(method: str, kind: str) -> None:
    """auth_file's passwords are no way in where somebody else decides."""
    for password in ANSWERS.values():
        with pytest.raises(ClientFault, match=r"authentication failed|login rejected"):
            attempt(method, kind, password, True)


@pytest.mark.parametrize("method", ["reject", "", "none", "Trust", "any "])
@pytest.mark.parametrize("kind", SECRETS)
def test_words_that_are_no_way_in(method: str, kind: str) -> None:
    with pytest.raises(ClientFault):
        attempt(method, kind, PASSWORD, True)


def test_trust_is_for_who_is_known() -> None:
    for kind in KNOWN:
        assert attempt("trust", kind, "", True)
    with pytest.raises(ClientFault, match='"trust" authentication failed'):
        attempt("trust", "unknown", "", True)


def test_answer_to_another_challenge() -> None:
    """Somebody who heard an MD5 exchange cannot use it again, and the challenge alone tells nothing."""
    for heard, kind in (
        (answer, kind)
        for answer in (
            passwords.md5_answer(STORED_MD5.encode(), b"SALT"),
            passwords.md5_answer(b"md5", b"salt"),
            passwords.md5_answer(b"", b"salt"),
        )
        for kind in SECRETS
    ):
        stored = SECRETS[kind]
        policy = ClientPolicy("md5", mock_secret=b"m", random=lambda n: b"salt"[:n].ljust(n, b"x"))
        driver: Driver[Any] = Driver(client_login(policy), {} if stored is None else {USER: stored})
        driver.feed(frontend.startup(USER, "db", {}))
        with pytest.raises(ClientFault):
            driver.feed(frontend.password(heard))
