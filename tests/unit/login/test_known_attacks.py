"""Security bugs that poolers and servers have had with their clients, each as the bytes that set it off.

The names are those of the published reports. Every test says what must come of it: a refusal, at once, and
nobody logged in as somebody else. Hostile servers: tests/unit/protocol/test_known_attacks.py.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from pooler.auth import passwords, scram
from pooler.config import Database
from pooler.protocol import codes, frontend, messages
from tests.support.login_peer import Peer
from tests.support.logins import Machine
from tests.support.messages import gssenc_request
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

STARTUP = frontend.startup("me", "db", {})
TWICE = "SSL or GSSAPI encryption was already negotiated"
SASL_FAILED = "SASL authentication failed"
REQUESTS = pytest.mark.parametrize("request_bytes", [frontend.ssl_request(), gssenc_request()])


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    """The user `me` has the password `secret`."""
    return make_machine("scram-sha-256", {"me": scram_secret("secret")})


def started(machine: Machine, user: str = "me") -> Peer:
    """A client that was asked to prove itself."""
    peer = machine.start(user)
    peer.request()
    return peer


def offered_a_nonce(machine: Machine, first: bytes = b"n,,n=,r=abc") -> tuple[Peer, bytes]:
    """One whose proof is waited for; the server's message."""
    peer = started(machine)
    peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", first))
    code, said = peer.request()
    assert code == codes.AUTH_SASL_CONTINUE
    return peer, said


@pytest.mark.parametrize("length", [64, 128, 9000])
def test_cve_2012_4575_long_database_name(machine: Machine, length: int) -> None:
    assert machine.start("me", "d" * length).refused() == "database name too long"
    assert machine.start("me", "d" * 63).request()[0] == codes.AUTH_SASL


def test_cve_2015_4054_password_before_startup(machine: Machine) -> None:
    assert machine.connect().say(b"p\0\0\0\5\0").refused() == "bad packet header: '70000000'"


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("has_auth_user", [False, True])
def test_cve_2015_6817_unknown_user_gets_nobodys_rights(
    make_machine: MakeMachine, auth_type: str, has_auth_user: bool
) -> None:
    machine = make_machine(auth_type, {"me": "secret"}, auth_user="asker" if has_auth_user else None)
    peer = started(machine, "ghost")
    assert machine.found.asked == ([("ghost", "db")] if has_auth_user else [])
    assert "authentication" in peer.say(frontend.password(b"")).refused()


@REQUESTS
def test_cve_2021_3935_plain_text_behind_an_encryption_request(
    machine: Machine, request_bytes: bytes
) -> None:
    """With TLS: tests/unit/login/test_opening.py."""
    for tcp in (False, True):
        peer = machine.connect(tcp).say(request_bytes + STARTUP)
        assert peer.refused() == "received unencrypted data after encryption request"


@pytest.mark.parametrize(
    "parameters", [{"search_path": "evil"}, {"options": "-c search_path=evil"}], ids=["parameter", "options"]
)
def test_cve_2025_12819_search_path_is_not_taken_over(
    make_machine: MakeMachine, parameters: dict[str, str]
) -> None:
    machine = make_machine("trust", {"me": ""})
    assert machine.start(**parameters).refused().startswith("unsupported startup parameter")
    machine = make_machine("trust", {"me": ""}, ignore_startup_parameters=("search_path",))
    assert "search_path" not in machine.start(**parameters).welcome().parameters


@pytest.mark.parametrize("inner", [-1, -2, 0x7FFFFFFF, -0x80000000, 0, 1, 7, 9, 100_000])
def test_cve_2026_6664_inner_length_of_sasl(machine: Machine, inner: int) -> None:
    body = b"SCRAM-SHA-256\0" + inner.to_bytes(4, "big", signed=True) + b"n,,n=,r="
    assert started(machine).say(messages.message(b"p", body)).refused() == SASL_FAILED


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0"])
def test_cve_2026_6664_inner_length_cut(machine: Machine, rest: bytes) -> None:
    message = messages.message(b"p", b"SCRAM-SHA-256\0" + rest)
    assert started(machine).say(message).refused() == SASL_FAILED


@pytest.mark.parametrize("length", [0x80000000, 0x80000001, 0xFFFFFFFF, 0x7FFFFFFF, 3, 0])
def test_cve_2026_6668_and_107348_lengths_that_wrap(machine: Machine, length: int) -> None:
    raw = length.to_bytes(4, "big")
    assert machine.connect().say(raw).refused() == f"bad packet header: '{raw.hex()}'"
    assert started(machine).say(b"p" + raw).refused() == f"bad packet header: '70{raw.hex()}'"
    peer, _ = offered_a_nonce(machine)
    assert peer.say(b"p" + raw).refused() == f"bad packet header: '70{raw.hex()}'"


@pytest.mark.parametrize(
    "options", ["-c=", "--=", "-c", "-c a=b -c", "\\", "-c a=b\\", "-c=" * 2700, "\\" * 8001]
)
def test_cve_2026_107349_options_that_spin(machine: Machine, options: str) -> None:
    """What is not linear takes minutes."""
    began = time.process_time()
    text = machine.start(options=options).refused()
    assert text.startswith("unsupported options startup parameter")
    assert time.process_time() - began < 5


def test_cve_2026_107350_second_startup_during_scram(machine: Machine) -> None:
    other = frontend.startup("postgres", "db", {})
    assert started(machine).say(other).refused().startswith("bad packet header: '00")
    peer, _ = offered_a_nonce(machine)
    assert peer.say(other).refused().startswith("bad packet header: '00")
    assert machine.passed == []


