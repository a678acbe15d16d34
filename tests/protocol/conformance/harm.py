"""What neighbours do: everything that a session can be changed by, under the names that the cases use too.

Each kind of harm is done inside a transaction, so that neighbours who begin at the same time do it on
different servers, and all servers of a pool are covered. What a neighbour leaves behind at its end differs
as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.wire import SYNC, bind, close, describe, execute, parse, query


@dataclass(frozen=True)
class Harm:
    """Statements of a neighbour; each request is answered with one ReadyForQuery."""

    name: str = ""
    requests: tuple[bytes, ...] = ()
    #: The errors that belong to it.
    sqlstates: tuple[str, ...] = ()
    #: Leaves something that binds a session to its server.
    pins: bool = False
    only_inside: bool = False  # a transaction


@dataclass(frozen=True)
class Ending:
    """What comes after the transaction, whose last statement is `finish`."""

    name: str = ""
    finish: str = "COMMIT"
    after: tuple[str, ...] = ()
    #: What it leaves stays in its session, and follows it to any server.
    keeps: bool = False
    sqlstates: tuple[str, ...] = ()
    #: How the neighbour goes: "" stays, "terminate", "fin", "reset", "half": in the middle of a message.
    leaves: str = ""


SETTINGS = """
SET search_path = conf_evil, pg_catalog; SET TimeZone = 'Pacific/Kiritimati'; SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard'; SET application_name = 'evil'; SET client_encoding = 'LATIN1';
SET app.tenant = 'evil'; SET app.who = 'evil'; SET statement_timeout = 77000; SET lock_timeout = 78000;
SET work_mem = '1MB'; SET bytea_output = 'escape'; SET extra_float_digits = -3; SET enable_seqscan = off;
SET default_transaction_isolation = 'serializable';
SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = off;
SET xmloption = 'document'; SET plan_cache_mode = 'force_generic_plan'; SET row_security = on;
SET check_function_bodies = off; SET client_min_messages = 'error'; SET tcp_keepalives_idle = 79;
SET idle_in_transaction_session_timeout = 79000; SET default_transaction_read_only = on;
SET transform_null_equals = on; SET array_nulls = off;
"""

FUNCTIONS = """
SELECT public.conf_set('app.tenant', 'evil'), public.conf_set_plpgsql('search_path', 'conf_evil');
DO $$BEGIN PERFORM set_config('TimeZone', 'Pacific/Kiritimati', false);
EXECUTE 'SET app.who = ''evil'''; END$$;
SELECT set_config('work_mem', '1MB', false), set_config('app.mode', 'evil', false)
"""

TEMPORARY = """
CREATE TEMP TABLE things (id int, name text); INSERT INTO things VALUES (666, 'evil');
CREATE TEMP TABLE t (evil text); CREATE TEMP VIEW v AS SELECT 'evil' AS evil;
CREATE TEMP SEQUENCE s START 666;
CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS $$SELECT 'evil'$$; SELECT nextval('s')
"""

#: Only tried: what one of them left locked must not stop another.
LOCKS = """
SELECT pg_try_advisory_lock(101), pg_try_advisory_lock_shared(102), public.conf_try(104);
SELECT pg_try_advisory_lock(100, 5); DO $$BEGIN PERFORM pg_try_advisory_lock(106); END$$
"""

HARMS = [
    Harm("settings", (query(SETTINGS),)),
    # A name that only the function knows may pin: custom settings are in no catalog.
    Harm("settings_in_functions", (query(FUNCTIONS),), pins=True),
    Harm(
        "characteristics",
        (query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"),),
    ),
    Harm("role", (query("SET app.tenant = 'evil'; SET ROLE conf_evil"),)),
    Harm(
        "authorization", (query("SET SESSION AUTHORIZATION bouncer; SELECT public.conf_role('conf_evil')"),)
    ),
    Harm("temporary", (query(TEMPORARY),), pins=True),
    Harm(
        "prepared",
        (
            query("PREPARE a AS SELECT 'evil'; PREPARE b(int) AS SELECT 'evil', $1"),
            query("DECLARE c CURSOR WITH HOLD FOR SELECT 'evil' FROM generate_series(1, 3); FETCH 1 FROM c"),
        ),
        pins=True,
    ),
    Harm("locks", (query(LOCKS),), pins=True),
    Harm("listen", (query("LISTEN conf_one; LISTEN conf_two"), query("NOTIFY conf_evil, 'evil'")), pins=True),
    Harm(
        "sequences",
        (
            query("SELECT nextval('public.conf_seq'), nextval('public.conf_other'), lastval()"),
            query("INSERT INTO conf_evil.serial (name) VALUES ('evil') RETURNING id"),
        ),
        pins=True,
    ),
    Harm(
        "protocol",
        (
            close("S", "a") + parse("SELECT 'evil'", "a") + bind((), "a") + describe() + execute() + SYNC,
            close("S", "p1") + parse("SELECT 'evil', $1::text", "p1", [25]) + parse("SELECT 'evil'") + SYNC,
        ),
    ),
    Harm(
        "failed",
        (query("SET app.tenant = 'evil'; CREATE TEMP TABLE t (evil int); SELECT 1/0"),),
        ("22012", "25P02"),
    ),
    Harm(
        "subtransaction",
        (
            query("SAVEPOINT e; SET app.tenant = 'evil'; SET TimeZone = 'Pacific/Kiritimati'; RELEASE e"),
            query("SAVEPOINT e; SET search_path = conf_evil; CREATE TEMP TABLE t (evil int); ROLLBACK TO e"),
        ),
        only_inside=True,
    ),
]

#: What a neighbour may meet because of the settings that it kept: read only and serializable transactions.
OWN_FAULT = ("25006", "40001")

#: What takes a session's whole state away; others end what they began, one by one, or leave.
ENDINGS = [
    Ending("discard_all", after=("DISCARD ALL",)),
    Ending("stays", keeps=True),
    Ending("terminate", leaves="terminate"),
    Ending(
        "step_by_step",
        after=(
            "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL",
            "DEALLOCATE ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all()",
            "DISCARD TEMP; DISCARD SEQUENCES",
        ),
    ),
    Ending("fin", leaves="fin"),
    Ending("rollback", "ROLLBACK", keeps=True),
    Ending("reset", leaves="reset"),
    Ending("rollback_and_terminate", "ROLLBACK", leaves="terminate"),
    Ending("half", leaves="half"),
    Ending("in_transaction", "SELECT 'still in the transaction'", leaves="fin"),
    Ending("in_failed_transaction", "SELECT 1/0", sqlstates=("22012",), leaves="terminate"),
]


def by_name(text: str) -> bytes:
    """By a statement with a name: a Query or an unnamed one would end the unnamed one that is there."""
    return close("S", "quiet") + parse(text, "quiet") + bind((), "quiet") + describe() + execute() + SYNC


#: What neighbours do who leave servers as they found them, but for what belongs to a name, or to no session.
QUIET_HARMS = [
    Harm("nothing"),
    Harm("names", (close("S", "a") + parse("SELECT 'evil'", "a") + bind((), "a") + execute() + SYNC,)),
    Harm("draws", (by_name("SELECT nextval('public.conf_seq')"),)),
    Harm("local", (by_name("SET LOCAL app.tenant = 'evil'"),), only_inside=True),
]

QUIET_ENDINGS = [
    Ending("stays", keeps=True),
    Ending("rollback", "ROLLBACK", keeps=True),
    Ending("terminate", leaves="terminate"),
    Ending("stays_behind_a_rollback", "ROLLBACK", keeps=True),
    Ending("fin", leaves="fin"),
]
