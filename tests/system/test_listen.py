"""LISTEN in transaction pooling: a client that listens holds no server, and misses nothing unnoticed.

Other clients of the same pool run between any two transactions of a client under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import time
from collections.abc import Iterator

import asyncpg
import psycopg
import psycopg2
import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, Wire, bind, execute, parse, query

LISTENER = "pid <> pg_backend_pid() AND application_name = 'pooler listener'"
CHANNELS = "SELECT pg_listening_channels() ORDER BY 1"


@pytest.fixture(scope="module", params=[1, 3], ids=["1-worker", "3-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=request.param,
        databases={
            "one": "dbname=p0 pool_size=1",
            "two": "dbname=p0 pool_size=2",
            "full": "dbname=p0 pool_size=2 max_db_connections=1",
            "room": "dbname=p0 pool_size=2 max_db_connections=2",
            "off": "dbname=p0 pool_size=1 session_state=off",
            "doomed": "dbname=p0 pool_size=2",
            "owned": "dbname=p0 pool_size=2",
            "slow": "dbname=p0 pool_size=2",
        },
    )


@pytest.fixture
def wires(pooler: Pooler) -> Iterator[list[Wire]]:
    """Six clients of `one`, which has one server, on all workers."""
    wires = [pooled(pooler, "one") for _ in range(6)]
    yield wires
    for wire in wires:
        wire.close()


def news(got: Message) -> tuple[int, str, str]:
    """(pid, channel, payload) of a NotificationResponse."""
    assert got.type == "A", got
    (pid,) = struct.unpack_from("!I", got.body)
    channel, payload, _ = got.body[4:].split(b"\0")
    return pid, channel.decode(), payload.decode()


def payloads(wire: Wire, count: int) -> list[str]:
    return [news(got)[2] for got in wire.expect("A" * count)]


def types(messages: list[Message]) -> str:
    return "".join(got.type for got in messages)


def pid(wire: Wire) -> int:
    return wire.backend_key[0]


def channels(wire: Wire) -> list[str]:
    return [(row[0] or b"").decode() for row in wire.rows(CHANNELS)]


def busy(pooler: Pooler, database: str) -> int:
    return sum(row["sv_active"] for row in pooler.show("pools", database=database))


# Which client hears what.


def test_all_clients_hear_it_in_order_and_from_whom(wires: list[Wire]) -> None:
    *listeners, speaker = wires
    for wire in listeners:
        assert types(wire.query("LISTEN news")) == "CZ"
    expected = []
    for number in range(5):
        for who in (speaker, listeners[0]):
            text = f"{pid(who)} {number}"
            answer = who.query(f"SELECT pg_notify('news', '{text}')")
            expected.append((pid(who), "news", text))
            if who is listeners[0]:  # its own stands before ReadyForQuery
                assert news(answer[-2]) == expected[-1]
    for wire in listeners[1:]:
        assert [news(got) for got in wire.expect("A" * 10)] == expected
    for wire in wires:
        assert wire.rows("SELECT 1") == [[b"1"]]


def test_one_server_is_enough_for_listeners_and_others(pooler: Pooler, wires: list[Wire]) -> None:
    for wire in wires[:5]:
        wire.query("LISTEN idle")
    wait_for(lambda: busy(pooler, "one") == 0, 5, "a free server")
    for _ in range(3):
        assert wires[5].rows("SELECT 1") == [[b"1"]]
    for wire in wires[:5]:
        assert wire.rows("SELECT 2") == [[b"2"]]
    wires[5].query("NOTIFY idle, 'x'")
    for wire in wires[:5]:
        assert payloads(wire, 1) == ["x"]


def test_what_a_session_listens_on_follows_it(wires: list[Wire]) -> None:
    mine, other, speaker = wires[:3]
    for text in ("LISTEN b", "LISTEN a", 'LISTEN "A"', "LISTEN A", 'LISTEN "say ""it"""'):
        mine.query(text)
        other.query("SELECT 1")
    assert channels(mine) == ["A", "a", "b", 'say "it"']
    assert channels(other) == []
    mine.query("UNLISTEN a")
    other.query("LISTEN a")
    assert channels(mine) == ["A", "b", 'say "it"']
    assert channels(other) == ["a"]
    speaker.query("NOTIFY a, 'for the other'")
    speaker.query("NOTIFY \"A\", 'for me'")
    speaker.query('NOTIFY "say ""it""", \'so\'')
    assert payloads(mine, 2) == ["for me", "so"]
    assert payloads(other, 1) == ["for the other"]
    mine.query("DISCARD ALL")
    speaker.query("NOTIFY b, 'unheard'")
    assert channels(mine) == []
    assert channels(other) == ["a"]
    other.query("UNLISTEN *")
    assert channels(other) == []


