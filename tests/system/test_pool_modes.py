"""What session, transaction and statement pooling mean for two clients of one server."""

from __future__ import annotations

import pytest

from tests.support.crowd import at_once
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler, wait_until_free
from tests.support.wire import SYNC, Wire, bind, execute, parse, query

MY_PID = "SELECT pg_backend_pid()"
NO_BLOCKS = "transaction blocks not allowed in statement pooling mode"


pooler = module_pooler(
    databases={
        "tx": "dbname=p0 pool_size=1",
        "off": "dbname=p0 pool_size=1 session_state=off",
        "se": "dbname=p0 pool_size=1 pool_mode=session",
        "st": "dbname=p0 pool_size=1 pool_mode=statement",
    },
    users={"limited": "pool_mode=session"},
)


def pid(wire: Wire) -> bytes:
    (row,) = wire.rows(MY_PID)
    assert row[0] is not None
    return row[0]


def workers_of(pooler: Pooler, database: str) -> set[int]:
    return {row["worker"] for row in pooler.show("clients", database=database)}


def all_workers(pooler: Pooler) -> set[int]:
    return {row["worker"] for row in pooler.show("workers")}


# Transaction pooling.


def test_one_server_serves_clients_of_all_workers_in_turn(pooler: Pooler) -> None:
    wires = [pooled(pooler, "tx") for _ in range(6)]
    assert workers_of(pooler, "tx") == all_workers(pooler)
    assert len({pid(wire) for _ in range(20) for wire in wires}) == 1
    for wire in wires:
        wire.close()


def test_clients_of_all_workers_compete_for_one_server(pooler: Pooler) -> None:
    """Everybody at once: each transaction is whole, rows are one's own, one backend did it all."""

    def work(number: int) -> set[bytes]:
        found = set()
        with pooled(pooler, "tx") as wire:
            for turn in range(30):
                wire.send(
                    query("BEGIN") + query(f"SELECT {number}, {turn}") + query(MY_PID) + query("COMMIT")
                )
                messages = [m for _ in range(4) for m in wire.receive_until()]
                mine, backend = [m.values for m in messages if m.type == "D"]
                assert mine == [b"%d" % number, b"%d" % turn]
                found.add(backend[0] or b"")
            wire.close()
        return found

    assert len(set.union(*at_once(10, work))) == 1


def test_transaction_keeps_its_server(pooler: Pooler) -> None:
    with pooled(pooler, "tx") as first, pooled(pooler, "tx") as second:
        first.query("BEGIN")
        mine = pid(first)
        second.send(query(MY_PID))
        second.expect_silence(0.2)
        assert pid(first) == mine
        first.query("COMMIT")
        assert second.expect("TDCZ")[1].values == [mine]
        first.close()
        second.close()


def test_failed_transaction_keeps_its_server(pooler: Pooler) -> None:
    with pooled(pooler, "tx") as first, pooled(pooler, "tx") as second:
        first.query("BEGIN")
        first.query("SELECT 1/0")
        second.send(query("SELECT 2"))
        second.expect_silence(0.2)
        first.query("ROLLBACK")
        second.expect("TDCZ")
        first.close()
        second.close()


def test_waiters_are_served_in_the_order_they_came(pooler: Pooler) -> None:
    holder = pooled(pooler, "tx")
    waiters = [pooled(pooler, "tx") for _ in range(6)]
    holder.query("CREATE SEQUENCE turns")
    holder.query("BEGIN")
    for number, wire in enumerate(waiters):
        wire.send(query("SELECT nextval('turns')"))
        wait_for(
            lambda n=number: pooler.pool("tx")["cl_waiting"] == n + 1,  # type: ignore[misc]
            5,
            f"{number + 1} waiting",
        )
    holder.query("COMMIT")
    # some may have been told that they wait
    rows = [[m for m in wire.receive_until() if m.type == "D"] for wire in waiters]
    turns = [int(row.values[0] or 0) for (row,) in rows]
    assert turns == sorted(turns) or len(all_workers(pooler)) > 1
    assert sorted(turns) == list(range(1, 7))
    holder.query("DROP SEQUENCE turns")
    for wire in [holder, *waiters]:
        wire.close()


