"""Looks at catalogs: one worker at a time, within the budget, whoever dies; what PostgreSQL's log has."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from psycopg2.extensions import cursor as Cursor

from tests.support.health import assert_no_bugs, kill_worker, wait_for_replacement, worker_pids
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire

MakePooler = Callable[..., Pooler]

#: What a piece of a look has, and no other statement: it says how long it took. A look begins with a
#: question of sums.
PIECE, SUMS = "pg_catalog.statement_timestamp()", "pg_control_system"
HEAD = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED,READ ONLY,NOT DEFERRABLE;"
#: How each piece limits itself: on a server that nobody has, and on one that its client keeps.
PATIENT = "SET LOCAL statement_timeout=2000;SET LOCAL lock_timeout=0;"
HURRIED = "SET LOCAL statement_timeout=500;SET LOCAL lock_timeout=50;"
#: Of what PostgreSQL brings along: read in a first look, and never again.
BUILTIN = "oid OPERATOR(pg_catalog.<) 16384"
#: Nothing begins at an instance for so many times as long as the last look there took PostgreSQL.
BUDGET = 100

LOGGED = ("p0", "p1")
LINE = re.compile(
    r"^(?P<at>\S+ \S+) \S+ \[(?P<pid>\d+)\] \w+@(?P<database>\w+) LOG:"
    r"  (?P<what>statement|duration): ?(?P<text>.*)",
    re.MULTILINE,
)


@dataclass
class Piece:
    """A statement of a look: who answered it, and from when to when."""

    database: str
    pid: str
    text: str
    began: datetime
    ended: datetime | None = None


def pieces_in(log: str) -> list[Piece]:
    """All of them, in the order in which they began."""
    found: list[Piece] = []
    running: dict[str, Piece] = {}
    for line in LINE.finditer(log):
        at = datetime.strptime(line["at"], "%Y-%m-%d %H:%M:%S.%f")
        if line["what"] == "duration":
            if line["pid"] in running:
                running.pop(line["pid"]).ended = at
        elif PIECE in line["text"]:
            running[line["pid"]] = Piece(line["database"], line["pid"], line["text"], at)
            found.append(running[line["pid"]])
    return found


@pytest.fixture(scope="module")
def logged(running_postgres: Postgres) -> Iterator[None]:
    """Statements of these databases are in PostgreSQL's log, when they begin and when they end."""
    for name in LOGGED:
        running_postgres.sql(f"ALTER DATABASE {name} SET log_statement = 'all'")
        running_postgres.sql(f"ALTER DATABASE {name} SET log_duration = 'on'")
    yield
    running_postgres.ensure_running()
    for name in LOGGED:
        running_postgres.sql(f"ALTER DATABASE {name} RESET log_statement")
        running_postgres.sql(f"ALTER DATABASE {name} RESET log_duration")


@contextlib.contextmanager
def clients_of_all(pooler: Pooler, database: str = "p0") -> Iterator[list[Wire]]:
    """Clients of a database, one or more at every worker."""
    numbers = set(worker_pids(pooler))
    with contextlib.ExitStack() as stack:
        wires: list[Wire] = []
        while {row["worker"] for row in pooler.show("clients", database=database)} != numbers:
            assert len(wires) < 40, "clients are not spread over the workers"
            wires.append(stack.enter_context(pooler.wire()).login(database=database))
        yield wires


def learn(pooler: Pooler, wires: list[Wire], database: str) -> None:
    """Runs something at each of the clients until the catalogs are known."""

    def is_known() -> bool:
        for wire in wires:
            wire.query("SELECT 1")
        return pooler.knows_catalogs(database)

    wait_for(is_known, 10, f"the catalogs of {database}")


@pytest.fixture(scope="module")
def first_looks(
    logged: None, make_shared: Callable[..., Pooler], running_postgres: Postgres
) -> tuple[list[Piece], int]:
    """Pieces of the first looks at two databases, with clients of all workers; what the look at p0 cost."""
    pooler = make_shared(workers=3, databases={"p0": "pool_size=3", "p1": "pool_size=3"})
    running_postgres.new_log()
    with clients_of_all(pooler) as wires:
        learn(pooler, wires, "p0")
        (row,) = pooler.show("catalogs", database="p0")
    with clients_of_all(pooler, "p1") as wires:
        learn(pooler, wires, "p1")
    return pieces_in(running_postgres.new_log()), row["cost_us"]


def test_one_worker_reads_for_all(first_looks: tuple[list[Piece], int]) -> None:
    """A question of sums for each database: nobody else has begun a look."""
    pieces, _ = first_looks
    known = [next(at for at, piece in enumerate(pieces) if piece.database == name) for name in LOGGED]
    assert [piece.database for piece in pieces[: known[1] + 1] if SUMS in piece.text] == ["p0", "p1"]
    assert len([piece for piece in pieces if piece.database == "p0"]) > 20


