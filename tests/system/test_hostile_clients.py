"""Hostile bytes from clients that are logged in: an error or the end for them, nothing for anybody else."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.support.hostile import header, raw_startup, read_to_end
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import pss_kb, wait_for
from tests.support.wire import (
    FLUSH,
    SYNC,
    TERMINATE,
    Wire,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
    startup,
)
from tests.system.conftest import MakeShared, nothing_left

#: What AddressSanitizer keeps of memory that was freed (quarantine_size_mb in scripts/sanitize), in a worker
#: and its master.
QUARANTINE_KB = 2 * 32 * 1024 if "ASAN_OPTIONS" in os.environ else 0

CONNECTED = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = 'p0' AND query LIKE '%ahead%' AND pid <> pg_backend_pid()"
)

MARK = "INSERT INTO smuggled VALUES (1)"

BAD_LENGTHS = [0, 1, 2, 3, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]


@pytest.fixture(scope="module")
def shared(make_shared: MakeShared) -> Pooler:
    return make_shared(workers=2, databases={"p0": "pool_size=2", "p1": ""}, max_packet_size=20_000_000)


@pytest.fixture(autouse=True)
def nobody_noticed(shared: Pooler, undisturbed: None, pg: Postgres) -> Iterator[None]:
    """Nothing smuggled was run, the pool is whole, the witnesses were not disturbed."""
    with nothing_left(shared, pg, "smuggled"):
        yield


def assert_thrown_out(pooler: Pooler, sent: bytes, before: bytes = b"", seen: str = "") -> None:
    """The client gets FATAL with a code, and the end."""
    with pooler.wire() as wire:
        wire.login()
        if before:
            wire.send(before)
            for kind in seen:
                wire.expect(kind)
        wire.send(sent)
        received = read_to_end(wire)
        assert received, "closed without a word"
        assert received[-1].type == "E", received
        assert received[-1].fields["S"] == "FATAL"
        assert received[-1].fields["C"] == "08P01"


#: Where a message can arrive: (sent before, messages seen).
MOMENTS: dict[str, tuple[bytes, str]] = {
    "idle": (b"", ""),
    "in transaction": (query("BEGIN"), "CZ"),
    "in failed transaction": (query("BEGIN") + query("x"), "CZEZ"),
    "between parse and sync": (parse("SELECT 1") + FLUSH, "1"),
    "in copy": (query("COPY smuggled FROM STDIN"), "G"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("length", BAD_LENGTHS)
@pytest.mark.parametrize("kind", "QPBd")
def test_bad_lengths(shared: Pooler, kind: str, length: int, moment: str) -> None:
    """What follows a length that wraps around is never taken for messages of its own."""
    before, seen = MOMENTS[moment]
    sent = header(kind, length) + query(MARK) + query("COMMIT")
    assert_thrown_out(shared, sent, before, seen)


@pytest.mark.parametrize("moment", MOMENTS)
def test_unknown_types(shared: Pooler, moment: str) -> None:
    before, seen = MOMENTS[moment]
    for kind in (b"\0", b"\x01", b"p", b"R", b"K", b"Z", b"T", b"G", b"W", b"v", b"~", b"\x80", b"\xff"):
        assert_thrown_out(shared, header(kind.decode("latin-1"), 8, b"abcd") + query(MARK), before, seen)


@pytest.mark.parametrize("length", [20_000_001, 0x7FFFFFFF])
def test_longer_than_max_packet_size(shared: Pooler, length: int) -> None:
    assert_thrown_out(shared, header("Q", length, b"SELECT 1"))


def test_startup_packet_again(shared: Pooler) -> None:
    """Its first byte is zero: no message has that type."""
    assert_thrown_out(shared, startup("postgres"))


CUT: dict[str, bytes] = {
    "query without zero": message("Q", b"SELECT 1"),
    "query with bytes behind": message("Q", b"SELECT 1\0" + query(MARK)),
    "empty query body": message("Q", b""),
    "parse without zero": message("P", b"a"),
    "parse cut": message("P", "a", "SELECT 1"),
    "parse with too many types": message("P", "", "SELECT 1", 0xFFFF),
    "bind cut": message("B", "", ""),
    "bind with huge count": message("B", "", "", 0xFFFF, 1),
    "bind with negative length": message("B", "", "", 0, 1, struct.pack("!i", -7), 0),
    "bind with huge length": message("B", "", "", 0, 1, struct.pack("!I", 0x7FFFFFFF), 0),
    "describe of nothing": message("D", b""),
    "describe of unknown kind": message("D", b"Z", ""),
    "close of unknown kind": message("C", b"Z", ""),
    "execute cut": message("E", b"\0\0"),
    "sync with a body": message("S", b"abc"),
    "flush with a body": message("H", b"abc"),
    "function call cut": message("F", b"\0\0"),
}


@pytest.mark.parametrize("name", CUT)
def test_malformed_bodies(shared: Pooler, name: str) -> None:
    """PostgreSQL's own answer (or a refusal of ours); never a hang, never a session out of step."""
    with shared.wire() as wire:
        wire.login().send(CUT[name] + SYNC + query("SELECT 'end'") + TERMINATE)
        kinds = "".join(m.type for m in read_to_end(wire))
        assert set(kinds) <= set("TDCZEN13I"), kinds


