"""Servers that lie, stall or babble: their clients get a clear error in time, nobody else notices."""

from __future__ import annotations

import base64
import contextlib
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import (
    ANSWER,
    AUTH_OK,
    KEY,
    PARAMETERS,
    READY,
    ROW,
    WELCOME,
    FakeServer,
    Peer,
    Script,
    authentication,
    error,
    parameter,
)
from tests.support.health import descriptor_counts, wait_for_descriptors
from tests.support.hostile import header
from tests.support.pooler import Pooler
from tests.support.processes import pss_kb, wait_for
from tests.support.wire import EndOfStream, Message, message, query, startup
from tests.system.conftest import MakeShared


def says(data: bytes) -> Script:
    """Sends this instead of a login, and waits."""

    def script(peer: Peer) -> None:
        peer.send(data)
        peer.wait_for_end()

    return script


def sasl(*answers: bytes) -> Script:
    """Offers SCRAM and answers each of the pooler's messages with the next of these; %NONCE% is its nonce."""

    def script(peer: Peer) -> None:
        peer.send(authentication(10, b"SCRAM-SHA-256\0\0"))
        nonce = b""
        for answer in answers:
            _, body = peer.message()
            nonce = nonce or body.split(b"r=")[-1]
            peer.send(answer if answer[:1] == b"R" else authentication(11, answer.replace(b"%NONCE%", nonce)))
        peer.wait_for_end()

    return script


def after_login(data: bytes, wait: bool = True) -> Script:
    """Logs the pooler in, and answers the first query with this."""

    def script(peer: Peer) -> None:
        peer.send(WELCOME)
        while peer.message()[1][:6].upper() != b"SELECT":
            peer.send(message("C", "SET") + READY)
        peer.send(data)
        if wait:
            peer.wait_for_end()

    return script


SALT = base64.b64encode(b"0123456789abcdef")

#: Servers that nobody can log in at.
LOGINS: dict[str, Script] = {
    "closes": lambda peer: None,
    "http": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "zeros": says(b"\0" * 100),
    "ones": says(b"\xff" * 100),
    "error_without_fields": says(error(b"\0")),
    "error_empty": says(error(b"")),
    "error_text_only": says(error(b"Mnothing but text\0\0")),
    "error_code_only": says(error(b"C99999\0\0")),
    "error_cut": says(error(b"SFATAL\0C28P01\0Mcut")),
    "error_short_code": says(error(b"SFATAL\0C1\0Mshort code\0\0")),
    "error_control_bytes": says(error(b"SFATAL\0C28000\0Mline\nFATAL forged\x1b[2J\0\0")),
    "error_huge": says(error(b"SFATAL\0C28000\0M" + b"x" * 9_000 + b"\0\0")),
    "error_too_huge": says(error(b"SFATAL\0C28000\0M" + b"x" * 1_000_000 + b"\0\0")),
    "length_0": says(header("R", 0)),
    "length_3": says(header("R", 3)),
    "length_negative": says(header("R", 0xFFFFFFFF)),
    "length_wraps": says(header("R", 0x80000000)),
    "length_huge": says(header("R", 0x7FFFFFFF, b"x" * 100_000)),
    "ready_at_once": says(READY),
    "key_at_once": says(KEY),
    "query_of_its_own": says(query("SELECT 1")),
    "row_in_login": says(AUTH_OK + ROW),
    "copy_in_login": says(AUTH_OK + message("G", b"\0\0\0")),
    "auth_cut": says(message("R", b"\0\0")),
    "auth_unknown": says(authentication(99)),
    "auth_kerberos": says(authentication(7)),
    "auth_twice": says(authentication(3) + authentication(3)),
    "md5_salt_cut": says(authentication(5, b"ab")),
    "md5_salt_long": says(authentication(5, b"abcdefgh")),
    "sasl_nothing": says(authentication(10, b"\0")),
    "sasl_cut": says(authentication(10)),
    "sasl_unknown": says(authentication(10, b"PLAIN\0GS2\0\0")),
    "sasl_plus_only": says(authentication(10, b"SCRAM-SHA-256-PLUS\0\0")),
    "sasl_final_first": says(authentication(12, b"v=x")),
    "nonce_huge": sasl(b"r=%NONCE%" + b"x" * 60_000 + b",s=" + SALT + b",i=4096"),
    "nonce_other": sasl(b"r=somebody-else,s=" + SALT + b",i=4096"),
    "nonce_not_longer": sasl(b"r=%NONCE%,s=" + SALT + b",i=4096"),
    "iterations_huge": sasl(b"r=%NONCE%x,s=" + SALT + b",i=2147483648"),
    "iterations_many": sasl(b"r=%NONCE%x,s=" + SALT + b",i=100000000"),
    "iterations_zero": sasl(b"r=%NONCE%x,s=" + SALT + b",i=0"),
    "iterations_negative": sasl(b"r=%NONCE%x,s=" + SALT + b",i=-1"),
    "iterations_text": sasl(b"r=%NONCE%x,s=" + SALT + b",i=many"),
    "salt_bad": sasl(b"r=%NONCE%x,s=!!!,i=4096"),
    "salt_empty": sasl(b"r=%NONCE%x,s=,i=4096"),
    "scram_garbage": sasl(b",,,,===="),
    "scram_empty": sasl(b""),
    "scram_extension": sasl(b"m=x,r=%NONCE%x,s=" + SALT + b",i=4096"),
    "proof_missing": sasl(b"r=%NONCE%x,s=" + SALT + b",i=4096", AUTH_OK),
    "proof_wrong": sasl(b"r=%NONCE%x,s=" + SALT + b",i=4096", authentication(12, b"v=" + SALT)),
    "proof_skipped": sasl(AUTH_OK),
    "parameter_cut": says(AUTH_OK + message("S", b"TimeZone\0UTC")),
    "parameter_empty": says(AUTH_OK + message("S", b"")),
    "key_cut": says(AUTH_OK + message("K", b"\0\0")),
    "ready_in_transaction": says(AUTH_OK + PARAMETERS + KEY + message("Z", b"T")),
    "ready_empty": says(AUTH_OK + PARAMETERS + KEY + message("Z", b"")),
    "parameters_endless": says(AUTH_OK + parameter("x", "y") * 50_000),
    "notices_endless": says(message("N", b"SNOTICE\0Mhello\0\0") * 50_000),
}