def test_one_piece_at_a_time(first_looks: tuple[list[Piece], int]) -> None:
    pieces, _ = first_looks
    for before, after in itertools.pairwise(pieces):
        assert before.ended is not None
        assert before.ended <= after.began, (before, after)


def test_budget_of_the_instance(first_looks: tuple[list[Piece], int]) -> None:
    """The other database waits for as long as the one that was read first has cost, a hundred times."""
    pieces, cost_us = first_looks
    last = [piece for piece in pieces if piece.database == "p0"][-1]
    first = next(piece for piece in pieces if piece.database == "p1")
    assert cost_us > 0
    assert last.ended is not None
    assert first.began - last.ended >= timedelta(microseconds=BUDGET * cost_us) - timedelta(milliseconds=2)


def test_pieces_limit_themselves(first_looks: tuple[list[Piece], int]) -> None:
    pieces, _ = first_looks
    assert all(PATIENT in piece.text or HURRIED in piece.text for piece in pieces)


@contextlib.contextmanager
def catalogs_locked(pg: Postgres, database: str = "p0") -> Iterator[Callable[[], bool]]:
    """No look gets beyond its question of sums; whether one waits there."""
    waits = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'pg_policy'::regclass"
        " AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
    )
    with pg.connect(dbname=database) as holder:
        holder.autocommit = False
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE")
            yield lambda: bool(pg.sql(waits, (database,)))
        holder.rollback()


def test_another_takes_over(make_pooler: MakePooler, pg: Postgres) -> None:
    """The worker that reads is killed in the midst: what it has claimed ends with it."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=3"})
    with contextlib.ExitStack() as lock:
        is_waiting = lock.enter_context(catalogs_locked(pg))
        with clients_of_all(pooler) as wires:
            wait_for(is_waiting, 5, "a look in the midst")
            (row,) = pooler.show("catalogs", database="p0")
            assert row["state"] == "reading"
            others = pooler.show("clients", database="p0", worker=1 - row["worker"])
            killed = kill_worker(pooler, row["worker"])
            wait_for_replacement(pooler, row["worker"], of=killed)
            lock.close()
            ports = {client["port"] for client in others}
            learn(pooler, [wire for wire in wires if wire.socket.getsockname()[1] in ports], "p0")
    assert_no_bugs(pooler)


def test_a_piece_that_hangs_ends(logged: None, make_pooler: MakePooler, pg: Postgres) -> None:
    """By PostgreSQL's own limit: the server is there for clients again, and none of them has noticed."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire().login() as wire:
        (backend,) = wire.rows("SELECT pg_backend_pid()")
        with catalogs_locked(pg) as is_waiting:
            wait_for(is_waiting, 5, "a look in the midst")
            pg.new_log()
            assert wire.rows("SELECT pg_backend_pid()") == [backend]
        log = pg.new_log()
    assert re.search(
        r"ERROR:  canceling statement due to statement timeout\n.* STATEMENT:  " + re.escape(HEAD), log
    )
    assert not pooler.knows_catalogs()


def test_a_client_that_keeps_its_server_waits_less(
    logged: None, make_pooler: MakePooler, pg: Postgres
) -> None:
    """Behind a piece on its own server it may have to wait: that has less time, and gives up locks soon."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire().login() as wire:
        wire.query("CREATE TEMP TABLE kept (n int)")
        pg.new_log()  # a piece before that was on a server of nobody
        pieces: list[Piece] = []

        def has_been_asked() -> bool:
            wire.query("SELECT 1")
            pieces.extend(pieces_in(pg.new_log()))
            return bool(pieces)

        wait_for(has_been_asked, 10, "a piece on the only server")
        assert all(HURRIED in piece.text for piece in pieces)
        assert wire.rows("SELECT count(*) FROM kept") == [[b"0"]]


def test_all_is_read_again_behind_a_restart(logged: None, make_pooler: MakePooler, pg: Postgres) -> None:
    """What answers may be another PostgreSQL; sums that are the same prove nothing then."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire().login() as wire:
        pg.new_log()
        learn(pooler, [wire], "p0")
        assert any(BUILTIN in piece.text for piece in pieces_in(pg.new_log()))
    pg.restart()
    with pooler.wire().login() as wire:
        log = ""

        def is_read_again() -> bool:
            nonlocal log
            wire.query("SELECT 1")
            log += pg.new_log()
            return log.count(SUMS) > 0 and BUILTIN in log

        wait_for(is_read_again, 10, "a look at what PostgreSQL brings along")


