"""Hostile bytes before the login is done: refused with clear words or closed, and nobody else notices."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.hostile import assert_refused, header, raw_startup, read_to_end
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import GSSENC_REQUEST, SSL_REQUEST, query, startup, untyped
from tests.system.conftest import MakeShared

USER_DB = b"user\0bouncer\0database\0p0\0"
INT_MIN, INT_MAX = 0x80000000, 0x7FFFFFFF


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared) -> Pooler:
    return make_shared(workers=2, client_login_timeout=2, tcp_defer_accept=0, databases={"p0": "", "p1": ""})


pytestmark = pytest.mark.usefixtures("undisturbed")


BAD_LENGTHS = [0, 1, 3, 4, 7, 10_001, 65_536, INT_MAX, INT_MIN, INT_MIN + 1, 0xFFFFFFFE, 0xFFFFFFFF]


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_startup_lengths(shared: Pooler, length: int) -> None:
    with shared.wire() as wire:
        wire.send(raw_startup(USER_DB + b"\0", length=length))
        assert assert_refused(wire)["M"].startswith("bad packet header")


MALFORMED = {
    "password packet before startup": header("p", 5, b"\0"),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600,
    "zeros": b"\0" * 64,
    "ones": b"\xff" * 64,
    "no final zero": raw_startup(b"user\0bouncer\0database\0p0"),
    "no zero at all": raw_startup(b"user"),
    "no pairs": raw_startup(b""),
    "terminator only": raw_startup(b"\0"),
    "name without value": raw_startup(b"user\0bouncer\0database\0\0"[:-1]),
    "bytes behind the terminator": raw_startup(USER_DB + b"\0user\0postgres\0\0"),
    "no user": raw_startup(b"database\0p0\0\0"),
    "empty user": raw_startup(b"user\0\0database\0p0\0\0"),
    "user twice": raw_startup(USER_DB + b"user\0postgres\0\0"),
    "database twice": raw_startup(USER_DB + b"database\0p1\0\0"),
    "version 2.0": raw_startup(USER_DB + b"\0", 2 << 16),
    "version 4.0": raw_startup(USER_DB + b"\0", 4 << 16),
    "version 0.0": raw_startup(USER_DB + b"\0", 0),
    "bad replication": raw_startup(USER_DB + b"replication\0maybe\0\0"),
    "replication": raw_startup(USER_DB + b"replication\0database\0\0"),
    "is_superuser": raw_startup(USER_DB + b"is_superuser\0on\0\0"),
    "session_authorization": raw_startup(USER_DB + b"session_authorization\0postgres\0\0"),
    "role": raw_startup(USER_DB + b"role\0postgres\0\0"),
    "server setting": raw_startup(USER_DB + b"shared_buffers\0001GB\0\0"),
    "role in options": raw_startup(USER_DB + b"options\0-c role=postgres\0\0"),
    "long cancel request": untyped(80877102, b"x" * 300),
    "short cancel request": untyped(80877102, b"x" * 3),
    "bytes in SSLRequest": untyped(SSL_REQUEST, b"x" * 8),
    "startup behind SSLRequest": untyped(SSL_REQUEST) + startup(),
    "startup behind GSSENCRequest": untyped(GSSENC_REQUEST) + startup(),
    "query as startup": query("SELECT 1"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(shared: Pooler, name: str) -> None:
    with shared.wire() as wire:
        wire.send(MALFORMED[name])
        fields = assert_refused(wire)
        if "Request" not in name:
            assert fields["M"], "no clear message"


def test_unknown_cancel_key_is_closed_without_a_word(shared: Pooler) -> None:
    with shared.wire() as wire:
        wire.send(untyped(80877102, struct.pack("!II", 1, 0xDEADBEEF)))
        assert read_to_end(wire) == []


@pytest.mark.parametrize("size", [63, 64, 128, 9000])
@pytest.mark.parametrize("key", ["user", "database"])
def test_long_names(shared: Pooler, key: str, size: int) -> None:
    pairs: dict[str, Any] = {"user": "bouncer", "database": "p0", key: "x" * size}
    with shared.wire() as wire:
        wire.send(startup(**pairs))
        assert assert_refused(wire)["M"]


NAMES = {
    "newline": b"a\nFATAL forged",
    "escape": b"\x1b[2J\x1b]0;owned\x07",
    "quote": b"a'; DROP TABLE x; --",
    "dots": b"../../etc/passwd",
    "percent": b"%s%n%(x)s",
    "no utf-8": b"\xff\xfe\xc0\x80",
    "c1 controls": b"a\xc2\x9bb",
}


@pytest.mark.parametrize("key", ["user", "database", "application_name"])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_opaque_and_escaped_in_the_log(shared: Pooler, name: str, key: str) -> None:
    """One event is one line, whatever a name holds; no control byte reaches a terminal."""
    pairs = {b"user": b"bouncer", b"database": b"p0", key.encode(): NAMES[name]}
    with shared.wire() as wire:
        wire.send(raw_startup(b"".join(k + b"\0" + v + b"\0" for k, v in pairs.items()) + b"\0"))
        if key == "application_name":
            wire.receive_until("Z")
        else:
            assert assert_refused(wire)["M"]
    log = shared.log.read_bytes()
    assert not [line for line in log.split(b"\n") if line.startswith(b"FATAL")], "a forged line"
    assert not [byte for byte in log if byte < 32 and byte != 10], "control bytes in the log"
    assert b"\xc2\x9b" not in log


OPTIONS = [
    *("-c=", "--=", "-c", "-c ", "x", "-c x", "--x", "\\", "-c a\\"),
    *("-c " * 2700, "--a=b" * 1600, " " * 8000, "\\" * 8001, "-c TimeZone=UTC';select_pg_sleep(9)--"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda text: text[:12])
def test_options_end_soon(shared: Pooler, options: str) -> None:
    started = time.monotonic()
    with shared.wire() as wire:
        wire.send(startup(options=options))
        wire.receive()
    assert time.monotonic() - started < 1


def test_parameter_values_never_run(shared: Pooler) -> None:
    """A value is a value: quotes do not end it."""
    evil = "UTC'; CREATE TABLE injected (n int); --"
    with shared.wire() as wire:
        wire.send(startup(TimeZone=evil))
        received = read_to_end(wire)
        assert received[-1].fields["C"] == "22023"
    assert shared.pg.sql("SELECT to_regclass('injected')", dbname="p0") == [(None,)]


def test_parameter_values_of_the_first_client_of_all(make_pooler: Callable[..., Pooler]) -> None:
    """The pool has no server yet, then one whose login has just ended: it is asked all the same."""
    pooler = make_pooler(workers=2)
    for _ in range(2):
        with pooler.wire() as wire:
            wire.send(startup(TimeZone="Nowhere/Land"))
            wire.expect_error("22023")


def test_endless_negotiation(shared: Pooler) -> None:
    """At most one SSLRequest and one GSSENCRequest, in any order."""
    for codes in ([SSL_REQUEST] * 100, [GSSENC_REQUEST] * 100, [SSL_REQUEST, GSSENC_REQUEST] * 50):
        answered = 0
        with shared.wire() as wire:
            for code in codes:
                wire.send(untyped(code))
                if wire.read_exactly(1) != b"N":
                    break
                answered += 1
        assert answered <= 2


def test_new_minor_version_and_extensions_are_negotiated(shared: Pooler) -> None:
    with shared.wire() as wire:
        wire.send(raw_startup(USER_DB + b"_pq_.magic\0on\0\0", version=3 << 16 | 99))
        answer = wire.receive_until("Z")
        assert answer[0].type in "vR"
        negotiated = [m for m in answer if m.type == "v"]
        assert b"_pq_.magic" in negotiated[0].body


@pytest.mark.parametrize("sent", [b"", b"\0", startup()[:20], untyped(SSL_REQUEST)], ids=str)
def test_slow_ones_are_cut_off(shared: Pooler, sent: bytes) -> None:
    """client_login_timeout ends them; meanwhile others log in at once."""
    slow = [shared.wire() for _ in range(30)]
    for wire in slow:
        wire.send(sent)
    started = time.monotonic()
    assert shared.sql("SELECT 1") == [(1,)]
    assert time.monotonic() - started < 1
    for wire in slow:
        while wire.socket.recv(4096):
            pass
        wire.close()
    assert time.monotonic() - started < 6


def test_slow_byte_by_byte_login_works(shared: Pooler) -> None:
    with shared.wire() as wire:
        wire.send_slowly(startup())
        wire.receive_until("Z")
        wire.send_slowly(query("SELECT 12"))
        assert wire.expect("TDCZ")[1].values == [b"12"]


def test_messages_behind_the_startup_packet_are_served_in_order(shared: Pooler) -> None:
    """Allowed under trust (libpq may do it), and nothing may be lost or run twice."""
    with shared.wire() as wire:
        wire.send(startup() + query("SELECT 1") + query("SELECT 2"))
        wire.receive_until("Z")
        assert wire.expect("TDCZ")[1].values == [b"1"]
        assert wire.expect("TDCZ")[1].values == [b"2"]


def test_hundred_silent_sockets_do_not_block_others(shared: Pooler) -> None:
    silent = [shared.wire() for _ in range(100)]
    assert shared.sql("SELECT 1") == [(1,)]
    for wire in silent:
        wire.socket.close()
    wait_for(lambda: shared.show("lists", list="login_clients")[0]["items"] == 0, 5, "no login left")
