"""Random and mutated bytes: nothing but ClientFault and ServerFault ever comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.auth import saslprep, scram, scram_client, scram_server
from pooler.auth.passwords import credential, parse_secret
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import frontend, messages, startup
from pooler.protocol.client_login import ClientPolicy, client_login
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerTarget, server_login
from tests.unit.protocol.driver import Driver, scram_secret

VERIFIER = parse_secret(scram_secret("secret", iterations=1)).verifier
SECRETS = {"me": scram_secret("secret", iterations=1), "plain": "secret"}
FIRST = scram_server.parse_client_first(b"n,,n=,r=abc")
SAID = b"r=abcdef,s=c2FsdA==,i=1"
SCRAM_TEXT = st.lists(
    st.sampled_from(
        [b"n", b"y", b"p=x", b"", b"n=", b"r=abc", b"r=abcdef", b"c=biws", b"i=1", b"i=99999999999", b"m="]
    )
    | st.binary(max_size=8).map(lambda raw: b"s=" + scram.b64encode(raw))
    | st.binary(max_size=40).map(lambda raw: b"p=" + scram.b64encode(raw))
    | st.binary(max_size=8)
).map(b",".join)


def fault_of(parser: Callable[[], Any]) -> ClientFault | ServerFault | None:
    """The fault that a call raises, if it does; anything else that it raises fails the test."""
    try:
        parser()
    except (ClientFault, ServerFault) as fault:
        return fault
    return None


@settings(max_examples=300, deadline=None)
@given(SCRAM_TEXT | st.binary(max_size=60))
def test_scram_parsers(data: bytes) -> None:
    assert VERIFIER is not None
    verifier = VERIFIER
    for fault in (
        fault_of(lambda: scram_server.parse_client_first(data)),
        fault_of(lambda: scram_server.check_client_final(data, FIRST, SAID, verifier)),
    ):
        assert fault is None or (type(fault), fault.message) == (ClientFault, "SASL authentication failed")
    for fault in (
        fault_of(lambda: scram_client.parse_server_first(data, b"abc")),
        fault_of(lambda: scram_client.check_server_final(data, b"x" * 32)),
    ):
        assert fault is None or (type(fault) is ServerFault and fault.message.isprintable())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(max_size=40).map(lambda text: "SCRAM-SHA-256$" + text))
def test_secrets_of_any_text(text: str) -> None:
    assert parse_secret(text).kind in ("plain", "md5", "scram")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_saslprep_of_anything(password: bytes) -> None:
    once = saslprep.saslprep(password)
    assert bool(once) == bool(password)


PAIRS = st.lists(
    st.sampled_from(
        ["user", "database", "options", "replication", "TimeZone", "_pq_.x", "me", "", "on", "-c a=b"]
    )
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
).map(lambda words: b"".join(word.encode() + b"\0" for word in words) + b"\0")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([3 << 16, (3 << 16) + 2, 2 << 16, 80877102, 80877103, 80877104, 0]),
    PAIRS | st.binary(max_size=80),
)
def test_startup_packets(code: int, body: bytes) -> None:
    packet = (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body
    try:
        result = startup.parse(packet)
        if isinstance(result, startup.StartupPacket):
            assert result.user
            startup.wanted_parameters(result, ("IntervalStyle",), ("options",))
    except ClientFault as fault:
        messages.error(fault.message, fault.sqlstate, fault.severity)  # can be told to the client


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("-c=\\ a\t'é"), max_size=40))
def test_options(text: str) -> None:
    fault = fault_of(lambda: startup.parse_options(text))
    if fault is None:
        assert all(name for name, _ in startup.parse_options(text))
    else:
        assert fault.message.startswith("unsupported options startup parameter")


PARSERS: list[Callable[[bytes], Any]] = [
    messages.parse_parameter_status,
    messages.parse_backend_key_data,
    messages.parse_ready,
    messages.parse_command_complete,
    messages.parse_authentication,
    messages.parse_row_description,
    messages.parse_data_row,
    messages.parse_error,
]


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=60))
def test_parsers_of_server_messages(parser: Callable[[bytes], Any], body: bytes) -> None:
    fault = fault_of(lambda: parser(body))
    assert fault is None or (isinstance(fault, ServerFault) and not fault.from_server)


def messages_of(kinds: bytes) -> st.SearchStrategy[bytes]:
    """Streams that are framed well but filled with anything."""
    kind = st.sampled_from([bytes([code]) for code in kinds])
    body = st.binary(max_size=40) | st.sampled_from([0, 3, 5, 10, 11, 12]).map(
        lambda n: n.to_bytes(4, "big") + b"salt"
    )
    return st.lists(st.builds(messages.message, kind, body), max_size=8).map(b"".join)


ANSWERS = st.sampled_from(
    [
        frontend.password(b"secret"),
        frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"),
        frontend.sasl_response(b"c=biws,r=abc,p=" + scram.b64encode(bytes(32))),
        frontend.ssl_request(),
        frontend.startup("me", "db", {}),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["trust", "plain", "md5", "scram-sha-256"]),
    st.lists(ANSWERS | messages_of(b"pXQ\0") | st.binary(max_size=30), max_size=5),
    st.sampled_from(["me", "plain", "ghost"]),
)
def test_client_logins(auth_type: str, chunks: list[bytes], user: str) -> None:
    driver: Driver[Any] = Driver(
        client_login(ClientPolicy(auth_type, mock_secret=b"m", scram_iterations=1)), SECRETS
    )
    try:
        driver.feed(frontend.startup(user, "db", {}))
        for chunk in chunks:
            driver.feed(chunk)
    except ClientFault as fault:
        messages.error(fault.message, fault.sqlstate, fault.severity)
    if driver.done and auth_type != "trust":
        assert (auth_type, user) in (("plain", "me"), ("plain", "plain"))  # only the right password, in clear


SERVER_KINDS = b"REZKSNvTDCIA"
SCRIPT = st.sampled_from(
    [
        messages.authentication_ok(),
        messages.authentication_cleartext(),
        messages.authentication_md5(b"salt"),
        messages.authentication_sasl(["SCRAM-SHA-256"]),
        messages.authentication_sasl_continue(SAID),
        messages.authentication_sasl_final(b"v=AAAA"),
        messages.parameter_status("a", "b"),
        messages.ready(),
        messages.notice("x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["secret", "md5" + "0" * 32, SECRETS["me"]]),
    st.lists(SCRIPT | messages_of(SERVER_KINDS) | st.binary(max_size=20), max_size=8),
)
def test_server_logins(stored: str, chunks: list[bytes]) -> None:
    target = ServerTarget("me", "db", credential(parse_secret(stored)))
    driver: Driver[Any] = Driver(server_login(target), fault=ServerFault)
    try:
        for chunk in chunks:
            driver.feed(chunk)
    except ServerFault as fault:
        messages.error(fault.message, fault.sqlstate)


@settings(max_examples=200, deadline=None)
@given(st.lists(messages_of(SERVER_KINDS) | st.binary(max_size=20), max_size=8))
def test_queries(chunks: list[bytes]) -> None:
    driver: Driver[Any] = Driver(simple_query("x"), fault=ServerFault)
    try:
        for chunk in chunks:
            driver.feed(chunk)
    except ServerFault as fault:
        messages.error(fault.message, fault.sqlstate)