def test_session_state_is_not_reset_between_transactions(pooler: Pooler) -> None:
    """server_reset_query is for session pooling: with session_state = off a transaction pool has nothing of
    it.
    """
    with pooled(pooler, "off") as first, pooled(pooler, "off") as second:
        mine = pid(first)
        first.query("SET work_mem = '7MB'")
        assert second.rows("SHOW work_mem") == [[b"7MB"]]
        assert pid(second) == mine
        second.query("RESET work_mem")
        first.close()
        second.close()


def test_client_that_leaves_in_a_transaction_takes_nothing_along(pooler: Pooler) -> None:
    with pooled(pooler, "tx") as wire:
        wire.query("BEGIN; CREATE TABLE never (n int)")
        wire.close()
    with pooled(pooler, "tx") as wire:
        assert wire.rows("SELECT to_regclass('never')") == [[None]]
        assert wire.query("SELECT 1")[-1].text == "I"
        wire.close()


# Session pooling.


def test_session_keeps_its_server(pooler: Pooler) -> None:
    with pooled(pooler, "se") as first, pooled(pooler, "se") as second:
        mine = pid(first)
        second.send(query(MY_PID))
        second.expect_silence(0.3)
        assert pid(first) == mine
        first.close()
        assert second.expect("TDCZ")[1].values == [mine]
        second.close()


def test_servers_forget_statements_when_there_may_be_fewer(pooler: Pooler) -> None:
    """max_prepared_statements holds for servers that are there, from the next text on."""
    kept = "SELECT count(*) FROM pg_prepared_statements"
    with pooled(pooler, "tx") as wire:
        for number in range(6):
            wire.send(parse(f"SELECT {number}", f"s{number}") + bind(name=f"s{number}") + execute() + SYNC)
            wire.receive_until()
        assert wire.rows(kept) == [[b"6"]]
        with pooler.configured(max_prepared_statements=2):
            wire.send(parse("SELECT 'one more'", "more") + bind(name="more") + execute() + SYNC)
            wire.receive_until()
            assert wire.rows(kept) == [[b"2"]]
            for number in range(6):
                wire.send(bind(name=f"s{number}") + execute() + SYNC)
                assert wire.receive_until()[1].values == [str(number).encode()]
        wire.close()


