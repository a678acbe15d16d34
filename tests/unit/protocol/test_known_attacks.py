"""Security bugs that poolers and drivers have had, each as the bytes that set it off.

The names are those of the published reports. Every test says what must come of it: a fault of the right
side, at once, and nobody logged in as somebody else.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

import pytest

from pooler.auth import passwords, scram, scram_client, scram_server
from pooler.auth.passwords import Credential, credential, parse_secret
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import codes, frontend, messages, startup
from pooler.protocol.client_login import ClientPolicy, ClientSession, client_login
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from tests.support.messages import gssenc_request
from tests.unit.protocol.driver import INFO, Driver, scram_secret, split_messages

STARTUP = frontend.startup("me", "db", {})
OK = messages.authentication_ok()


def client(auth_type: str = "scram-sha-256", **policy: Any) -> Driver[Any]:
    """A client that has just connected; the user `me` has the password `secret`."""
    return Driver(
        client_login(ClientPolicy(auth_type, mock_secret=b"m", **policy)), {"me": scram_secret("secret")}
    )


def server(stored: str = "secret", **target: Any) -> Driver[ServerSession]:
    """A login at a server that is hostile."""
    known = credential(parse_secret(stored)) if stored else Credential("none")
    return Driver(server_login(ServerTarget("me", "db", known, **target)), fault=ServerFault).feed(b"")


def client_is_refused(driver: Driver[Any], data: bytes) -> str:
    with pytest.raises(ClientFault) as caught:
        driver.feed(data)
    return caught.value.message


def server_is_refused(driver: Driver[Any], data: bytes) -> ServerFault:
    with pytest.raises(ServerFault) as caught:
        driver.feed(data)
    return caught.value


@pytest.mark.parametrize("length", [64, 128, 9000])
def test_cve_2012_4575_long_database_name(length: int) -> None:
    assert client_is_refused(client(), frontend.startup("me", "d" * length, {})) == "database name too long"
    assert not client().feed(frontend.startup("me", "d" * 63, {})).done


def test_cve_2015_4054_password_before_startup() -> None:
    assert client_is_refused(client(), b"p\0\0\0\5\0") == "bad packet header: '70000000'"


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_cve_2015_6817_unknown_user_gets_nobodys_rights(auth_type: str) -> None:
    driver = client(auth_type).feed(frontend.startup("ghost", "db", {}))
    assert driver.asked == [("ghost", "db")]
    assert not driver.done
    with pytest.raises(ClientFault):
        driver.feed(frontend.password(b""))


@pytest.mark.parametrize("request_bytes", [frontend.ssl_request(), gssenc_request()])
@pytest.mark.parametrize("offered", [False, True])
def test_cve_2021_3935_plain_text_behind_an_encryption_request(request_bytes: bytes, offered: bool) -> None:
    driver = client(tls_offered=offered)
    text = client_is_refused(driver, request_bytes + STARTUP)
    assert text == "received unencrypted data after encryption request"
    assert not driver.tls
    assert not driver.sent


def test_cve_2021_43767_plain_text_behind_the_servers_consent() -> None:
    driver = server(tls="require")
    driver.take_sent()
    assert server_is_refused(driver, b"S" + OK).message == "received unencrypted data after SSL response"
    assert not driver.tls
    assert not driver.sent


def test_cve_2025_12819_search_path_is_not_taken_over() -> None:
    for parameters in ({"search_path": "evil"}, {"options": "-c search_path=evil"}):
        assert "unsupported startup parameter" in client_is_refused(
            client(), frontend.startup("me", "db", parameters)
        )
        driver = client(ignore_startup_parameters=("search_path",), auth_type="any")
        assert driver.feed(frontend.startup("me", "db", parameters)).finished().parameters == {}


@pytest.mark.parametrize("inner", [-1, -2, 0x7FFFFFFF, -0x80000000, 0, 1, 7, 9, 100_000])
def test_cve_2026_6664_inner_length_of_sasl(inner: int) -> None:
    body = b"SCRAM-SHA-256\0" + inner.to_bytes(4, "big", signed=True) + b"n,,n=,r="
    driver = client().feed(STARTUP)
    assert client_is_refused(driver, messages.message(b"p", body)) == "SASL authentication failed"


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0"])
def test_cve_2026_6664_inner_length_cut(rest: bytes) -> None:
    driver = client().feed(STARTUP)
    message = messages.message(b"p", b"SCRAM-SHA-256\0" + rest)
    assert client_is_refused(driver, message) == "SASL authentication failed"


def scram_to_server_first(answer: Callable[[bytes], bytes]) -> tuple[Driver[ServerSession], bytes]:
    """A server login at the point where the server's first SCRAM message comes: `answer(our nonce)`."""
    driver = server()
    driver.take_sent()
    driver.feed(messages.authentication_sasl(["SCRAM-SHA-256"]))
    ((_, body),) = split_messages(driver.take_sent())
    nonce = scram_server.parse_client_first(body[18:]).nonce
    return driver, messages.authentication_sasl_continue(answer(nonce))


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
    client_is_refused(client(), raw)
    client_is_refused(client().feed(STARTUP), b"p" + raw)
    server_is_refused(server(), b"R" + raw)
    server_is_refused(server().feed(OK), b"S" + raw)


