"""Our client side logs in at our server side: every method with every kind of stored secret."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pooler.auth import scram
from pooler.auth.passwords import credential, parse_secret
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages
from pooler.protocol.client_login import ClientPolicy, ClientSession, client_login
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from tests.unit.protocol.driver import Driver, play, scram_secret

METHODS = ("any", "trust", "plain", "md5", "scram-sha-256")
PASSWORD = "sécret"
MD5 = "md5" + hashlib.md5((PASSWORD + "me").encode()).hexdigest()
SCRAM = scram_secret(PASSWORD)
SECRETS = {"plain": PASSWORD, "md5": MD5, "scram": SCRAM}
WELCOME = messages.welcome({"TimeZone": "UTC"}, 99, b"abcd")


def log_in(
    method: str, known: dict[str, str], stored: str, keys: scram.ScramKeys | None = None, **policy: Any
) -> tuple[ServerSession, ClientSession]:
    """Let a server login meet a client login; returns what both have learned."""
    target = ServerTarget("me", "db", credential(parse_secret(stored), keys), {"application_name": "x"})
    front = Driver(server_login(target), fault=ServerFault)
    back = Driver(client_login(ClientPolicy(method, mock_secret=b"s", **policy)), known)
    play(front, back)
    session = back.finished()
    assert isinstance(session, ClientSession)
    front.feed(session.auth_ok + WELCOME)
    return front.finished(), session


def can(method: str, known: str, ours: str) -> bool:
    """Whether a client with a secret of kind `ours` can log in where `known` is stored."""
    if method in ("any", "trust"):
        return True
    if method == "plain":
        return ours == "plain"
    if method == "md5" and known != "scram":
        return ours in ("plain", "md5")
    return known != "md5" and ours == "plain"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("known", SECRETS)
@pytest.mark.parametrize("ours", SECRETS)
def test_every_method_with_every_secret(method: str, known: str, ours: str) -> None:
    if can(method, known, ours):
        server, client = log_in(method, {"me": SECRETS[known]}, SECRETS[ours])
        assert (server.backend_pid, server.cancel_key, server.parameters) == (
            99,
            b"abcd",
            {"TimeZone": "UTC"},
        )
        assert client.parameters == {"application_name": "x"}
        assert (client.scram_keys is not None) == (known == "scram" and method in ("md5", "scram-sha-256"))
    else:
        with pytest.raises((ClientFault, ServerFault)):
            log_in(method, {"me": SECRETS[known]}, SECRETS[ours])


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("known", [{}, {"me": ""}, {"me": "other"}, {"you": PASSWORD}])
@pytest.mark.parametrize("mock_scram", [False, True])
def test_wrong_or_unknown_never_gets_in(method: str, known: dict[str, str], mock_scram: bool) -> None:
    for ours in SECRETS.values():
        with pytest.raises((ClientFault, ServerFault)):
            log_in(method, known, ours, mock_scram=mock_scram)


def test_keys_of_a_client_open_the_server() -> None:
    _, client = log_in("scram-sha-256", {"me": SCRAM}, PASSWORD)
    assert client.scram_keys is not None
    server, again = log_in("scram-sha-256", {"me": SCRAM}, SCRAM, client.scram_keys)
    assert server.backend_pid == 99
    assert again.scram_keys == client.scram_keys


def test_keys_do_not_open_a_server_with_another_verifier() -> None:
    _, client = log_in("scram-sha-256", {"me": SCRAM}, PASSWORD)
    with pytest.raises(ClientFault, match="SASL authentication failed"):
        log_in("scram-sha-256", {"me": scram_secret(PASSWORD, b"another salt")}, SCRAM, client.scram_keys)
