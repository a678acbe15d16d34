"""Servers that stay with their clients: why, since when, how long, and what everybody else may do to them.

Other clients of the same pool run between any two statements of the client under test.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, Wire, bind, execute, parse, query

LOCK, UNLOCK = "SELECT pg_advisory_lock(77001)", "SELECT pg_advisory_unlock(77001)"
LOCKS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77001"
SLEEPS = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
CURSOR = "BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT"
TEMP = "CREATE TEMPORARY TABLE left_here (n int)"

#: What pins a server, the reason that is shown, and what ends it.
ENDS = [
    (LOCK, "advisory lock", UNLOCK),
    (LOCK, "advisory lock", "SELECT pg_advisory_unlock_all()"),
    (LOCK, "advisory lock", "DISCARD ALL"),
    (f"BEGIN; {LOCK}; ROLLBACK", "advisory lock", UNLOCK),
    (f"DO $$ BEGIN PERFORM {LOCK.removeprefix('SELECT')}; END $$", "advisory lock", UNLOCK),
    (TEMP, "temporary object", "DROP TABLE left_here"),
    (TEMP, "temporary object", "BEGIN; DROP TABLE left_here; COMMIT"),
    (TEMP, "temporary object", "DISCARD TEMP"),
    ("CREATE TEMP VIEW left_view AS SELECT 1", "temporary object", "DROP VIEW left_view"),
    ("CREATE TEMP SEQUENCE left_seq", "temporary object", "DISCARD ALL"),
    ("SELECT 1 AS n INTO TEMP left_here", "temporary object", "DROP TABLE left_here"),
    ("PREPARE left_plan AS SELECT 1", "prepare", "DEALLOCATE left_plan"),
    ("PREPARE left_plan AS SELECT 1", "prepare", "DEALLOCATE ALL"),
    ("PREPARE left_plan AS SELECT 1", "prepare", "DISCARD ALL"),
    (CURSOR, "holdable cursor", "CLOSE held"),
    (CURSOR, "holdable cursor", "CLOSE ALL"),
]

#: What looks as if it pinned a server, and leaves nothing behind.
HARMLESS = [
    "SELECT pg_advisory_xact_lock(77001)",
    f"{LOCK}; {UNLOCK}",
    "BEGIN; CREATE TEMP TABLE gone (n int) ON COMMIT DROP; COMMIT",
    "BEGIN; CREATE TEMP TABLE gone (n int); ROLLBACK",
    "BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; ROLLBACK",
    "PREPARE gone AS SELECT 1; DEALLOCATE gone",
    "SELECT 'CREATE TEMP TABLE x'",
]


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(
        workers=request.param,
        databases={
            "p0": "pool_size=3",
            "single": "dbname=p0 pool_size=1",
            "off": "dbname=p0 pool_size=1 session_state=off",
            "error": "dbname=p0 pool_size=2 session_state=error",
            "two": "dbname=p0 pool_size=2",
            "scarce": "dbname=p0 pool_size=3 pin_limit=1",
        },
        users={"limited": "session_state=error", "puser": "pin_limit=1"},
        auth_type="trust",
    )


@pytest.fixture(scope="module", autouse=True)
def learnt(pooler: Pooler) -> None:
    """Before the catalogs are known there is one more reason to be pinned."""
    pooler.learn_catalogs()


class Client:
    """A client beside another one of the same pool, which runs something after each of its statements."""

    def __init__(self, pooler: Pooler, database: str = "p0", user: str = "bouncer") -> None:
        self.pooler, self.database, self.user = pooler, database, user
        self.wire = pooler.wire().login(database=database, user=user)
        self.other = pooler.wire().login(database=database, user=user)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.socket.close()
        self.other.socket.close()

    def do(self, text: str) -> list[Message]:
        """Runs a statement; it has to succeed."""
        answer = self.wire.query(text)
        assert not [m.fields for m in answer if m.type == "E"], text
        self.other.rows("SELECT 'somebody else'")
        return answer

    def value(self, text: str) -> str:
        """The one value that a statement gives."""
        (row,) = [m.values for m in self.do(text) if m.type == "D"]
        assert row[0] is not None
        return row[0].decode()

    def pins(self) -> list[dict[str, Any]]:
        """The clients that are pinned in this database."""
        return self.pooler.show("pins", database=self.database)

    def pin(self, text: str = LOCK) -> dict[str, Any]:
        """Runs what pins the server; the row that shows it."""
        self.do(text)
        port = self.wire.socket.getsockname()[1]

        def own() -> list[dict[str, Any]]:
            return [row for row in self.pins() if row["port"] == port]  # of others some may be about to go

        wait_for(own, 5, f"a pin by {text}")
        (row,) = own()
        return row

    def come_again(self) -> None:
        """Leaves, and connects anew."""
        self.wire.socket.close()
        self.wire = self.pooler.wire().login(database=self.database, user=self.user)

    def wait_until_settled(self) -> None:
        """Waits until every server of the database is no client's, or stays with a pinned one."""

        def settled() -> bool:
            active = sum(int(row["sv_active"]) for row in self.pooler.show("pools", database=self.database))
            return active == len(self.pins())

        wait_for(settled, 5, "idle servers")

    def wait_until_unpinned(self) -> None:
        wait_for(lambda: not self.pins(), 5, "the end of the pin")


