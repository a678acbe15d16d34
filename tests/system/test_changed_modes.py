"""Settings that change under what was begun with the old ones: clients keep it, no other gets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.shared import module_pooler, wait_until_free
from tests.support.wire import SYNC, Wire, bind, execute, parse

pooler = module_pooler(databases={"p0": "pool_size=2"})

LOCK = "SELECT pg_try_advisory_lock(88001)"
LEFT = "SET work_mem = '1234kB'; PREPARE left_plan AS SELECT 1; CREATE TEMP TABLE left_here (n int)"
#: Whether what LEFT leaves is there: settings, SQL PREPARE, temporary tables.
SEEN = (
    "SELECT current_setting('work_mem') = '1234kB',"
    " exists(SELECT FROM pg_prepared_statements WHERE name = 'left_plan'),"
    " to_regclass('left_here') IS NOT NULL"
)
ALL, NOTHING = [[b"t", b"t", b"t"]], [[b"f", b"f", b"f"]]


@pytest.fixture(autouse=True)
def clean(pooler: Pooler) -> Iterator[None]:
    """New servers for each test."""
    yield
    pooler.configure(pool_mode="transaction")
    wait_until_free(pooler, "p0")
    pooler.console("RECONNECT p0")


def nobody_sees(pooler: Pooler, several: int = 2) -> None:
    """Clients that hold all servers of the pool see nothing of what others left."""
    wires = [pooled(pooler) for _ in range(several)]
    for wire in wires:
        wire.query("BEGIN")
        assert wire.rows(SEEN) == NOTHING
    for wire in wires:
        wire.query("COMMIT")
        wire.close()


@pytest.mark.parametrize("state", ["auto", "off", "strict"])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_session_goes_on_when_pooling_becomes_another(pooler: Pooler, mode: str, state: str) -> None:
    with pooler.configured(pool_mode="session", session_state=state), pooled(pooler) as mine:
        mine.query(LEFT)
        assert mine.rows(LOCK) == [[b"t"]]
        pooler.configure(pool_mode=mode)
        with pooled(pooler) as other:
            assert [other.rows(SEEN) for _ in range(3)] == [NOTHING] * 3
            assert mine.rows(SEEN) == ALL
            assert other.rows(LOCK) == [[b"f"]]
            other.close()
        mine.query("BEGIN")
        assert mine.rows(SEEN) == ALL
        mine.query("COMMIT")
        mine.close()
        wait_until_free(pooler, "p0")
        if mode == "transaction":
            nobody_sees(pooler)


@pytest.mark.parametrize("where", ["database", "user", "console"])
def test_wherever_pooling_becomes_another(pooler: Pooler, where: str) -> None:
    keys = pooler.databases["p0"]

    def become(mode: str) -> None:
        if where == "console":
            pooler.console(f"SET pool_mode = '{mode}'")
            return
        if where == "database":
            pooler.databases["p0"] = f"{keys} pool_mode={mode}"
        else:
            pooler.user_options["bouncer"] = f"pool_mode={mode}"
        pooler.configure()

    become("session")
    try:
        with pooled(pooler) as mine:
            mine.query(LEFT)
            become("transaction")
            with pooled(pooler) as other:
                assert other.rows(SEEN) == NOTHING
                assert mine.rows(SEEN) == ALL
                other.close()
            mine.close()
        wait_until_free(pooler, "p0")
        nobody_sees(pooler)
    finally:
        pooler.databases["p0"] = keys
        pooler.user_options.pop("bouncer", None)
        pooler.configure()


def test_session_of_the_console(pooler: Pooler) -> None:
    """SET on the console changes it as a reload does."""
    with pooler.configured(pool_mode="session"), pooled(pooler) as mine, pooled(pooler) as other:
        mine.query(LEFT)
        pooler.console("SET pool_mode = 'transaction'")
        assert other.rows(SEEN) == NOTHING
        assert mine.rows(SEEN) == ALL
        mine.close()
        other.close()
        wait_until_free(pooler, "p0")
        nobody_sees(pooler)


def test_sessions_that_nobody_reset(pooler: Pooler) -> None:
    """Without server_reset_query servers keep what sessions leave, for sessions only."""
    with pooler.configured(pool_mode="session", server_reset_query=""):
        for _ in range(2):
            with pooled(pooler) as mine:
                mine.query(LEFT)
                mine.close()
            wait_until_free(pooler, "p0")
        pooler.configure(pool_mode="transaction")
        nobody_sees(pooler)


def test_reset_query_that_comes_later(pooler: Pooler) -> None:
    with pooler.configured(pool_mode="session", server_reset_query=""):
        with pooled(pooler) as mine:
            mine.query(LEFT)
            mine.close()
        wait_until_free(pooler, "p0")
        pooler.configure(server_reset_query=None)
        nobody_sees(pooler)


@pytest.mark.parametrize("state", ["auto", "error", "strict"])
def test_state_of_a_time_without_state(pooler: Pooler, state: str) -> None:
    """What was left under session_state = off was not looked at: others are not given it afterwards."""
    with pooler.configured(session_state="off"):
        with pooled(pooler) as mine:
            mine.query(LEFT)
            pooler.configure(session_state=state)
            nobody_sees(pooler)
            mine.close()
        wait_until_free(pooler, "p0")
        nobody_sees(pooler)


@pytest.mark.parametrize(
    "change", [{"session_state": "off"}, {"pool_mode": "session"}, {"pool_mode": "statement"}]
)
def test_pinned_server_stays_with_its_client(pooler: Pooler, change: dict[str, str]) -> None:
    with pooled(pooler) as mine:
        mine.query(LEFT)
        with pooler.configured(**change), pooled(pooler) as other:
            assert other.rows(SEEN) == NOTHING
            assert mine.rows(SEEN) == ALL
            assert other.rows(SEEN) == NOTHING
            other.close()
            mine.close()
            wait_until_free(pooler, "p0")
            with pooled(pooler) as following, pooled(pooler) as another:
                assert [following.rows(SEEN), another.rows(SEEN)] == [NOTHING] * 2
                following.close()
                another.close()


def test_transaction_is_not_cut_by_statement_pooling(pooler: Pooler) -> None:
    """It was begun when transactions were allowed."""
    with pooled(pooler) as mine:
        mine.query("BEGIN")
        with pooler.configured(pool_mode="statement"):
            assert mine.rows("SELECT 1") == [[b"1"]]
            assert mine.query("COMMIT")[-1].text == "I"
            mine.send(b"Q\0\0\0\x0aBEGIN\0")
            mine.expect_error("08P01", "transaction blocks not allowed in statement pooling mode")


def prepared(wire: Wire, name: str = "kept") -> list[str]:
    """The types of the answer to an execution of the prepared statement."""
    wire.send(bind(name=name) + execute() + SYNC)
    return [m.type for m in wire.receive_until("Z")]


@pytest.mark.parametrize("change", [{"pool_mode": "session"}, {"max_prepared_statements": 0}])
def test_prepared_statements_outlive_the_change(pooler: Pooler, change: dict[str, object]) -> None:
    with pooled(pooler) as mine, pooled(pooler) as other:
        mine.send(parse("SELECT 'mine'", "kept") + SYNC)
        mine.receive_until("Z")
        with pooler.configured(**change):
            other.query("BEGIN")
            assert prepared(mine) == ["2", "D", "C", "Z"]
            other.query("COMMIT")
            assert prepared(mine) == ["2", "D", "C", "Z"]
            mine.close()
            other.close()
            wait_until_free(pooler, "p0")


@pytest.mark.parametrize("reset", ["DISCARD ALL", "RESET ALL"])
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_reset_in_a_session_leads_back_to_the_startup_packet(
    pooler: Pooler, reset: str, extended: bool
) -> None:
    startup = {"client_encoding": "LATIN1", "DateStyle": "SQL, DMY", "work_mem": "3MB"}
    with (
        pooler.configured(pool_mode="session"),
        pooler.wire().login(options="-c search_path=s1", **startup) as wire,
    ):
        names = ("search_path", "client_encoding", "work_mem", "DateStyle")
        shows = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        assert wire.rows(shows) == [[b"s1", b"LATIN1", b"3MB", b"SQL, DMY"]]
        for _ in range(2):
            wire.query("SET work_mem = '5MB'; SET search_path = s2; SET client_encoding = UTF8")
            if extended:
                wire.send(parse(reset) + bind() + execute() + SYNC)
                wire.receive_until("Z")
            else:
                wire.query(reset)
            assert wire.rows(shows) == [[b"s1", b"LATIN1", b"3MB", b"SQL, DMY"]]
        wire.query("SET search_path = s2; SET work_mem = '5MB'")
        wire.query("RESET work_mem")
        assert wire.rows(shows) == [[b"s2", b"LATIN1", b"3MB", b"SQL, DMY"]]
        wire.close()
