"""The login at a server, spoken byte for byte by a server that the test plays."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from pooler.auth import passwords, scram
from pooler.auth.passwords import credential, parse_secret
from pooler.errors import ServerFault
from pooler.protocol import codes, frontend, messages
from pooler.protocol.server_login import ServerSession, ServerTarget, server_login
from tests.support import scram_server
from tests.support.login_driver import Driver, split_messages
from tests.support.messages import (
    authentication_cleartext,
    authentication_md5,
    authentication_sasl,
    authentication_sasl_continue,
    authentication_sasl_final,
    negotiate_protocol_version,
)
from tests.support.stored_secrets import scram_secret

MD5 = "md5" + hashlib.md5(b"secretme").hexdigest()
SALT = b"0123456789abcdef"
KEYS = scram.derive_keys(b"secret", SALT, 1000)
SCRAM = scram_secret("secret", SALT, 1000)
OK = messages.authentication_ok()
WELCOME = messages.welcome({"server_version": "15.1", "TimeZone": "UTC"}, 4711, b"key!")
STARTUP = frontend.startup("me", "db", {"client_encoding": "UTF8"})


def begin(
    stored: str | None = None, keys: scram.ScramKeys | None = None, **target: Any
) -> Driver[ServerSession]:
    """A login that has been started."""
    known = credential(None if stored is None else parse_secret(stored), keys)
    target = {"parameters": {"client_encoding": "UTF8"}, "random": lambda count: b"R" * count, **target}
    driver = Driver(server_login(ServerTarget("me", "db", known, **target)), fault=ServerFault)
    return driver.feed(b"")


def started(stored: str | None = None, keys: scram.ScramKeys | None = None) -> Driver[ServerSession]:
    """A login whose startup packet is sent."""
    driver = begin(stored, keys)
    assert driver.take_sent() == STARTUP
    return driver


def refused(driver: Driver[ServerSession], data: bytes) -> ServerFault:
    """The fault that these bytes are."""
    with pytest.raises(ServerFault) as caught:
        driver.feed(data)
    return caught.value


def test_trust() -> None:
    driver = started().feed(OK + WELCOME)
    got = driver.finished()
    assert (got.backend_pid, got.cancel_key) == (4711, b"key!")
    assert got.parameters == {"server_version": "15.1", "TimeZone": "UTC"}
    assert got.notices == ()
    assert not driver.sent
    assert "key!" not in repr(got)


def test_byte_by_byte_is_the_same() -> None:
    assert started().feed_bytewise(OK + WELCOME).finished().backend_pid == 4711


def test_cut_anywhere_it_waits() -> None:
    whole = OK + WELCOME
    for end in range(len(whole)):
        assert not started().feed(whole[:end]).done


def test_clear_text() -> None:
    driver = started("secret").feed(authentication_cleartext())
    assert driver.take_sent() == frontend.password(b"secret")
    driver.feed(OK + WELCOME).finished()


@pytest.mark.parametrize("stored", ["secret", MD5])
def test_md5(stored: str) -> None:
    driver = started(stored).feed(authentication_md5(b"salt"))
    assert driver.take_sent() == frontend.password(passwords.md5_answer(MD5.encode(), b"salt"))
    driver.feed(OK + WELCOME).finished()


def answer_first(driver: Driver[ServerSession]) -> tuple[scram_server.ClientFirst, bytes]:
    """Play the server up to its first SCRAM message."""
    driver.feed(authentication_sasl(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]))
    ((_, body),) = split_messages(driver.take_sent())
    assert body.startswith(b"SCRAM-SHA-256\0")
    first = scram_server.parse_client_first(body[18:])
    said = scram_server.server_first(first, SALT, 1000, b"s" * 18)
    driver.feed(authentication_sasl_continue(said))
    return first, said


@pytest.mark.parametrize(("stored", "keys"), [("secret", None), (SCRAM, KEYS), (None, KEYS)])
def test_scram(stored: str | None, keys: scram.ScramKeys | None) -> None:
    scram.KEYS.clear()
    driver = started(stored, keys)
    first, said = answer_first(driver)
    assert driver.offloaded == (["derive"] if stored == "secret" else [])
    ((_, final),) = split_messages(driver.take_sent())
    verifier = parse_secret(SCRAM).verifier
    assert verifier is not None
    proven = scram_server.check_client_final(final, first, said, verifier)
    driver.feed(authentication_sasl_final(proven.server_final) + OK + WELCOME).finished()


def test_second_scram_login_finds_its_keys() -> None:
    scram.KEYS.clear()
    answer_first(started("secret"))
    driver = started("secret")
    answer_first(driver)
    assert driver.offloaded == []


def test_server_must_prove_itself() -> None:
    for data in (OK + WELCOME, authentication_sasl_final(b"v=" + scram.b64encode(bytes(32))) + OK):
        driver = started("secret")
        answer_first(driver)
        fault = refused(driver, data)
        assert fault.message.startswith("server login failed: ")
        assert not fault.from_server


@pytest.mark.parametrize(
    ("stored", "keys", "request_bytes"),
    [
        (None, None, authentication_cleartext()),
        (None, None, authentication_md5(b"salt")),
        (None, None, authentication_sasl(["SCRAM-SHA-256"])),
        (MD5, None, authentication_cleartext()),
        (MD5, None, authentication_sasl(["SCRAM-SHA-256"])),
        (SCRAM, None, authentication_sasl(["SCRAM-SHA-256"])),
        (SCRAM, KEYS, authentication_cleartext()),
        (SCRAM, KEYS, authentication_md5(b"salt")),
    ],
)
def test_wrong_password_type(stored: str | None, keys: scram.ScramKeys | None, request_bytes: bytes) -> None:
    driver = started(stored, keys)
    fault = refused(driver, request_bytes)
    assert (fault.message, fault.sqlstate, fault.from_server) == (
        "server login failed: wrong password type",
        "08P01",
        False,
    )
    assert not driver.sent


@pytest.mark.parametrize("code", [2, 4, 6, 7, 8, 9, 11, 12, 13, 0xFFFFFFFF])
def test_other_authentication_requests(code: int) -> None:
    fault = refused(started("secret"), messages.message(b"R", code.to_bytes(4, "big")))
    assert "unsupported authentication method" in fault.message


def test_no_mechanism_that_we_know() -> None:
    fault = refused(started("secret"), authentication_sasl(["SCRAM-SHA-256-PLUS", "OAUTHBEARER"]))
    assert "SASL authentication mechanisms" in fault.message


def test_postgresql_says_no() -> None:
    fault = refused(started(), messages.error('database "db" does not exist', "3D000"))
    assert (fault.message, fault.sqlstate, fault.from_server) == (
        'database "db" does not exist',
        "3D000",
        True,
    )
    fault = refused(started("x").feed(authentication_cleartext()), messages.error("no", "28P01"))
    assert (fault.message, fault.sqlstate, fault.from_server) == ("no", "28P01", True)
    fault = refused(started().feed(OK), messages.error("too many", "53300"))
    assert (fault.message, fault.sqlstate, fault.from_server) == ("too many", "53300", True)


def test_notices_are_tolerated_everywhere() -> None:
    notice = messages.notice("hello", "01000", "WARNING")
    driver = started("secret").feed(notice + authentication_md5(b"salt"))
    driver.feed(notice + OK + notice)
    for kind, body in split_messages(WELCOME):
        driver.feed(notice + messages.message(kind, body))
    assert {tuple(fields.values()) for fields in driver.finished().notices} == {
        ("WARNING", "WARNING", "01000", "hello")
    }


def test_server_without_cancel_key() -> None:
    got = started().feed(OK + messages.ready()).finished()
    assert (got.backend_pid, got.cancel_key) == (0, b"")


@pytest.mark.parametrize(
    "data",
    [
        messages.ready(),
        messages.parameter_status("a", "b"),
        messages.backend_key_data(1, b"abcd"),
        negotiate_protocol_version([]),
        OK + OK,
        OK + messages.ready(b"T"),
        OK + messages.ready(b"x"),
        OK + messages.data_row(["x"]),
        OK + messages.message(b"S", b"a"),
        OK + messages.message(b"K", b"abc"),
        messages.message(b"R", b"\0\0\0"),
        authentication_md5(b"abc"),
        authentication_md5(b"abcde"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(5),
        b"R\0\0\0\3",
        b"R\xff\xff\xff\xff",
        b"E\x80\0\0\0",
        b"N" + (10_005).to_bytes(4, "big"),
    ],
)
def test_out_of_place_or_out_of_shape(data: bytes) -> None:
    assert not refused(started("secret"), data).from_server


def test_second_authentication_request() -> None:
    driver = started("secret").feed(authentication_md5(b"salt"))
    assert refused(driver, authentication_cleartext()).message.endswith("unexpected authentication request")


def test_endless_stream_ends() -> None:
    assert "too much" in refused(started(), messages.notice("x") * (codes.MAX_LOGIN_MESSAGES + 1)).message
    assert (
        "too much"
        in refused(started(), OK + messages.parameter_status("a", "b") * codes.MAX_LOGIN_MESSAGES).message
    )


# -- TLS --


def test_tls_declined() -> None:
    driver = begin(tls="prefer")
    assert driver.take_sent() == frontend.ssl_request()
    assert driver.feed(b"N").take_sent() == STARTUP
    assert not driver.tls
    assert refused(begin(tls="require"), b"N").message == "server refused SSL"


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_tls_accepted(mode: str) -> None:
    driver = begin(tls=mode).feed(b"S")
    assert driver.tls
    assert driver.take_sent() == frontend.ssl_request() + STARTUP
    assert driver.feed(OK + WELCOME).finished().backend_pid == 4711


@pytest.mark.parametrize("answer", [b"E", b"\0", b"s", b"\x16"])
def test_tls_answered_with_nonsense(answer: bytes) -> None:
    assert not refused(begin(tls="prefer"), answer).from_server


REQUESTS = {
    "none": OK,
    "password": authentication_cleartext(),
    "md5": authentication_md5(b"salt"),
    "scram-sha-256": authentication_sasl(["SCRAM-SHA-256"]),
}


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("word", REQUESTS)
def test_server_require_auth(word: str, asked: str) -> None:
    """A server that asks for something else gets nothing, least of all the password."""
    for required in ((word,), tuple(f"!{other}" for other in REQUESTS if other != word), (word, "gss")):
        driver = begin("secret", require_auth=required)
        driver.take_sent()
        if asked == word:
            driver.feed(REQUESTS[asked])
            continue
        fault = refused(driver, REQUESTS[asked])
        assert fault.message.startswith("server login failed: authentication method requirement")
        assert not fault.from_server
        assert not driver.take_sent()


def test_no_requirement() -> None:
    for request in REQUESTS.values():
        begin("secret").feed(request)
