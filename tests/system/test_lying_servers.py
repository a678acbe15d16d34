"""A server that lies in the fields of its messages reads no memory of pooler, and harms only its clients."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import ANSWER, READY, FakeServer, Peer, Script, error, parameter, usual_answer
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import SYNC, EndOfStream, Message, message, parse, query, startup
from tests.system.conftest import MakeShared

SETTINGS_BYTES = 16384

Answers = Callable[[bytes, bytes], bytes]


def answering(answers: Answers) -> Script:
    """A server that answers so, and else as usual."""

    def script(peer: Peer) -> None:
        peer.answer(lambda kind, body: answers(kind, body) or usual_answer(kind, body))

    return script


def row(*columns: bytes | None) -> bytes:
    packed = (b"\xff" * 4 if c is None else struct.pack("!I", len(c)) + c for c in columns)
    return message("D", len(columns), b"".join(packed))


def filling(name: bytes, left: int, more: int) -> bytes:
    """Settings that fill so many bytes with their names and values."""
    rows, number = b"", 0
    while left > 0:
        size = min(left, 8000)
        if 0 < left - size < 30:
            size -= 40
        rows += row(b"s", name % number, b"A" * (size - len(name % number) - 2))
        left -= size + more
        number += 1
    return rows


def odd_pairs() -> Answers:
    """Answers to the question about settings whose names and values are an odd number of texts: the last of
    them would be what lies behind, which an earlier answer has filled."""
    asked = 0

    def answers(kind: bytes, body: bytes) -> bytes:
        nonlocal asked
        if b"big timezone" in body:
            return parameter("TimeZone", "Z" * 6000) + message("C", "SET") + READY
        if b"SELECT 's'," not in body or b"'session'" not in body:
            return b""
        asked += 1
        if asked == 1:  # leaves its bytes in the memory of the answer
            return filling(b"fa.%d", SETTINGS_BYTES, 2) + message("C", "SELECT 1") + READY
        rows = filling(b"fb%05d", SETTINGS_BYTES - len("UTF8 ISO, MDY  on  postgres ") - 6000 - 5, 0)
        return rows + row(b"s", b"f\0c", b"") + message("C", "SELECT 1") + READY

    return answers


def overlapping_edits(kind: bytes, body: bytes) -> bytes:
    """A place in the text that has the server's name of a statement in it."""
    if kind == b"Q" and b"EXECUTE" in body.upper():
        return error(b"SERROR\0VERROR\0C42601\0Mno\0P1000pooler_1xxxx\0\0") + READY
    return b""


def places(place: bytes) -> Answers:
    def answers(kind: bytes, body: bytes) -> bytes:
        if kind == b"Q" and b"EXECUTE" in body.upper():
            return error(b"SERROR\0VERROR\0C42601\0Mno\0P" + place + b"\0\0") + READY
        return b""

    return answers


PLACES = {
    "letters": b"12x",
    "sign": b"-7",
    "plus": b"+1000",
    "blank": b" 1000",
    "nothing": b"",
    "huge": b"9" * 40,
    "beyond": b"99999999999",
    "zero": b"0",
    "name": b"1000pooler_1",
}


def other_values(kind: bytes, body: bytes) -> bytes:
    """Says that startup values came to others than they are, when it is asked."""
    if b"current_setting(n,true)" not in body:
        return b""
    values = {b"standard_conforming_strings": b"off", b"search_path": b"evil", b"IntervalStyle": b"iso_8601"}
    rows = b"".join(row(b"s", name, value) for name, value in values.items())
    return rows + message("C", "SELECT 3") + READY


HALF_A_MESSAGE = b"N\0\0\0\x40SNOTICE\0"


def behind_a_client(sent: bytes) -> Script:
    """What it answers to the first question of pooler's own that comes when a client was served."""

    def script(peer: Peer) -> None:
        served = False

        def answers(kind: bytes, body: bytes) -> bytes:
            nonlocal served
            ours = b"READ COMMITTED,READ ONLY" in body  # none that waits for an answer about a session
            if not ours or not served:
                served |= body.startswith(b"select 1")
                return usual_answer(kind, body)
            served = False
            return sent

        peer.answer(answers)

    return script


FOUND_NOTHING = message("C", "SELECT 0")


def odd_letters() -> Answers:
    """Answers to the question about a session whose second column is no digit, or is one of no question."""

    def answers(kind: bytes, body: bytes) -> bytes:
        if b"pg_locks" not in body:
            return b""
        letters = (b"", b"/", b":", b"7", b"8", b"9", b"\xff", b"\x80", b"00", b"-1", b"99999999999", None)
        return b"".join(row(b"p", one, None) for one in letters) + message("C", "SELECT 12") + READY

    return answers


HAVE_NO_CLIENT: dict[str, Script] = {
    "half_head": behind_a_client(FOUND_NOTHING + READY + HALF_A_MESSAGE[:3]),
    "half_body": behind_a_client(FOUND_NOTHING + READY + HALF_A_MESSAGE),
}


class LogsInOnce:
    """The first connection is a server, later ones stall in their login."""

    def __init__(self) -> None:
        self.connections = 0

    def __call__(self, peer: Peer) -> None:
        self.connections += 1
        if self.connections > 1:
            peer.wait_for_end()
        else:
            peer.answer(usual_answer)