def test_an_unlisten_that_no_text_tells_of(pooler: Pooler) -> None:
    """In front of a LISTEN in the same text, at a server that has none of the channels from before."""
    with pooled(pooler, "two") as mine:
        mine.query(
            "CREATE OR REPLACE FUNCTION ends() RETURNS void LANGUAGE plpgsql AS"
            " $$BEGIN EXECUTE 'UNLISTEN b'; END$$"
        )
        mine.query("LISTEN a; LISTEN b")
        mine.query("SELECT ends(); LISTEN c")
        assert channels(mine) == ["a", "c"]


def test_transactions(wires: list[Wire]) -> None:
    mine, other = wires[:2]

    def run(*texts: str) -> None:
        for text in texts:
            assert types(mine.query(text)) in ("CZ", "TDCZ", "EZ")
        other.query("SELECT 1")

    run("BEGIN", "LISTEN kept", "COMMIT")
    run("BEGIN", "LISTEN lost", "ROLLBACK")
    run("BEGIN", "LISTEN lost", "SELECT 1/0", "COMMIT")
    assert channels(mine) == ["kept"]
    run("BEGIN", "UNLISTEN kept", "ROLLBACK")
    run("BEGIN", "SAVEPOINT s", "UNLISTEN kept", "ROLLBACK TO s", "COMMIT")
    assert channels(mine) == ["kept"]
    other.query("NOTIFY kept, 'x'")
    assert payloads(mine, 1) == ["x"]
    run("BEGIN", "LISTEN more", "UNLISTEN kept", "COMMIT")
    assert channels(mine) == ["more"]
    run("BEGIN", "UNLISTEN *", "LISTEN again", "COMMIT")
    assert channels(mine) == ["again"]


def test_nothing_comes_in_the_middle_of_a_transaction(pooler: Pooler) -> None:
    with pooled(pooler, "two") as mine, pooled(pooler, "two") as other:
        mine.query("LISTEN later")
        other.query("SELECT 1")
        mine.query("BEGIN")
        other.query("NOTIFY later, 'x'")
        with pooled(pooler, "two") as third:
            third.query("LISTEN later")
            other.query("NOTIFY later, 'y'")
            assert payloads(third, 1) == ["y"]  # so both have come round
        assert types(mine.query("SELECT 1")) == "TDCZ"
        answer = mine.query("COMMIT")
        assert types(answer) == "CAAZ"
        assert [news(got)[2] for got in answer[1:3]] == ["x", "y"]


def test_nothing_comes_that_was_committed_before_the_listen(pooler: Pooler, pg: Postgres) -> None:
    """Others listen on it already, and the connection that listens has not been told of it yet."""
    with pooled(pooler, "two") as first, pooled(pooler, "two") as other, pooled(pooler, "two") as mine:
        first.query("LISTEN early")
        pids = [row["remote_pid"] for row in pooler.show("servers", database="two")]
        ((listener,),) = pg.sql(
            f"SELECT pid FROM pg_stat_activity WHERE {LISTENER} AND pid = ANY (ARRAY{pids})"
        )
        os.kill(listener, signal.SIGSTOP)
        try:
            other.query("NOTIFY early, 'before'")
            mine.send(query("LISTEN early"))
            time.sleep(0.2)
        finally:
            os.kill(listener, signal.SIGCONT)
        assert types(mine.receive_until()) == "CZ"
        other.query("NOTIFY early, 'behind'")
        assert payloads(first, 2) == ["before", "behind"]
        assert payloads(mine, 1) == ["behind"]


def test_nothing_comes_after_the_unlisten(pooler: Pooler) -> None:
    """Not even what was committed while it ran, or before its server has said that it does not listen."""
    pooler.learn_catalogs("two")
    with pooled(pooler, "two") as mine, pooled(pooler, "two") as other:
        mine.query("LISTEN kept")
        for number in range(10):
            mine.query("LISTEN gone")
            mine.send(query("UNLISTEN gone; SELECT pg_sleep(0.02)"))
            time.sleep(0.01)
            other.send(query("NOTIFY gone; NOTIFY kept") * 3)
            answer = types(mine.receive_until())
            assert answer == "CTDCZ", f"in turn {number}"
            other.send(query("NOTIFY gone; NOTIFY kept") * 3)
            for _ in range(6):
                other.receive_until()
            assert {news(got)[1] for got in mine.expect("A" * 6)} == {"kept"}