@pytest.mark.parametrize("name", CUT)
def test_session_is_usable_after_malformed_bodies(shared: Pooler, name: str) -> None:
    """Either thrown out, or in step again after Sync."""
    with shared.wire() as wire:
        wire.login().send(CUT[name] + SYNC + query("SELECT 'end'"))
        last = wire.receive()
        while not (last.type == "D" and last.values == [b"end"]):
            if last.type == "E" and last.fields["S"] == "FATAL":
                wire.expect_closed()
                return
            last = wire.receive()
        wire.expect("CZ")


def test_unknown_statement_is_an_error_not_the_end(shared: Pooler) -> None:
    with shared.wire() as wire:
        wire.login()
        for sent in (bind(name="nope"), describe("S", "nope"), describe("P", "nope"), execute("nope")):
            wire.send(sent + SYNC)
            error, _ = wire.expect("EZ")
            assert error.fields["C"] in ("26000", "34000")
        wire.send(close("S", "nope") + SYNC)
        wire.expect("3Z")
        assert wire.rows("SELECT 1") == [[b"1"]]


@pytest.mark.parametrize("sent", [message("d", b"1\n"), message("c"), message("f", "no")], ids="dcf")
def test_copy_messages_out_of_state(shared: Pooler, sent: bytes) -> None:
    """PostgreSQL ignores them: they may be on their way when a COPY fails."""
    with shared.wire() as wire:
        wire.login().send(sent * 3 + query("SELECT 1"))
        wire.expect("TDCZ")
        wire.rows("BEGIN")
        wire.send(sent * 3 + query("COMMIT"))
        wire.expect("CZ")


def test_nothing_behind_terminate_runs(shared: Pooler) -> None:
    for before in (b"", query("BEGIN; COMMIT"), parse("SELECT 1") + bind() + execute() + SYNC):
        with shared.wire() as wire:
            wire.login().send(before + TERMINATE + query(MARK) + parse(MARK) + bind() + execute() + SYNC)
            read_to_end(wire)


def test_query_cut_by_the_end_does_not_run(shared: Pooler) -> None:
    for cut in range(1, len(query(MARK))):
        with shared.wire() as wire:
            wire.login().send(query(MARK)[:cut])


def test_thousands_pipelined(shared: Pooler) -> None:
    with shared.wire() as wire:
        wire.login().send(query("SELECT 1") * 2000)
        for _ in range(2000):
            wire.expect("TDCZ")


def test_pipelining_without_reading_is_bounded(shared: Pooler) -> None:
    """A client that asks for ever and never reads: its writer is stopped, no memory grows."""
    with shared.wire() as wire:
        wire.login()
        before = pss_kb(shared.pid)
        wire.socket.settimeout(1)
        block = query("SELECT repeat('x', 1000)") * 1000
        with pytest.raises(TimeoutError):
            _send_for_ever(wire, block)
        assert pss_kb(shared.pid) - before < 20_000
        assert shared.sql("SELECT 1", dbname="p1") == [(1,)]