#: Servers that go mad while they answer a query, with the text their client is told.
REPLIES: dict[str, Script] = {
    "r_closes": after_login(b"", wait=False),
    "r_authentication": after_login(AUTH_OK),
    "r_key": after_login(KEY),
    "r_unknown_type": after_login(header("~", 4)),
    "r_client_type": after_login(query("SELECT 1")),
    "r_length_0": after_login(header("D", 0)),
    "r_length_3": after_login(header("Z", 3)),
    "r_length_negative": after_login(header("D", 0xFFFFFFFF)),
    "r_length_wraps": after_login(header("D", 0x80000000)),
    "r_parse_complete": after_login(message("1")),
    "r_copy_both": after_login(message("W", b"\0\0\0")),
    "r_ready_cut": after_login(message("Z", b"")),
    "r_ready_long": after_login(message("Z", b"II")),
    "r_ready_unknown_state": after_login(message("Z", b"X")),
    "r_error_empty": after_login(error(b"") + READY),
    "r_error_cut": after_login(error(b"SERR") + READY),
    "r_error_without_end": after_login(error(b"SERROR\0") + READY),
    "r_error_continued": after_login(error(b"SERROR\0\0Mmore\0\0") + READY),
    "r_parameter_cut": after_login(message("S", b"TimeZone") + ANSWER),
    "r_parameter_without_value": after_login(message("S", b"TimeZone\0") + ANSWER),
    "r_parameter_with_more": after_login(message("S", b"TimeZone\0UTC\0x\0") + ANSWER),
    "r_parameter_without_name": after_login(message("S", b"\0UTC\0") + ANSWER),
    "r_tag_cut": after_login(message("C", b"SELECT 1") + READY),
    "r_tag_with_more": after_login(message("C", b"SELECT 1\0x\0") + READY),
    "r_tag_huge": after_login(message("C", "x" * 20_000) + READY),
    "r_suspended_with_more": after_login(message("s", b"x") + READY),
    "r_notification_empty": after_login(message("A") + ANSWER),
    "r_notification_short": after_login(message("A", b"\0\0\0\1") + ANSWER),
    "r_notification_cut": after_login(message("A", b"\0\0\0\1channel\0text") + ANSWER),
    "r_notification_one_text": after_login(message("A", b"\0\0\0\1channel\0") + ANSWER),
    "r_notification_huge": after_login(message("A", b"\0\0\0\1", "channel", "x" * 20_000) + ANSWER),
    "r_error_then_end": after_login(error(b"SFATAL\0C57P01\0Mgone\0\0"), wait=False),
}

#: Replies that are odd but in step: they reach the client, and the session goes on.
ODD: dict[str, Script] = {
    "o_error_without_fields": after_login(error(b"\0") + READY),
    "o_error_text_only": after_login(error(b"Mtext\0\0") + READY),
    "o_notification": after_login(message("A", b"\0\0\0\1", "channel", "text") + ANSWER),
    "o_parameter_huge": after_login(parameter("TimeZone", "x" * 30_000) + ANSWER),
    "o_notices": after_login(message("N", b"SNOTICE\0Mhi\0\0") * 1000 + ANSWER),
}