SCRIPTS: dict[str, Script] = {
    "once": LogsInOnce(),
    "values": answering(other_values),
    "pairs": answering(odd_pairs()),
    **HAVE_NO_CLIENT,
    "overlap": answering(overlapping_edits),
    "short_notification": lambda peer: short_notification(peer),
    "letters": answering(odd_letters()),
    **{f"place_{name}": answering(places(place)) for name, place in PLACES.items()},
}


def short_notification(peer: Peer) -> None:
    """A notification without a name whose end is the end of the read buffer."""

    def answers(kind: bytes, body: bytes) -> bytes:
        if b"short" in body:
            fill = message("N", b"SNOTICE\0M" + b"x" * (65531 - 5 - 11) + b"\0\0")
            return fill + message("A") + ANSWER
        return usual_answer(kind, body)

    peer.answer(answers)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer(SCRIPTS) as server:
        yield server


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared, fake: FakeServer) -> Pooler:
    liar = f"port={fake.port} user=bouncer password=secret pool_size=1"
    unasked = dict.fromkeys(HAVE_NO_CLIENT, f"{liar} session_state=off")  # about what a client has left
    databases = {"p1": "", "*": liar, **unasked}
    return make_shared(
        workers=1, databases=databases, query_wait_timeout=5, query_wait_notify=1, server_answer_timeout=1
    )


pytestmark = pytest.mark.usefixtures("undisturbed")


def what_comes(pooler: Pooler, database: str, *sent: bytes) -> list[Message]:
    """What a client gets for each of these until it is closed."""
    received: list[Message] = []
    with pooler.wire() as wire:
        wire.login(database=database)
        for data in sent:
            wire.send(data)
            try:
                received.append(wire.receive())
                while received[-1].type != "Z":
                    received.append(wire.receive())
            except EndOfStream:
                return received
    return received


def test_texts_with_a_nul_inside(shared: Pooler) -> None:
    """A name of a setting that ends before it should closes its server: nobody reads on behind it."""
    texts = ("do $$ a $$", "select 'big timezone'", "do $$ b $$", "select 1")
    received = what_comes(shared, "pairs", *map(query, texts))
    assert [m.type for m in received].count("Z") in (
        2,
        3,
    )  # the session is asked about behind each, or the last
    assert received[-1].fields["S"] == "FATAL"


@pytest.mark.parametrize("database", HAVE_NO_CLIENT)
def test_servers_that_no_client_has(shared: Pooler, database: str) -> None:
    """One that cannot be given to the next client is closed, and does not keep its place in the pool."""
    closed = re.compile(f"{database}/.*half a message")
    with shared.wire() as wire:
        wire.login(database=database)

        def is_closed() -> bool:
            assert wire.query("select 1")[-1].type == "Z"
            return closed.search(shared.log.read_text()) is not None

        wait_for(is_closed, 10, "the end of the server")
        is_closed()  # another one serves


def executed(pooler: Pooler, database: str) -> list[Message]:
    """The answer to a text whose name of a statement was replaced by a longer one."""
    return what_comes(pooler, database, parse("SELECT 1", "s") + SYNC, query("EXECUTE s -- " + "x" * 2000))[
        2:
    ]


def test_places_that_overlap_a_name(shared: Pooler) -> None:
    """The client gets the error that its server made, and nothing of the worker's memory."""
    (got, _) = executed(shared, "overlap")
    assert got.type == "E"
    assert len(got.body) < 60


@pytest.mark.parametrize("name", PLACES)
def test_places_that_are_none(shared: Pooler, name: str) -> None:
    (got, _) = executed(shared, f"place_{name}")
    assert got.type == "E"
    assert PLACES[name].replace(b"pooler_1", b"s") in got.body


def test_letters_that_are_no_questions(shared: Pooler) -> None:
    """Nothing is shifted by them; what is said of a question stands."""
    received = what_comes(shared, "letters", query("do $$ a $$"), query("select 1"))
    assert [m.type for m in received].count("Z") == 2


def test_notification_without_a_name(shared: Pooler) -> None:
    """It closes its server; nothing behind it is read or written."""
    received = what_comes(shared, "short_notification", query("select short"))
    assert received[-1].type == "E"
    assert received[-1].fields["S"] == "FATAL"


def test_startup_values_of_others(shared: Pooler) -> None:
    """What it says about the values of a startup packet counts for no other database."""
    values = {"TimeZone": "Asia/Kathmandu", "IntervalStyle": "sql_standard"}
    for database in ("values", "p1"):
        with shared.wire() as wire:
            wire.login(database=database, **values)
            told = wire.parameters
    assert told["standard_conforming_strings"] == "on"
    assert told["IntervalStyle"] == "sql_standard"
    with shared.wire() as wire:
        wire.login(database="p1", **values)
        assert wire.rows("SHOW standard_conforming_strings") == [[b"on"]]
        assert wire.rows("SHOW TimeZone") == [[b"Asia/Kathmandu"]]


def test_no_notice_before_the_login(shared: Pooler) -> None:
    """A client that waits for a server to accept its startup values is let in when that takes long."""
    with shared.wire() as wire:
        wire.login(database="once")
    shared.console("RECONNECT once")
    wait_for(lambda: not shared.show("servers", database="once"), 5, "the end of its only server")
    with shared.wire() as wire:
        wire.send(startup(database="once", TimeZone="Asia/Kathmandu", options="-c search_path=a"))
        received = wire.receive_until("Z")
        assert received[0].type == "R"
        assert "N" not in [got.type for got in received]
        assert "client being queued" in wire.receive().fields["M"]
