"""Security bugs that drivers, and poolers as clients, have had, each as the bytes that set it off.

The names are those of the published reports. Every test says what must come of it: a fault of the server, at
once. Hostile clients: tests/unit/login/test_known_attacks.py.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import pytest

from pooler.auth import scram_client
from pooler.auth.passwords import Credential, credential, parse_secret
from pooler.errors import ServerFault
from pooler.protocol import messages
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from tests.support import scram_server
from tests.support.login_driver import Driver, split_messages
from tests.support.messages import authentication_sasl, authentication_sasl_continue

OK = messages.authentication_ok()


def server(stored: str = "secret", **target: Any) -> Driver[ServerSession]:
    """A login at a server that is hostile."""
    known = credential(parse_secret(stored)) if stored else Credential("none")
    return Driver(server_login(ServerTarget("me", "db", known, **target)), fault=ServerFault).feed(b"")


def server_is_refused(driver: Driver[Any], data: bytes) -> ServerFault:
    with pytest.raises(ServerFault) as caught:
        driver.feed(data)
    return caught.value


def test_cve_2021_43767_plain_text_behind_the_servers_consent() -> None:
    driver = server(tls="require")
    driver.take_sent()
    assert server_is_refused(driver, b"S" + OK).message == "received unencrypted data after SSL response"
    assert not driver.tls
    assert not driver.sent


def scram_to_server_first(answer: Callable[[bytes], bytes]) -> tuple[Driver[ServerSession], bytes]:
    """A server login at the point where the server's first SCRAM message comes: `answer(our nonce)`."""
    driver = server()
    driver.take_sent()
    driver.feed(authentication_sasl(["SCRAM-SHA-256"]))
    ((_, body),) = split_messages(driver.take_sent())
    nonce = scram_server.parse_client_first(body[18:]).nonce
    return driver, authentication_sasl_continue(answer(nonce))


@pytest.mark.parametrize("tail", [b"x" * 60_000, b"x" * 9_000, b"x" * 513])
def test_cve_2026_6665_overlong_nonce(tail: bytes) -> None:
    driver, message = scram_to_server_first(lambda nonce: b"r=%b%b,s=c2FsdA==,i=4096" % (nonce, tail))
    server_is_refused(driver, message)
    assert driver.offloaded == []


@pytest.mark.parametrize("count", [2**31, 2**63, 1_000_001, 10**9])
def test_cve_2026_42198_huge_iteration_count(count: int) -> None:
    driver, message = scram_to_server_first(lambda nonce: b"r=%bx,s=c2FsdA==,i=%d" % (nonce, count))
    assert "iteration count" in server_is_refused(driver, message).message
    assert driver.offloaded == []


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"Monly a text\0\0", b"SFATAL\0", b"C\0\0", b"SFATAL\0C28", b"\xff\xfe"]
)
def test_cve_2026_6666_error_without_fields(body: bytes) -> None:
    for driver in (server(), server().feed(OK)):
        fault = server_is_refused(driver, messages.message(b"E", body))
        assert fault.from_server
        assert fault.message
        assert len(fault.sqlstate) == 5
    query: Driver[Any] = Driver(simple_query("x"), fault=ServerFault)
    server_is_refused(query, messages.message(b"E", body) + messages.ready())


@pytest.mark.parametrize("length", [0x80000000, 0x80000001, 0xFFFFFFFF, 0x7FFFFFFF, 3, 0])
def test_cve_2026_6668_and_107348_lengths_that_wrap(length: int) -> None:
    raw = length.to_bytes(4, "big")
    server_is_refused(server(), b"R" + raw)
    server_is_refused(server().feed(OK), b"S" + raw)


def test_server_that_skips_its_own_proof() -> None:
    for early in (b"", authentication_sasl(["SCRAM-SHA-256"])):
        driver, message = scram_to_server_first(lambda nonce: b"r=%bx,s=c2FsdA==,i=1" % nonce)
        driver.feed(message)
        server_is_refused(driver, early + OK)


def test_cve_2026_6478_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's proof; those of clients: tests/unit/core/login/test_secret.py."""
    seen: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def watch(left: Any, right: Any) -> bool:
        seen.append((left, right))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    with pytest.raises(ServerFault):
        scram_client.check_server_final(b"v=AAAA", b"x" * 32)
    assert len(seen) == 1