def ready_too_often(peer: Peer) -> None:
    """Answers each query twice: the second answer must not become another client's."""
    peer.send(WELCOME)
    while True:
        kind, _ = peer.message()
        if kind == b"X":
            return
        peer.send(ANSWER + message("D", 1, struct.pack("!I", 5), b"other") + READY)


FAREWELL = message("E", b"SFATAL\0VFATAL\0C57P01\0Mfarewell\0\0")


def says_farewell_while_idle(peer: Peer) -> None:
    """Ends the session of a server that no client has, and does not close the connection."""
    peer.send(WELCOME)
    while True:
        kind, body = peer.message()
        if kind == b"X":
            return
        peer.send(ANSWER)
        if b"SELECT 1" in body:
            time.sleep(0.2)  # by then no client has it
            peer.send(FAREWELL)
            peer.wait_for_end()


def says_farewell_behind_an_answer(peer: Peer) -> None:
    """In one write with it; the end of the connection comes later."""
    after_login(ANSWER + FAREWELL, wait=False)(peer)
    time.sleep(0.2)


def speaks_while_idle(peer: Peer) -> None:
    """Babbles after its login, when no client has it."""
    peer.send(WELCOME + message("D", 1, struct.pack("!I", 5), b"other") * 3)
    peer.serve()


def floods(peer: Peer) -> None:
    """A result without end."""
    peer.send(WELCOME)
    while peer.message()[1][:6].upper() != b"SELECT":
        peer.send(message("C", "SET") + READY)
    peer.send(ROW)
    row = message("D", 1, struct.pack("!I", 1000), b"x" * 1000)
    while True:
        peer.send(row * 64)


def sane(peer: Peer) -> None:
    peer.send(WELCOME)
    peer.serve()


def never_lets_go(peer: Peer) -> None:
    """Serves, but does not close when it is told to."""
    with_end = peer.socket
    peer.send(WELCOME)
    peer.serve()
    with_end.recv(1)
    time.sleep(0.5)


OTHERS: dict[str, Script] = {
    "sane": sane,
    "half_row": after_login(message("D", 1, struct.pack("!I", 5), b"abcde")[:-3], wait=False),
    "twice": ready_too_often,
    "babbler": speaks_while_idle,
    "farewell": says_farewell_while_idle,
    "cut_off": says_farewell_behind_an_answer,
    "flood": floods,
    "lingers": never_lets_go,
    "unasked": says(WELCOME + parameter("TimeZone", "UTC") + ANSWER + ANSWER),
    "silent": lambda peer: peer.wait_for_end(),
    "stalls_in_login": says(AUTH_OK + PARAMETERS),
}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer(LOGINS | REPLIES | ODD | OTHERS) as server:
        yield server


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared, fake: FakeServer) -> Pooler:
    there = f"port={fake.port} user=bouncer password=secret pool_size=2"
    databases = {"p1": "", "cut_off": f"{there} session_state=off", "*": there}
    return make_shared(
        workers=2,
        databases=databases,
        query_wait_timeout=3,
        server_connect_timeout=1,
        client_login_timeout=5,
        server_answer_timeout=1,
    )


pytestmark = pytest.mark.usefixtures("undisturbed")


def what_comes(pooler: Pooler, database: str, to_end: bool = False, timeout_s: float = 8) -> list[Message]:
    """What a client of this server gets: for its login and a query, or up to the end of the connection."""
    received: list[Message] = []
    with pooler.wire(timeout_s=timeout_s) as wire, contextlib.suppress(EndOfStream):
        wire.send(startup(database=database))
        while not received or received[-1].type != "Z":
            received.append(wire.receive())
        wire.send(query("SELECT 1"))
        received.append(wire.receive())
        while to_end or received[-1].type != "Z":
            received.append(wire.receive())
    return received


@pytest.mark.parametrize("database", LOGINS)
def test_nobody_can_log_in(shared: Pooler, database: str) -> None:
    """The client is told in time; the log has it on one line; no connection is left open."""
    received = what_comes(shared, database)
    assert received, "closed without a word"
    fields = received[-1].fields
    assert (fields["S"], len(fields["C"])) == ("FATAL", 5)
    assert fields["M"]
    assert not [line for line in shared.log.read_bytes().split(b"\n") if line.startswith(b"FATAL")]
    shared.console(f"KILL {database}")
    shared.console(f"RESUME {database}")
    wait_for(lambda: not shared.show("slots", database=database), 5, "no slot")


