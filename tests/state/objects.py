"""Kinds of session state: what a session owns besides settings. Locks, temporary objects, prepared
statements, cursors, channels, sequences, libraries, connections, the state of random().
"""

from __future__ import annotations

from typing import Any

from pooler.dev.postgres import SUPERUSER
from tests.state.kind import Act, Kind
from tests.support.exchange import function_call
from tests.support.wire import SYNC, bind, execute, message, parse, query

ADVISORY_LOCK = 2880  # oid of pg_advisory_lock(bigint)
MY_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"


def _lock(name: str, *make: Act, **keywords: Any) -> Kind:
    return Kind(f"advisory lock {name}", make, MY_LOCKS, **keywords)


LOCKS = [
    _lock("exclusive", "SELECT pg_advisory_lock(70)"),
    _lock("shared", "SELECT pg_advisory_lock_shared(71)"),
    _lock("tried", "SELECT pg_try_advisory_lock(72, {n})"),
    _lock("tried shared", "SELECT pg_try_advisory_lock_shared(73)"),
    _lock("of two keys", "SELECT pg_advisory_lock(1, 2)"),
    _lock(
        "taken twice",
        "SELECT pg_advisory_lock(74)",
        "SELECT pg_advisory_lock(74)",
        "SELECT pg_advisory_unlock(74)",
    ),
    _lock(
        "of many",
        "SELECT pg_advisory_lock(n) FROM generate_series(100, 120) AS n",
        "SELECT pg_advisory_unlock(110)",
    ),
    _lock("in a function", "SELECT locks(75)"),
    _lock("in an expression", "SELECT runs($$ SELECT pg_advisory_lock(76) $$)"),
    _lock("in a spelled function", "SELECT unspells(')77(kcol_yrosivda_gp TCELES')"),
    _lock("in a view", "SELECT got FROM locking"),
    _lock("in a trigger", "INSERT INTO with_lock VALUES (79)"),
    _lock("in DO", "DO $$ BEGIN PERFORM pg_advisory_lock(80); END $$"),
    _lock("by FunctionCall", function_call(ADVISORY_LOCK, b"81")),
    _lock("and error", "SELECT pg_advisory_lock(82), 1 / (random() * 0)::int", fails=True, block=False),
    _lock("in a function and error", "SELECT locks(83), 1 / (random() * 0)::int", fails=True, block=False),
    _lock("rolled back", "BEGIN", "SELECT pg_advisory_lock(84)", "ROLLBACK", block=False),
    _lock("of a transaction", "BEGIN", "SELECT pg_advisory_xact_lock(85)", "COMMIT", kept=False, block=False),
    _lock("unlocked", "SELECT pg_advisory_lock(86)", "SELECT pg_advisory_unlock_all()", kept=False),
]


def _relation(name: str, *make: Act, **keywords: Any) -> Kind:
    return Kind(name, make, "SELECT * FROM left_behind", **keywords)


TEMPORARY = [
    _relation("temp table", "CREATE TEMP TABLE left_behind (n int)"),
    _relation("temporary table as", "CREATE LOCAL TEMPORARY TABLE left_behind AS SELECT 'secret' AS n"),
    _relation("SELECT INTO TEMP", "SELECT 'secret' AS n INTO TEMP left_behind"),
    _relation("table in pg_temp", "CREATE TABLE pg_temp.left_behind (n int)"),
    _relation("table in quoted pg_temp", 'CREATE TABLE "pg_temp" . left_behind AS SELECT 1'),
    _relation(
        "table by search_path",
        *("SET search_path = pg_temp", "CREATE TABLE left_behind (n int)", "SET search_path = public"),
    ),
    _relation("temp view", "CREATE TEMP VIEW left_behind AS SELECT 'secret' AS n"),
    _relation("temp sequence", "CREATE TEMP SEQUENCE left_behind"),
    _relation("temp table in a function", "SELECT temps()"),
    _relation("temp table in EXECUTE", "SELECT unspells(')tni n( dniheb_tfel ELBAT PMET ETAERC')"),
    _relation("temp table in DO", "DO $$ BEGIN CREATE TEMP TABLE left_behind (n int); END $$"),
    _relation(
        "temp table rolled back",
        *("BEGIN", "CREATE TEMP TABLE left_behind (n int)", "ROLLBACK"),
        kept=False,
        block=False,
    ),
    _relation(
        "temp table on commit drop",
        *("BEGIN", "CREATE TEMP TABLE left_behind (n int) ON COMMIT DROP", "COMMIT"),
        kept=False,
        block=False,
    ),
    _relation(
        "temp table that hides another",
        *(
            "CREATE TEMP TABLE left_behind (n int)",
            "CREATE TEMP TABLE written (n int)",
            "DROP TABLE pg_temp.written",
        ),
    ),
    Kind(
        "temp table in place of another",
        ("CREATE TEMP TABLE opened AS SELECT 'x' AS y",),
        "SELECT * FROM opened",
    ),
    Kind(
        "temp function",
        ("CREATE FUNCTION pg_temp.left_behind() RETURNS int LANGUAGE sql AS 'SELECT 1'",),
        "SELECT to_regprocedure('pg_temp.left_behind()') IS NULL",
    ),
    Kind(
        "temp type",
        ("CREATE TYPE pg_temp.left_behind AS (n int)",),
        "SELECT to_regtype('pg_temp.left_behind') IS NULL",
    ),
    Kind(
        "temp domain",
        ("CREATE DOMAIN pg_temp.left_behind AS int",),
        "SELECT to_regtype('pg_temp.left_behind') IS NULL",
    ),
]