@pytest.mark.parametrize(
    "options", ["-c=", "--=", "-c", "-c a=b -c", "\\", "-c a=b\\", "-c=" * 2700, "\\" * 8001]
)
def test_cve_2026_107349_options_that_spin(options: str) -> None:
    began = time.thread_time()
    text = client_is_refused(client(), frontend.startup("me", "db", {"options": options}))
    assert text.startswith("unsupported options startup parameter")
    assert time.thread_time() - began < 0.1


def test_cve_2026_107350_second_startup_during_scram() -> None:
    other = frontend.startup("postgres", "db", {})
    driver = client().feed(STARTUP)
    client_is_refused(driver, other)
    driver = client().feed(STARTUP)
    driver.feed(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
    client_is_refused(driver, other)
    assert not driver.done


def test_cve_2026_107350_name_inside_scram_does_not_count() -> None:
    """The user of the startup packet is the one who logs in, whatever SCRAM says."""
    driver = client().feed(STARTUP)
    driver.take_sent()
    first = b"n,,n=postgres,r=abc"
    driver.feed(frontend.sasl_initial_response("SCRAM-SHA-256", first))
    ((_, body),) = split_messages(driver.take_sent())
    nonce, salt, count = (field[2:] for field in body[4:].split(b","))
    keys = scram.derive_keys(b"secret", scram.b64decode(salt), int(count))
    signed = b"c=biws,r=" + nonce
    signature = scram.hmac_sha256(scram.sha256(keys.client_key), b",".join((first[3:], body[4:], signed)))
    proof = scram.b64encode(scram.xor(keys.client_key, signature))
    session = driver.feed(frontend.sasl_response(signed + b",p=" + proof)).finished()
    assert isinstance(session, ClientSession)
    assert session.user == "me"


def test_pgpool_empty_user() -> None:
    for packet in (frontend.startup("", "db", {}), b"\0\0\0\x09\0\3\0\0\0"):
        assert client_is_refused(client("any"), packet) == "no username supplied"


@pytest.mark.parametrize("flag", [b"p=tls-server-end-point", b"p=tls-unique", b"p=", b"p"])
def test_channel_binding_is_never_pretended(flag: bytes) -> None:
    driver = client().feed(STARTUP)
    message = frontend.sasl_initial_response("SCRAM-SHA-256", flag + b",,n=,r=abc")
    assert client_is_refused(driver, message) == "SASL authentication failed"


def test_cve_2026_6478_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison with a secret goes through hmac.compare_digest."""
    seen: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def watch(left: Any, right: Any) -> bool:
        seen.append((left, right))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", watch)
    plain, verifier = parse_secret("secret"), parse_secret(scram_secret("secret")).verifier
    assert verifier is not None
    checks: list[Callable[[], object]] = [
        lambda: passwords.check_password(plain, b"me", b"x"),
        lambda: passwords.check_password(parse_secret("md5" + "0" * 32), b"me", b"x"),
        lambda: passwords.check_md5_answer(plain, b"me", b"salt", b"x"),
        lambda: scram.verify_password(verifier, b"x"),
    ]
    for check in checks:
        before = len(seen)
        assert not check()
        assert len(seen) > before
    before = len(seen)
    with pytest.raises(ServerFault):
        scram_client.check_server_final(b"v=AAAA", b"x" * 32)
    assert len(seen) == before + 1
    first = scram_server.parse_client_first(b"n,,n=,r=abc")
    said = scram_server.server_first(first, verifier.salt, verifier.iterations, b"r")
    final = b"c=biws," + said.split(b",")[0] + b",p=" + scram.b64encode(bytes(32))
    with pytest.raises(ClientFault):
        scram_server.check_client_final(final, first, said, verifier)
    assert len(seen) == before + 3  # the nonce, and the key


def test_cve_2026_6479_endless_negotiation() -> None:
    for request_bytes in (frontend.ssl_request(), gssenc_request()):
        driver = client().feed(request_bytes)
        client_is_refused(driver, request_bytes)
        assert driver.take_sent() == b"N"
    driver = client().feed(frontend.ssl_request()).feed(gssenc_request())
    client_is_refused(driver, frontend.ssl_request())


def test_cve_2026_14681_no_negotiation_within_tls() -> None:
    for request_bytes in (frontend.ssl_request(), gssenc_request()):
        client_is_refused(client(tls_offered=True, tls=INFO), request_bytes)
        driver = client(tls_offered=True).feed(frontend.ssl_request())
        client_is_refused(driver, request_bytes)
        assert driver.take_sent() == b"S"


def test_cve_2024_32655_smuggled_message_behind_a_wrapped_length() -> None:
    driver = client().feed(STARTUP)
    client_is_refused(driver, b"p\xff\xff\xff\xff" + frontend.query("CREATE TABLE marker()"))


def test_server_that_skips_its_own_proof() -> None:
    for early in (b"", messages.authentication_sasl(["SCRAM-SHA-256"])):
        driver, message = scram_to_server_first(lambda nonce: b"r=%bx,s=c2FsdA==,i=1" % nonce)
        driver.feed(message)
        server_is_refused(driver, early + OK)


def test_exchange_cannot_be_replayed() -> None:
    """What a client once answered is worth nothing in another login: the challenge differs."""
    answers = []
    for _ in range(2):
        driver: Driver[Any] = Driver(client_login(ClientPolicy("md5", mock_secret=b"m")), {"me": "secret"})
        driver.feed(STARTUP)
        ((_, body),) = split_messages(driver.take_sent())
        answers.append(passwords.md5_answer(passwords.md5_secret(b"secret", b"me"), body[4:]))
    assert answers[0] != answers[1]
    assert client_is_refused(driver, frontend.password(answers[0])) == "password authentication failed"


def test_unknown_and_known_users_see_the_same() -> None:
    def sent(user: str, text: str, method: str) -> list[tuple[bytes, int]]:
        driver: Driver[Any] = Driver(client_login(ClientPolicy(method, mock_secret=b"m")), {"me": text})
        driver.feed(frontend.startup(user, "db", {}))
        if method == "scram-sha-256":
            driver.feed(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
        return [(kind, len(body)) for kind, body in split_messages(driver.take_sent())]

    for method, text in (("plain", "x"), ("md5", "x"), ("scram-sha-256", "x")):
        assert sent("me", text, method) == sent("ghost", text, method)
    stored = scram_secret("x", iterations=4096)
    assert sent("me", stored, "scram-sha-256") == sent("ghost", stored, "scram-sha-256")


def test_only_packets_of_login_size_are_ever_asked_for() -> None:
    """The largest thing a stranger can make us hold."""
    assert codes.MAX_STARTUP_BYTES == 10_000
    assert codes.MAX_SASL_BYTES <= 1_024
    with pytest.raises(ClientFault):
        startup.check_length((10_001).to_bytes(4, "big"))