def proof_of(password: bytes, first: bytes, said: bytes, channel: bytes = b"n,,") -> bytes:
    nonce, salt, count = (part[2:] for part in said.split(b","))
    keys = scram.derive_keys(password, scram.b64decode(salt), int(count))
    signed = b"c=" + scram.b64encode(channel) + b",r=" + nonce
    signature = scram.hmac_sha256(scram.sha256(keys.client_key), b",".join((first, said, signed)))
    return signed + b",p=" + scram.b64encode(scram.xor(keys.client_key, signature))


def test_cve_2026_107350_name_inside_scram_does_not_count(machine: Machine) -> None:
    """The user of the startup packet is the one who logs in, whatever SCRAM says."""
    peer, said = offered_a_nonce(machine, b"n,,n=postgres,r=abc")
    peer.say(frontend.sasl_response(proof_of(b"secret", b"n=postgres,r=abc", said)))
    assert peer.request()[0] == codes.AUTH_SASL_FINAL
    peer.welcome()
    assert [row["user"] for row in machine.tables.clients()] == ["me"]


def test_pgpool_empty_user(make_machine: MakeMachine) -> None:
    machine = make_machine("any", databases={"db": Database("db", user="bouncer")})
    for packet in (frontend.startup("", "db", {}), b"\0\0\0\x09\0\3\0\0\0"):
        assert machine.connect().say(packet).refused() == "no username supplied"


@pytest.mark.parametrize("flag", [b"p=tls-server-end-point", b"p=tls-unique", b"p=", b"p"])
def test_channel_binding_is_never_pretended(machine: Machine, flag: bytes) -> None:
    message = frontend.sasl_initial_response("SCRAM-SHA-256", flag + b",,n=,r=abc")
    assert started(machine).say(message).refused() == SASL_FAILED


@REQUESTS
def test_cve_2026_6479_endless_negotiation(machine: Machine, request_bytes: bytes) -> None:
    peer = machine.connect().say(request_bytes)
    assert peer.hear(1) == b"N"
    assert peer.say(request_bytes).refused() == TWICE
    peer = machine.connect()
    for request in (frontend.ssl_request(), gssenc_request()):
        assert peer.say(request).hear(1) == b"N"
    assert peer.say(request_bytes).refused() == TWICE


def test_cve_2024_32655_smuggled_message_behind_a_wrapped_length(machine: Machine) -> None:
    peer = started(machine).say(b"p\xff\xff\xff\xff" + frontend.query("CREATE TABLE marker()"))
    assert peer.refused() == "bad packet header: '70ffffffff'"
    assert machine.queries == []


@pytest.mark.parametrize("early", [b"", frontend.sasl_response(b"c=biws,r=abc,p=AAAA")])
def test_query_before_the_proof(machine: Machine, early: bytes) -> None:
    """What was sent behind the messages of a login that failed is never a query."""
    peer = machine.connect().say(STARTUP, early, frontend.query("CREATE TABLE marker()"))
    peer.request()
    peer.refused()
    assert machine.queries == []
    assert machine.passed == []


def test_exchange_cannot_be_replayed(make_machine: MakeMachine) -> None:
    """What a client once answered is worth nothing in another login: the challenge differs."""
    machine = make_machine("md5", {"me": "secret"})
    answers, peers = [], []
    for _ in range(2):
        peers.append(machine.start())
        _, salt = peers[-1].request()
        answers.append(passwords.md5_answer(passwords.md5_secret(b"secret", b"me"), salt))
    assert answers[0] != answers[1]
    assert peers[1].say(frontend.password(answers[0])).refused() == "password authentication failed"
    peers[0].say(frontend.password(answers[0])).welcome()


def test_scram_exchange_cannot_be_replayed(machine: Machine) -> None:
    peer, said = offered_a_nonce(machine)
    final = frontend.sasl_response(proof_of(b"secret", b"n=,r=abc", said))
    peer.say(final).request()
    peer.welcome()
    peer, again = offered_a_nonce(machine)
    assert again != said
    assert peer.say(final).refused() == SASL_FAILED
    machine.logged("altered nonce")


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("stored", ["x", scram_secret("x", iterations=4096)], ids=["plain", "scram"])
@pytest.mark.parametrize("other", ["ghost", "empty"])
def test_unknown_and_known_users_see_the_same(
    make_machine: MakeMachine, method: str, stored: str, other: str
) -> None:
    """All messages of a login that fails; the random parts are as long."""
    machine = make_machine(method, {"me": stored, "you": stored, "empty": ""})

    def seen(user: str) -> list[Any]:
        peer = machine.start(user)
        code, data = peer.request()
        found: list[Any] = [code, data if code == codes.AUTH_SASL else len(data)]
        if code == codes.AUTH_SASL:
            peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
            code, said = peer.request()
            found += [code, len(said), said.rpartition(b",")[2]]
            peer.say(frontend.sasl_response(proof_of(b"wrong", b"n=,r=abc", said)))
        else:
            peer.say(frontend.password(b"wrong"))
        fault = peer.fault()
        return [*found, fault.message, fault.sqlstate]

    assert seen("me") == seen(other)


def test_only_packets_of_login_size_are_ever_asked_for(machine: Machine) -> None:
    """The largest thing a stranger can make us hold."""
    word = (10_001).to_bytes(4, "big")
    assert machine.connect().say(word).refused() == f"bad packet header: '{word.hex()}'"
    header = b"p" + (1_025 + 4).to_bytes(4, "big")
    assert started(machine).say(header).refused() == f"bad packet header: '{header.hex()}'"