def test_a_pipeline_and_the_extended_protocol(wires: list[Wire]) -> None:
    mine, other = wires[:2]
    mine.send(parse("LISTEN ext") + bind() + execute() + SYNC)
    answer = mine.receive_until()
    assert types(answer) == "12CZ", [m.fields for m in answer if m.type == "E"]
    other.query("NOTIFY ext, 'x'")
    assert payloads(mine, 1) == ["x"]
    begin = parse("BEGIN") + bind() + execute()
    mine.send(begin + parse("UNLISTEN ext") + bind() + execute() + SYNC)
    mine.send(query("COMMIT"))
    assert types(mine.receive_until()) == "12C12CZ"
    assert types(mine.receive_until()) == "CZ"
    other.query("SELECT 1")
    assert channels(mine) == []
    mine.send(query("LISTEN p1"), query("SELECT 1"), query("LISTEN p2"))
    assert [types(mine.receive_until()) for _ in range(3)] == ["CZ", "TDCZ", "CZ"]
    other.query("NOTIFY p1, '1'")
    other.query("NOTIFY p2, '2'")
    assert payloads(mine, 2) == ["1", "2"]


def test_large_payloads_and_many(wires: list[Wire]) -> None:
    mine, other = wires[:2]
    mine.query("LISTEN big")
    other.query("SELECT pg_notify('big', repeat('x', 7999))")
    assert payloads(mine, 1) == ["x" * 7999]
    other.query("SELECT count(pg_notify('big', n::text)) FROM generate_series(1, 3000) n")
    assert payloads(mine, 3000) == [str(n) for n in range(1, 3001)]


def test_notifications_of_others_keep_their_own_pids(pooler: Pooler) -> None:
    """Clients take turns on two servers, and notify at the same time."""
    speakers = [pooled(pooler, "two") for _ in range(5)]
    with pooled(pooler, "two") as mine:
        mine.query("LISTEN who")
        for number in range(20):
            for wire in speakers:
                wire.send(query(f"NOTIFY who, '{pid(wire)} {number}'"))
            for wire in speakers:
                assert types(wire.receive_until()) == "CZ"
        for got in mine.expect("A" * 100):
            sender, _, payload = news(got)
            assert payload.split()[0] == str(sender)
    for wire in speakers:
        wire.close()


# Others on the channel of notes, which is no secret.


def channel_of_notes(pooler: Pooler, speaker: Wire) -> str:
    """As it stands in pg_stat_activity once somebody has notified, until something else runs there."""
    found: list[tuple[str]] = []

    def seen() -> bool:
        speaker.query("NOTIFY heard_by_nobody")
        found[:] = pooler.pg.sql(
            "SELECT substring(query FROM 'NOTIFY (pooler_[0-9a-f]+)') FROM pg_stat_activity"
            " WHERE query ~ '^NOTIFY pooler_[0-9a-f]+, .[be] ' ORDER BY query_start DESC LIMIT 1",
            dbname="p0",
        )
        return bool(found)

    wait_for(seen, 5, "a note")
    return found[0][0]


@pytest.mark.parametrize(
    "note", ["c 99999999999999", "b 0 0 99999999999 1", "c 77", "c", "", "b", "e", "x" * 900]
)
def test_notes_of_strangers_are_ignored(pooler: Pooler, note: str) -> None:
    with pooled(pooler, "two") as mine, pooled(pooler, "two") as speaker:
        mine.query("LISTEN who")
        channel = channel_of_notes(pooler, speaker)
        pooler.pg.sql(f"NOTIFY {channel}, '{note}'; NOTIFY who, 'stranger'", dbname="p0")
        (got,) = mine.expect("A")
        assert news(got)[2] == "stranger"
        assert news(got)[0] != 77
        assert mine.rows("SELECT 1") == [[b"1"]]


def test_notes_that_a_stranger_repeats_are_ignored(pooler: Pooler) -> None:
    """Whoever listens on the channel sees notes with their seals: they are good for one backend and once."""
    with (
        pooled(pooler, "two") as mine,
        pooled(pooler, "two") as speaker,
        contextlib.closing(psycopg2.connect(pooler.pg.dsn(dbname="p0"))) as stranger,
    ):
        stranger.autocommit = True
        mine.query("LISTEN who")
        channel = channel_of_notes(pooler, speaker)
        cursor = stranger.cursor()
        cursor.execute(f"LISTEN {channel}")
        speaker.query("NOTIFY who, 'client'")
        assert news(mine.expect("A")[0]) == (pid(speaker), "who", "client")

        def heard() -> bool:
            stranger.poll()
            return any(note.payload.startswith("c ") for note in stranger.notifies)

        wait_for(heard, 5, "a note")
        for note in list(stranger.notifies):
            cursor.execute(f"NOTIFY {channel}, '{note.payload}'; NOTIFY who, 'stranger'")
            sender, _, payload = news(mine.expect("A")[0])
            assert payload == "stranger"
            assert sender == stranger.info.backend_pid