def expect_end(wire: Wire, sqlstate: str, text: str) -> None:
    """The client is told by a FATAL, and closed."""
    fields = wire.receive_until("E")[-1].fields
    assert (fields["S"], fields["C"]) == ("FATAL", sqlstate)
    assert text in fields["M"]
    wire.expect_closed()


def pin_total(pooler: Pooler, database: str, column: str) -> int:
    return sum(int(row[column]) for row in pooler.show("pin_totals", database=database))


# Pinned, and not any more.


@pytest.mark.parametrize(("make", "reason", "end"), ENDS, ids=lambda text: text[:40])
def test_pinned_until_it_is_gone(pooler: Pooler, make: str, reason: str, end: str) -> None:
    column = reason.replace(" ", "_")
    before = pin_total(pooler, "p0", column)
    with Client(pooler) as client:
        row = client.pin(make)
        assert row["reason"] == reason
        assert {client.value("SELECT pg_backend_pid()") for _ in range(3)} == {str(row["server_pid"])}
        (shown,) = pooler.show("clients", id=row["client_id"])
        assert (shown["pinned"], shown["pinned_since"], shown["ptr"]) == (reason, row["since"], row["ptr"])
        client.do(end)
        client.wait_until_unpinned()
        assert pooler.show("clients", id=row["client_id"])[0]["pinned"] is None
    assert pin_total(pooler, "p0", column) == before + 1


@pytest.mark.parametrize("text", HARMLESS, ids=lambda text: text[:40])
def test_not_pinned(pooler: Pooler, text: str) -> None:
    before = pin_total(pooler, "p0", "pins")
    with Client(pooler) as client:
        client.do(text)
        client.wait_until_settled()
        assert not client.pins()
    assert pin_total(pooler, "p0", "pins") == before


def test_both_reasons_are_shown_until_each_is_gone(pooler: Pooler) -> None:
    def reason() -> object:
        return [row["reason"] for row in client.pins()]

    with Client(pooler) as client:
        client.pin(f"{LOCK}; {TEMP}")
        assert reason() == ["advisory lock, temporary object"]
        client.do(UNLOCK)
        wait_for(lambda: reason() == ["temporary object"], 5, "one reason")
        client.do("DROP TABLE left_here")
        client.wait_until_unpinned()


def test_a_lock_that_is_held_twice_is_there_after_one_unlock(pooler: Pooler) -> None:
    with Client(pooler) as client:
        client.pin(f"{LOCK}; {LOCK}")
        assert client.value(UNLOCK) == "t"
        assert client.pins()
        assert client.value(UNLOCK) == "t"
        client.wait_until_unpinned()


def test_questions_and_settings_are_counted(pooler: Pooler) -> None:
    asks, applied = (pin_total(pooler, "single", name) for name in ("session_asks", "settings_applied"))
    with Client(pooler, "single") as client:
        client.do("SET work_mem = '1234kB'")
        assert client.value("SHOW work_mem") == "1234kB"
        assert client.other.rows("SHOW work_mem") != [[b"1234kB"]]
    assert pin_total(pooler, "single", "session_asks") > asks, "once, or again after the catalogs were read"
    assert pin_total(pooler, "single", "settings_applied") >= applied + 2


# session_state and pin_limit.


def test_off_leaks_as_pgbouncer_does(pooler: Pooler) -> None:
    with Client(pooler, "off") as client:
        client.do("SET work_mem = '1234kB'")
        assert client.other.rows("SHOW work_mem") == [[b"1234kB"]]
        client.do(LOCK)
        assert client.other.rows(UNLOCK) == [[b"t"]]
        assert not client.pins()
        client.do("RESET work_mem")