@pytest.mark.parametrize(
    ("leave", "look", "clean"),
    [
        ("SET work_mem = '7MB'", "SELECT current_setting('work_mem')", b"4MB"),
        ("CREATE TEMP TABLE left_behind (n int)", "SELECT to_regclass('left_behind')", None),
        ("PREPARE left_behind AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements", b"0"),
        ("SELECT pg_advisory_lock(5)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", b"0"),
        ("LISTEN left_behind", "SELECT count(*) FROM pg_listening_channels()", b"0"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors", b"0"),
        ("SET SESSION AUTHORIZATION bouncer", "SELECT session_user", b"bouncer"),
    ],
    ids=["set", "temporary", "prepare", "lock", "listen", "cursor", "authorization"],
)
def test_nothing_of_a_session_is_left_for_the_next(
    pooler: Pooler, leave: str, look: str, clean: bytes | None
) -> None:
    with pooled(pooler, "se") as wire:
        mine = pid(wire)
        assert wire.query(leave)[-1].type == "Z"
        wire.close()
    wait_until_free(pooler, "se")
    with pooled(pooler, "se") as wire:
        assert pid(wire) == mine
        assert wire.rows(look) == [[clean]]
        wire.close()


def test_named_statements_live_as_long_as_the_session(pooler: Pooler) -> None:
    with pooled(pooler, "se") as wire:
        wire.send(parse("SELECT 1", "kept"), SYNC)
        wire.expect("1Z")
        for _ in range(3):
            wire.send(bind(name="kept"), execute(), SYNC)
            wire.expect("2DCZ")
        wire.close()


def test_session_that_ends_in_a_transaction(pooler: Pooler) -> None:
    with pooled(pooler, "se") as wire:
        wire.query("BEGIN; CREATE TABLE never (n int)")
        wire.close()
    with pooled(pooler, "se") as wire:
        assert wire.rows("SELECT to_regclass('never')") == [[None]]
        wire.close()


def test_mode_of_a_user_wins(pooler: Pooler) -> None:
    with pooler.wire().login(user="limited", database="tx") as first:
        mine = pid(first)
        with pooler.wire().login(user="limited", database="tx") as second:
            second.send(query(MY_PID))
            second.expect_silence(0.3)
            first.close()
            assert second.expect("TDCZ")[1].values == [mine]
            second.close()
    assert pooler.pool("tx", "limited")["pool_mode"] == "session"


# Statement pooling.


def test_statements_of_two_clients_take_turns(pooler: Pooler) -> None:
    with pooled(pooler, "st") as first, pooled(pooler, "st") as second:
        assert len({pid(wire) for _ in range(10) for wire in (first, second)}) == 1
        assert first.rows("BEGIN; SELECT 1; COMMIT") == [[b"1"]]  # over before it could be refused
        first.close()
        second.close()


@pytest.mark.parametrize(
    "begin",
    [
        query("BEGIN"),
        query("SELECT 1; BEGIN"),
        parse("START TRANSACTION") + bind() + execute() + SYNC,
        query("BEGIN") + query("SELECT 1") + query("COMMIT"),
        parse("BEGIN") + bind() + execute() + SYNC + query("COMMIT"),
    ],
    ids=["simple", "in-a-string", "extended", "pipelined", "extended-pipelined"],
)
def test_transaction_is_refused_in_statement_mode(pooler: Pooler, begin: bytes) -> None:
    with pooled(pooler, "st") as wire, pooler.expect_log(f"closing because: {NO_BLOCKS}"):
        wire.send(begin)
        answer = wire.receive_until("E")
        assert "Z" not in [m.type for m in answer], "the client was told that all is well"
        error = answer[-1].fields
        assert (error["S"], error["C"], error["M"]) == ("FATAL", "08P01", NO_BLOCKS)
        wire.expect_closed()
    with pooled(pooler, "st") as wire:
        assert wire.query("SELECT 1")[-1].text == "I"
        wire.close()


def test_programs_in_statement_mode(pooler: Pooler) -> None:
    assert pooler.sql("SELECT 1", dbname="st") == [(1,)]
    with pytest.raises(AssertionError, match=NO_BLOCKS):
        pooler.run_program("psql", "-Xc", "BEGIN", "st", PGUSER="bouncer")


# In every mode.


@pytest.mark.parametrize("database", ["tx", "se", "st"])
def test_killed_backend_is_told_and_replaced(
    running_postgres: Postgres, pooler: Pooler, database: str
) -> None:
    if database != "se":
        pooler.learn_catalogs(
            database
        )  # else it may be in the middle of a question about the client's session
    with pooled(pooler, database) as wire:
        backend = pid(wire)
        running_postgres.sql("SELECT pg_terminate_backend(%s)", (int(backend),))
        wait_for(lambda: int(backend) not in running_postgres.backends(), 5, "the backend's end")
        if database == "se":
            assert wire.receive_until("E")[-1].fields["C"] == "57P01"
            wire.expect_closed()
        else:
            assert wire.rows("SELECT 1") == [[b"1"]]
            assert pid(wire) != backend
            wire.close()
    with pooled(pooler, database) as wire:
        assert pid(wire) != backend
        wire.close()
