"""Attacks on the way into TLS and within it: bytes in clear, stalls, renegotiation, downgrades."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.core._core import TlsContext, TlsSession, tls_key_updates
from pooler.dev.processes import Account
from tests.support.certificates import Authority
from tests.support.hostile import assert_refused
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    SYNC,
    Wire,
    extended,
    message,
    query,
    startup,
    untyped,
)
from tests.system.conftest import GuardedPooler, MakeShared, Witnesses

SSL, GSS = untyped(SSL_REQUEST), untyped(GSSENC_REQUEST)
UNENCRYPTED = "received unencrypted data after encryption request"
TWICE = "SSL or GSSAPI encryption was already negotiated"


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared, work: Path, owner: Account) -> Pooler:
    pair = Authority(work / "hostile-tls", owner).sign("server", "/CN=localhost")
    return make_shared(
        workers=2,
        client_tls_sslmode="prefer",
        client_tls_key_file=pair.key,
        client_tls_cert_file=pair.cert,
        client_login_timeout=8,
        max_unauthenticated=20,
    )


pytestmark = pytest.mark.usefixtures("undisturbed")


def context(alpn: str | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def secured(pooler: Pooler, alpn: str | None = None, direct: bool = False) -> Wire:
    """A wire within TLS."""
    wire = pooler.wire()
    if not direct:
        wire.send(SSL)
        assert wire.read_exactly(1) == b"S"
    wire.socket = context(alpn).wrap_socket(wire.socket)
    return wire


# On the way in.


@pytest.mark.parametrize("request_bytes", [SSL, GSS], ids=["ssl", "gss"])
def test_clear_bytes_behind_a_request(shared: Pooler, request_bytes: bytes) -> None:
    """CVE-2021-3935: not one byte of the handshake happens."""
    with shared.wire() as wire:
        wire.send(request_bytes, startup())
        assert assert_refused(wire)["M"] == UNENCRYPTED


def test_a_request_of_each_kind_at_most(shared: Pooler) -> None:
    """PostgreSQL CVE-2026-6479: nobody negotiates for ever."""
    with shared.wire() as wire:
        wire.send(GSS)
        assert wire.read_exactly(1) == b"N"
        wire.send(GSS)
        assert assert_refused(wire)["M"] == TWICE


@pytest.mark.parametrize("request_bytes", [SSL, GSS], ids=["ssl", "gss"])
@pytest.mark.parametrize("direct", [False, True], ids=["asked", "direct"])
def test_no_negotiation_within_tls(shared: Pooler, request_bytes: bytes, direct: bool) -> None:
    with secured(shared, "postgresql", direct) as wire:
        wire.send(request_bytes)
        assert assert_refused(wire)["M"] == TWICE


def test_direct_tls_needs_alpn(shared: Pooler) -> None:
    with secured(shared, None, direct=True) as wire:
        assert "without ALPN" in assert_refused(wire)["M"]
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        secured(shared, "http/1.1", direct=True)
    with secured(shared, "postgresql", direct=True) as wire:
        wire.login()
        assert wire.rows("SELECT 7") == [[b"7"]]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16",
        b"\x16\x03\x01\x00\x00" * 50,
        b"\x16\x03\x01\xff\xff" + b"\0" * 70_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600,
        b"\x15\x03\x01\x00\x02\x02\x28",
        os.urandom(4096),
        startup(),
    ],
    ids=["one byte", "empty records", "long record", "hollow hello", "alert", "noise", "startup"],
)
def test_garbage_instead_of_a_handshake(shared: Pooler, garbage: bytes) -> None:
    with shared.wire() as wire:
        wire.send(SSL)
        assert wire.read_exactly(1) == b"S"
        with contextlib.suppress(OSError):
            wire.send(garbage)
            wire.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while wire.socket.recv(4096):
                pass


def test_garbage_within_tls(shared: Pooler) -> None:
    """A record that nobody with the keys has made ends the client, and its server goes on."""
    wire = secured(shared)
    wire.login()
    assert wire.rows("SELECT 1") == [[b"1"]]
    with socket.socket(fileno=os.dup(wire.socket.fileno())) as below:
        below.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert wire.socket.recv(10) == b""
    wire.socket.close()
    wait_for(lambda: not shared.show("clients", database="p0"), 5, "the end of the client")


def test_half_records(shared: Pooler) -> None:
    """A record that comes byte by byte is none until it is whole; others are served meanwhile."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context().wrap_bio(theirs, ours)
    with shared.wire() as wire:
        wire.send(SSL)
        assert wire.read_exactly(1) == b"S"
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.send(ours.read())
                theirs.write(wire.socket.recv(65536))
        session.write(startup())
        wire.send(ours.read())
        assert _read_until(session, theirs, wire, b"Z\0\0\0\5I")
        for text in ("SELECT 'half'", "SELECT 'records'"):
            session.write(query(text))
            for byte in ours.read():
                wire.send(bytes((byte,)))
            assert _read_until(session, theirs, wire, b"Z\0\0\0\5I")