def test_off_refuses_unknown_startup_parameters(pooler: Pooler) -> None:
    with (
        pooler.wire() as wire,
        pytest.raises(AssertionError, match="unsupported startup parameter: work_mem"),
    ):
        wire.login(database="off", work_mem="1234kB")
    with pooler.wire().login(database="p0", work_mem="1234kB") as wire:
        assert wire.rows("SHOW work_mem") == [[b"1234kB"]]


@pytest.mark.parametrize("make", [LOCK, TEMP, "PREPARE left_plan AS SELECT 1", CURSOR], ids=lambda t: t[:20])
def test_error_refuses_what_pins(running_postgres: Postgres, pooler: Pooler, make: str) -> None:
    with Client(pooler, "error") as client:
        with pooler.expect_log("session state is not allowed here"):
            client.wire.send(query(make))
            expect_end(client.wire, "0A000", "session state is not allowed here (session_state = error)")
        client.wait_until_settled()
        gone = f"{LOCKS} UNION ALL SELECT 2"  # from the server that is being reset just then, or closed
        wait_for(lambda: client.other.rows(gone) == [[b"2"]], 5, "the end of the lock")
        assert client.other.rows("SELECT to_regclass('left_here')") == [[None]]


def test_error_lets_settings_follow(pooler: Pooler) -> None:
    """Nothing of them stays on a server that others get, so there is nothing to refuse."""
    with Client(pooler, "error") as client:
        client.do(
            "SET app.tenant = 'blue'; CREATE SEQUENCE IF NOT EXISTS pins_drew; SELECT nextval('pins_drew')"
        )
        assert client.value("SHOW app.tenant") == "blue"


def test_error_by_user(pooler: Pooler) -> None:
    with Client(pooler, user="limited") as client:
        client.wire.send(query(LOCK))
        expect_end(client.wire, "0A000", "session_state = error")


@pytest.mark.parametrize(("database", "user"), [("scarce", "bouncer"), ("p0", "puser")])
def test_pin_limit(pooler: Pooler, database: str, user: str) -> None:
    with Client(pooler, database, user) as first, Client(pooler, database, user) as second:
        first.pin()
        second.wire.send(query("SELECT pg_advisory_lock(77002)"))
        expect_end(second.wire, "53400", "too many pinned servers (pin_limit)")
        assert first.value(UNLOCK) == "t"
        first.wait_until_unpinned()
        second.come_again()
        second.pin()
        second.do(UNLOCK)
        second.wait_until_unpinned()


def test_reload_changes_both(pooler: Pooler) -> None:
    with Client(pooler) as client, Client(pooler) as later:
        client.pin()
        with pooler.configured(pin_limit=1):
            later.wire.send(query("SELECT pg_advisory_lock(77002)"))
            expect_end(later.wire, "53400", "pin_limit")
        with pooler.configured(session_state="error"):
            later.come_again()
            later.wire.send(query("SELECT pg_advisory_lock(77002)"))
            expect_end(later.wire, "0A000", "session_state")
        assert client.value(UNLOCK) == "t"
        client.wait_until_unpinned()


# Time.


def test_an_idle_pinned_client_is_idle(pooler: Pooler) -> None:
    """client_idle_timeout is about it; the limits of transactions are not, though it has a server."""
    with Client(pooler) as client:
        client.pin()
        limits = {"idle_transaction_timeout": 1, "transaction_timeout": 1, "client_idle_timeout": 2}
        with pooler.configured(**limits):
            expect_end(client.wire, "08P01", "client_idle_timeout")
        client.wait_until_unpinned()


def test_a_busy_pinned_client_is_not_idle(pooler: Pooler) -> None:
    with Client(pooler) as client:
        client.pin()
        with pooler.configured(client_idle_timeout=1):
            assert client.wire.rows("SELECT pg_sleep(1.5)") == [[b""]]
        client.wire.rows(UNLOCK)


# The client leaves.


@pytest.mark.parametrize("orderly", [True, False], ids=["terminate", "gone"])
def test_nothing_is_left_for_the_next_client(pooler: Pooler, orderly: bool) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(Client(pooler, "single"))
        client.other.close()
        client.other = client.wire
        pid = client.pin(f"{LOCK}; {TEMP}; {CURSOR}; PREPARE left_plan AS SELECT 1")["server_pid"]
        client.wire.close() if orderly else client.wire.socket.close()
        wire = stack.enter_context(pooled(pooler, "single"))
        assert wire.rows("SELECT pg_backend_pid()") == [[str(pid).encode()]], "cleaned, not closed"
        assert wire.rows(f"{LOCKS} UNION ALL SELECT 2") == [[b"2"]]
        assert wire.rows("SELECT to_regclass('left_here')") == [[None]]
        assert wire.rows("SELECT count(*) FROM pg_cursors WHERE is_holdable") == [[b"0"]]
        assert wire.rows("SELECT count(*) FROM pg_prepared_statements WHERE from_sql") == [[b"0"]]


