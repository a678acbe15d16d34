"""What comes before a client is known: requests for encryption, TLS, versions, parameters, cancel keys."""

from __future__ import annotations

from typing import Any

import pytest
from gevent import ssl

from pooler import tls
from pooler.config import Config, Database, Settings
from pooler.config.tls import TlsSetup
from pooler.core import LoginPass
from pooler.dev.processes import account
from pooler.errors import ClientFault
from pooler.protocol import codes, frontend, messages
from tests.support.certificates import Authority, Pair
from tests.support.login_packets import fields, packet
from tests.support.logins import Machine, rule
from tests.support.messages import gssenc_request, negotiate_protocol_version
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

SSL_REQUEST = frontend.ssl_request()
STARTUP = frontend.startup("me", "db", {})
TWICE = "SSL or GSSAPI encryption was already negotiated"
REQUESTS = pytest.mark.parametrize("request_bytes", [SSL_REQUEST, gssenc_request()], ids=["ssl", "gss"])
#: With it nobody has to prove anything, and servers have a user of their own.
OPEN: dict[str, Any] = {"auth_type": "any", "databases": {"db": Database("db", user="bouncer")}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), account())


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Pair:
    return authority.sign("server", "/CN=localhost", "DNS:localhost")


def read_setup(authority: Authority, ours: Pair, mode: str = "require") -> TlsSetup:
    settings = Settings(
        client_tls_sslmode=mode,
        client_tls_key_file=str(ours.key),
        client_tls_cert_file=str(ours.cert),
        client_tls_ca_file=str(authority.cert),
    )
    return tls.set_up(Config("p.ini", settings))


@pytest.fixture(scope="module")
def required(authority: Authority, ours: Pair) -> TlsSetup:
    return read_setup(authority, ours)


@pytest.fixture(scope="module")
def offered(authority: Authority, ours: Pair) -> TlsSetup:
    return read_setup(authority, ours, "prefer")