def test_failed_logins_leave_no_descriptor(make_pooler: Callable[..., Pooler], fake: FakeServer) -> None:
    """Neither in the worker that tried nor in the master, which has a duplicate of each server."""
    pooler = make_pooler(workers=2, databases={"*": f"port={fake.port}"})
    before = descriptor_counts(pooler)
    for database in ("ready_at_once", "auth_unknown", "error_code_only"):
        wires = [pooler.wire() for _ in range(3)]
        for wire in wires:
            wire.send(startup(database=database))
        for wire in wires:
            wire.receive_until("E")
            wire.close()
    wait_for_descriptors(pooler, before)


@pytest.mark.parametrize("database", REPLIES)
def test_mad_replies_end_their_client_only(shared: Pooler, database: str) -> None:
    received = what_comes(shared, database, to_end=True)
    assert received[-1].type == "E", received
    assert received[-1].fields["S"] == "FATAL"
    assert received[-1].fields["M"]
    wait_for(lambda: not shared.show("slots", database=database), 5, "no slot")


@pytest.mark.parametrize("database", ODD)
def test_odd_replies_are_passed_on(shared: Pooler, database: str) -> None:
    assert what_comes(shared, database)[-1].type == "Z"


def test_server_gone_in_the_middle_of_a_message(shared: Pooler) -> None:
    """No ErrorResponse into the middle of a row, where the client would take it for data."""
    with shared.wire() as wire:
        wire.login(database="half_row").send(query("SELECT 1"))
        with pytest.raises(EndOfStream) as end:
            wire.receive_until("Z")
        assert end.value.received == b"\0\x01\0\0\0\x05ab"


def values(received: list[Message]) -> list[list[bytes | None]]:
    return [m.values for m in received if m.type == "D"]


@pytest.mark.parametrize("database", ["sane", "twice", "babbler"])
def test_no_answer_goes_to_another_client(shared: Pooler, database: str) -> None:
    """A server that sends what nobody asked for is closed, not given to the next client."""
    for _ in range(20):
        found = values(what_comes(shared, database))
        assert found in ([], [[b"1"]]), found


def test_a_server_that_said_farewell_is_nobodys(shared: Pooler) -> None:
    """It is not given to the next client, who would be cut off without a word."""
    for _ in range(5):
        assert values(what_comes(shared, "farewell")) == [[b"1"]]
        time.sleep(0.3)


def test_its_client_has_heard_the_farewell(shared: Pooler) -> None:
    """It came with the last answer: a client that was told so does not go on with another server."""
    with shared.wire() as wire:
        wire.login(database="cut_off").send(query("SELECT 1"))
        wire.receive_until("Z")
        wire.expect("E")
        wire.expect_closed()


def test_no_endless_attempts_for_a_client_that_left(shared: Pooler, fake: FakeServer) -> None:
    """No server is ever usable, since each answers before it was asked: the client's end is noticed."""
    before = fake.connections.get("unasked", 0)
    with shared.wire(timeout_s=8) as wire:
        wire.send(startup(database="unasked"), query("SELECT 1"))
        wire.receive_until("Z")
    wait_for(lambda: not shared.show("sockets", type="C", database="unasked"), 5, "the end of the client")
    assert fake.connections["unasked"] - before < 100, "a storm of connections"


def test_result_without_end(shared: Pooler, fake: FakeServer) -> None:
    """A reader that does not read stops it; memory stays; when the client goes the server goes."""
    with shared.wire() as wire:
        wire.login(database="flood")
        before = pss_kb(shared.pid)
        wire.send(query("SELECT 1"))
        wire.read_exactly(3_000_000)
        time.sleep(0.3)
        assert pss_kb(shared.pid) - before < 10_000
    wait_for(lambda: fake.cancels, 5, "a cancel request")


@pytest.mark.parametrize("database", ["silent", "stalls_in_login"])
def test_stalled_logins_end_in_time(shared: Pooler, database: str) -> None:
    started = time.monotonic()
    received = what_comes(shared, database, timeout_s=10)
    assert received[-1].fields["M"] in ("query_wait_timeout", "client_login_timeout (server down)")
    assert time.monotonic() - started < 8


def test_slot_counts_until_the_server_has_let_go(shared: Pooler) -> None:
    """A server that lingers after Terminate keeps its slot: PostgreSQL may still see that connection."""
    what_comes(shared, "lingers")
    shared.console("RECONNECT lingers")
    states = [row["state"] for row in shared.show("slots", database="lingers")]
    assert states == ["closing"]
    wait_for(lambda: not shared.show("slots", database="lingers"), 5, "the end")
