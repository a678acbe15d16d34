"""COPY that fails while Syncs are on their way: each client gets its own answers, however many there are.

What comes behind without waiting is compared with PostgreSQL in test_streams.py.

PostgreSQL ignores a Sync that it reads among CopyData, and answers one that it reads behind the failure. The
scripted servers here do one or the other, at their leisure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.fakeserver import READY, WELCOME, FakeServer, Peer, error
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, TERMINATE, Wire, bind, execute, message, parse, query

COPY_IN = message("G", b"\0\0\0")
FAILED = error(b"SERROR\0VERROR\0C22P02\0Mno number\0\0")
BAD_DATA = message("d", b"bad\n")
EXTENDED_COPY = parse("COPY t FROM STDIN") + bind() + execute()
COPY_TAKEN = "COPY taken FROM STDIN"
EXECUTED_COPY = parse(COPY_TAKEN) + bind() + execute()


def answers(peer: Peer) -> None:
    """To queries with rows of their own text, to an empty one as PostgreSQL does."""
    while True:
        kind, body = peer.message()
        if kind == b"X":
            return
        if kind == b"S":
            peer.send(READY)
        if kind == b"Q" and body == b"\0":
            peer.send(message("I") + READY)
        elif kind == b"Q":
            text = body[:-1]
            row = message("D", 1, struct.pack("!I", len(text)), text)
            peer.send(message("T", 0) + row + message("C", "SELECT 1") + READY)


def next_of_client(peer: Peer) -> bytes:
    """The kind of the next message that is no question of pooler's own; those are answered."""
    while True:
        kind, body = peer.message()
        if kind != b"Q" or b"pg_catalog" not in body:
            return kind
        peer.send(message("C", "SELECT 0") + READY)


def failing_copy(syncs_before: int, answered: int, extended: bool = False) -> Callable[[Peer], None]:
    """A COPY that fails with that many Syncs on their way, of which so many are answered."""

    def script(peer: Peer) -> None:
        peer.send(WELCOME)
        seen = b""
        while (kind := next_of_client(peer)) not in (b"E", b"Q"):
            seen += kind
        assert seen.endswith(b"PB") == extended, seen
        peer.send((message("1") + message("2") if extended else b"") + COPY_IN)
        while peer.message()[0] != b"d":
            pass
        for _ in range(syncs_before - extended):  # of the extended protocol one came before
            assert peer.message()[0] == b"S"
        peer.send(FAILED + READY * (answered + (not extended)))
        answers(peer)

    return script


def rows_among_copy_data(peer: Peer) -> None:
    peer.send(WELCOME)
    next_of_client(peer)
    peer.send(COPY_IN + message("D", 0))
    peer.wait_for_end()


def ready_twice(peer: Peer) -> None:
    peer.send(WELCOME)
    next_of_client(peer)
    peer.send(READY + READY)
    answers(peer)


SERVERS = {
    **{f"q{sent}{answered}": failing_copy(sent, answered) for sent in (1, 3) for answered in range(sent + 1)},
    **{
        f"e{sent}{answered}": failing_copy(sent, answered, True)
        for sent in (1, 2)
        for answered in range(sent + 1)
    },
    "much": failing_copy(1, 2),
    "rows": rows_among_copy_data,
    "unasked": ready_twice,
}


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Iterator[Pooler]:
    with FakeServer(SERVERS) as fake:
        databases = dict.fromkeys(SERVERS, f"port={fake.port} password=secret pool_size=1")
        yield start_pooler(workers=1, databases=databases, session_state="off", query_wait_timeout=5)


def row_of(wire: Wire) -> bytes | None:
    return wire.receive_until("Z")[1].values[0]


def assert_others_get_their_own(pooler: Pooler, database: str) -> None:
    with pooler.wire() as one, pooler.wire() as two:
        one.login(database=database)
        two.login(database=database)
        one.send(query("for one"))
        two.send(query("for two"))
        assert (row_of(one), row_of(two)) == (b"for one", b"for two")


@pytest.mark.parametrize(("sent", "answered"), [(1, 0), (1, 1), (3, 0), (3, 2), (3, 3)])
def test_simple_query(pooler: Pooler, sent: int, answered: int) -> None:
    database = f"q{sent}{answered}"
    with pooler.wire() as wire:
        wire.login(database=database)
        wire.send(query("COPY t FROM STDIN"))
        wire.expect("G")
        wire.send(BAD_DATA + SYNC * sent)
        wire.expect("EZ" + "Z" * answered)
        wire.send(query("for me"))  # what came before is nobody else's, and not taken for this
        assert row_of(wire) == b"for me"
        assert_others_get_their_own(pooler, database)