def context(authority: Authority, pair: Pair | None = None, alpn: str = "") -> ssl.SSLContext:
    """What a client makes its TLS with."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.load_verify_locations(authority.cert)
    if pair is not None:
        found.load_cert_chain(pair.cert, pair.key)
    if alpn:
        found.set_alpn_protocols([alpn])
    return found


def tls_of(machine: Machine) -> set[str]:
    return {row["tls"] for row in machine.tables.clients() if row["addr"] == "127.0.0.1"}


# -- requests for encryption --


@REQUESTS
def test_encryption_is_declined(make_machine: MakeMachine, request_bytes: bytes) -> None:
    machine = make_machine(**OPEN)
    peer = machine.connect(tcp=True).say(request_bytes)
    assert peer.hear(1) == b"N"
    peer.start().welcome()
    assert tls_of(machine) == {""}


def test_both_kinds_of_encryption_are_declined_once(make_machine: MakeMachine) -> None:
    for requests in ((gssenc_request(), SSL_REQUEST), (SSL_REQUEST, gssenc_request())):
        machine = make_machine(**OPEN)
        peer = machine.connect()
        for request in requests:
            assert peer.say(request).hear(1) == b"N"
        peer.start().welcome()


@REQUESTS
def test_no_request_is_answered_twice(make_machine: MakeMachine, request_bytes: bytes) -> None:
    machine = make_machine(**OPEN)
    peer = machine.connect().say(request_bytes)
    assert peer.hear(1) == b"N"
    assert peer.say(request_bytes).refused() == TWICE
    machine.logged("(nodb)/(nouser)@unix(", f"closing because: {TWICE}")


@REQUESTS
def test_a_request_that_comes_in_pieces(make_machine: MakeMachine, request_bytes: bytes) -> None:
    peer = make_machine(**OPEN).connect().bytewise(request_bytes)
    assert peer.hear(1) == b"N"
    peer.bytewise(STARTUP).welcome()


def test_tls(make_machine: MakeMachine, authority: Authority, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    machine.connect(tcp=True).start_tls(context(authority)).start().welcome()
    (text,) = tls_of(machine)
    assert text.startswith("TLSv1.3/")
    machine.logged("user=me tls=TLSv1.3/")


def test_tls_handshake_in_pieces(make_machine: MakeMachine, authority: Authority, required: TlsSetup) -> None:
    """What the first piece needs is waited for; the client's own bytes are TLS's, one at a time."""
    machine = make_machine(**OPEN, tls=required)
    peer = machine.connect(tcp=True).say(SSL_REQUEST)
    assert peer.hear(1) == b"S"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = context(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            inside.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                peer.say(bytes([byte]))
            incoming.write(peer.sock.recv(65536))
    inside.write(STARTUP)
    for byte in outgoing.read():
        peer.say(bytes([byte]))
    data = b""
    while b"Z\0\0\0\5I" not in data:
        try:
            data += inside.read(65536)
        except ssl.SSLWantReadError:
            incoming.write(peer.sock.recv(65536))
    assert data.startswith(messages.authentication_ok())


def test_tls_is_not_offered_on_unix_sockets(make_machine: MakeMachine, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    peer = machine.connect().say(SSL_REQUEST)
    assert peer.hear(1) == b"N"
    peer.start().welcome()


def test_tls_required(make_machine: MakeMachine, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    assert machine.connect(tcp=True).start().refused() == "SSL required"
    peer = machine.connect(tcp=True).say(gssenc_request())
    assert peer.hear(1) == b"N"
    assert peer.start().refused() == "SSL required"


def test_tls_offered(make_machine: MakeMachine, authority: Authority, offered: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=offered)
    machine.connect(tcp=True).start().welcome()
    machine.connect(tcp=True).start_tls(context(authority)).start().welcome()


def test_tls_from_the_first_byte(make_machine: MakeMachine, authority: Authority, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    machine.connect(tcp=True).start_tls(context(authority, alpn="postgresql"), ask=False).start().welcome()
    peer = machine.connect(tcp=True).start_tls(context(authority), ask=False)
    assert peer.refused() == (
        "received direct SSL connection request without ALPN protocol negotiation extension"
    )


def test_tls_from_the_first_byte_where_there_is_none(make_machine: MakeMachine, required: TlsSetup) -> None:
    for setup, tcp in ((TlsSetup(), True), (required, False)):
        machine = make_machine(**OPEN, tls=setup)
        assert machine.connect(tcp).say(b"\x16\3\1\0\x80").refused() == "bad packet header: '16030100'"


def test_bytes_that_are_no_tls(make_machine: MakeMachine, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    peer = machine.connect(tcp=True).say(SSL_REQUEST)
    assert peer.hear(1) == b"S"
    peer.say(STARTUP).rest()
    machine.logged("TLS handshake error: ", "closing because: client unexpected eof")
    machine.until(machine.is_empty, "its end")


def test_client_that_leaves_the_handshake(make_machine: MakeMachine, required: TlsSetup) -> None:
    machine = make_machine(**OPEN, tls=required)
    peer = machine.connect(tcp=True).say(SSL_REQUEST)
    assert peer.hear(1) == b"S"
    peer.close()
    machine.logged("TLS handshake error: unexpected eof")


@REQUESTS
def test_no_request_within_tls(
    make_machine: MakeMachine, authority: Authority, offered: TlsSetup, request_bytes: bytes
) -> None:
    machine = make_machine(**OPEN, tls=offered)
    peer = machine.connect(tcp=True).start_tls(context(authority)).say(request_bytes)
    assert peer.refused() == TWICE
    peer = machine.connect(tcp=True).start_tls(context(authority, alpn="postgresql"), ask=False)
    assert peer.say(request_bytes).refused() == TWICE


@REQUESTS
@pytest.mark.parametrize("has_tls", [False, True])
def test_plain_text_behind_a_request(
    make_machine: MakeMachine, required: TlsSetup, request_bytes: bytes, has_tls: bool
) -> None:
    """CVE-2021-3935: it would be taken for what came through TLS."""
    machine = make_machine(**OPEN, tls=required if has_tls else TlsSetup())
    peer = machine.connect(tcp=True).say(request_bytes + STARTUP)
    assert peer.refused() == "received unencrypted data after encryption request"
    assert machine.queries == []


def test_rules_see_tls(make_machine: MakeMachine, authority: Authority, offered: TlsSetup) -> None:
    hba = (rule("trust", "hostssl"), rule("reject", "hostnossl", line=2), rule("plain", line=3))
    machine = make_machine("hba", {"me": "secret"}, hba=hba, tls=offered)
    machine.connect(tcp=True).start_tls(context(authority)).start().welcome()
    assert machine.connect(tcp=True).start().refused() == "login rejected"
    assert machine.start().request() == (codes.AUTH_CLEARTEXT, b"")


# -- certificates and channel binding --


def test_scram_is_bound_to_our_certificate(
    make_machine: MakeMachine, authority: Authority, required: TlsSetup
) -> None:
    machine = make_machine("scram-sha-256", {"me": scram_secret("secret"), "plain": "secret"}, tls=required)
    for user in ("me", "plain"):
        for plus in (True, False):
            peer = machine.connect(tcp=True).start_tls(context(authority))
            peer.start(user).prove("secret", user, plus)
    peer = machine.connect(tcp=True).start_tls(context(authority)).start()
    assert peer.request() == (codes.AUTH_SASL, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")


def test_binding_to_another_certificate(
    make_machine: MakeMachine, authority: Authority, required: TlsSetup
) -> None:
    """Somebody in the middle has TLS with both, and a certificate of its own."""
    machine = make_machine("scram-sha-256", {"me": scram_secret("secret")}, tls=required)
    peer = machine.connect(tcp=True).start_tls(context(authority))
    peer.certificate = b"m" * 32
    with pytest.raises(ClientFault, match="SASL authentication failed"):
        peer.start().prove("secret", plus=True)
    machine.logged("channel binding differs from that of the first message")


def test_binding_that_somebody_took_away(
    make_machine: MakeMachine, authority: Authority, required: TlsSetup
) -> None:
    machine = make_machine("scram-sha-256", {"me": scram_secret("secret")}, tls=required)
    peer = machine.connect(tcp=True).start_tls(context(authority)).start()
    peer.request()
    peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=abc"))
    assert peer.refused() == "SASL authentication failed"
    machine.logged("the client supports channel binding but thinks the server does not")


# -- cancel requests --


def cancel_of(machine: Machine) -> tuple[int, list[bytes]]:
    passed = machine.passed_as()
    return passed.how, passed.fields[3:]


def test_cancel_request_needs_nothing(
    make_machine: MakeMachine, authority: Authority, required: TlsSetup
) -> None:
    """No TLS, no proof: the key is one, and no log shows it."""
    expected = (LoginPass.CANCEL, [b"7", b"abcd"])
    for behind in (b"", b"junk"):
        machine = make_machine("md5", tls=required)
        peer = machine.connect(tcp=True).say(frontend.cancel_request(7, b"abcd") + behind)
        assert cancel_of(machine) == expected
        assert peer.rest() == b""
        machine = make_machine("md5")
        peer = machine.connect().say(SSL_REQUEST)
        assert peer.hear(1) == b"N"
        peer.say(frontend.cancel_request(7, b"abcd") + behind)
        assert cancel_of(machine) == expected
        assert peer.rest() == b""
        machine = make_machine("md5", tls=required, verbose=2)
        peer = machine.connect(tcp=True).start_tls(context(authority))
        peer.say(frontend.cancel_request(7, b"abcd") + behind)
        assert cancel_of(machine) == expected
        assert peer.rest() == b""
        machine.logged("LoginPassed(")
        assert "abcd" not in machine.text()


@pytest.mark.parametrize("size", [3, 257])
def test_cancel_request_of_another_length(make_machine: MakeMachine, size: int) -> None:
    peer = make_machine("md5").connect().say(frontend.cancel_request(7, b"k" * size))
    assert peer.refused() == "invalid length of cancel request packet"


# -- versions --


def negotiated(names: list[str], minor: int) -> bytes:
    return negotiate_protocol_version(names, minor)[5:]


@pytest.mark.parametrize(
    ("minor", "parameters", "expected"),
    [
        (0, {"_pq_.x": "1", "_pq_.y": "2"}, negotiated(["_pq_.x", "_pq_.y"], 0)),
        (1, {}, b""),
        (2, {}, b""),
        (2, {"_pq_.x": "1"}, negotiated(["_pq_.x"], 2)),
        (3, {}, negotiated([], 2)),
        (9999, {"_pq_.x": "1"}, negotiated(["_pq_.x"], 2)),
        (0, {}, b""),
    ],
)
def test_protocol_negotiation_comes_before_authentication(
    make_machine: MakeMachine, minor: int, parameters: dict[str, str], expected: bytes
) -> None:
    machine = make_machine("md5", {"me": "secret"})
    texts = (text for pair in parameters.items() for text in pair)
    peer = machine.connect().say(packet(fields("user", "me", "database", "db", *texts), (3 << 16) + minor))
    if expected:
        assert peer.message() == (b"v", expected)
    welcome = peer.prove("secret")
    assert welcome.negotiated == b"", "once, and not again"
    assert len(welcome.key) == (32 if minor >= codes.LONG_KEYS_MINOR else 4)


# -- parameters --


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\0", "no username supplied"),
        (fields("user", ""), "no username supplied"),
        (fields("user", "a", "user", "b"), "startup parameter given twice: user"),
        (fields("user", "u" * 128), "username too long"),
        (fields("user", "u", "database", "d" * 64), "database name too long"),
        (b"user\0me\0", "invalid startup packet layout: expected terminator as last byte"),
    ],
)
def test_packets_that_are_refused(make_machine: MakeMachine, body: bytes, text: str) -> None:
    """Of all others: tests/unit/core/login/test_packet.py."""
    machine = make_machine(**OPEN)
    assert machine.connect().say(packet(body)).refused() == text
    machine.logged("C-1: (nodb)/(nouser)@unix(", f"closing because: {text}", f"pooler error: {text}")
    assert "login attempt" not in machine.text()


def test_longest_packet_and_one_byte_more(make_machine: MakeMachine) -> None:
    machine = make_machine(**OPEN)
    filler = "x" * (10_000 - len(packet(fields("user", "me", "database", "db", "application_name", ""))))
    body = fields("user", "me", "database", "db", "application_name", filler)
    assert len(packet(body)) == 10_000
    assert machine.connect().say(packet(body)).welcome().parameters["application_name"]
    header = packet(fields("user", "me", "application_name", filler + "x" * 16))[:4]
    assert machine.connect().say(header).refused() == f"bad packet header: '{header.hex()}'"


def test_parameters(make_machine: MakeMachine) -> None:
    given = {"datestyle": "German", "options": "-c timezone=CET", "x": "y"}
    machine = make_machine(**OPEN, ignore_startup_parameters=("x",))
    told = machine.start(**given).welcome().parameters
    assert (told["DateStyle"], told["TimeZone"]) == ("German", "CET")
    machine = make_machine("md5", {"me": "secret"})
    assert machine.start(**given).refused() == "unsupported startup parameter: x"
    assert machine.asked == []


@pytest.mark.parametrize(
    ("replication", "word"), [("database", b"database"), ("true", b"true"), ("1", b"true")]
)
def test_replication_is_handed_on(make_machine: MakeMachine, replication: str, word: bytes) -> None:
    machine = make_machine("trust", {"me": "secret"}, ignore_startup_parameters=("y",))
    parameters = {"replication": replication, "options": "-c work_mem=1", "x": "1", "y": "2"}
    machine.start(**parameters)
    passed = machine.passed_as()
    assert passed.how == LoginPass.REPLICATION
    assert passed.fields[3:8] == [b"me", b"db", b"", b"0", b""]
    assert passed.fields[8:] == [b"replication", word, b"options", b"-c work_mem=1", b"x", b"1"]
    machine.logged(f"replication={'database' if replication == 'database' else 'yes'}")


def test_console_takes_unknown_parameters(make_machine: MakeMachine) -> None:
    machine = make_machine("trust", {"me": "secret"}, stats_users=("me",))
    machine.start(database="pgbouncer", x="y", options="-c a=b", application_name="psql").welcome()
    assert machine.passed_as().fields[3:] == [b"me", b"pgbouncer", b"", b"0", b"psql"]