EXECUTE_P = "EXECUTE left_behind"

PREPARED = [
    Kind("PREPARE", ("PREPARE left_behind AS SELECT 'secret'",), EXECUTE_P),
    Kind("PREPARE quoted", ('PREPARE "left behind" (int) AS SELECT $1',), 'EXECUTE "left behind"(1)'),
    Kind("PREPARE in a function", ("SELECT runs('PREPARE left_behind AS SELECT 1')",), EXECUTE_P),
    Kind("PREPARE in DO", ("DO $$ BEGIN EXECUTE 'PREPARE left_behind AS SELECT 1'; END $$",), EXECUTE_P),
    Kind(
        "PREPARE rolled back",
        ("BEGIN", "PREPARE left_behind AS SELECT 1", "ROLLBACK"),
        EXECUTE_P,
        block=False,
    ),
    Kind(
        "PREPARE and error",
        ("PREPARE left_behind AS SELECT 1; SELECT 1/0",),
        EXECUTE_P,
        simple=True,
        fails=True,
        block=False,
    ),
    Kind(
        "PREPARE of two",
        ("PREPARE left_behind AS SELECT 1", "PREPARE x AS SELECT 1", "DEALLOCATE x"),
        EXECUTE_P,
    ),
    Kind("DEALLOCATE ALL", ("PREPARE left_behind AS SELECT 1", "DEALLOCATE ALL"), EXECUTE_P, kept=False),
    Kind("unnamed statement", (parse("SELECT 'secret'") + SYNC,), bind() + execute() + SYNC),
    Kind(
        "unnamed statement used",
        (parse("SELECT 'secret'") + bind() + execute() + SYNC,),
        bind() + execute() + SYNC,
    ),
    Kind("named statement", (parse("SELECT 'secret'", "s") + SYNC,), bind(name="s") + execute() + SYNC),
    Kind(
        "named statement closed",
        (parse("SELECT 'secret'", "s") + SYNC, message("C", b"S", "s") + SYNC),
        bind(name="s") + execute() + SYNC,
        kept=False,
    ),
]

FETCH = "FETCH ALL FROM left_behind"
SEEN = "SELECT name, is_holdable FROM pg_cursors WHERE name <> ''"
HOLD = "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 'secret'"

CURSORS = [
    Kind("WITH HOLD", (HOLD,), FETCH, seen=SEEN),
    Kind("WITH HOLD committed", ("BEGIN", HOLD, "COMMIT"), FETCH, seen=SEEN, block=False),
    Kind("WITH HOLD fetched", (HOLD, "MOVE left_behind"), FETCH, seen=SEEN),
    Kind(
        "WITH HOLD in front of an error",
        (f"{HOLD}; COMMIT; SELECT 1/0",),
        FETCH,
        seen=SEEN,
        simple=True,
        fails=True,
        block=False,
    ),
    Kind("WITH HOLD rolled back", ("BEGIN", HOLD, "ROLLBACK"), FETCH, seen=SEEN, kept=False, block=False),
    Kind("WITH HOLD in a function", (f"SELECT runs($$ {HOLD} $$)",), FETCH, seen=SEEN),
    Kind("WITH HOLD of two", (HOLD, HOLD.replace("left", "right"), "CLOSE right_behind"), FETCH, seen=SEEN),
    Kind("WITH HOLD by Bind", (parse(HOLD) + bind() + execute() + SYNC,), FETCH, seen=SEEN),
]

CHANNELS = "SELECT pg_listening_channels()"

