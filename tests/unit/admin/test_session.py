"""The extended protocol on the console, as messages in and messages out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.admin import ConsoleSession
from pooler.admin.encode import _numeric
from pooler.admin.session import MAX_MESSAGE_BYTES, MAX_NAMES
from pooler.errors import ClientFault
from pooler.protocol import messages
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench, kinds, split


@pytest.fixture
def session(bench: Bench) -> ConsoleSession:
    return ConsoleSession(bench.console, "admin")


def parse(sql: str, name: str = "", oids: tuple[int, ...] = ()) -> tuple[bytes, bytes]:
    head = name.encode() + b"\0" + sql.encode() + b"\0"
    return b"P", head + struct.pack(f"!H{len(oids)}I", len(oids), *oids)


def bind(
    statement: str = "",
    portal: str = "",
    results: tuple[int, ...] = (),
    values: tuple[bytes | None, ...] = (),
) -> tuple[bytes, bytes]:
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"B", body + struct.pack(f"!H{len(results)}H", len(results), *results)


def describe(kind: str, name: str = "") -> tuple[bytes, bytes]:
    return b"D", kind.encode() + name.encode() + b"\0"


def execute(portal: str = "", limit: int = 0) -> tuple[bytes, bytes]:
    return b"E", portal.encode() + b"\0" + struct.pack("!I", limit)


def close(kind: str, name: str = "") -> tuple[bytes, bytes]:
    return b"C", kind.encode() + name.encode() + b"\0"


SYNC = (b"S", b"")
FLUSH = (b"H", b"")


def feed(session: ConsoleSession, *sent: tuple[bytes, bytes]) -> bytes:
    return b"".join(session.feed(kind, body) for kind, body in sent)


def failure(data: bytes) -> dict[str, str]:
    (body,) = (body for kind, body in split(data) if kind == b"E")
    return messages.parse_error(body)


def rows(data: bytes) -> list[tuple[bytes | None, ...]]:
    return [messages.parse_data_row(body) for kind, body in split(data) if kind == b"D"]


def test_simple_query(session: ConsoleSession, bench: Bench) -> None:
    assert session.feed(b"Q", b"SHOW VERSION;\0") == bench.console.execute(b"SHOW VERSION;", "admin")


def test_unnamed_round(session: ConsoleSession) -> None:
    answer = feed(session, parse("show state"), bind(), describe("P"), execute(), SYNC)
    assert kinds(answer) == "12TDDDCZ"
    assert rows(answer)[0] == (b"active", b"yes")


def test_prepare_first_as_asyncpg_does(session: ConsoleSession) -> None:
    answer = feed(session, parse("SHOW LISTS;", "stmt_1"), describe("S", "stmt_1"), FLUSH)
    assert kinds(answer) == "1tT"
    assert split(answer)[1][1] == b"\0\0"
    answer = feed(session, bind("stmt_1", results=(1, 1)), execute(), SYNC)
    assert kinds(answer) == "2" + 14 * "D" + "CZ"
    assert rows(answer)[0] == (b"databases", struct.pack("!i", 3))
    assert kinds(feed(session, close("S", "stmt_1"), SYNC)) == "3Z"
    assert failure(feed(session, bind("stmt_1"), SYNC))["C"] == "26000"


def test_an_order_has_no_columns(session: ConsoleSession, bench: Bench) -> None:
    answer = feed(session, parse("pause app"), describe("S"), bind(), describe("P"), execute(), SYNC)
    assert kinds(answer) == "1tn2nCZ"
    assert bench.operations.orders == [("pause", "app")]


def test_nothing_runs_before_execute(session: ConsoleSession, bench: Bench) -> None:
    feed(session, parse("kill app"), bind(), describe("P"), SYNC)
    assert bench.operations.orders == []


def test_notices(session: ConsoleSession) -> None:
    assert kinds(feed(session, parse("set timezone = x"), bind(), execute(), SYNC)) == "12NCZ"


def test_binary_forms(session: ConsoleSession, bench: Bench) -> None:
    bench.tables.pool_stats = {
        0: fakes.counters("app", "alice", bytes_received=123_456_789, bytes_sent=20_000)
    }
    answer = feed(session, parse("show stats_totals"), bind(results=(1,)), describe("P"), execute(), SYNC)
    described = messages.parse_row_description(split(answer)[2][1])
    assert {column.format for column in described} == {1}
    row = rows(answer)[0]
    assert row[0] == b"app"
    assert row[4] == struct.pack("!hhHhHHH", 3, 2, 0, 0, 1, 2345, 6789)
    assert row[5] == struct.pack("!hhHhHH", 2, 1, 0, 0, 2, 0)
    assert row[1] == struct.pack("!hhHh", 0, 0, 0, 0)


def test_formats_by_column(session: ConsoleSession) -> None:
    answer = feed(session, parse("show peers"), bind(results=(1, 0, 0, 1)), execute(), SYNC)
    assert rows(answer)[0] == (struct.pack("!i", 1), b"/tmp", b"6433", struct.pack("!i", 5))


def test_negative_numeric() -> None:
    assert _numeric(-10_001) == struct.pack("!hhHhHH", 2, 1, 0x4000, 0, 1, 1)


@pytest.mark.parametrize("results", [(2,), (0, 0), (65535,)])
def test_wrong_formats(session: ConsoleSession, results: tuple[int, ...]) -> None:
    answer = feed(session, parse("show peers"), bind(results=results), execute(), SYNC)
    assert kinds(answer) == "1EZ"


def test_row_limit(session: ConsoleSession) -> None:
    begin = feed(session, parse("show state"), bind(), execute(limit=2))
    assert kinds(begin) == "12DDs"
    assert kinds(feed(session, execute(limit=2), SYNC)) == "DCZ"
    exact = feed(session, bind(), execute(limit=3), execute(limit=3), execute(), SYNC)
    assert kinds(exact) == "2DDDsCCZ"
    assert kinds(feed(session, bind(), execute(limit=2**32 - 1), SYNC)) == "2DDDCZ"


def test_rows_are_of_one_moment(session: ConsoleSession, bench: Bench) -> None:
    feed(session, parse("show state"), bind(), execute(limit=1))
    bench.operations.flags["paused"] = True
    assert rows(feed(session, execute()))[0] == (b"paused", b"no")


def test_an_order_runs_once(session: ConsoleSession, bench: Bench) -> None:
    answer = feed(session, parse("reconnect"), bind(), execute(), execute(), SYNC)
    assert kinds(answer) == "12CEZ"
    assert failure(answer)["C"] == "55000"
    assert bench.operations.orders == [("reconnect", None)]


def test_error_skips_to_sync(session: ConsoleSession, bench: Bench) -> None:
    answer = feed(session, parse("nonsense"), bind(), execute(), parse("pause"), bind(), execute(), FLUSH)
    assert kinds(answer) == "E"
    assert failure(answer)["M"] == "invalid command 'nonsense', use SHOW HELP;"
    assert session.feed(b"Q", b"PAUSE\0") == b""
    assert kinds(feed(session, SYNC)) == "Z"
    assert bench.operations.orders == []
    assert kinds(feed(session, parse("pause"), bind(), execute(), SYNC)) == "12CZ"


def test_access_is_checked(bench: Bench) -> None:
    session = ConsoleSession(bench.console, "stats")
    answer = feed(session, parse("kill_client 1"), bind(), execute(), SYNC)
    assert failure(answer)["M"] == "admin access needed"
    assert bench.operations.orders == []


def test_an_immediate_shutdown_says_nothing(session: ConsoleSession) -> None:
    assert kinds(feed(session, parse("shutdown"), bind(), execute())) == "12"


def test_sync_ends_portals_and_keeps_statements(session: ConsoleSession) -> None:
    feed(session, parse("show state", "s"), bind("s", "p"), SYNC)
    assert failure(feed(session, execute("p"), SYNC))["C"] == "34000"
    assert kinds(feed(session, bind("s", "p"), execute("p"), SYNC)) == "2DDDCZ"


def test_a_simple_query_ends_the_unnamed_statement(session: ConsoleSession) -> None:
    feed(session, parse("show state"), parse("show state", "s"), SYNC)
    session.feed(b"Q", b"SHOW VERSION\0")
    assert failure(feed(session, bind(), SYNC))["C"] == "26000"
    assert kinds(feed(session, bind("s"), SYNC)) == "2Z"


def test_names(session: ConsoleSession) -> None:
    feed(session, parse("show state", "s"), bind("s", "p"))
    assert failure(feed(session, parse("show state", "s"), SYNC))["C"] == "42P05"
    assert failure(feed(session, bind("s", "p"), bind("s", "p"), SYNC))["C"] == "42P03"
    assert failure(feed(session, describe("S", "x"), SYNC))["M"] == 'prepared statement "x" does not exist'
    assert failure(feed(session, describe("P", "x"), SYNC))["M"] == 'portal "x" does not exist'
    assert kinds(feed(session, close("S", "x"), close("P", "x"), SYNC)) == "33Z"


def test_names_are_limited(session: ConsoleSession) -> None:
    for number in range(MAX_NAMES):
        feed(session, parse("show state", f"s{number}"))
    assert failure(feed(session, parse("show state", "more"), SYNC))["C"] == "54000"
    feed(session, close("S", "s0"))
    assert kinds(feed(session, parse("show state", "more"), SYNC)) == "1Z"


def test_declared_parameters_must_be_given(session: ConsoleSession) -> None:
    answer = feed(session, parse("show state", "s", (25, 23)), describe("S", "s"), FLUSH)
    assert split(answer)[1][1] == struct.pack("!HII", 2, 25, 23)
    assert kinds(feed(session, bind("s", values=(b"x", None)), execute(), SYNC)) == "2DDDCZ"
    answer = feed(session, bind("s"), SYNC)
    assert failure(answer)["C"] == "08P01"
    assert "requires 2" in failure(answer)["M"]


def test_terminate(session: ConsoleSession) -> None:
    feed(session, parse("nonsense"))
    assert session.feed(b"X", b"") == b""
    assert session.closed


@pytest.mark.parametrize("kind", [b"F", b"d", b"c", b"f", b"p", b"R", b"\0", b"\xff", b""])
def test_unknown_messages_are_fatal(session: ConsoleSession, kind: bytes) -> None:
    with pytest.raises(ClientFault, match="unsupported packet type for admin console") as caught:
        session.feed(kind, b"")
    assert (caught.value.severity, caught.value.sqlstate) == ("FATAL", "08P01")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"Q", b"show version"),
        (b"Q", b""),
        (b"Q", b"show version\0x"),
        (b"Q", b"show version\0show version\0"),
        (b"P", b"\0show version\0"),
        (b"P", b"\0show version\0\0\1"),
        (b"P", b"\0show version\0\0\0\0"),
        (b"B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
        (b"B", b"\0\0\0\0\0\1\x7f\xff\xff\xff\0\0"),
        (b"B", b"\0\0\xff\xff"),
        (b"D", b""),
        (b"D", b"X\0"),
        (b"E", b"\0\0\0"),
        (b"C", b"S"),
        (b"H", b"\0"),
        (b"Q", b"x" * MAX_MESSAGE_BYTES + b"\0"),
    ],
)
def test_malformed_messages_are_fatal(session: ConsoleSession, kind: bytes, body: bytes) -> None:
    with pytest.raises(ClientFault) as caught:
        session.feed(kind, body)
    assert caught.value.severity == "FATAL"


@pytest.mark.parametrize(
    "sent", [parse("show state", "s", (25,)), bind(results=(1,)), execute(), describe("S")]
)
def test_cut_anywhere(session: ConsoleSession, sent: tuple[bytes, bytes]) -> None:
    feed(session, parse("show state"), bind(portal="x"))
    kind, body = sent
    for end in range(len(body)):
        with pytest.raises(ClientFault):
            session.feed(kind, body[:end])


_MESSAGES = st.sampled_from(
    [
        *(parse("show state"), parse("show lists", "a"), parse("nonsense"), parse("pause")),
        *(bind(), bind("a", "b"), bind(results=(1,)), describe("S"), describe("P", "b")),
        *(execute(), execute("b", 1), close("P"), SYNC, FLUSH, (b"Q", b"show version\0"), (b"Q", b"\0")),
    ]
)
_JUNK = st.tuples(st.sampled_from([b"Q", b"P", b"B", b"D", b"E", b"C"]), st.binary(max_size=24))


@given(st.lists(_MESSAGES | _JUNK))
def test_any_messages_are_answered_or_fatal(sent: list[tuple[bytes, bytes]]) -> None:
    session = ConsoleSession(Bench().console, "admin")
    try:
        for kind, body in sent:
            split(session.feed(kind, body))
    except ClientFault:
        return  # and nothing else may come out
    assert split(session.feed(*SYNC)) == [(b"Z", b"I")]