def test_what_cannot_be_undone_costs_the_server(pooler: Pooler) -> None:
    with Client(pooler, "p0", "postgres") as client:
        pid = client.pin("LOAD 'plpgsql'")["server_pid"]
        client.do("DISCARD ALL")
        assert client.pins()[0]["reason"] == "load"
        client.wire.close()
        client.wait_until_unpinned()
        wait_for(lambda: not pooler.show("servers", remote_pid=pid), 5, "the end of the server")


def test_a_name_that_the_server_cuts(pooler: Pooler) -> None:
    """SET makes a setting of 63 bytes of it; it must not stay for the next client."""
    with Client(pooler, "single") as client:
        client.wire.rows(f"SET app.{'n' * 70} = 'blue'")
        client.other.rows("SELECT 1")
        (row,) = client.other.rows(f"SELECT coalesce(current_setting('app.{'n' * 63}', true), '')")
        assert row == [b""]


# Operators.


def test_pause_waits_for_pinned_clients(pooler: Pooler) -> None:
    with Client(pooler) as client, pooler.wire().login(database="pgbouncer", user="postgres") as console:
        client.pin()
        console.send(query("PAUSE p0"))
        wait_for(lambda: pooler.show("databases", name="p0")[0]["paused"], 5, "paused")
        assert client.wire.rows("SELECT 1") == [[b"1"]], "it has its server"
        console.expect_silence(0.1)
        client.wire.rows(UNLOCK)
        console.expect("CZ")
        console.query("RESUME p0")


def test_pause_does_not_wait_for_what_sequences_remember(pooler: Pooler) -> None:
    with Client(pooler) as client, pooler.wire().login(database="pgbouncer", user="postgres") as console:
        client.do("CREATE SEQUENCE IF NOT EXISTS pins_drew")
        client.pin("SELECT nextval('pins_drew'), lastval()")
        assert client.pins()[0]["reason"] == "sequence"
        assert console.query("PAUSE p0")[-1].type == "Z"
        console.query("RESUME p0")


#: What keeps a server until another client waits for it.
WEAK = ["SELECT nextval('pins_drew'), lastval()", "DO $$ BEGIN EXECUTE 'SET my' || '.name = 1'; END $$"]


@contextmanager
def never_silent(wire: Wire) -> Iterator[None]:
    """Runs one statement after the other, without a pause."""
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            wire.rows("SELECT 1")

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(work)
        try:
            yield
        finally:
            end.set()
            done.result()


@pytest.mark.parametrize("text", WEAK, ids=["sequence", "setting"])
def test_a_client_that_is_never_silent_gives_its_server_up(pooler: Pooler, text: str) -> None:
    with pooled(pooler, "single") as wire, pooled(pooler, "single") as other:
        wire.query("CREATE SEQUENCE IF NOT EXISTS pins_drew")
        wire.rows(text)
        wait_for(lambda: pooler.show("pins", database="single"), 5, "a pin")
        (pin,) = pooler.show("pins", database="single")
        assert set(pin["reason"].split(", ")) <= {"sequence", "setting", "catalogs unread"}
        other.socket.settimeout(60)  # one that was seen to ask for currval keeps its server for 10 s
        with never_silent(wire):
            assert other.rows("SELECT 2") == [[b"2"]]


@pytest.mark.parametrize("text", WEAK, ids=["sequence", "setting"])
def test_pause_does_not_wait_for_a_client_that_is_never_silent(pooler: Pooler, text: str) -> None:
    with pooled(pooler, "single") as wire, pooled(pooler, "pgbouncer") as console:
        wire.query("CREATE SEQUENCE IF NOT EXISTS pins_drew")
        wire.rows(text)
        console.socket.settimeout(60)
        with never_silent(wire):
            assert console.query("PAUSE single")[-1].type == "Z"
            console.query("RESUME single")