def test_what_a_lost_pipeliner_sent_is_not_run_for_long(shared: Pooler, pg: Postgres) -> None:
    """Its server had been given a bounded number of requests, not all that buffers hold."""
    pg.sql("DROP SEQUENCE IF EXISTS ahead; CREATE SEQUENCE ahead", dbname="p0", user="bouncer")
    with shared.wire() as wire:
        wire.login()
        wire.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            _send_for_ever(wire, query("SELECT nextval('ahead'), repeat('x', 1000)") * 1000)
        ran = int(pg.sql("SELECT last_value FROM ahead", dbname="p0", user="bouncer")[0][0])
    wait_for(lambda: not shared.show("clients", database="p0"), 5, "the end of the client's row")
    wait_for(lambda: not pg.sql(CONNECTED), 8, "the end of its server")
    assert int(pg.sql("SELECT last_value FROM ahead", dbname="p0", user="bouncer")[0][0]) - ran < 20_000


def _send_for_ever(wire: Wire, block: bytes) -> None:
    while True:
        wire.send(block)


def test_unending_parse_without_sync_is_bounded(shared: Pooler) -> None:
    """Requests in flight have a limit; beyond it the client is thrown out or stopped."""
    with shared.wire() as wire:
        wire.login()
        before = pss_kb(shared.pid)
        wire.socket.settimeout(2)
        try:
            for _ in range(300):
                wire.send((bind(name="nope") + describe("P", "")) * 1000)
        except OSError:
            pass  # stopped, or thrown out
        assert pss_kb(shared.pid) - before < 20_000 + QUARANTINE_KB
    assert shared.sql("SELECT 1", dbname="p1") == [(1,)]


def test_megabytes_in_single_bytes(shared: Pooler) -> None:
    """Packets of one byte cost CPU, but never the order of things."""
    with shared.wire() as wire:
        wire.login().send_slowly(query("SELECT '" + "y" * 2000 + "'"))
        assert wire.expect("TDCZ")[1].values == [b"y" * 2000]


HOSTILE_CONSOLE = [
    message("Q", b"SHOW POOLS"),
    message("Q", b""),
    query("SHOW " + "x" * 60_000),
    query("x" * 70_000),
    query("SHOW \0"),
    query("\xff\xfe"),
    query("'" * 999),
    query('SHOW "POOLS'),
    query("; ; ;"),
    query("/* " * 500),
    query("SET x"),
    query("SET verbose = '"),
    query("KILL_CLIENT 99999999999999999999"),
    query("KILL_CLIENT -1"),
    query("PAUSE nosuch"),
    parse("SHOW POOLS") + bind() + describe() + execute() + SYNC,
    header("Q", 3),
    header("Q", 0xFFFFFFFF),
    header("P", 0x7FFFFFFF),
    header("\xff", 4),
    message("F", b"\0\0"),
    message("d", b"x"),
    bind() + execute() + SYNC,
]


@pytest.mark.parametrize("sent", HOSTILE_CONSOLE, ids=lambda sent: str(sent[:16]))
def test_hostile_console_clients(shared: Pooler, sent: bytes) -> None:
    with shared.wire() as wire:
        wire.login("postgres", "pgbouncer").send(sent + TERMINATE)
        read_to_end(wire)
    assert shared.show("version")


ORDERS = ["RELOAD", "PAUSE", "RESUME", "KILL p0", "KILL_CLIENT 1", "SHUTDOWN", "SUSPEND", "DISABLE p0"]


@pytest.mark.parametrize("order", [*ORDERS, "ENABLE p0", "RECONNECT", "WAIT_CLOSE p0", "SET verbose = 2"])
def test_stats_users_give_no_orders(shared: Pooler, order: str) -> None:
    with shared.wire() as wire:
        wire.login("bouncer", "pgbouncer")
        error, _ = wire.query(order)
        assert error.fields["M"] == "admin access needed"
        assert wire.rows("SHOW VERSION")


@pytest.mark.parametrize("key", ["database", "application_name"])
def test_names_without_utf8_do_not_blind_the_console(
    make_pooler: Callable[..., Pooler], pg: Postgres, key: str
) -> None:
    """A name stays in the tables after its client has gone; drivers must be able to read the rest."""
    pooler = make_pooler(workers=1, databases={"p0": "", "*": ""})
    pairs = {b"user": b"bouncer", b"database": b"p0", key.encode(): b"a\x93\xffb"}
    with pooler.wire() as wire:
        wire.send(raw_startup(b"".join(k + b"\0" + v + b"\0" for k, v in pairs.items()) + b"\0"))
        wire.receive_until("Z" if key != "database" else "E")
        for what in ("databases", "pools", "clients", "servers", "stats", "slots", "users"):
            pooler.show(what)
