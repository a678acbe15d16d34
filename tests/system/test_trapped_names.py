"""A database whose search_path finds somebody else's objects before PostgreSQL's own.

For every function, operator, type and relation of pg_catalog there is another of the same name and arguments
in a schema that stands in front. Whoever touches one is told of in PostgreSQL's log: nothing of pooler's own
may, for it would run a stranger's code with the rights of whoever has the session.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, bind, execute, parse

DATABASE = "trapped"

#: `caught` is volatile, so that no planner leaves it out, and says who was caught, whatever becomes of it.
TRAP = r"""
CREATE SCHEMA trap;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE FUNCTION trap.caught(what text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE WARNING 'caught by the trap: %', what; RETURN true; END $$;

CREATE FUNCTION trap.try(text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE $1;
    RETURN 1;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$;

CREATE TEMP TABLE made AS
SELECT 'function' AS kind, trap.try(format(
    'CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS
     $f$ BEGIN RAISE EXCEPTION ''caught by the trap: function %s''; END $f$',
    proname, args, CASE WHEN proretset THEN 'SETOF ' ELSE '' END || CASE WHEN prorettype = 'record'::regtype
    THEN 'record' ELSE format_type(prorettype, NULL) END, proname)) AS made
FROM (SELECT p.*, (SELECT string_agg(
          CASE WHEN provariadic <> 0 AND i = array_length(types, 1) AND types[i] <> '"any"'::regtype
          THEN 'VARIADIC ' ELSE '' END || format_type(types[i], NULL), ', ' ORDER BY i)
          FROM generate_subscripts(types, 1) i) AS args
      FROM (SELECT *, string_to_array(proargtypes::text, ' ')::oid[] AS types FROM pg_proc) p
      WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'w', 'a')) p;

INSERT INTO made SELECT 'variadic', trap.try(format(
    'CREATE FUNCTION trap.%I(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
     $f$ BEGIN RAISE EXCEPTION ''caught by the trap: function %s''; END $f$', name, name))
FROM unnest('{concat,concat_ws}'::text[]) name;

CREATE FUNCTION pg_temp.refuses(operator oid, l oid, r oid, result oid) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    name text := 'op_' || operator;
    args text := concat_ws(', ', format_type(nullif(l, 0), NULL), format_type(nullif(r, 0), NULL));
BEGIN
    EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS
        $f$ BEGIN RAISE EXCEPTION ''caught by the trap: operator %s''; END $f$',
        name, args, format_type(result, NULL), operator);
    EXECUTE format('CREATE OPERATOR trap.%s (FUNCTION = trap.%I%s%s)',
        (SELECT oprname FROM pg_operator WHERE oid = operator), name,
        CASE WHEN l <> 0 THEN ', LEFTARG = ' || format_type(l, NULL) ELSE '' END,
        CASE WHEN r <> 0 THEN ', RIGHTARG = ' || format_type(r, NULL) ELSE '' END);
    RETURN 1;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$;
INSERT INTO made SELECT 'operator', pg_temp.refuses(oid, oprleft, oprright, oprresult) FROM pg_operator
WHERE oprnamespace = 'pg_catalog'::regnamespace;

INSERT INTO made SELECT 'type', trap.try(format('CREATE DOMAIN trap.%I AS %s CHECK (trap.caught(%L))',
    typname, format_type(oid, NULL), 'type ' || typname))
FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'e')
AND typcategory <> 'A' AND typname !~ '^_';

INSERT INTO made SELECT 'relation', trap.try(format(
    'CREATE VIEW trap.%I AS SELECT * FROM pg_catalog.%I WHERE trap.caught(%L)', relname, relname,
    'relation ' || relname))
FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v');
DO $$ BEGIN EXECUTE (SELECT string_agg(format('GRANT SELECT ON trap.%I TO PUBLIC', relname), ';')
    FROM pg_class WHERE relnamespace = 'trap'::regnamespace AND relkind = 'v'); END $$;
"""

#: What there is for the catalogs' reader to read, of every class.
OBJECTS = """
CREATE TABLE things (id serial PRIMARY KEY, n int DEFAULT 1 CHECK (n > 0), p point,
    EXCLUDE USING gist (p WITH ~=));
CREATE TABLE parts (id int REFERENCES things) PARTITION BY RANGE ((id + 1));
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE INDEX ON things ((n + 1)) WHERE n > 5;
CREATE STATISTICS counted ON (n + 1), id FROM things;
CREATE VIEW seen AS SELECT * FROM things;
CREATE FUNCTION touches() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER t BEFORE INSERT ON things FOR EACH ROW WHEN (new.n > 7) EXECUTE FUNCTION touches();
ALTER TABLE things ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON things USING (n > 0);
CREATE DOMAIN positive AS int DEFAULT 1 CHECK (VALUE > 0);
CREATE TYPE pair AS (a positive, b int);
CREATE TYPE span AS RANGE (subtype = int);
CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
CREATE AGGREGATE total(int) (SFUNC = adds, STYPE = int);
CREATE OPERATOR +# (FUNCTION = adds, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION compared(pair, pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';
CREATE FUNCTION below(pair, pair) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR <# (LEFTARG = pair, RIGHTARG = pair, FUNCTION = below);
CREATE OPERATOR CLASS pairs DEFAULT FOR TYPE pair USING btree
    AS OPERATOR 1 <#, FUNCTION 1 compared(pair, pair);
CREATE FUNCTION as_int(pair) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE CAST (pair AS int) WITH FUNCTION as_int(pair);
CREATE FUNCTION of_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER of_ddl ON ddl_command_end EXECUTE FUNCTION of_event();
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
"""

MORE_OBJECTS = """
CREATE TABLE more (id serial PRIMARY KEY, n int DEFAULT 1 CHECK (n > 0)) PARTITION BY HASH (id);
CREATE VIEW more_seen AS SELECT * FROM things;
CREATE DOMAIN negative AS int CHECK (VALUE < 0);
CREATE FUNCTION subtracts(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 - $2';
CREATE OPERATOR -# (FUNCTION = subtracts, LEFTARG = int, RIGHTARG = int);
CREATE POLICY mine ON things USING (n > 1);
CREATE INDEX ON things ((n + 2));
ALTER TABLE parts ADD n positive;
"""


@pytest.fixture(scope="module")
def trapped(running_postgres: Postgres) -> Iterator[Postgres]:
    pg = running_postgres
    pg.sql(f"CREATE DATABASE {DATABASE}")
    pg.sql(OBJECTS, dbname=DATABASE)
    with pg.connect(dbname=DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(TRAP)
        cursor.execute("SELECT kind, sum(made) FROM made GROUP BY kind")
        made = dict(cursor.fetchall())
    assert made["function"] > 2500
    assert made["operator"] > 700
    assert made["type"] > 60
    assert made["relation"] > 130
    pg.sql(f"ALTER DATABASE {DATABASE} SET search_path = trap, pg_catalog, public")
    pg.sql("CREATE ROLE asked LOGIN PASSWORD 'secret'")
    yield pg
    pg.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    pg.sql("DROP ROLE asked")


@pytest.fixture(scope="module")
def pooler(trapped: Postgres, start_pooler: StartPooler) -> Pooler:
    databases = {
        DATABASE: "pool_size=2",
        "strict": f"dbname={DATABASE} pool_size=2 session_state=strict",
        "session": f"dbname={DATABASE} pool_size=1 pool_mode=session",
    }
    return start_pooler(databases=databases, workers=2)


@pytest.fixture(autouse=True)
def nobody_is_caught(trapped: Postgres) -> Iterator[None]:
    trapped.new_log()
    yield
    assert [line for line in trapped.new_log().splitlines() if CAUGHT.search(line)] == []


#: What pieces of a look have: one of all functions, one of those that have changed.
ALL_FUNCTIONS, SOME_FUNCTIONS = (
    "FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.<) 16384",
    "FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.>=) 16384"
    " AND p.oid OPERATOR(pg_catalog.=) ANY ('{",
)

#: A name that fits two is no better than one that fits the wrong one.
CAUGHT = re.compile(r"caught by the trap|is not unique|is ambiguous")


def test_the_trap_catches(trapped: Postgres) -> None:
    """Else the others would prove nothing."""
    for text in (
        "SELECT 1 = 1",
        "SELECT concat('a', 'b')",
        "SELECT '1'::int4",
        "SELECT 'a'::\"char\"",
        "SELECT FROM pg_class",
        "SELECT current_setting('search_path')",
        "SELECT 1 WHERE 2 IN (2)",
    ):
        with contextlib.suppress(psycopg2.Error):
            trapped.sql(text, dbname=DATABASE)
        assert CAUGHT.search(trapped.new_log()), text


def errors(answer: list[Message]) -> list[dict[str, str]]:
    return [message.fields for message in answer if message.type == "E"]


#: What leaves every kind of state, by texts that tell and by texts that do not. Their names have a schema.
LEAVE = (
    "SET work_mem = '1MB'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET app.tenant = 'one'",
    "SET search_path = trap, pg_catalog",
    "DO $$ BEGIN PERFORM pg_catalog.set_config('app.computed', 'x', false); END $$",
    "SELECT pg_catalog.set_config('app.other', 'x', false)",
    "SELECT pg_catalog.current_setting('app.computed', true)",
    "SELECT pg_catalog.pg_advisory_lock(1)",
    "SELECT pg_catalog.pg_advisory_unlock_all()",
    "CREATE TEMP TABLE kept (n integer)",
    "DROP TABLE kept",
    "PREPARE p AS SELECT 1",
    "DEALLOCATE p",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CLOSE c",
    "SELECT pg_catalog.nextval('public.things_id_seq')",
    "SELECT pg_catalog.lastval()",
    "LISTEN channel",
    "NOTIFY channel",
    "DO $$ BEGIN EXECUTE 'LISTEN another'; END $$",
    "UNLISTEN *",
    "SET ROLE bouncer",
    "RESET ROLE",
    "SET statement_timeout = 10000",
    "DO $$ BEGIN NULL; END $$",
    "RESET app.tenant",
    "RESET ALL",
    "DISCARD ALL",
)


@pytest.mark.parametrize("user", ["bouncer", SUPERUSER])
@pytest.mark.parametrize("database", [DATABASE, "strict", "session"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_state_that_follows(pooler: Pooler, database: str, user: str, protocol: str) -> None:
    options = {"TimeZone": "Europe/Rome", "options": "-c work_mem=2MB -c app.started=here"}
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(pooler.wire()).login(user, database, **options)
        other = first if database == "session" else stack.enter_context(pooler.wire()).login(user, database)
        for text in LEAVE:
            for wire, its in ((first, text), (other, "SELECT 1")):
                if protocol == "simple":
                    assert not errors(wire.query(its)), text
                else:
                    wire.send(parse(its) + bind() + execute() + SYNC)
                    assert not errors(wire.receive_until()), text


def test_literals_of_statements(pooler: Pooler) -> None:
    """Prepared once more on a server, under the settings of their Parse."""
    text = "SELECT pg_catalog.timestamptz '2020-06-01 12:00'"
    with pooler.wire().login(database=DATABASE) as first, pooler.wire().login(database=DATABASE) as other:
        for wire, zone in ((first, "UTC"), (other, "Asia/Tokyo")):
            assert not errors(wire.query(f"SET TimeZone = '{zone}'; SET app.zone = '{zone}'"))
            wire.send(parse(text, "s") + bind(name="s") + execute() + SYNC)
            assert not errors(wire.receive_until())
            wire.query("SET TimeZone = 'Europe/Rome'")
        pooler.console(f"RECONNECT {DATABASE}")
        for wire in (first, other, first):
            wire.send(bind(name="s") + execute() + SYNC)
            assert not errors(wire.receive_until())


def test_sequences_of_a_failed_transaction(pooler: Pooler) -> None:
    with pooler.wire().login(database=DATABASE) as first, pooler.wire().login(database=DATABASE) as other:
        for _ in range(2):
            first.query("SELECT pg_catalog.lastval()")
            assert not errors(first.query("SELECT pg_catalog.nextval('public.things_id_seq')"))
            assert not errors(other.query("SELECT pg_catalog.nextval('public.things_id_seq')"))
            first.query("BEGIN; SELECT nonsense")
            first.query("ROLLBACK; SELECT pg_catalog.lastval()")


def test_what_is_read_of_the_catalogs(trapped: Postgres, start_pooler: StartPooler) -> None:
    """By a first look, and by one behind a change of each kind.

    Behind the first one none begins at the same host for a hundred times as long as it took, which is a
    minute and more on a busy machine. By another name of its host PostgreSQL is another instance, with a
    budget of its own; what was read stays, for what answers says that it is the same.
    """
    trapped.sql(f"ALTER DATABASE {DATABASE} SET log_statement = 'all'")
    try:
        pooler = start_pooler(databases={DATABASE: "pool_size=2"}, workers=1)
        pooler.learn_catalogs(DATABASE, SUPERUSER)
        pooler.learn_catalogs(DATABASE)
        trapped.sql(f"SET search_path = public, pg_catalog; {MORE_OBJECTS}", dbname=DATABASE)
        first = trapped.new_log()
        pooler.databases[DATABASE] = f"host={trapped.socket_dir} pool_size=2"
        pooler.configure()
        pooler.learn_anew(DATABASE)
        anew = trapped.new_log()
    finally:
        trapped.sql(f"ALTER DATABASE {DATABASE} RESET log_statement")
    assert ALL_FUNCTIONS in first
    assert SOME_FUNCTIONS in anew
    assert [line for line in (first + anew).splitlines() if CAUGHT.search(line)] == []


def test_what_new_sessions_begin_with(pooler: Pooler, trapped: Postgres) -> None:
    """ALTER DATABASE SET past pooler is noticed by a question."""
    trapped.sql(f"ALTER DATABASE {DATABASE} SET app.given = 'new'")

    def given() -> bool:
        with pooler.wire().login(database=DATABASE) as wire:
            return wire.rows("SELECT pg_catalog.current_setting('app.given', true)") == [[b"new"]]

    wait_for(given, 20, "the value")


class Asking(Pooler):
    """Only the one who asks is in the userlist."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords = {SUPERUSER: "secret"}

    def pg_password(self, user: str) -> str:
        return "secret"


def test_auth_query(start_pooler: StartPooler) -> None:
    pooler = start_pooler(
        kind=Asking, databases={DATABASE: ""}, auth_type="scram-sha-256", auth_user=SUPERUSER
    )
    for _ in range(2):
        assert pooler.sql("SELECT 1", user="asked", dbname=DATABASE) == [(1,)]


def test_check(trapped: Postgres, tmp_path: Path) -> None:
    ini = tmp_path / "p.ini"
    ini.write_text(
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = trust\n[databases]\n"
        f"{DATABASE} = host={trapped.host} port={trapped.port} user={SUPERUSER}\n"
    )
    ini.chmod(0o600)
    command = [sys.executable, "-m", "pooler", "check", "--connect", str(ini)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "takes 117 connections" in done.stdout, done.stdout + done.stderr
