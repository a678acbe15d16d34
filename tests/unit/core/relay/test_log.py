"""Lines of the log that the relay makes: as pooler/log.py writes its own, and when the hub hears of them."""

from __future__ import annotations

import os
import random
import re
import select
from collections.abc import Iterator

import pytest

from pooler import log, provisioning
from pooler.config import Config, Database, Settings
from pooler.core import Relay, Tables
from pooler.core._core import log_shown, relay_client_closes, relay_say
from pooler.ipc import inbox
from pooler.worker.catalog_queries import CATALOGS
from pooler.worker.server import place
from pooler.worker.session_queries import QUESTIONS
from tests.support.processes import wait_for

ERROR, WARNING, LOG, DEBUG = range(4)


@pytest.fixture
def tables() -> Tables:
    return Tables(workers=1, slots=4, clients=8)


@pytest.fixture
def relay(tables: Tables) -> Iterator[Relay]:
    """Not started: the test is its thread."""
    ours, theirs = inbox.open_pair()
    yield Relay(tables, 0, ours.fileno(), [theirs.fileno()] * 2, (), (*QUESTIONS, *CATALOGS))
    ours.close()
    theirs.close()


def rings(relay: Relay) -> bool:
    return bool(select.select([relay.event_fd], [], [], 0)[0])


def texts_of(lines: bytes) -> list[str]:
    return [line.split("] ", 1)[1] for line in lines.decode().splitlines()]


def shown_by_python(text: bytes) -> bytes:
    return log._shown("%s", (text.decode("utf-8", "surrogateescape"),))


@pytest.mark.parametrize(
    "text",
    [
        b"plain",
        bytes(range(1, 256)),
        "ü€\U0001f418 \u0080\u009f\u00a0 \u2027\u2028\u2029\u202a \U0010ffff".encode(),
        b"\xed\xa0\x80 \xed\x9f\xbf \xc0\x80 \xc1\xbf \xe0\x80\x80 \xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf \xf4\x90\x80\x80",
        b"\xf0\x9f\x90",
        b"\xe2\x80",
    ],
)
def test_shown_as_python_shows_it(text: bytes) -> None:
    assert log_shown(text) == shown_by_python(text)


def test_any_bytes_are_shown_as_python_shows_them() -> None:
    chance = random.Random(12)
    parts = [
        b"a",
        b"\xc2",
        b"\x80",
        b"\x9f",
        b"\xa0",
        b"\xe2",
        b"\xa8",
        b"\xf0",
        b"\xf4",
        b"\xed",
        b"\x1b",
        b"\xff",
    ]
    for _ in range(20_000):
        text = b"".join(chance.choices(parts, k=chance.randrange(9)))
        assert log_shown(text) == shown_by_python(text), text


def test_a_line_is_as_python_writes_it(relay: Relay) -> None:
    relay_say(relay, WARNING, b"slot 3\n\xff")
    lines, records, lost = relay.log_lines()
    here = log._log._line(log.WARNING, b"slot 3\\x0a\\xff")
    digits = re.compile(rb"\d\d:\d\d:\d\d\.\d{3}")
    assert digits.sub(b"", lines) == digits.sub(b"", here)
    ((size, head, level),) = log.RECORD.iter_unpack(records)
    assert (size, lines[head:], level, lost) == (len(lines), b"slot 3\\x0a\\xff\n", WARNING, 0)
    assert log.LEVELS[level] == log.WARNING
    assert relay.log_lines() == (b"", b"", 0)


def test_one_byte_that_is_shown_otherwise_is_found_wherever_it_stands(relay: Relay) -> None:
    """Most lines have none, and are not looked at byte for byte."""
    for size in range(1, 20):
        for at in range(size):
            for byte in b"\x01\x1f\x20\x7e\x7f\x80\xff":
                text = b"~" * at + bytes([byte]) + b" " * (size - at - 1)
                relay_say(relay, LOG, text)
                line = relay.log_lines().lines
                assert line.split(b"] LOG ", 1)[1] == shown_by_python(text) + b"\n", text


@pytest.mark.parametrize("level", [ERROR, WARNING, LOG])
def test_the_level_stands_before_the_text(relay: Relay, level: int) -> None:
    relay_say(relay, level, b"x")
    stamp = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ "
    expected = b"[%d] %s x\n" % (os.getpid(), log._log._line(log.LEVELS[level], b"").split()[4])
    lines = relay.log_lines().lines
    assert re.fullmatch(stamp + re.escape(expected), lines), lines


def test_zone(relay: Relay) -> None:
    """Local time, with the zone as strftime names it."""
    relay_say(relay, LOG, b"x")
    lines, _, _ = relay.log_lines()
    stamp = log._log._line(log.LOG, b"x").split(b"[")[0].split()
    assert lines.split(b"[")[0].split()[2:] == stamp[2:]


@pytest.mark.parametrize("text", [b"x" * 10_000, "ü".encode() * 5000, b"\xff" * 5000])
def test_long_lines_are_cut_where_python_cuts_them(relay: Relay, text: bytes) -> None:
    relay_say(relay, LOG, text)
    lines, records, _ = relay.log_lines()
    here = log._log._line(log.LOG, shown_by_python(text))
    assert len(lines) == log.LINE_BYTES
    assert lines.split(b"LOG ", 1)[1] == here.split(b"LOG ", 1)[1]
    assert [size for size, _, _ in log.RECORD.iter_unpack(records)] == [log.LINE_BYTES]


