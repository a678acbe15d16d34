"""Random and mutated bytes of servers: nothing but ServerFault ever comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.auth import saslprep, scram_client
from pooler.auth.passwords import credential, parse_secret
from pooler.errors import ServerFault
from pooler.protocol import messages
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerTarget, server_login
from tests.support.login_driver import Driver
from tests.support.messages import (
    authentication_cleartext,
    authentication_md5,
    authentication_sasl,
    authentication_sasl_continue,
    authentication_sasl_final,
)
from tests.support.scram_texts import TEXTS as SCRAM_TEXTS
from tests.support.stored_secrets import scram_secret

SCRAM = scram_secret("secret", iterations=1)
SAID = b"r=abcdef,s=c2FsdA==,i=1"


def fault_of(parser: Callable[[], Any]) -> ServerFault | None:
    """The fault that a call raises, if it does; anything else that it raises fails the test."""
    try:
        parser()
    except ServerFault as fault:
        return fault
    return None


@settings(max_examples=300, deadline=None)
@given(SCRAM_TEXTS | st.binary(max_size=60))
def test_scram_parsers(data: bytes) -> None:
    for fault in (
        fault_of(lambda: scram_client.parse_server_first(data, b"abc")),
        fault_of(lambda: scram_client.check_server_final(data, b"x" * 32)),
    ):
        assert fault is None or fault.message.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(max_size=40).map(lambda text: "SCRAM-SHA-256$" + text))
def test_secrets_of_any_text(text: str) -> None:
    assert parse_secret(text).kind in ("plain", "md5", "scram")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_saslprep_of_anything(password: bytes) -> None:
    once = saslprep.saslprep(password)
    assert bool(once) == bool(password)


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
    assert fault is None or not fault.from_server


def messages_of(kinds: bytes) -> st.SearchStrategy[bytes]:
    """Streams that are framed well but filled with anything."""
    kind = st.sampled_from([bytes([code]) for code in kinds])
    body = st.binary(max_size=40) | st.sampled_from([0, 3, 5, 10, 11, 12]).map(
        lambda n: n.to_bytes(4, "big") + b"salt"
    )
    return st.lists(st.builds(messages.message, kind, body), max_size=8).map(b"".join)


SERVER_KINDS = b"REZKSNvTDCIA"
SCRIPT = st.sampled_from(
    [
        messages.authentication_ok(),
        authentication_cleartext(),
        authentication_md5(b"salt"),
        authentication_sasl(["SCRAM-SHA-256"]),
        authentication_sasl_continue(SAID),
        authentication_sasl_final(b"v=AAAA"),
        messages.parameter_status("a", "b"),
        messages.ready(),
        messages.notice("x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["secret", "md5" + "0" * 32, SCRAM]),
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
