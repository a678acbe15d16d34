"""The login of a client, spoken byte for byte by a client that the test plays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from pooler.auth import passwords, scram
from pooler.errors import ClientFault
from pooler.protocol import frontend, messages
from pooler.protocol.client_login import ClientPolicy, ClientSession, client_login
from pooler.protocol.startup import CancelRequest
from tests.support.messages import gssenc_request
from tests.unit.protocol.driver import INFO, Driver, scram_secret, split_messages

MD5 = "md5" + hashlib.md5(b"secretme").hexdigest()
SCRAM = scram_secret("secret")
STARTUP = frontend.startup("me", "db", {})
SSL_REQUEST = frontend.ssl_request()


def fixed(count: int) -> bytes:
    """Randomness without surprises."""
    return b"R" * count


def begin(auth_type: str, secrets: Mapping[str, str] | None = None, **policy: Any) -> Driver[Any]:
    """A client that has connected and said nothing."""
    policy = {"mock_secret": b"install", "random": fixed, **policy}
    return Driver(client_login(ClientPolicy(auth_type, **policy)), secrets)


def session(driver: Driver[Any]) -> ClientSession:
    """The result of a login that went well."""
    result = driver.finished()
    assert isinstance(result, ClientSession)
    return result


#: PostgreSQL's, with PgBouncer's texts; what makes no sense is a violation of the protocol.
SQLSTATES = {
    "password authentication failed": ("28P01",),
    "SASL authentication failed": ("28P01", "08P01"),
    "SSL required": ("28000",),
    "no authentication method is found": ("28000",),
    "login rejected": ("28000",),
    '"trust" authentication failed': ("28000",),
    "unix socket login rejected": ("28000",),
    "certificate authentication failed": ("28000",),
    "LDAP authentication failed": ("28000",),
    "PAM authentication failed": ("28000",),
}


def refused(driver: Driver[Any], data: bytes) -> str:
    """The text with which these bytes are refused."""
    with pytest.raises(ClientFault) as caught:
        driver.feed(data)
    assert caught.value.severity == "FATAL"
    assert caught.value.sqlstate in SQLSTATES.get(caught.value.message, ("08P01",))
    return caught.value.message


# -- methods without a password --


def test_any() -> None:
    driver = begin("any").feed(STARTUP)
    got = session(driver)
    assert (got.user, got.database, got.auth_ok) == ("me", "db", messages.authentication_ok())
    assert driver.asked == []
    assert not driver.sent


def test_trust() -> None:
    driver = begin("trust", {"me": ""}).feed(STARTUP)
    assert session(driver).user == "me"
    assert driver.asked == [("me", "db")]
    assert refused(begin("trust", {"other": ""}), STARTUP) == '"trust" authentication failed'


def test_reject_and_unknown_method() -> None:
    assert refused(begin("reject"), STARTUP) == "login rejected"
    assert refused(begin("magic"), STARTUP) == "bouncer config error"


# -- clear text --


@pytest.mark.parametrize("stored", ["secret", MD5, SCRAM])
@pytest.mark.parametrize("mock_scram", [False, True])
def test_plain(stored: str, mock_scram: bool) -> None:
    driver = begin("plain", {"me": stored}, mock_scram=mock_scram).feed(STARTUP)
    assert driver.take_sent() == messages.authentication_cleartext()
    driver.feed(frontend.password(b"secret"))
    assert session(driver).scram_keys is None
    assert driver.offloaded == (["verify_password"] if stored == SCRAM else [])
    for secrets in ({"me": stored}, {}, {"me": ""}):
        for wrong in (b"", b"wrong", b"no such user", MD5.encode(), SCRAM.encode()):
            driver = begin("plain", secrets, mock_scram=mock_scram).feed(STARTUP)
            assert refused(driver, frontend.password(wrong)) == "password authentication failed"


def test_plain_with_the_longest_password() -> None:
    longest = "p" * 65_531
    driver = begin("plain", {"me": longest}).feed(STARTUP)
    assert session(driver.feed(frontend.password(longest.encode()))).user == "me"
    driver = begin("plain", {"me": longest}).feed(STARTUP)
    assert refused(driver, frontend.password(longest.encode() + b"p")).startswith("bad packet header: '70")


@pytest.mark.parametrize("body", [b"", b"secret", b"sec\0ret\0", b"secret\0\0", b"\0secret\0"])
def test_password_message_out_of_shape(body: bytes) -> None:
    for auth_type in ("plain", "md5"):
        driver = begin(auth_type, {"me": "secret"}).feed(STARTUP)
        assert refused(driver, messages.message(b"p", body)) == "bad password packet"


# -- md5 --


@pytest.mark.parametrize("stored", ["secret", MD5])
def test_md5(stored: str) -> None:
    driver = begin("md5", {"me": stored}).feed(STARTUP)
    assert driver.take_sent() == messages.authentication_md5(b"RRRR")
    answer = passwords.md5_answer(MD5.encode(), b"RRRR")
    assert session(driver.feed(frontend.password(answer))).user == "me"
    for secrets in ({"me": "other"}, {}, {"me": ""}):
        driver = begin("md5", secrets).feed(STARTUP)
        assert driver.take_sent() == messages.authentication_md5(b"RRRR")
        assert refused(driver, frontend.password(answer)) == "password authentication failed"


def test_md5_of_an_empty_password_lets_nobody_in() -> None:
    driver = begin("md5", {"me": ""}).feed(STARTUP)
    answer = passwords.md5_answer(passwords.md5_secret(b"", b"me"), b"RRRR")
    assert refused(driver, frontend.password(answer)) == "password authentication failed"


def test_md5_of_the_stand_in_lets_nobody_in() -> None:
    driver = begin("md5", {}).feed(STARTUP)
    answer = passwords.md5_answer(passwords.md5_secret(b"\x00no such user", b"me"), b"RRRR")
    assert refused(driver, frontend.password(answer)) == "password authentication failed"


# -- SCRAM --


def scram_first(driver: Driver[Any]) -> tuple[bytes, bytes]:
    """Play the client up to its final message; returns its first and the server's first message."""
    assert driver.take_sent() == messages.authentication_sasl(["SCRAM-SHA-256"])
    driver.feed(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=clientnonce"))
    ((kind, body),) = split_messages(driver.take_sent())
    assert (kind, body[:4]) == (b"R", b"\0\0\0\x0b")
    return b"n=,r=clientnonce", body[4:]


def scram_final(password: bytes, bare: bytes, said: bytes) -> tuple[bytes, bytes]:
    """The client's final message, and what the server has to answer."""
    nonce, salt, count = (field[2:] for field in said.split(b","))
    keys = scram.derive_keys(password, scram.b64decode(salt), int(count))
    signed = b"c=biws,r=" + nonce
    message = b",".join((bare, said, signed))
    proof = scram.xor(keys.client_key, scram.hmac_sha256(scram.sha256(keys.client_key), message))
    answer = b"v=" + scram.b64encode(scram.hmac_sha256(keys.server_key, message))
    return signed + b",p=" + scram.b64encode(proof), answer


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256"])
def test_scram_with_a_stored_verifier(auth_type: str) -> None:
    driver = begin(auth_type, {"me": SCRAM}).feed(STARTUP)
    bare, said = scram_first(driver)
    final, answer = scram_final(b"secret", bare, said)
    driver.feed(frontend.sasl_response(final))
    assert driver.take_sent() == messages.authentication_sasl_final(answer)
    assert session(driver).scram_keys == scram.derive_keys(b"secret", b"0123456789abcdef", 1000)
    assert driver.offloaded == []


def test_scram_with_a_plain_password() -> None:
    scram.KEYS.clear()
    for offloaded in (["derive"], []):  # the second login finds the keys
        driver = begin("scram-sha-256", {"me": "secret"}, scram_iterations=1234).feed(STARTUP)
        bare, said = scram_first(driver)
        assert said.endswith(b",i=1234")
        driver.feed(frontend.sasl_response(scram_final(b"secret", bare, said)[0]))
        assert session(driver).scram_keys is None  # keys with a salt of our own are of no use at a server
        assert driver.offloaded == offloaded


@pytest.mark.parametrize(
    "secrets", [{}, {"me": ""}, {"me": MD5}, {"me": "other"}, {"me": scram_secret("other")}]
)
def test_scram_fails_alike_for_everybody(secrets: dict[str, str]) -> None:
    driver = begin("scram-sha-256", secrets).feed(STARTUP)
    bare, said = scram_first(driver)
    final = frontend.sasl_response(scram_final(b"secret", bare, said)[0])
    assert refused(driver, final) == "SASL authentication failed"
    assert not driver.sent


def test_unknown_user_has_a_stable_salt() -> None:
    def said(user: str, **policy: Any) -> bytes:
        driver = begin("scram-sha-256", {"plain": "x"}, **policy).feed(frontend.startup(user, "db", {}))
        return scram_first(driver)[1]

    assert said("ghost") == said("ghost")
    assert said("ghost") != said("spectre")
    assert said("ghost") != said("ghost", mock_secret=b"other")
    assert said("plain") == said("plain")
    assert len(said("ghost")) == len(said("plain"))


def test_unknown_user_under_md5_may_look_like_scram() -> None:
    driver = begin("md5", {}, mock_scram=True).feed(STARTUP)
    bare, said = scram_first(driver)
    assert (
        refused(driver, frontend.sasl_response(scram_final(b"x", bare, said)[0]))
        == "SASL authentication failed"
    )


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", "", "PLAIN", "x" * 900]
)
def test_wrong_mechanism(mechanism: str) -> None:
    driver = begin("scram-sha-256", {"me": SCRAM}).feed(STARTUP)
    text = refused(driver, frontend.sasl_initial_response(mechanism, b"n,,n=,r=x"))
    assert text == "client selected an invalid SASL authentication mechanism"