@pytest.mark.parametrize("level", [ERROR, WARNING])
def test_trouble_wakes_the_hub_at_once(relay: Relay, level: int) -> None:
    relay_say(relay, level, b"x")
    assert rings(relay)
    assert relay.events() == []
    assert rings(relay), "what was not taken must not be forgotten"
    assert texts_of(relay.log_lines().lines)
    assert relay.events() == []
    assert not rings(relay)


def test_other_lines_wait_for_more(relay: Relay) -> None:
    relay_say(relay, LOG, b"x" * 1000)
    assert not rings(relay)
    said = 1
    while not rings(relay):
        relay_say(relay, LOG, b"x" * 1000)
        said += 1
    assert 25 < said < 35
    assert len(texts_of(relay.log_lines().lines)) == said


def test_lines_that_wait_are_brought_by_the_next_that_wakes(relay: Relay) -> None:
    relay_say(relay, LOG, b"first")
    relay_say(relay, WARNING, b"second")
    relay_say(relay, LOG, b"third")
    assert texts_of(relay.log_lines().lines) == ["LOG first", "WARNING second", "LOG third"]


def test_a_line_does_not_wait_long(relay: Relay) -> None:
    relay_say(relay, LOG, b"x")
    relay.start()
    wait_for(lambda: rings(relay), 5, "the bell")
    assert texts_of(relay.log_lines().lines) == ["LOG x"]
    relay.stop()


def test_debug_is_for_those_who_want_it(relay: Relay) -> None:
    relay_say(relay, DEBUG, b"x")
    assert relay.log_lines().lines == b""


@pytest.mark.parametrize("size", [10, 4000])
def test_lines_that_nobody_takes_are_lost_and_counted(relay: Relay, size: int) -> None:
    for n in range(5000):
        relay_say(relay, LOG, b"%d " % n + b"x" * size)
    lines, records, lost = relay.log_lines()
    texts = texts_of(lines)
    assert len(texts) == len(records) // log.RECORD.size == 5000 - lost
    assert 0 < lost < 5000
    assert [int(text.split()[1]) for text in texts] == list(range(5000 - lost))
    relay_say(relay, LOG, b"again")
    assert texts_of(relay.log_lines().lines) == ["LOG again"]


def test_the_process_is_named(relay: Relay) -> None:
    relay_say(relay, LOG, b"x")
    assert b" [%d] " % os.getpid() in relay.log_lines().lines


def set_options(
    relay: Relay, log_disconnections: bool = True, log_pooler_errors: bool = True, log_debug: bool = False
) -> None:
    """What else there is does not matter here. Afterwards it does not run."""
    relay.options(
        check_delay_s=0,
        check_query=None,
        reset_query="",
        reset_always=False,
        disable_pqexec=False,
        fast_close=False,
        max_packet_bytes=1 << 20,
        max_prepared_statements=0,
        answer_timeout_s=0,
        log_disconnections=log_disconnections,
        log_pooler_errors=log_pooler_errors,
        log_debug=log_debug,
    )
    relay.start()
    relay.stop()


def make_client(tables: Tables, address: str = "127.0.0.1", own: bool = False) -> int:
    """A row of a client `u` of the database `d"\\n`."""
    config = Config("p.ini", Settings(workers=1))
    database, pool = provisioning.open_pool(tables, config, Database("d\n"), "u", auth=own)
    row = tables.client_new(0)
    tables.client_where(row, address, 4711, address, 6432, address.startswith("unix"))
    tables.client_login(row, database, provisioning.open_user(tables, config, "u"), pool, own=own)
    return row


@pytest.mark.parametrize("address", ["127.0.0.1", "2001:db8::1", "fe80::1%eth0", "unix(4711)", "unix"])
def test_a_client_that_is_closed(relay: Relay, tables: Tables, address: str) -> None:
    set_options(relay)
    row = make_client(tables, address)
    relay_client_closes(relay, tables, row, b"client eof\xff", False)
    where = place(address, 4711, address.startswith("unix"))
    assert texts_of(relay.log_lines().lines) == [
        f"LOG C-{tables.client_id(row)}: d\\x0a/u@{where} closing because: client eof\\xff (age=0s)"
    ]


@pytest.mark.parametrize(
    ("flags", "told", "levels"),
    [
        ({}, True, ["LOG", "WARNING"]),
        ({}, False, ["LOG"]),
        ({"log_disconnections": False}, True, ["WARNING"]),
        ({"log_disconnections": False}, False, []),
        ({"log_pooler_errors": False}, True, ["LOG"]),
        ({"log_pooler_errors": False, "log_disconnections": False}, True, []),
    ],
)
def test_what_is_said_of_it(
    relay: Relay, tables: Tables, flags: dict[str, bool], told: bool, levels: list[str]
) -> None:
    set_options(relay, **flags)
    row = make_client(tables)
    relay_client_closes(relay, tables, row, b"query_timeout", told)
    texts = texts_of(relay.log_lines().lines)
    assert [text.split()[0] for text in texts] == levels
    who = f"C-{tables.client_id(row)}: d\\x0a/u@127.0.0.1:4711"
    expected = {
        "LOG": f"LOG {who} closing because: query_timeout (age=0s)",
        "WARNING": f"WARNING {who} pooler error: query_timeout",
    }
    assert texts == [expected[level] for level in levels]


def test_nobody_hears_of_clients_of_poolers_own(relay: Relay, tables: Tables) -> None:
    set_options(relay)
    relay_client_closes(relay, tables, make_client(tables, own=True), b"query_timeout", True)
    assert relay.log_lines().lines == b""


def test_debug_is_shown_where_it_is_wanted(relay: Relay) -> None:
    set_options(relay, log_debug=True)
    relay_say(relay, DEBUG, b"x")
    assert texts_of(relay.log_lines().lines) == ["DEBUG x"]