@pytest.mark.parametrize(("sent", "answered"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
def test_extended_query(pooler: Pooler, sent: int, answered: int) -> None:
    database = f"e{sent}{answered}"
    with pooler.wire() as wire:
        wire.login(database=database)
        wire.send(EXTENDED_COPY + SYNC)  # the first is there before the server says CopyInResponse
        wire.expect("12G")
        wire.send(BAD_DATA + SYNC * (sent - 1))
        wire.expect("E" + "Z" * answered)
        wire.send(message("c") + SYNC)
        wire.expect("Z")
        wire.send(query("for me"))
        assert row_of(wire) == b"for me"
        assert_others_get_their_own(pooler, database)


def test_more_answers_than_syncs(pooler: Pooler) -> None:
    with pooler.wire() as wire:
        wire.login(database="much")
        wire.send(query("COPY t FROM STDIN"))
        wire.expect("G")
        wire.send(BAD_DATA + SYNC)
        wire.receive_until("E")  # of the answer, then of the connection
        wire.receive_until("E")
        wire.expect_closed()


@pytest.mark.parametrize(
    ("database", "text"),
    [("rows", "COPY t FROM STDIN"), ("unasked", "SELECT 1")],
    ids=["rows among CopyData", "ready that nobody awaits"],
)
def test_answers_out_of_place(pooler: Pooler, database: str, text: str) -> None:
    with pooler.wire() as wire:
        wire.login(database=database)
        wire.send(query(text))
        wire.receive_until("E")
        wire.expect_closed()


@pytest.fixture(scope="module")
def real(running_postgres: Postgres, start_pooler: StartPooler) -> Iterator[Pooler]:
    """In front of PostgreSQL itself, with a table for all."""
    running_postgres.ensure_running()
    running_postgres.sql("CREATE TABLE taken (n int); GRANT ALL ON taken TO PUBLIC", dbname="p0")
    pooler = start_pooler(workers=1, databases={"p0": "pool_size=1"})
    yield pooler
    pooler.stop()
    running_postgres.sql("DROP TABLE taken", dbname="p0")


@pytest.mark.parametrize("syncs", [0, 2])
@pytest.mark.parametrize("data", [query("SELECT 1"), parse("SELECT 1", "a"), bind(), execute()])
def test_other_messages_among_copy_data(real: Pooler, data: bytes, syncs: int) -> None:
    """PostgreSQL takes them if the COPY has failed; else the client has broken the protocol."""
    with real.wire().login() as wire:
        wire.send(query(COPY_TAKEN))
        wire.expect("G")
        wire.send(message("d", b"1\n") + SYNC * syncs + data)
        wire.expect_error("08P01", f"unexpected message type 0x{data[0]:02X} during COPY from stdin")
        wire.expect_closed()
    with real.wire().login() as other:
        assert other.rows("SELECT count(*) FROM taken") == [[b"0"]]


@pytest.mark.parametrize("begin", [query(COPY_TAKEN), EXECUTED_COPY + SYNC])
def test_leaving_behind_a_copy_that_fails(real: Pooler, begin: bytes) -> None:
    """All answers come before the end, whether the failure is known by then or not."""
    for _ in range(20):
        with real.wire().login() as wire:
            wire.send(begin)
            wire.receive_until("G")
            wire.send(BAD_DATA + SYNC * 2 + TERMINATE)
            wire.expect("EZZ" + "Z" * (begin[:1] == b"Q"))
            wire.expect_closed()


def test_a_parse_behind_the_execute_of_a_copy(real: Pooler) -> None:
    """It waits for answers to what is before it, and the COPY for its data: PostgreSQL refuses it there."""
    with real.wire().login() as wire:
        wire.send(parse("SELECT 1", "a"), SYNC)
        wire.expect("1Z")
        wire.send(parse(COPY_TAKEN), bind(), execute(), parse("SELECT 1", "a"), SYNC)
        assert wire.expect("12GE")[-1].fields["C"] == "08P01"
    with real.wire().login() as other:
        assert other.rows("SELECT 2") == [[b"2"]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (query(COPY_TAKEN), query(COPY_TAKEN)),
        (query(COPY_TAKEN), EXECUTED_COPY),
        (EXECUTED_COPY, EXECUTED_COPY),
        (EXECUTED_COPY, SYNC + query(COPY_TAKEN)),
    ],
    ids=["queries", "query, execute", "executes", "execute, query"],
)
def test_a_copy_behind_one_whose_end_is_on_its_way(real: Pooler, first: bytes, second: bytes) -> None:
    """A Sync behind it waits for what it begins, too: it is among its data, which fail."""
    with real.wire().login() as wire:
        wire.send(first)
        wire.receive_until("G")
        wire.send(message("c") + second + SYNC + BAD_DATA + message("c") + SYNC + query("SELECT 1"))
        wire.receive_until("C")
        wire.receive_until("E")
        wire.receive_until("D")
        wire.expect("CZ")


def test_half_a_message_behind_a_close_that_no_server_is_asked(real: Pooler) -> None:
    """No CopyFail of pooler's own gets into it: the rest of it would be messages that nobody looked at."""
    with real.wire().login() as wire:
        wire.send(parse("SELECT 1", "a"), SYNC)
        wire.expect("1Z")
        wire.send(query(COPY_TAKEN) + message("C", b"Sa\0") + message("d", b"1\n" * 100)[:-50])
        wire.receive_until("E")
        wire.expect_closed()
    with real.wire().login() as other:
        assert other.rows("SELECT count(*) FROM taken") == [[b"0"]]