def test_nobody_takes_the_channel_from_the_listener(pooler: Pooler) -> None:
    """A client's LISTEN and UNLISTEN of it stay at its own server."""
    with pooled(pooler, "two") as mine, pooled(pooler, "two") as other:
        mine.query("LISTEN who")
        channel = channel_of_notes(pooler, mine)
        other.query(f"LISTEN {channel}")
        assert channel not in {row["channel"] for row in pooler.show("listeners")}
        assert channels(other) == [channel]
        other.query("UNLISTEN *")
        answer = mine.query("NOTIFY who, 'own'")  # comes round by that channel
        assert types(answer) == "CAZ"


# Limits.


def test_without_room_for_the_connection_a_server_is_kept(pooler: Pooler) -> None:
    with pooled(pooler, "full") as mine:
        assert types(mine.query("LISTEN cramped")) == "CZ"
        assert busy(pooler, "full") == 1
        pooler.pg.sql("NOTIFY cramped, 'x'", dbname="p0")
        assert payloads(mine, 1) == ["x"]
        mine.query("UNLISTEN *")
        wait_for(lambda: busy(pooler, "full") == 0, 5, "a free server")


def test_the_connection_counts(pooler: Pooler) -> None:
    with pooled(pooler, "room") as mine, pooled(pooler, "room") as other:
        mine.query("LISTEN room")
        wait_for(lambda: busy(pooler, "room") == 0, 5, "a free server")
        mine.query("BEGIN")
        other.send(query("SELECT 1"))  # the second connection of two is the listener
        wait_for(lambda: pooler.show("pools", database="room")[0]["cl_waiting"] == 1, 5, "a waiting client")
        other.expect_silence()
        mine.query("COMMIT")
        assert types(other.receive_until()) == "TDCZ"
        (listener,) = [row for row in pooler.show("listeners") if row["database"] == "room"]
        assert (listener["channel"], listener["clients"], listener["state"]) == ("room", 1, "open")
        assert len(pooler.show("servers", database="room")) == 2
    wait_for(lambda: not [r for r in pooler.show("listeners") if r["database"] == "room"], 15, "no channel")
    wait_for(lambda: len(pooler.show("servers", database="room")) == 1, 15, "the end of the connection")


def test_a_client_that_does_not_read_is_closed(pooler: Pooler) -> None:
    with pooled(pooler, "slow") as idle, pooled(pooler, "slow") as mine, pooled(pooler, "slow") as other:
        idle.query("LISTEN flood")
        mine.query("LISTEN flood")
        mine.query("BEGIN")
        text = "SELECT count(pg_notify('flood', n || repeat('x', 7000))) FROM generate_series(1, 400) n"
        assert types(other.query(text)) == "TDCZ"
        idle.expect("A" * 400)
        mine.expect_error("53200")
        mine.expect_closed()
        other.query("NOTIFY flood, 'on'")
        assert payloads(idle, 1) == ["on"]


def test_off_is_as_before(pooler: Pooler) -> None:
    with pooled(pooler, "off") as mine:
        mine.query("LISTEN shared")
        assert not [row for row in pooler.show("listeners") if row["database"] == "off"]
        assert busy(pooler, "off") == 0


# Losses are noticed.


def test_the_connection_is_terminated(pooler: Pooler, pg: Postgres) -> None:
    with pooled(pooler, "doomed") as mine, pooled(pooler, "doomed") as other:
        mine.query("LISTEN doomed")
        pids = [row["remote_pid"] for row in pooler.show("servers", database="doomed")]
        listener = pg.sql(f"SELECT pid FROM pg_stat_activity WHERE {LISTENER} AND pid = ANY (ARRAY{pids})")
        pg.sql(f"SELECT pg_terminate_backend({listener[0][0]})")
        mine.expect_error("57P01")
        mine.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]  # it did not listen
        assert types(other.query("LISTEN doomed")) == "CZ"
        with pooled(pooler, "doomed") as third:
            third.query("NOTIFY doomed, 'again'")
        assert payloads(other, 1) == ["again"]