def test_no_earlier_value_of_a_sequence_is_told(pooler: Pooler, running_postgres: Postgres) -> None:
    """Two servers remember one each of a client whose pins others have ended: rather none than the older."""
    running_postgres.sql("CREATE SEQUENCE twice; GRANT ALL ON twice TO PUBLIC", dbname="p0")
    try:
        with pooled(pooler, "two") as mine, pooled(pooler, "two") as one, pooled(pooler, "two") as two:
            for turn in range(2):
                mine.rows("SELECT nextval('twice')")
                for wire in (one, two):  # both servers: no pin is left
                    wire.query("BEGIN")
                one.query("COMMIT")
                ((latest,),) = mine.rows("SELECT nextval('twice')")
                one.query("BEGIN")
                two.query("COMMIT")
                answer = mine.query("SELECT lastval()" if turn % 2 else "SELECT currval('twice')")
                told = [m.fields["C"] if m.type == "E" else m.values for m in answer if m.type in "DE"]
                assert told in ([["55000"], [[latest]]] if turn else [["55000"]])
                one.query("COMMIT")
    finally:
        running_postgres.sql("DROP SEQUENCE twice", dbname="p0")


def test_kill_ends_pinned_clients(running_postgres: Postgres, pooler: Pooler) -> None:
    with Client(pooler) as client:
        client.pin()
        pooler.console("KILL p0")
        expect_end(client.wire, "08P01", "database removed")
        wait_for(lambda: not running_postgres.sql(LOCKS), 5, "the end of the lock")
        pooler.console("RESUME p0")


def test_kill_client(running_postgres: Postgres, pooler: Pooler) -> None:
    with Client(pooler) as client:
        pooler.console(f"KILL_CLIENT {client.pin()['client_id']}")
        expect_end(client.wire, "08P01", "admin forced disconnect")
        wait_for(lambda: not running_postgres.sql(LOCKS), 5, "the end of the lock")


def test_reconnect_leaves_it_its_server_until_it_is_unpinned(pooler: Pooler) -> None:
    with Client(pooler) as client:
        pid = str(client.pin()["server_pid"])
        pooler.console("RECONNECT p0")
        assert client.value("SELECT pg_backend_pid()") == pid
        assert client.value(UNLOCK) == "t"
        wait_for(lambda: not pooler.show("servers", remote_pid=int(pid)), 5, "the end of the old server")
        assert client.value("SELECT pg_backend_pid()") != pid


def test_terminated_server(running_postgres: Postgres, pooler: Pooler) -> None:
    """The client's session is gone with it, and PostgreSQL says why."""
    with Client(pooler) as client:
        row = client.pin()
        running_postgres.sql("SELECT pg_terminate_backend(%s)", (row["server_pid"],))
        expect_end(client.wire, "57P01", "terminating connection due to administrator command")
        client.wait_until_unpinned()
        assert client.other.rows("SELECT 1") == [[b"1"]]


def test_cancel_reaches_the_pinned_server(running_postgres: Postgres, pooler: Pooler) -> None:
    with Client(pooler) as client:
        client.pin()
        client.wire.send(parse("SELECT pg_sleep(60)"), bind(), execute(), SYNC)
        wait_for(lambda: running_postgres.sql(SLEEPS), 5, "the query")
        with pooler.wire() as wire:
            wire.send(client.wire.cancel_request())
            assert client.wire.receive_until("Z")[-2].fields["C"] == "57014"
        assert client.value(UNLOCK) == "t"


def test_worker_dies(running_postgres: Postgres, pooler: Pooler) -> None:
    """Its pinned servers end; what was in their sessions reaches no other client."""
    with Client(pooler) as client:
        row = client.pin(f"{LOCK}; {TEMP}; SET app.tenant = 'blue'")
        pid = pooler.kill_worker(row["worker"])
        client.wire.expect_closed()
        pooler.wait_for_workers(len(pooler.show("workers")), without=pid)
        wait_for(lambda: not pooler.show("slots", backend_pid=row["server_pid"]), 5, "the end of the server")
        assert not client.pins()
        assert not running_postgres.sql(LOCKS)
        with Client(pooler) as after:
            assert after.value("SELECT coalesce(current_setting('app.tenant', true), '')") == ""


def test_shutdown_waits_for_pinned_clients(make_pooler: Any) -> None:
    pooler = make_pooler(databases={"p0": "pool_size=2"})
    with Client(pooler) as client:
        client.pin()
        with pooler.expect_log("SHUTDOWN WAIT_FOR_SERVERS"):
            pooler.console("SHUTDOWN WAIT_FOR_SERVERS")
        assert client.wire.rows("SELECT 1") == [[b"1"]]
        assert pooler.is_running
        client.wire.rows(UNLOCK)
        assert pooler.wait() == 0