def test_catalogs_that_were_too_large_are_read_when_they_are_not(
    make_pooler: MakePooler, pg: Postgres
) -> None:
    """What is gone from them does not count for ever."""
    fill = (
        "CREATE SCHEMA much; DO $$ DECLARE body text; BEGIN FOR n IN 1..3000 LOOP"
        " SELECT string_agg(format('SELECT f%s_%s(1)', n, i), ';') INTO body FROM generate_series(1, 40) i;"
        " EXECUTE format('CREATE FUNCTION much.f%s() RETURNS void LANGUAGE plpgsql AS %L',"
        " n, 'BEGIN ' || body || '; END'); END LOOP; END $$"
    )
    pg.sql(fill, dbname="p0")
    try:
        pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"}, catalog_memory=2 << 20)
        with pooler.wire().login() as wire:

            def state() -> str:
                wire.query("SELECT 1")
                return str([row["state"] for row in pooler.show("catalogs", database="p0")])

            wait_for(lambda: "failed" in state(), 20, "a look that fails")
            pg.sql("DROP SCHEMA much CASCADE", dbname="p0")
            wait_for(lambda: "known" in state(), 60, "the catalogs")
    finally:
        pg.sql("DROP SCHEMA IF EXISTS much CASCADE", dbname="p0")


def test_databases_take_turns(logged: None, make_pooler: MakePooler, pg: Postgres) -> None:
    """Where the catalogs of one database change all the time, another is looked at in between."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=3", "p1": "pool_size=3"})
    pg.new_log()
    looks: list[str] = []

    def change_until(wanted: Callable[[], bool]) -> None:
        def changed() -> bool:
            for _ in range(10):
                busy.query("CREATE OR REPLACE FUNCTION turns() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            looks.extend(piece.database for piece in pieces_in(pg.new_log()) if SUMS in piece.text)
            return wanted()

        wait_for(changed, 40, "a look")

    with pooler.wire().login(database="p0") as busy, pooler.wire().login(database="p1") as calm:
        change_until(lambda: "p0" in looks)
        calm.query("SELECT 1")
        looks.clear()
        change_until(lambda: len(looks) > 1)
        busy.query("DROP FUNCTION turns()")
    assert "p1" in looks


def test_a_look_begins_on_an_idle_server(make_pooler: MakePooler, pg: Postgres) -> None:
    """Where nothing runs, and nothing is given back: it begins, and does not just keep others from theirs."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=3", "p1": "pool_size=3"})
    with pooler.wire().login(database="p0") as wire:
        wire.query("SELECT 1")
        with pooler.wire().login(database="p1") as other:
            other.query("SELECT 1")
            for name in ("p0", "p1"):
                wait_for(functools.partial(pooler.knows_catalogs, name), 40, f"the catalogs of {name}")


#: What a look went by once: somebody who has transactions open side by side can choose their numbers.
SUM = "SELECT count(*), sum(xmin::text::int8) FROM pg_proc WHERE pronamespace = 'chosen'::regnamespace"


def test_changes_that_keep_the_sum(make_pooler: MakePooler, pg: Postgres) -> None:
    """Of the numbers of transactions: what was harmless and is not any more is read all the same."""
    harmless = "CREATE OR REPLACE FUNCTION chosen.{}() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    harmful = harmless.replace("SELECT 1", "SELECT length(set_config(''work_mem'', ''9MB'', false))")
    pg.sql("CREATE SCHEMA chosen AUTHORIZATION bouncer", dbname="p2")
    try:
        with contextlib.ExitStack() as stack:
            first, second = (
                stack.enter_context(pg.connect(dbname="p2", user="bouncer")).cursor() for _ in range(2)
            )

            def number(cursor: Cursor) -> int:
                cursor.execute("SELECT txid_current()")
                return int(cursor.fetchall()[0][0])

            numbers = []
            for name in ("called", "other"):
                pg.sql(harmless.format(name), dbname="p2", user="bouncer")
                (row,) = pg.sql(
                    "SELECT xmin::text::int8 FROM pg_proc WHERE proname = %s", (name,), dbname="p2"
                )
                numbers.append(int(row[0]))
            for cursor in (first, second):
                cursor.execute("BEGIN")
            # two functions in the first transaction and one in the second are to have the sum of before
            wanted = 2 * number(first) + number(second) - sum(numbers)
            with pg.connect(dbname="p2") as connection, connection.cursor() as cursor:
                while number(cursor) < wanted - 1:
                    pass
            pg.sql(harmless.format("third"), dbname="p2", user="bouncer")
            before = pg.sql(SUM, dbname="p2")
            pooler = make_pooler(workers=1, databases={"p2": "pool_size=1"})
            pooler.learn_catalogs("p2")
            first.execute(harmful.format("called"))
            first.execute(harmless.format("other"))
            second.execute(harmless.format("third"))
            for cursor in (first, second):
                cursor.execute("COMMIT")
            assert pg.sql(SUM, dbname="p2") == before
        pooler.learn_anew("p2")
        with pooler.wire().login(database="p2") as wire, pooler.wire().login(database="p2") as other:
            wire.query("SELECT chosen.called()")
            assert other.rows("SHOW work_mem") == [[b"4MB"]]
    finally:
        pg.sql("DROP SCHEMA chosen CASCADE", dbname="p2")