LISTENING = [
    Kind("LISTEN", ("LISTEN leaks",), CHANNELS, hears="leaks"),
    Kind("LISTEN quoted", ('LISTEN "Leaks are"',), CHANNELS, hears="Leaks are"),
    Kind("LISTEN committed", ("BEGIN", "LISTEN leaks", "COMMIT"), CHANNELS, hears="leaks", block=False),
    Kind("LISTEN rolled back", ("BEGIN", "LISTEN leaks", "ROLLBACK"), CHANNELS, kept=False, block=False),
    Kind("LISTEN in a function", ("SELECT listens()",), CHANNELS, hears="leaks"),
    Kind("LISTEN spelled in a function", ("SELECT unspells('skael NETSIL')",), CHANNELS, hears="leaks"),
    Kind(
        "LISTEN between statements",
        ("SELECT 1; LISTEN leaks; SELECT 2",),
        CHANNELS,
        hears="leaks",
        simple=True,
    ),
    Kind("UNLISTEN one of two", ("LISTEN leaks", "LISTEN other", "UNLISTEN other"), CHANNELS, hears="leaks"),
    Kind("UNLISTEN", ("LISTEN leaks", "UNLISTEN *"), CHANNELS, kept=False),
]

CURRVAL, LASTVAL = "SELECT currval('numbers') > 0", "SELECT lastval() > 0"

SEQUENCES = [
    Kind("currval", ("SELECT nextval('numbers')",), CURRVAL),
    Kind("lastval", ("SELECT nextval('numbers')",), LASTVAL),
    Kind("lastval of setval", ("SELECT setval('numbers', 5)",), CURRVAL),
    Kind("lastval of serial", ("INSERT INTO counted (n) VALUES (1)",), LASTVAL),
    Kind(
        "currval of identity",
        ("INSERT INTO counted (n) VALUES (1) RETURNING n",),
        "SELECT currval('counted_other_seq') > 0",
    ),
    Kind(
        "lastval of COPY",
        (query("COPY counted (n) FROM STDIN") + message("d", b"1\n") + message("c"),),
        LASTVAL,
    ),
    Kind("lastval in a function", ("SELECT takes()",), LASTVAL),
    Kind(
        "lastval and error",
        ("SELECT nextval('numbers'), 1 / (random() * 0)::int",),
        LASTVAL,
        fails=True,
        block=False,
    ),
    Kind(
        "lastval rolled back",
        ("BEGIN", "INSERT INTO counted (n) VALUES (1)", "ROLLBACK"),
        LASTVAL,
        block=False,
    ),
]

#: What setseed(0.25) makes of random(); the same in every backend of one build.
SEEDED = "SELECT random() = ANY (array(SELECT x FROM seeded))"

#: Where dblink connects to: this server, by its unix socket.
MYSELF = """'dbname=' || current_database() || ' user=postgres port=' || current_setting('port')
    || ' host=' || current_setting('unix_socket_directories')"""

#: A replication slot that others copy.
SLOT = "leaks_origin"

OTHERS = [
    Kind("setseed", ("SELECT setseed(0.25)",), SEEDED),
    Kind("SET seed", ("SET seed = 0.25",), SEEDED),
    Kind("setseed in a function", ("SELECT seeds()",), SEEDED),
    Kind(
        "LOAD",
        ("LOAD 'auto_explain'",),
        "SHOW auto_explain.log_nested_statements",
        user=SUPERUSER,
        needs="LOAD 'auto_explain'",
    ),
    Kind(
        "LOAD and error",
        ("LOAD 'auto_explain'; SELECT 1/0",),
        "SHOW auto_explain.log_nested_statements",
        user=SUPERUSER,
        needs="LOAD 'auto_explain'",
        simple=True,
        fails=True,
        block=False,
    ),
    Kind(
        "LOAD in DO",
        ("DO $$ BEGIN LOAD 'auto_explain'; END $$",),
        "SHOW auto_explain.log_nested_statements",
        user=SUPERUSER,
        needs="LOAD 'auto_explain'",
    ),
    Kind(
        "dblink_connect",
        (f"SELECT dblink_connect('left_behind', {MYSELF})",),
        "SELECT dblink_get_connections()",
        user=SUPERUSER,
        needs="CREATE EXTENSION IF NOT EXISTS dblink",
    ),
    Kind(
        "pg_backup_start",
        ("SELECT pg_backup_start('left behind', true)",),
        "SELECT count(*) FROM pg_backup_stop(false)",
        seen="SELECT pg_backup_start('once more', true) IS NULL",
        user=SUPERUSER,
    ),
]

OBJECTS = [*LOCKS, *TEMPORARY, *PREPARED, *CURSORS, *LISTENING, *SEQUENCES, *OTHERS]