def _read_until(session: ssl.SSLObject, theirs: ssl.MemoryBIO, wire: Wire, end: bytes) -> bytes:
    received = b""
    while end not in received:
        try:
            received += session.read(65536)
        except ssl.SSLWantReadError:
            data = wire.socket.recv(65536)
            assert data, received
            theirs.write(data)
    return received


@pytest.mark.parametrize("stage", ["silent", "hello"])
def test_stalled_handshakes_keep_nobody_out(shared: Pooler, stage: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            wire = stack.enter_context(shared.wire())
            wire.send(SSL)
            if stage == "hello":
                wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01")
        with secured(shared) as wire:
            wire.login()
            assert wire.rows("SELECT 1") == [[b"1"]]


def test_many_handshakes_that_leave_in_the_middle(shared: Pooler) -> None:
    """Sockets are closed while their handshakes are computed; their numbers are soon somebody else's."""
    hello, below = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context().wrap_bio(below, hello)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    first = hello.read()
    until = time.monotonic() + 2
    while time.monotonic() < until:
        with shared.wire() as wire:
            wire.send(SSL)
            assert wire.read_exactly(1) == b"S"
            wire.send(first)
    with secured(shared) as wire:
        wire.login()
        assert wire.rows("SELECT 1") == [[b"1"]]


# Within.


class Client:
    """openssl's own: its letters at the beginning of a line are orders."""

    def __init__(self, pooler: Pooler, version: str) -> None:
        target = f"{pooler.host}:{pooler.port}"
        self.process = subprocess.Popen(
            ["openssl", "s_client", version, "-starttls", "postgres", "-connect", target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        )  # fmt: skip
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def wait_for(self, *texts: bytes) -> None:
        """One of these comes; what came before it is forgotten."""

        def there() -> bool:
            assert self.process.stdout is not None
            self.output += self.process.stdout.read() or b""
            return any(text in self.output for text in texts)

        wait_for(there, 10, f"{texts} from openssl")
        self.output = b""

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_renegotiation(shared: Pooler) -> None:
    with contextlib.closing(Client(shared, "-tls1_2")) as client:
        client.wait_for(b"Verify return code")
        client.send(b"R\n")
        client.wait_for(b"no renegotiation", b"handshake failure")


def test_new_keys(shared: Pooler) -> None:
    """Ours are asked for, too (K): in the login and in the relay."""
    with contextlib.closing(Client(shared, "-tls1_3")) as client:
        client.wait_for(b"Verify return code")
        client.send(b"K\n")
        client.wait_for(b"KEYUPDATE")
        client.send(startup())
        client.wait_for(b"server_version")
        for order in (b"K\n", b"k\n", b"K\n"):
            client.send(order)
            client.wait_for(b"KEYUPDATE")
            client.send(extended("SELECT 'served' || ' still'") + SYNC)
            client.wait_for(b"served still")


def test_new_keys_without_end(shared: Pooler) -> None:
    """More of them than one turn reads, in front of the startup packet and of a query, which are answered."""
    session = TlsContext(server=False).session()
    with shared.wire() as wire:
        wire.send(SSL)
        assert wire.read_exactly(1) == b"S"
        received, done = b"", False
        while not done:
            done, reply, _ = session.handshake(received)
            wire.send(reply)
            received = b"" if done else wire.socket.recv(65536)
        for data, end in ((startup(), b"Z"), (query("SELECT 'behind them'"), b"behind them")):
            wire.send(tls_key_updates(session, 5_000, data))
            answer = b""
            while end not in answer:
                answer += _decrypted(session, wire)


def _decrypted(session: TlsSession, wire: Wire) -> bytes:
    """What comes next, in clear; the session keeps away from the socket."""
    data = session.read(65536)
    while data is None:
        session.handshake(wire.socket.recv(65536))  # which takes them
        data = session.read(65536)
    return data


def test_silent_clients_end_their_turns(shared: Pooler) -> None:
    """Those of this machine compute their logins one after the other; who stalls keeps nobody out for long,
    and who has nothing to compute does not wait at all."""
    with contextlib.ExitStack() as stack:
        for _ in range(2 * 8):  # fewer than max_unauthenticated of each worker
            stack.enter_context(shared.wire()).send(SSL)
        plain = stack.enter_context(shared.wire())
        assert plain.login().rows("SELECT 1") == [[b"1"]]
        for _ in range(4):
            assert shared.sql("SELECT 1", sslmode="require") == [(1,)]


# SCRAM.


@pytest.fixture(scope="module")
def guarded(make_shared: MakeShared, work: Path, owner: Account) -> Pooler:
    """With passwords, and a certificate to bind to."""
    pair = Authority(work / "hostile-tls", owner, "other").sign("server", "/CN=localhost")
    return make_shared(
        GuardedPooler,
        workers=1,
        auth_type="scram-sha-256",
        databases={"p1": "user=bouncer"},
        client_tls_sslmode="prefer",
        client_tls_key_file=pair.key,
        client_tls_cert_file=pair.cert,
    )


def offered(wire: Wire) -> list[bytes]:
    """What we may choose from."""
    (request,) = wire.expect("R")
    assert struct.unpack_from("!I", request.body) == (10,)
    return request.body[4:].rstrip(b"\0").split(b"\0")


def first(mechanism: bytes, flag: bytes) -> bytes:
    text = flag + b",,n=,r=rOprNGfwEbeRWgbNEkqO"
    return message("p", mechanism + b"\0" + struct.pack("!I", len(text)) + text)


def test_plus_is_offered_within_tls_only(guarded: Pooler) -> None:
    with secured(guarded) as wire:
        wire.send(startup("suser", "p1"))
        assert offered(wire) == [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]
    with guarded.wire() as wire:
        wire.send(startup("suser", "p1"))
        assert offered(wire) == [b"SCRAM-SHA-256"]
        wire.send(first(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point"))
        assert_refused(wire)


@pytest.mark.parametrize(
    ("mechanism", "flag"),
    [
        (b"SCRAM-SHA-256", b"y"),
        (b"SCRAM-SHA-256", b"p=tls-server-end-point"),
        (b"SCRAM-SHA-256-PLUS", b"n"),
        (b"SCRAM-SHA-256-PLUS", b"y"),
        (b"SCRAM-SHA-256-PLUS", b"p=tls-unique"),
        (b"SCRAM-SHA-256-PLUS", b"p="),
    ],
)
def test_flags_that_do_not_fit(guarded: Pooler, mechanism: bytes, flag: bytes) -> None:
    """`y`: the client thinks that binding was not offered, so somebody took the offer away."""
    with secured(guarded) as wire:
        wire.send(startup("suser", "p1"))
        offered(wire)
        wire.send(first(mechanism, flag))
        assert assert_refused(wire)["M"] == "SASL authentication failed"


def test_binding_to_another_certificate(guarded: Pooler) -> None:
    """As somebody in the middle has it, who shows a certificate of his own."""
    with secured(guarded) as wire:
        wire.send(startup("suser", "p1"))
        offered(wire)
        wire.send(first(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point"))
        (request,) = wire.expect("R")
        nonce = request.body[4:].split(b",")[0]
        wire.send(
            message("p", b"c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAAA," + nonce + b",p=" + b"A" * 43 + b"=")
        )
        assert assert_refused(wire)["M"] == "SASL authentication failed"


@pytest.fixture
def undisturbed(shared: Pooler, witnesses: Witnesses) -> Iterator[None]:
    """Nobody else notices, and plain logins work."""
    yield
    witnesses.assert_undisturbed()
    with shared.wire() as wire:
        wire.login()
        assert wire.rows("SELECT 1") == [[b"1"]]