def test_the_worker_that_has_it_dies(pooler: Pooler) -> None:
    wires = [pooled(pooler, "owned") for _ in range(6)]
    wires[0].query("LISTEN owned")
    (listener,) = [row for row in pooler.show("listeners") if row["database"] == "owned"]
    for wire in wires[1:]:
        wire.query("LISTEN owned")
    workers = {row["worker"]: row for row in pooler.show("workers")}
    os.kill(workers[listener["worker"]]["pid"], signal.SIGKILL)
    for wire in wires:  # on whatever worker: something may have been missed
        with_end = wire.socket.recv(4096)
        assert not with_end or with_end[:1] == b"E"
        wire.socket.close()
    with pooled(pooler, "owned") as mine, pooled(pooler, "owned") as other:
        assert types(mine.query("LISTEN owned")) == "CZ"
        other.query("NOTIFY owned, 'again'")
        assert payloads(mine, 1) == ["again"]


# Drivers.


def test_psycopg2(pooler: Pooler) -> None:
    with pooler.connect(dbname="one") as mine, pooler.connect(dbname="one") as other:
        mine.cursor().execute("LISTEN drivers")
        other.cursor().execute("NOTIFY drivers, 'other'")
        mine.cursor().execute("NOTIFY drivers, 'own'")
        wait_for(lambda: mine.poll() or len(mine.notifies) == 2, 5, "two notifications")
        own = mine.info.backend_pid
        assert [(n.payload, n.pid == own) for n in mine.notifies] == [("other", False), ("own", True)]
        assert mine.notifies[0].pid == other.info.backend_pid


def test_psycopg3(pooler: Pooler) -> None:
    with psycopg.connect(pooler.dsn(dbname="one"), autocommit=True) as mine:
        mine.execute("LISTEN drivers")
        with psycopg.connect(pooler.dsn(dbname="one"), autocommit=True) as other:
            for number in range(3):
                other.execute("SELECT pg_notify('drivers', %s)", (str(number),))
            got = list(mine.notifies(timeout=10, stop_after=3))
        assert [n.payload for n in got] == ["0", "1", "2"]
        assert mine.execute("SELECT 1").fetchall() == [(1,)]


def test_asyncpg(pooler: Pooler) -> None:
    async def run() -> None:
        mine = await asyncpg.connect(**asyncpg_target(pooler))
        other = await asyncpg.connect(**asyncpg_target(pooler))
        got: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        await mine.add_listener("drivers", lambda _c, sender, _ch, payload: got.put_nowait((sender, payload)))
        await other.execute("SELECT 1")
        await other.execute("NOTIFY drivers, 'a'")
        found = [await asyncio.wait_for(got.get(), 10)]
        assert found == [(other.get_server_pid(), "a")]
        await mine.reset()
        await other.execute("NOTIFY drivers, 'unheard'")
        assert await mine.fetch(CHANNELS) == []
        await mine.close()
        await other.close()

    asyncio.run(asyncio.wait_for(run(), 15))


def asyncpg_target(pooler: Pooler) -> dict[str, object]:
    return {"host": pooler.host, "port": pooler.port, "user": "bouncer", "database": "one"}


def test_two_listeners_in_one_database(pooler: Pooler, wires: list[Wire]) -> None:
    """Each knows the notes that are for it: nothing comes twice when the other one is faster."""
    mine, other = wires[:2]
    with pooled(pooler, "two") as elsewhere:
        elsewhere.query("LISTEN elsewhere")
        for number in range(50):
            answer = mine.query(f"LISTEN twice; NOTIFY twice, '{number}'")
            assert types(answer) == "CCAZ", (number, answer)
            assert types(other.query("SELECT 1")) == "TDCZ"
            assert types(mine.query("UNLISTEN twice")) == "CZ"
        elsewhere.close()


def test_listen_and_notify_in_one(wires: list[Wire]) -> None:
    mine, other = wires[:2]
    for number in range(4):
        answer = mine.query("LISTEN pair; NOTIFY pair, 'x'")
        assert types(answer) == "CCAZ", (
            number,
            [news(m) for m in answer if m.type == "A"],
            [w.backend_key[0] for w in wires],
        )
        assert news(answer[2])[0] == pid(mine)
        other.query("SELECT 1")
        for text, wanted in (("SELECT 1", "TDCZ"), ("UNLISTEN pair; NOTIFY pair, 'y'", "CCZ")):
            answer = mine.query(text)
            assert types(answer) == wanted, (number, answer)
            other.query("SELECT 1")
