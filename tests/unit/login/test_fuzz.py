"""Random and mutated bytes of clients: each is refused in words, or waits; nobody gets in without a proof."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pooler.auth import scram
from pooler.errors import ClientFault
from pooler.protocol import frontend, messages
from tests.support.login_packets import parse, wanted_of
from tests.support.logins import Machine, config_of
from tests.support.scram_texts import TEXTS as SCRAM_TEXTS
from tests.support.stored_secrets import scram_secret

SECRETS = {"me": scram_secret("secret", iterations=1), "plain": "secret"}
METHODS = ("trust", "plain", "md5", "scram-sha-256")
#: How an error ends that one of these logins may hear.
REFUSALS = (
    "authentication failed",
    "bad packet header: '",
    "bad password packet",
    "client close request",
    "client selected an invalid SASL authentication mechanism",
    "unknown pkt",
)
PAIRS = st.lists(
    st.sampled_from(
        ["user", "database", "options", "replication", "TimeZone", "_pq_.x", "me", "", "on", "-c a=b"]
    )
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
).map(lambda words: b"".join(word.encode() + b"\0" for word in words) + b"\0")


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([3 << 16, (3 << 16) + 2, 2 << 16, 80877102, 80877103, 80877104, 0]),
    PAIRS | st.binary(max_size=80),
)
def test_startup_packets(code: int, body: bytes) -> None:
    packet = (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body
    try:
        found = parse(packet)
        if found[0] == "startup":
            assert found[2]
            wanted_of(packet, ("IntervalStyle",), ("options",))
    except ClientFault as fault:
        messages.error(fault.message, fault.sqlstate, fault.severity)  # can be told to the client


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("-c=\\ a\t'é"), max_size=40))
def test_options(text: str) -> None:
    refusal = ""
    others: dict[bytes, bytes] = {}
    try:
        _, others = wanted_of(frontend.startup("u", "d", {"options": text}), accept_unknown=True)
    except ClientFault as fault:
        refusal = fault.message
    assert all(others)
    assert not refusal or refusal.startswith("unsupported options startup parameter")


# -- whole logins --


@pytest.fixture(scope="module", params=METHODS)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all examples of a method."""
    config = config_of(request.param, SECRETS, scram_iterations=1)
    found = Machine(config, tmp_path_factory.mktemp("fuzz") / "log")
    yield found
    found.stop()


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
SASL = SCRAM_TEXTS.map(lambda text: frontend.sasl_initial_response("SCRAM-SHA-256", text)) | SCRAM_TEXTS.map(
    frontend.sasl_response
)
CHUNKS = st.lists(ANSWERS | SASL | messages_of(b"pXQ\0") | st.binary(max_size=30), max_size=5)
QUIET = [HealthCheck.function_scoped_fixture]


@settings(max_examples=120, deadline=None, suppress_health_check=QUIET)
@given(CHUNKS, st.sampled_from(["me", "plain", "ghost"]))
def test_client_logins(machine: Machine, chunks: list[bytes], user: str) -> None:
    method = machine.worker.context.config.settings.auth_type
    peer = machine.connect().say(frontend.startup(user, "db", {}), *chunks)
    end = peer.end()
    if method == "trust":
        refusal = '"trust" authentication failed'
        assert end == refusal if user == "ghost" else end in ("in", "")  # it has left before it was greeted
        return
    if end == "in":  # only the right password, in clear
        assert method == "plain"
        assert user in ("me", "plain")
        assert chunks[0].startswith(frontend.password(b"secret")) or chunks[0] in frontend.password(b"secret")
    else:
        assert not end or any(text in end for text in REFUSALS), end


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(st.lists(st.binary(min_size=1, max_size=40) | PAIRS, min_size=1, max_size=4))
def test_anything_at_all(machine: Machine, chunks: list[bytes]) -> None:
    end = machine.connect().say(*chunks).end()
    assert end != "in"
