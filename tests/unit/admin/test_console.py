"""Simple queries to the bytes of their answer, and who may come in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.admin.console import WELCOME, access_of
from pooler.admin.model import CommandError
from pooler.errors import ConfigError, Problem, ServerFault
from pooler.protocol import messages
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench

READY = (b"Z", b"I")


def test_rows(bench: Bench) -> None:
    described, *rows, complete, ready = bench.execute("SHOW STATE;")
    assert [column.name for column in messages.parse_row_description(described[1])] == ["key", "value"]
    assert [messages.parse_data_row(body) for kind, body in rows if kind == b"D"] == [
        (b"active", b"yes"), (b"paused", b"no"), (b"suspended", b"no"),
    ]  # fmt: skip
    assert (complete, ready) == ((b"C", b"SHOW\0"), READY)


def test_numbers_and_nulls_as_text(bench: Bench) -> None:
    bench.tables.pool_stats = {0: fakes.counters("app", "alice", bytes_sent=2**70)}
    row = messages.parse_data_row(bench.execute("SHOW STATS_TOTALS")[1][1])
    assert row[5] == str(2**70).encode()
    row = messages.parse_data_row(bench.execute("SHOW DATABASES")[1][1])
    assert row[:5] == (b"app", b"10.0.0.1", b"5433", b"app_prod", None)


def test_int4_never_overflows(bench: Bench) -> None:
    bench.tables.server_rows = [fakes.server(2**40)]
    row = messages.parse_data_row(bench.execute("SHOW SERVERS")[1][1])
    assert row[20] == b"2147483647"


def test_names_that_are_not_utf8_are_escaped(bench: Bench) -> None:
    bench.tables.server_rows = [fakes.server(1, user=messages.decode(b"caf\xe9"))]
    assert messages.parse_data_row(bench.execute("SHOW SERVERS")[1][1])[1] == b"caf\\xe9"


def test_order(bench: Bench) -> None:
    assert bench.execute("PAUSE app") == [(b"C", b"PAUSE\0"), READY]


def test_notice_without_rows(bench: Bench) -> None:
    notice, complete, ready = bench.execute("SHOW HELP")
    assert notice[0] == b"N"
    fields = messages.parse_error(notice[1])
    assert (fields["S"], fields["C"], fields["M"]) == ("NOTICE", "00000", "Console usage")
    assert fields["D"].startswith("\n\tSHOW ")
    assert (complete, ready) == ((b"C", b"SHOW\0"), READY)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("", "invalid command '', use SHOW HELP;"),
        ("show version; show version", "invalid command 'show version; show version', use SHOW HELP;"),
        ("PAUSE nope", "no such database: nope"),
    ],
)
def test_error(bench: Bench, sql: str, text: str) -> None:
    (kind, body), ready = bench.execute(sql)
    fields = messages.parse_error(body)
    assert (kind, ready) == (b"E", READY)
    assert (fields["S"], fields["C"], fields["M"]) == ("ERROR", "08P01", text)


def test_error_for_a_statistics_user(bench: Bench) -> None:
    (_, body), _ = bench.execute("KILL_CLIENT 1", "stats")
    assert messages.parse_error(body)["M"] == "admin access needed"


def test_failed_reload_has_code_and_detail(bench: Bench) -> None:
    bench.operations.refusal = ConfigError([Problem("a.ini", 3, "bad")])
    (_, body), ready = bench.execute("RELOAD")
    fields = messages.parse_error(body)
    assert (fields["S"], fields["C"], fields["D"]) == ("ERROR", "F0000", "a.ini:3: error: bad")
    assert ready == READY


def test_any_fault_of_an_operation_is_an_error(bench: Bench) -> None:
    bench.operations.refusal = ServerFault("server is gone", "57P01", from_server=True)
    (_, body), _ = bench.execute("RECONNECT")
    fields = messages.parse_error(body)
    assert (fields["S"], fields["C"], fields["M"]) == ("ERROR", "57P01", "server is gone")


def test_bugs_get_out(bench: Bench) -> None:
    bench.operations.refusal = RuntimeError("bug")
    with pytest.raises(RuntimeError):
        bench.execute("RECONNECT")


def test_immediate_shutdown_is_not_answered(bench: Bench) -> None:
    assert bench.execute("SHUTDOWN") == []
    assert bench.operations.orders == [("shutdown", "immediate")]


def test_a_terminator_is_tolerated(bench: Bench) -> None:
    assert bench.console.execute(b"SHOW VERSION;\0", "stats") == bench.console.execute(
        b"SHOW VERSION", "stats"
    )


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_answered(sql: bytes) -> None:
    bench = Bench()
    answer = fakes.split(bench.console.execute(sql, "stats"))
    assert answer[-1] == READY
    assert answer[0][0] in b"ETN"
    assert bench.operations.orders == []


_WORDS = st.sampled_from(
    ["show", "set", "pause", '"', "'", "=", ";", " ", "to", "app", "\n", "kill_client", "9", "\0"]
)


@given(st.lists(_WORDS, max_size=12).map("".join))
def test_any_words_are_answered(sql: str) -> None:
    assert Bench().execute(sql)[-1] == READY


def test_who_may_come_in() -> None:
    settings = fakes.configuration().settings
    assert access_of(settings, "root") == "admin"
    assert access_of(settings, "eve") == "stats"
    assert access_of(settings, "mallory") is None
    assert access_of(settings, "pgbouncer") is None
    assert access_of(settings, "pgbouncer", own_uid=True) == "admin"
    assert access_of(settings, "mallory", own_uid=True) is None


def test_with_auth_type_any_everybody_looks_and_nobody_more_than_before() -> None:
    settings = replace(fakes.configuration().settings, auth_type="any")
    assert access_of(settings, "mallory") == "stats"
    assert access_of(settings, "root") == "admin"


def test_welcome_names_a_version_that_drivers_understand() -> None:
    assert WELCOME["server_version"] == "1.25.2/bouncer"


def test_describe(bench: Bench) -> None:
    console = bench.console
    columns = console.describe(console.parse(b"show version"))
    assert [column.name for column in columns or ()] == ["version"]
    assert console.describe(console.parse(b"reload")) is None
    with pytest.raises(CommandError):
        console.parse(b"mem")