def test_sasl_message_too_long() -> None:
    driver = begin("scram-sha-256", {"me": SCRAM}).feed(STARTUP)
    text = refused(driver, frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=" + b"x" * 1100))
    assert text.startswith("bad packet header")


# -- what comes before --


@pytest.mark.parametrize("request_bytes", [frontend.ssl_request(), gssenc_request()])
def test_encryption_is_declined(request_bytes: bytes) -> None:
    driver = begin("any").feed(request_bytes)
    assert driver.take_sent() == b"N"
    assert not session(driver.feed(STARTUP)).tls


def test_both_kinds_of_encryption_are_declined_once() -> None:
    driver = begin("any").feed(gssenc_request()).feed(frontend.ssl_request())
    assert driver.take_sent() == b"NN"
    session(driver.feed(STARTUP))


def test_tls() -> None:
    driver = begin("any", tls_offered=True, tls_required=True).feed(SSL_REQUEST)
    assert driver.take_sent() == b"S"
    assert driver.tls
    assert session(driver.feed(STARTUP)).tls


def test_tls_is_not_offered_on_unix_sockets() -> None:
    driver = begin("any", tls_offered=True, tls_required=True, is_unix=True).feed(SSL_REQUEST)
    assert driver.take_sent() == b"N"
    assert not session(driver.feed(STARTUP)).tls


def test_tls_required() -> None:
    assert refused(begin("any", tls_offered=True, tls_required=True), STARTUP) == "SSL required"
    driver = begin("any", tls_offered=True, tls_required=True).feed(gssenc_request())
    assert refused(driver, STARTUP) == "SSL required"


def test_tls_from_the_first_byte() -> None:
    assert session(begin("any", tls=INFO, tls_offered=True, tls_required=True).feed(STARTUP)).tls


def test_cancel_request_is_returned_at_once() -> None:
    driver = begin("md5", tls_required=True).feed(frontend.cancel_request(7, b"abcd"))
    assert driver.finished() == CancelRequest(7, b"abcd")
    driver = begin("md5").feed(SSL_REQUEST).feed(frontend.cancel_request(7, b"abcd"))
    assert driver.finished() == CancelRequest(7, b"abcd")


def test_bytes_behind_a_cancel_request_are_left_alone() -> None:
    assert begin("md5").feed(frontend.cancel_request(7, b"abcd") + b"junk").finished() == CancelRequest(
        7, b"abcd"
    )


@pytest.mark.parametrize(
    ("minor", "parameters", "expected"),
    [
        (0, {"_pq_.x": "1", "_pq_.y": "2"}, messages.negotiate_protocol_version(["_pq_.x", "_pq_.y"], 0)),
        (1, {}, b""),
        (2, {}, b""),
        (2, {"_pq_.x": "1"}, messages.negotiate_protocol_version(["_pq_.x"], 2)),
        (3, {}, messages.negotiate_protocol_version([], 2)),
        (9999, {"_pq_.x": "1"}, messages.negotiate_protocol_version(["_pq_.x"], 2)),
        (0, {}, b""),
    ],
)
def test_protocol_negotiation_comes_before_authentication(
    minor: int, parameters: dict[str, str], expected: bytes
) -> None:
    packet = frontend.startup("me", "db", parameters)
    code = (3 << 16) + minor
    driver = begin("md5", {"me": "secret"}).feed(packet[:4] + code.to_bytes(4, "big") + packet[8:])
    assert driver.take_sent() == expected + messages.authentication_md5(b"RRRR")
    driver.feed(frontend.password(passwords.md5_answer(MD5.encode(), b"RRRR")))
    assert session(driver).minor_version == min(minor, 2)


def test_parameters() -> None:
    packet = frontend.startup(
        "me", "db", {"datestyle": "ISO", "options": "-c intervalstyle=sql_standard", "x": "y"}
    )
    got = session(begin("any", ignore_startup_parameters=("x",)).feed(packet))
    assert got.parameters == {"DateStyle": "ISO", "IntervalStyle": "sql_standard"}
    driver = begin("any")
    assert refused(driver, packet) == "unsupported startup parameter: x"
    assert driver.asked == []


def test_replication_is_handed_on() -> None:
    packet = frontend.startup("me", "db", {"replication": "database", "options": "-c work_mem=1"})
    got = session(begin("any").feed(packet))
    assert got.replication == "logical"
    assert got.startup == (("replication", "database"), ("options", "-c work_mem=1"))


# -- the console --


@pytest.mark.parametrize("database", ["pgbouncer", "pooler"])
def test_own_user_needs_no_password(database: str) -> None:
    packet = frontend.startup("pgbouncer", database, {"extra_float_digits": "2"})
    got = session(begin("scram-sha-256", is_unix=True, peer_uid=5, own_uid=5).feed(packet))
    assert got.own_user
    assert got.parameters == {}


@pytest.mark.parametrize(
    ("user", "database", "policy"),
    [
        ("pgbouncer", "pgbouncer", {"is_unix": True, "peer_uid": 6, "own_uid": 5}),
        ("pgbouncer", "pgbouncer", {"is_unix": False, "peer_uid": 5, "own_uid": 5}),
        ("pgbouncer", "pgbouncer", {"is_unix": True}),
        ("pgbouncer", "db", {"is_unix": True, "peer_uid": 5, "own_uid": 5}),
        ("postgres", "pgbouncer", {"is_unix": True, "peer_uid": 5, "own_uid": 5}),
    ],
)
def test_everybody_else_does(user: str, database: str, policy: dict[str, Any]) -> None:
    driver = begin("md5", **policy).feed(frontend.startup(user, database, {}))
    assert driver.take_sent() == messages.authentication_md5(b"RRRR")
    assert not driver.done


# -- shape of the conversation --


def test_byte_by_byte_is_the_same() -> None:
    driver = begin("scram-sha-256", {"me": SCRAM}).feed_bytewise(SSL_REQUEST)
    assert driver.take_sent() == b"N"
    driver.feed_bytewise(STARTUP)
    assert driver.take_sent() == messages.authentication_sasl(["SCRAM-SHA-256"])
    driver.feed_bytewise(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=clientnonce"))
    said = split_messages(driver.take_sent())[0][1][4:]
    driver.feed_bytewise(frontend.sasl_response(scram_final(b"secret", b"n=,r=clientnonce", said)[0]))
    assert session(driver).scram_keys is not None


def test_client_may_go_at_any_byte() -> None:
    whole = STARTUP + frontend.password(b"secret")
    for end in range(len(whole)):
        driver = begin("plain", {"me": "secret"}).feed(whole[:end])
        assert not driver.done
        driver.close()


def test_terminate_instead_of_a_password() -> None:
    for auth_type in ("plain", "md5", "scram-sha-256"):
        driver = begin(auth_type, {"me": "secret"}).feed(STARTUP)
        assert refused(driver, frontend.terminate()) == "client close request"


def test_only_the_answer_is_read() -> None:
    driver = begin("plain", {"me": "secret"}).feed(STARTUP)
    query = frontend.query("SELECT 1")
    driver.feed(frontend.password(b"secret") + query)
    assert driver.done
    assert driver.arrived == query


def test_policy_shows_no_secret() -> None:
    assert "install" not in repr(ClientPolicy("md5", mock_secret=b"install"))
